//! What starts a timer: the only place that decides it.

use std::time::Duration;

use super::later;
use crate::model::{LATEST, Stamp, Start, StartedBy, Timestamp};

/// An account that showed nothing for so long does not count as one that shows what it reads.
pub const READER_FOR: Duration = Duration::from_secs(30 * 86_400);

/// The start of a row's timer. A running timer keeps its `known` start; one that is `held` because nobody has received
/// the message does not run. If the message waits to be read, `unread` is when the timer starts without that.
pub fn start(
    known: Option<Start>,
    held: bool,
    (stamp, now): (Stamp, Timestamp),
    unread: Option<Start>,
) -> Start {
    let waits = |it: &Start| it.by == StartedBy::Unread || (held && unread.is_some());
    // Another message's start is none of its own.
    let known = known.filter(|it| it.by != StartedBy::Inherited);
    let runs = known.filter(|it| it.by.is_received() || !waits(it));
    runs.or(unread).unwrap_or_else(|| archived(stamp, now))
}

/// The owner has not read the message yet: its timer starts this long after archiving at the latest.
pub fn unread(stamp: Stamp, now: Timestamp, unread_for: Option<Duration>) -> Start {
    let at = unread_for.map_or(LATEST, |wait| later(archived(stamp, now).at, wait));
    Start { at, by: StartedBy::Unread }
}

/// The owner has read the message, or sent a receipt for it: never before it was archived, and never later than it would have started `unread`.
pub fn read(seen: Start, (stamp, now): (Stamp, Timestamp), unread: Start) -> Start {
    let at = seen.at.max(archived(stamp, now).at);
    if at < unread.at { Start { at, by: seen.by } } else { unread }
}

/// The owner has received the message.
pub const fn delivered(now: Timestamp) -> Start {
    Start { at: now, by: StartedBy::Delivered }
}

/// When a row was archived.
///
/// A stamp in whole seconds means the end of that second, so that no timer is cut short. A stamp in the
/// future counts as now: a wrong clock must not postpone an expiry. The start of the second is compared, so
/// that a row judged within its own second gets the same verdict a minute later.
pub fn archived(stamp: Stamp, now: Timestamp) -> Start {
    let at = if stamp.at > now {
        now
    } else if stamp.whole_seconds {
        later(stamp.at, Duration::from_secs(1))
    } else {
        stamp.at
    };
    Start { at, by: StartedBy::Archived }
}
