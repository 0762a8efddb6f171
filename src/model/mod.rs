//! The nouns that all layers share. No I/O, no behaviour beyond what the noun itself means.

mod because;
mod clock;
mod facts;
mod finding;
mod rules;
mod store;
mod verdict;

pub use because::{Because, Judgement, Span};
pub use clock::{Clock, SystemClock};
pub use facts::{Facts, Hints, StanzaId, Timers};
pub use finding::{Finding, Level};
pub use rules::{Conflict, HintRules, OfflineRules, Rules, TimerRules};
pub(crate) use store::display_and_parse;
pub use store::{Mode, Outcome, Store, UnknownName};
pub use verdict::{Placement, Reason, Stamp, Verdict};

/// A point in time; the server's tables and ours both speak UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// The latest time that ephemerd names, `9999-12-31T23:59:59Z`: later ones count as this, for RFC
/// 3339 ends there.
pub const LATEST: Timestamp = match Timestamp::from_timestamp(253_402_300_799, 0) {
    Some(at) => at,
    None => Timestamp::MAX_UTC,
};
