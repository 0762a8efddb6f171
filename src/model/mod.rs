//! The nouns that all layers share. No I/O, no behaviour beyond what the noun itself means.

mod clock;
mod facts;
mod finding;
mod rules;
mod store;
mod verdict;

pub use clock::{Clock, SystemClock};
pub use facts::{Facts, Hints, StanzaId, Timers};
pub use finding::{Finding, Level};
pub use rules::{Conflict, HintRules, OfflineRules, Rules, TimerRules};
pub use store::{Mode, Outcome, Store, UnknownName};
pub use verdict::{Placement, Reason, Stamp, Verdict};

/// A point in time; the server's tables and ours both speak UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
