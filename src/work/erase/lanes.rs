//! The transactions under way: one, and a second while a backlog is worked off. So the one erases while
//! the other waits for its commit to reach the disk.

use std::time::Duration;

use sqlx::PgPool;
use tokio::{task::JoinSet, time::Instant};

use super::{
    super::TRANSACTION_LIMIT,
    Settings,
    batch::{self, Batch, Failure},
};
use crate::{archive::Archive, database::in_time, model::Timestamp};

/// Where a claim starts: a due time and an entry's id.
pub(super) type Bound = (Timestamp, i64);

/// Transactions under way, ended in any order.
pub(super) struct Lanes {
    pool: PgPool,
    archive: Archive,
    running: JoinSet<Ended>,
}

/// A transaction that has come to its end.
pub(super) struct Ended {
    /// Where its claim started.
    pub(super) from: Bound,
    pub(super) began: Instant,
    pub(super) took: Duration,
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

    /// Begins one more. What the others hold it skips.
    pub(super) fn begin(&mut self, settings: &Settings, from: Bound, rows: u32) {
        let (pool, archive) = (self.pool.clone(), self.archive.clone());
        let (settings, began) = (settings.clone(), Instant::now());
        self.running.spawn(async move {
            let batch = batch::run(&pool, &archive, &settings, from, rows);
            let outcome = in_time("erase", TRANSACTION_LIMIT, batch).await;
            Ended { from, began, took: began.elapsed(), outcome }
        });
    }

    /// Waits until one ends; `None` where none is under way.
    pub(super) async fn ended(&mut self) -> Option<Ended> {
        let ended = self.running.join_next().await?;
        // It is never aborted: what ended it was a panic, which is ours.
        Some(ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
    }
}
