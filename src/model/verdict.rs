use super::{Because, Start, Store, Timestamp, store::display_and_parse};

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
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Timer, Self::Hint, Self::Negotiation, Self::Undelivered];

    /// The name in tables, labels and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timer => "timer",
            Self::Hint => "hint",
            Self::Negotiation => "negotiation",
            Self::Undelivered => "undelivered",
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
    /// When timers start.
    pub runs_from: Timestamp,
    /// Nobody has received the message: the owner's offline queue has a copy, or the companion module says so. A row in
    /// the queue itself always counts as undelivered.
    pub undelivered: bool,
    /// The owner has read it: it counts as delivered, and so does its copy in the queue.
    pub read: bool,
}

impl Placement {
    /// A row of this store whose timer starts so. `undelivered`: nobody is known to have received it; what was read was
    /// received, whatever else is known.
    pub const fn of(store: Store, start: Start, undelivered: bool) -> Self {
        Self {
            store,
            runs_from: start.at,
            undelivered: undelivered && !start.by.is_by_reading(),
            read: start.by.is_read(),
        }
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
