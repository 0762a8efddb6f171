use std::time::Duration;

use super::{Store, UploadRules, WishRules};

/// The operator's retention rules, parsed and validated by `config`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// `[timers]`
    pub timers: TimerRules,
    /// `[hints]`
    pub hints: HintRules,
    /// `[rooms]`
    pub rooms: RoomRules,
    /// `[inherit]`
    pub inherit: InheritRules,
    /// `[uploads]`
    pub uploads: UploadRules,
    /// What users may wish: `commands.settings` and `commands.shortest_archive_for`.
    pub wishes: WishRules,
}

impl Rules {
    /// Evidence of reading is looked for in this store.
    pub fn looks_for_readers_in(&self, store: Store) -> bool {
        match store {
            Store::Archive => self.timers.start.looks_for_readers(),
            Store::Room => self.rooms.start.looks_for_readers(),
            Store::Queue => false,
        }
    }

    /// Evidence of reading is looked for anywhere.
    pub fn looks_for_readers(&self) -> bool {
        Store::ALL.into_iter().any(|it| self.looks_for_readers_in(it))
    }
}

/// How long a timer may run, and from when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerRules {
    /// Shorter timers are raised to this.
    pub min: Duration,
    /// Longer timers are lowered to this.
    pub max: Option<Duration>,
    /// A timer negotiation stays at least this long, for devices that were away.
    pub negotiation_for: Duration,
    /// What starts the timer of a message that its owner received.
    pub start: StartRule,
    /// How long a message that nobody has received or read waits before its timer starts anyway; `None` is
    /// "never".
    pub unread_for: Option<Duration>,
    /// What counts as read.
    pub read_evidence: ReadEvidence,
    /// A message that is to go once it was read goes this long after that.
    pub once_for: Duration,
    /// What older specifications say of when a message expires counts as well (XEP-0023, XEP-0079).
    pub legacy_expiry: bool,
}

/// What starts the timer of a message that its owner received. Timers of what the owner sent start at archiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartRule {
    /// The server archived it, delivered or not.
    Archived,
    /// Its owner received it.
    Delivered,
    /// Its owner read it.
    Read,
    /// Its owner read it if their clients show that at all, else received it.
    #[default]
    Auto,
}

impl StartRule {
    /// Evidence of reading is looked for.
    pub const fn looks_for_readers(self) -> bool {
        matches!(self, Self::Read | Self::Auto)
    }
}

/// What starts the timers of rooms' messages, and whose reading does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomRules {
    /// What starts the timer of a message in a room.
    pub start: RoomStart,
    /// What these show counts for nothing: domains, bare addresses, and occupants' addresses.
    pub ignore_readers: Vec<String>,
}

impl RoomRules {
    /// What this reader shows counts for nothing.
    pub fn ignores(&self, reader: &Occupant) -> bool {
        let ignored = |address: &String| self.ignore_readers.contains(address);
        let is_listed = reader.jid.as_ref().is_some_and(|jid| {
            let domain = jid.split_once('@').map_or(jid.as_str(), |it| it.1);
            ignored(jid) || self.ignore_readers.iter().any(|it| it == domain)
        });
        is_listed || reader.nick.as_ref().is_some_and(ignored)
    }
}

/// What starts the timer of a message in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoomStart {
    /// The server archived it.
    #[default]
    Archived,
    /// Somebody else than its sender read it.
    FirstReader,
    /// In a room for members only: all of them but its sender read it.
    Everyone,
}

impl RoomStart {
    /// Evidence of reading is looked for.
    pub const fn looks_for_readers(self) -> bool {
        matches!(self, Self::FirstReader | Self::Everyone)
    }
}

/// What belongs to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InheritRules {
    /// What becomes of a quote when the message that it quotes goes.
    pub quotes: QuoteRule,
}

/// What becomes of what a reply quotes (XEP-0461) when the message that it quotes goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuoteRule {
    /// It is cut out of the reply.
    #[default]
    Cut,
    /// It stays.
    Leave,
    /// The reply goes, too.
    Erase,
}

/// By what somebody in a room is known: who wrote a message, or who read one. Rooms may hide real addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Occupant {
    /// The address in the room: `room@conference.example.org/nick`.
    pub nick: Option<String>,
    /// The real bare address.
    pub jid: Option<String>,
    /// The room's id of this occupant (XEP-0421), which stays when the nickname changes.
    pub id: Option<String>,
}

impl Occupant {
    /// Nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// What counts as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadEvidence {
    /// Published by the owner (XEP-0490).
    pub mds: bool,
    /// Displayed markers (XEP-0333).
    pub markers: bool,
    /// Replies and reactions (XEP-0461, XEP-0444).
    pub replies: bool,
}

impl ReadEvidence {
    /// Nothing counts.
    pub const NONE: Self = Self { mds: false, markers: false, replies: false };
    /// The names of all kinds, as in `timers.read_evidence`.
    pub const NAMES: [&str; 3] = ["mds", "markers", "replies"];

    /// The names of what counts.
    pub fn names(self) -> Vec<&'static str> {
        let Self { mds, markers, replies } = self;
        let counts = [mds, markers, replies];
        Self::NAMES.into_iter().zip(counts).filter(|it| it.1).map(|it| it.0).collect()
    }
}

impl Default for ReadEvidence {
    fn default() -> Self {
        Self { mds: true, markers: true, replies: true }
    }
}

/// What happens to archived copies with a hint not to store them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintRules {
    /// Such a copy goes this long after archiving.
    pub keep_for: Duration,
    /// Which one wins if a stanza asks for both.
    pub conflict: Conflict,
}

/// Which one wins if a stanza has both `<store/>` and `<no-permanent-store/>` (XEP-0334 does not say).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// `<store/>` wins: the hint not to store is ignored.
    #[default]
    Store,
    /// `<no-permanent-store/>` wins.
    NoPermanentStore,
}

const DAY: Duration = Duration::from_secs(86_400);

impl TimerRules {
    /// The default of `once_for`: enough for a second page of the same query, and for other devices that are online.
    pub const ONCE_FOR: Duration = Duration::from_secs(60);
}

impl Default for TimerRules {
    fn default() -> Self {
        Self {
            min: Duration::ZERO,
            max: None,
            negotiation_for: DAY * 90,
            start: StartRule::default(),
            unread_for: Some(DAY * 14),
            read_evidence: ReadEvidence::default(),
            once_for: Self::ONCE_FOR,
            legacy_expiry: false,
        }
    }
}

impl Default for HintRules {
    fn default() -> Self {
        Self { keep_for: Duration::ZERO, conflict: Conflict::Store }
    }
}
