//! [`Facts`] + [`Rules`] + times → [`Verdict`] with reasons.
//!
//! Pure: every time is passed in, additions saturate at [`LATEST`], and the same input always gives the same
//! verdict, so a sweep can judge a row again.

mod fingerprint;
mod inherit;
mod judge;
mod retention;
mod start;
mod wish;

pub use fingerprint::fingerprint;
pub use inherit::inherit;
pub use judge::{invalid, judge, timer_from_reading};
pub use retention::{Applied, Retention};
pub use start::{READER_FOR, archived, delivered, read, start, unread};
pub use wish::{TimersWished, shorter, timers_wished, wished, wished_cutoff, wished_timer};

use std::time::Duration;

use chrono::TimeDelta;

use crate::model::{Facts, LATEST, Placement, Rules, Timestamp, Verdict};

/// When and why a stanza goes; `None` if nothing in it asks for that. [`judge`] gives the reasons in both
/// cases.
pub fn decide(facts: &Facts, placement: &Placement, rules: &Rules) -> Option<Verdict> {
    judge(facts, placement, rules).verdict()
}

/// `by` after `from`, never after [`LATEST`].
pub fn later(from: Timestamp, by: Duration) -> Timestamp {
    TimeDelta::from_std(by)
        .ok()
        .and_then(|by| from.checked_add_signed(by))
        .map_or(LATEST, |at| at.min(LATEST))
}

#[cfg(test)]
mod start_tests;
#[cfg(test)]
mod tests;
