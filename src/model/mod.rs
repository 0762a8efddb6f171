//! The nouns that all layers share. No I/O, and no behaviour beyond what the noun itself means.

mod because;
mod belonging;
mod clock;
mod facts;
mod finding;
mod hold;
mod owner_groups;
mod retention;
mod row;
mod rules;
mod start;
mod store;
mod uploads;
mod verdict;
mod wish;

pub use because::{Because, Judgement, Span};
pub use belonging::{BelongsTo, Bond, Inheritance};
pub use clock::{Clock, SystemClock};
pub use facts::{Facts, Hints, LegacyExpiry, StanzaId, Timers};
pub use finding::{Finding, Level};
pub use hold::{Address, HoldOn, HoldScope};
pub use owner_groups::OwnerGroups;
pub use retention::{Limit, Limits, RetentionRule, RetentionRules, Whose};
pub use row::{RowId, RowKey, bare_jid};
pub use rules::{
    Conflict, HintRules, InheritRules, Occupant, QuoteRule, ReadEvidence, RoomRules, RoomStart,
    Rules, StartRule, TimerRules,
};
pub use start::{Start, StartedBy};
pub(crate) use store::display_and_parse;
pub use store::{Inspected, Mode, Store, UnknownName};
pub use uploads::{UploadRules, contains, is_place};
pub use verdict::{Placement, Reason, Stamp, Verdict};
pub use wish::{Wish, WishChange, WishRules};

/// A point in time; the server's tables and ours both use UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// The latest time that ephemerd uses, `9999-12-31T23:59:59Z`, because RFC 3339 ends there; later times count
/// as this.
pub const LATEST: Timestamp = match Timestamp::from_timestamp(253_402_300_799, 0) {
    Some(at) => at,
    None => Timestamp::MAX_UTC,
};
