use super::{Because, Store, Timestamp, store::display_and_parse};

/// Why a row goes. The label `reason` of our metrics and our tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Its ephemeral timer (XEP-0466).
    Timer,
    /// Its hint not to be stored (XEP-0334).
    Hint,
    /// It negotiates a timer and carries nothing else.
    Negotiation,
    /// Its timer, held back while nobody has received it.
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

/// A server's own stamp of the time of archiving, as exact as the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The time as stored.
    pub at: Timestamp,
    /// The server keeps whole seconds: the stanza came somewhere in that second.
    pub whole_seconds: bool,
}

/// Where and since when a stanza lies on the server: what policy must know beside its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The store that holds it.
    pub store: Store,
    /// Timers run from here.
    pub runs_from: Timestamp,
    /// The owner's offline queue holds a copy: nobody has had the message. A row of the queue
    /// itself counts as undelivered whatever stands here.
    pub undelivered: bool,
}

/// When a stanza goes and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The time at which its words must be gone.
    pub due_at: Timestamp,
    /// The reason that decided.
    pub reason: Reason,
    /// What led there, in the order of thought.
    pub because: Vec<Because>,
}
