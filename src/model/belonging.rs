use super::Timestamp;

/// How a message belongs to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// It replaces its words (XEP-0308).
    Corrects,
    /// It reacts to it (XEP-0444).
    ReactsTo,
    /// It is attached to it (XEP-0367), as further sources of a file are (XEP-0447).
    AttachedTo,
    /// It replies to it and quotes it (XEP-0461).
    Quotes,
}

impl Bond {
    /// Only a message of the same sender has this bond.
    pub const fn needs_same_sender(self) -> bool {
        !matches!(self, Self::ReactsTo | Self::Quotes)
    }
}

/// The message that another one belongs to, as that one names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BelongsTo {
    /// How it belongs to it.
    pub bond: Bond,
    /// The id.
    pub id: String,
}

/// What a message inherits from the one that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inheritance {
    /// How it belongs to it.
    pub bond: Bond,
    /// When that one's timer starts or started.
    pub runs_from: Timestamp,
    /// When that one goes, or went.
    pub due_at: Timestamp,
}
