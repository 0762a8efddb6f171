use super::{Because, Start, StartedBy, Store, Timestamp, store::display_and_parse};

/// Why a row goes: the label `reason` of our metrics and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Its ephemeral timer (XEP-0466).
    Timer,
    /// Its hint not to be stored (XEP-0334).
    Hint,
    /// It negotiates a timer and carries nothing else.
    Negotiation,
    /// Its timer, which waits because nobody has received it.
    Undelivered,
    /// The message that it belongs to goes.
    Inherited,
    /// It expires by an older specification (XEP-0023, XEP-0079).
    Legacy,
    /// Only what it quotes goes: it is cut out, and the row stays.
    Quote,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Timer,
        Self::Hint,
        Self::Negotiation,
        Self::Undelivered,
        Self::Inherited,
        Self::Legacy,
        Self::Quote,
    ];

    /// Those for which whole rows go.
    pub const OF_ROWS: [Self; 6] = [
        Self::Timer,
        Self::Hint,
        Self::Negotiation,
        Self::Undelivered,
        Self::Inherited,
        Self::Legacy,
    ];

    /// The name in tables, labels and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timer => "timer",
            Self::Hint => "hint",
            Self::Negotiation => "negotiation",
            Self::Undelivered => "undelivered",
            Self::Inherited => "inherited",
            Self::Legacy => "legacy",
            Self::Quote => "quote",
        }
    }
}

display_and_parse!(Reason);

/// The server's own archiving timestamp, with its precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The time as stored.
    pub at: Timestamp,
    /// The server keeps whole seconds: the stanza arrived somewhere within that second.
    pub whole_seconds: bool,
}

/// Where a stanza is stored and since when: what policy must know beyond its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The store that holds it.
    pub store: Store,
    /// When it was archived: where stamps are whole seconds, the end of that second.
    pub archived_at: Timestamp,
    /// When timers start.
    pub runs_from: Timestamp,
    /// Nobody has received the message: the owner's offline queue has a copy, or the companion module says so. A row in
    /// the queue itself always counts as undelivered.
    pub undelivered: bool,
    /// The owner has received it for certain: it counts as delivered, and so does its copy in the queue.
    pub received: bool,
    /// What is to go once it was read goes now, and not by its timer: it was read, or nobody's reading is waited for, as in
    /// the archive of whoever sent it.
    pub counts_once: bool,
}

impl Placement {
    /// A row of this store, archived then, whose timer starts so. `undelivered`: nobody is known to have received it; what was read, or has a
    /// receipt, was received, whatever else is known.
    pub const fn of(store: Store, archived_at: Timestamp, start: Start, undelivered: bool) -> Self {
        Self {
            store,
            archived_at,
            runs_from: start.at,
            undelivered: undelivered && !start.by.is_by_reading() && !start.by.is_received(),
            received: start.by.is_received(),
            counts_once: start.by.is_read()
                || (matches!(store, Store::Room) && !matches!(start.by, StartedBy::Unread)),
        }
    }

    /// The same, if the owner sent the message, or a room sent it to its subscribers.
    #[must_use]
    pub const fn not_received(self, is_not_received: bool) -> Self {
        Self { counts_once: self.counts_once || is_not_received, ..self }
    }
}

/// When a stanza goes and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The time by which its text must be gone.
    pub due_at: Timestamp,
    /// The reason that decided.
    pub reason: Reason,
    /// The reasoning, in order.
    pub because: Vec<Because>,
}
