//! What inspecting, erasing and sweeping share, and none of them owns.

mod changing;
pub(super) mod crash;
pub mod leader;
pub mod presence;
mod retry;
pub mod unheard;
pub mod wake;

pub use changing::{Changing, replace};
pub(super) use retry::Retry;

use std::time::Duration;

/// How long to rest after this many rows that took this long, at this many rows per second; 0 means no limit.
pub(super) fn rest(rows: i64, per_second: u32, took: Duration) -> Duration {
    let seconds = rows.max(0) as f64 / f64::from(per_second);
    Duration::try_from_secs_f64(seconds).unwrap_or_default().saturating_sub(took)
}

/// A number of rows or entries as SQL counts them.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
