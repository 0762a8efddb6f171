use super::{Because, Store, Timestamp, store::display_and_parse};

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
    /// The owner's offline queue has a copy, so nobody has received the message. A row in the queue itself
    /// always counts as undelivered.
    pub undelivered: bool,
    /// The owner has read it: it counts as delivered, and so does its copy in the queue.
    pub read: bool,
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
