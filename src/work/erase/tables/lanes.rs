//! The transactions in progress: one, and a second while much is due, so that one erases while the other waits
//! for its commit to reach the disk.

use sqlx::PgPool;
use tokio::{task::JoinSet, time::Instant};

use super::batch::{self, Failure};
use crate::{
    archive::Archive,
    database::in_time,
    ledger::Bound,
    task,
    work::{
        TRANSACTION_LIMIT,
        erase::{EraseSettings, count::Batch},
    },
};

/// Transactions under way, which end in any order.
pub(super) struct Lanes {
    pool: PgPool,
    archive: Archive,
    running: JoinSet<Ended>,
}

/// A transaction that has ended.
pub(super) struct Ended {
    /// Where its claim started.
    pub(super) from: Bound,
    pub(super) began: Instant,
    pub(super) outcome: Result<Option<Batch>, Failure>,
}

impl Lanes {
    pub(super) fn new(pool: PgPool, archive: Archive) -> Self {
        Self { pool, archive, running: JoinSet::new() }
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Begins another, which skips what the others hold.
    pub(super) fn begin(&mut self, settings: &EraseSettings, from: Bound, rows: u32) {
        let (pool, archive) = (self.pool.clone(), self.archive.clone());
        let (settings, began) = (settings.clone(), Instant::now());
        self.running.spawn(task::named("erase", async move {
            let batch = batch::run(&pool, &archive, &settings, from, rows);
            let outcome = in_time("erase", TRANSACTION_LIMIT, batch).await;
            Ended { from, began, outcome }
        }));
    }

    /// Waits until one ends. `None` if none is under way.
    pub(super) async fn ended(&mut self) -> Option<Ended> {
        let ended = self.running.join_next().await?;
        // None is ever aborted, so it ended by panicking, and the panic is ours.
        Some(ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
    }
}
