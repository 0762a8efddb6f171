use super::Timestamp;

/// What one archived stanza says about its own retention: read from its XML, judged by nobody yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The root is no `<message/>` of `jabber:client`: nothing else is known, and nothing is asked.
    pub not_a_message: bool,
    /// The stanza is `type='error'`.
    pub is_error: bool,
    /// The ephemeral timers found (XEP-0466).
    pub timers: Timers,
    /// The processing hints found (XEP-0334).
    pub hints: Hints,
    /// `<i-want-out/>` of the ephemeral namespace was found: an opt-out.
    pub wants_out: bool,
    /// Something that carries content stands among the children, an unknown element for one:
    /// without it a timer is a negotiation. A body without words carries none.
    pub has_content: bool,
    /// The last `<stanza-id/>` (XEP-0359): in an offline queue it is the server's own.
    pub last_stanza_id: Option<StanzaId>,
    /// The stanza is a placeholder that ephemerd left, and nothing else: the time at which its row
    /// goes. A stanza that carries anything beside the placeholder's own parts is judged as any
    /// other.
    pub expired_until: Option<Timestamp>,
}

/// Timers among a stanza's direct children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timers {
    /// The shortest valid timer above zero, in seconds.
    pub shortest_seconds: Option<u32>,
    /// How many valid timers above zero there are.
    pub valid: u32,
    /// How many timers say zero, which deployed clients use for "off".
    pub zero: u32,
    /// How many timers could not be read as a number of seconds.
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
    /// Who gave it.
    pub by: String,
    /// The id.
    pub id: String,
}
