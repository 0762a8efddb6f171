use super::Timestamp;

/// What one archived stanza says about its own retention, read from its XML and not yet judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The root is not a `<message/>` of `jabber:client`: nothing else was read, and nothing is asked.
    pub not_a_message: bool,
    /// The stanza is `type='error'`.
    pub is_error: bool,
    /// The ephemeral timers found (XEP-0466).
    pub timers: Timers,
    /// The processing hints found (XEP-0334).
    pub hints: Hints,
    /// `<i-want-out/>` of the ephemeral namespace was found: an opt-out.
    pub wants_out: bool,
    /// Some child carries content; unknown elements count as content. Without content, a timer is a
    /// negotiation. An empty body is not content.
    pub has_content: bool,
    /// The last `<stanza-id/>` (XEP-0359): in an offline queue it is the server's own.
    pub last_stanza_id: Option<StanzaId>,
    /// The stanza is a placeholder that ephemerd left, and nothing else: the time at which its row goes. A
    /// stanza with anything beyond a placeholder's own parts is judged like any other.
    pub expired_until: Option<Timestamp>,
}

/// Timers among a stanza's direct children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timers {
    /// The shortest valid timer above zero, in seconds.
    pub shortest_seconds: Option<u32>,
    /// How many valid timers above zero there are.
    pub valid: u32,
    /// How many timers are zero, which deployed clients use for "off".
    pub zero: u32,
    /// How many timers are not a number of seconds.
    pub invalid: u32,
}

/// Processing hints among a stanza's direct children, legacy names included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hints {
    /// `no-permanent-store` or `no-permanent-storage`.
    pub no_permanent_store: bool,
    /// `no-store` or `no-storage`.
    pub no_store: bool,
    /// `store`.
    pub store: bool,
}

/// A unique and stable stanza id (XEP-0359).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaId {
    /// Who assigned it.
    pub by: String,
    /// The id.
    pub id: String,
}
