use super::{BelongsTo, QuoteRule, Timestamp};

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
    /// When it expires by older specifications.
    pub legacy: LegacyExpiry,
    /// It is to go once it was read.
    pub once: bool,
    /// Its words are encrypted (XEP-0384, XEP-0373), and perhaps a timer with them. Not what only brings keys.
    pub encrypted: bool,
    /// `<i-want-out/>` of the ephemeral namespace was found: an opt-out.
    pub wants_out: bool,
    /// Some child carries content; unknown elements count as content. Without content, a timer is a
    /// negotiation. An empty body is not content.
    pub has_content: bool,
    /// The message that it belongs to: the first one that it names. Never for what speaks for itself, such as a retraction.
    pub belongs_to: Option<BelongsTo>,
    /// The message that it replies to, if it says that something in it quotes that one (XEP-0461, XEP-0428).
    pub quotes: Option<BelongsTo>,
    /// The last `<stanza-id/>` (XEP-0359): in an offline queue it is the server's own.
    pub last_stanza_id: Option<StanzaId>,
    /// The stanza is a placeholder that ephemerd left, and nothing else: the time at which its row goes. A
    /// stanza with anything beyond a placeholder's own parts is judged like any other.
    pub expired_until: Option<Timestamp>,
}

impl Facts {
    /// The message that it goes with: where replies go whole, also the one that it quotes.
    pub fn belonging(&self, quotes: QuoteRule) -> Option<BelongsTo> {
        let quoted = self.quotes.as_ref().filter(|_| quotes == QuoteRule::Erase);
        self.belongs_to.as_ref().or(quoted).cloned()
    }
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

/// When a stanza expires by specifications older than timers: XEP-0023 (`jabber:x:expire`), and the condition `expire-at` of
/// XEP-0079. Both speak of messages that were not read or delivered until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegacyExpiry {
    /// The shortest valid time above zero, in seconds from sending (XEP-0023).
    pub shortest_seconds: Option<u32>,
    /// The earliest valid time after which the message is to be discarded (XEP-0079).
    pub earliest: Option<Timestamp>,
    /// How many values are neither a number of seconds above zero nor a time.
    pub invalid: u32,
}

impl LegacyExpiry {
    /// It expires.
    pub const fn is_some(&self) -> bool {
        self.shortest_seconds.is_some() || self.earliest.is_some()
    }
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
