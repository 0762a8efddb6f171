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

/// One reading from the cursor to the table's end; a long one takes several transactions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) at: i64,
    pub(super) until: i64,
    /// Everything up to here is final: the cursor may follow.
    safe: i64,
    pub(super) horizon: Horizon,
}

impl Pass {
    /// The cursor after this much of the pass.
    pub(super) fn moved(&self, cursor: Cursor) -> Cursor {
        Cursor {
            position: cursor.position.max(self.at.min(self.safe)),
            frontier: cursor.frontier.max(self.at),
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
}

impl Tail {
    pub(super) fn new(table: Table) -> Self {
        Self { table, pass: None, mark: None, passed: None }
    }

    /// The table went back in time: numbers that were read are given again.
    pub(super) fn is_restored(&self, horizon: Horizon, cursor: Cursor) -> bool {
        match self.table.order() {
            Order::Sequence => horizon.is_before(cursor.frontier),
        }
    }

    /// Where the cursor stands after a restore. Nothing that was known of the time before counts.
    pub(super) fn restart(&mut self, horizon: Horizon, cursor: Cursor) -> Cursor {
        self.mark = None;
        let newest = horizon.newest.max(horizon.sequence);
        Cursor {
            first_position: cursor.first_position.min(newest),
            position: cursor.position.min(newest),
            frontier: newest,
        }
    }

    /// A transaction that the cursor did not wait for has ended: only a sweep finds its rows.
    pub(super) fn wants_sweep(&mut self, horizon: Horizon) -> bool {
        self.passed.take_if(|xmax| horizon.xmin >= *xmax).is_some()
    }

    pub(super) fn start_pass(&mut self, horizon: Horizon, cursor: Cursor) -> Pass {
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
                Pass {
                    at: cursor.position,
                    until: horizon.newest,
                    safe: settled.map_or(cursor.position, |mark| mark.newest),
                    horizon,
                }
            }
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
        }
    }
}
