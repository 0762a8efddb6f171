//! [`Facts`] + [`Rules`] + times → [`Verdict`] with reasons.
//!
//! Pure: every time is passed in, the sums saturate at [`LATEST`], and the same input always gives
//! the same verdict, so that a sweep may judge a row again.

mod fingerprint;
mod judge;

pub use fingerprint::fingerprint;
pub use judge::judge;

use std::time::Duration;

use chrono::TimeDelta;

use crate::model::{Because, Facts, LATEST, Placement, Rules, Stamp, Store, Timestamp, Verdict};

/// When and why a stanza goes; `None` where nothing in it asks for that. [`judge`] tells the
/// reasons in both cases.
pub fn decide(facts: &Facts, placement: &Placement, rules: &Rules) -> Option<Verdict> {
    judge(facts, placement, rules).verdict()
}

/// The time from which a stanza's timer runs: when it was archived.
///
/// A stamp in whole seconds means the end of that second, so that no timer runs short. A stamp
/// later than the clock counts as that clock: nobody postpones an expiry with a wrong one. The
/// start of the second is what is compared, so that a row judged within its own second is judged
/// the same a minute later.
pub fn runs_from(stamp: Stamp, now: Timestamp) -> Timestamp {
    if stamp.at > now {
        now
    } else if stamp.whole_seconds {
        later(stamp.at, Duration::from_secs(1))
    } else {
        stamp.at
    }
}

/// `by` after `from`, never after [`LATEST`].
pub fn later(from: Timestamp, by: Duration) -> Timestamp {
    TimeDelta::from_std(by)
        .ok()
        .and_then(|by| from.checked_add_signed(by))
        .map_or(LATEST, |at| at.min(LATEST))
}

/// A row that stays only until somebody has received the message, or the queue's copy that shows
/// that nobody has: the ledger must know both, though neither goes by itself. `because` are the
/// reasons for which it stays.
pub fn waits(store: Store, because: &[Because], facts: &Facts) -> bool {
    let waits = matches!(because.last(), Some(Because::UndeliveredStays | Because::HintInQueue));
    waits && (store != Store::Queue || facts.last_stanza_id.is_some())
}

#[cfg(test)]
mod tests;
