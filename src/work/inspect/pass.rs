//! How far a pass over one table goes, and how far the cursor may follow.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::{
    archive::{Horizon, Order, Table},
    ledger::Cursor,
};

/// A number drawn from the sequence reaches its row within this time, or its transaction is visible.
const SETTLING: Duration = Duration::from_secs(5);

/// A transaction that is open for longer does not hold the cursor back: a sweep comes after it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Stamped rows commit within this time, but for a few; each poll reads so far back.
const RECENT: Duration = Duration::from_secs(5);
/// Now and then a poll reads farther back, for those few. What comes later is the sweep's.
const LATE: Duration = Duration::from_secs(600);
const LATE_EVERY: Duration = Duration::from_secs(60);
/// A clock that runs ahead by more than this is none: what it stamps is read again until its time comes.
const AHEAD: Duration = Duration::from_secs(60);

/// A table that is read whole costs at most one part in so many of the time.
const RESTING_PARTS: u32 = 20;

/// One reading from the cursor to the table's end; a long one takes several transactions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) at: i64,
    pub(super) until: i64,
    /// Everything up to here is final: the cursor may follow.
    safe: i64,
    /// Nothing beyond counts as read before.
    known: i64,
    started: Instant,
    /// It reads farther back than the cursor.
    is_late: bool,
    /// It reads the whole table.
    is_whole: bool,
    pub(super) horizon: Horizon,
}

impl Pass {
    /// The cursor after this much of the pass.
    pub(super) fn moved(&self, cursor: Cursor) -> Cursor {
        Cursor {
            position: cursor.position.max(self.at.min(self.safe)),
            frontier: cursor.frontier.max(self.at.min(self.known)).max(cursor.position),
            filenode: Some(self.horizon.filenode),
            ..cursor
        }
    }
}

/// The tail of one table.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) table: Table,
    /// The pass that is under way.
    pub(super) pass: Option<Pass>,
    mark: Option<Mark>,
    /// The cursor went on without the transactions below this one.
    passed: Option<i64>,
    /// When a poll last read far back.
    late_at: Option<Instant>,
    /// Not before this time is the table read again.
    rests_until: Option<Instant>,
}

/// An earlier poll: how far rows and transactions had come.
#[derive(Debug, Clone, Copy)]
struct Mark {
    newest: i64,
    xmax: i64,
    taken: Instant,
}

impl Mark {
    /// Everything that could still come below this mark has come and is visible.
    fn is_settled(&self, horizon: Horizon) -> bool {
        horizon.xmin >= self.xmax && self.taken.elapsed() >= SETTLING
    }

    /// Rows or transactions have not come so far: the whole database was restored.
    fn is_of_another_time(&self, horizon: Horizon) -> bool {
        self.newest > horizon.newest.max(horizon.sequence) || self.xmax > horizon.xmax
    }
}

impl Tail {
    pub(super) fn new(table: Table) -> Self {
        let (pass, mark, passed) = (None, None, None);
        Self { table, pass, mark, passed, late_at: None, rests_until: None }
    }

    /// The table went back in time: numbers that were read are given again.
    pub(super) fn is_restored(&self, horizon: Horizon, cursor: Cursor) -> bool {
        match self.table.order() {
            Order::Sequence | Order::Whole => horizon.is_before(cursor.frontier),
            // The newest row may go at any time.
            Order::Stamps => false,
        }
    }

    /// The table is not where it was: it was restored, whatever its numbers say, or written anew. Looking
    /// again does no harm.
    pub(super) fn is_remade(&mut self, horizon: Horizon, cursor: Cursor) -> bool {
        let remade = cursor.filenode.is_some_and(|filenode| filenode != horizon.filenode);
        // What an earlier poll saw may be of a time that was taken back.
        self.mark.take_if(|mark| remade || mark.is_of_another_time(horizon));
        remade
    }

    /// Where the cursor stands after a restore. Nothing that was known of the time before counts.
    pub(super) fn restart(&mut self, horizon: Horizon, cursor: Cursor) -> Cursor {
        self.mark = None;
        let newest = horizon.newest.max(horizon.sequence);
        Cursor {
            first_position: cursor.first_position.min(newest),
            position: cursor.position.min(newest),
            frontier: newest,
            filenode: Some(horizon.filenode),
        }
    }

    /// A transaction that the cursor did not wait for has ended: only a sweep finds its rows.
    pub(super) fn wants_sweep(&mut self, horizon: Horizon) -> bool {
        self.passed.take_if(|xmax| horizon.xmin >= *xmax).is_some()
    }

    pub(super) fn start_pass(&mut self, horizon: Horizon, cursor: Cursor) -> Pass {
        let pass = Pass {
            at: cursor.position,
            until: horizon.newest,
            safe: horizon.newest,
            known: horizon.newest,
            started: Instant::now(),
            is_late: false,
            is_whole: false,
            horizon,
        };
        match self.table.order() {
            Order::Sequence => {
                let mut settled = self.mark.filter(|mark| mark.is_settled(horizon));
                if let Some(mark) = self.mark.filter(|mark| mark.taken.elapsed() >= PATIENCE) {
                    if settled.is_none() {
                        warn!(
                            "a transaction has been open for long: inspection goes on without it"
                        );
                        self.passed = Some(mark.xmax);
                    }
                    settled = Some(mark);
                }
                Pass { safe: settled.map_or(cursor.position, |mark| mark.newest), ..pass }
            }
            Order::Stamps => {
                let now = horizon.now.timestamp_micros();
                let is_late = self.late_at.is_none_or(|at| at.elapsed() >= LATE_EVERY);
                let back = if is_late { micros(LATE) } else { 0 };
                Pass {
                    is_late,
                    // What was there before the first start is backlog, and the sweep's.
                    at: (cursor.position - back).max(cursor.first_position),
                    safe: now - micros(RECENT),
                    known: now + micros(AHEAD),
                    ..pass
                }
            }
            Order::Whole if self.rests_until.is_some_and(|until| pass.started < until) => {
                Pass { at: horizon.newest, safe: cursor.position, ..pass }
            }
            Order::Whole => Pass { at: cursor.first_position, is_whole: true, ..pass },
        }
    }

    pub(super) fn end_pass(&mut self, pass: Pass) {
        match self.table.order() {
            Order::Sequence => {
                let keep = self.mark.is_some_and(|mark| pass.safe < mark.newest);
                if !keep {
                    let Horizon { newest, xmax, .. } = pass.horizon;
                    self.mark = Some(Mark { newest, xmax, taken: Instant::now() });
                }
            }
            Order::Stamps if pass.is_late => self.late_at = Some(pass.started),
            Order::Whole if pass.is_whole => {
                self.rests_until = Some(Instant::now() + pass.started.elapsed() * RESTING_PARTS);
            }
            Order::Stamps | Order::Whole => {}
        }
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
