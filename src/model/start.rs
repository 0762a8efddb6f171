use super::{Timestamp, store::display_and_parse};

/// When a timer started, and what started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// When the timer started.
    pub at: Timestamp,
    /// What started it.
    pub by: StartedBy,
}

/// What started a timer, recorded in `started_by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StartedBy {
    /// The server archived the message.
    Archived,
    /// The owner received it: no copy is left in the offline queue.
    Delivered,
    /// The owner's client sent a receipt for it (XEP-0184), though a copy is in the offline queue or a session hangs.
    Receipt,
    /// Nothing yet: it waits for its owner to read the message, and starts at the given time if that does not happen.
    Unread,
    /// The owner published that it was displayed (XEP-0490).
    Mds,
    /// The owner's client sent a displayed marker (XEP-0333).
    Marker,
    /// The owner replied or reacted to it (XEP-0461, XEP-0444).
    Reply,
    /// The message that it belongs to: it has no timer of its own.
    Inherited,
    /// Nobody is left in the room who had not read it: whoever had not is no member any more.
    Members,
    /// Something that only a newer version knows, during an upgrade. Only that version changes the entry.
    Newer,
}

impl StartedBy {
    /// Everything that can start a timer.
    pub const ALL: [Self; 10] = [
        Self::Archived,
        Self::Delivered,
        Self::Receipt,
        Self::Unread,
        Self::Mds,
        Self::Marker,
        Self::Reply,
        Self::Inherited,
        Self::Members,
        Self::Newer,
    ];

    /// The name in tables and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Archived => "archived",
            Self::Delivered => "delivered",
            Self::Receipt => "receipt",
            Self::Unread => "unread",
            Self::Mds => "mds",
            Self::Marker => "marker",
            Self::Reply => "reply",
            Self::Inherited => "inherited",
            Self::Members => "members",
            Self::Newer => "newer",
        }
    }

    /// Whoever it waited for has read it.
    pub const fn is_read(self) -> bool {
        self.is_evidence() || matches!(self, Self::Members)
    }

    /// A client showed that it was read.
    pub const fn is_evidence(self) -> bool {
        matches!(self, Self::Mds | Self::Marker | Self::Reply)
    }

    /// It was received, whatever is in the queue or hangs in a session.
    pub const fn is_received(self) -> bool {
        matches!(self, Self::Receipt) || self.is_read()
    }

    /// Reading started the timer, or is to start it.
    pub const fn is_by_reading(self) -> bool {
        matches!(self, Self::Unread) || self.is_read()
    }

    /// The time at which the timer started may be that of reading.
    pub const fn may_tell_of_reading(self) -> bool {
        matches!(self, Self::Inherited) || self.is_by_reading()
    }
}

display_and_parse!(StartedBy);
