//! The worker: claims what is due, erases it, forgets it, in one transaction; then counts.

mod batch;
mod lanes;
mod rest;

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub(super) use self::rest::{Failures, LONGEST_SLEEP, Next};
use self::{
    batch::{Batch, Failure},
    lanes::{Bound, Ended, Lanes},
};
use super::{Changing, TRANSACTION_LIMIT, remote::beside::Scrub, wake::Wake};
use crate::{
    archive::Archive,
    database::{Error, Named, Result, in_time},
    ledger,
    metrics::{FailureCause, Metrics},
    model::{Mode, Timestamp},
};

/// So often claims look at everything again, dead entries and all: what a daemon that was killed had
/// claimed waits so long at the most.
const FROM_ZERO_EVERY: Duration = Duration::from_secs(10);

/// Where a claim starts that misses nothing.
const EVERYTHING: Bound = (Timestamp::UNIX_EPOCH, 0);

/// So many transactions are under way while a backlog is worked off.
const MOST_LANES: usize = 2;

/// What the worker needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Only rows of these hosts.
    pub hosts: Vec<String>,
    /// What becomes of archived rows: placeholder or delete.
    pub mode: Mode,
    /// How long a placeholder stands.
    pub placeholder_for: Duration,
    /// Rows of one transaction at the most.
    pub batch: u32,
    /// 0 is no limit.
    pub rows_per_second: u32,
    /// Walk what is due once, count it, erase nothing.
    pub dry_run: bool,
}

/// The worker of one daemon.
pub struct Eraser {
    pool: PgPool,
    lanes: Lanes,
    settings: Changing<Settings>,
    metrics: Arc<Metrics>,
    wake: Arc<Wake>,
    /// Rooms whose histories are to be scrubbed.
    scrubs: mpsc::Sender<Scrub>,
    /// Rows of the next transaction: halved when one fails, doubled when one does not.
    rows: u32,
    /// So many transactions may be under way.
    most_lanes: usize,
    /// Claims start here.
    from: Bound,
    /// What began before then may have overlooked what lies above it.
    lowered_at: Instant,
    from_zero_at: Instant,
    failures: Failures,
}

impl Eraser {
    /// A worker that starts with [`Eraser::run`].
    pub fn new(
        pool: PgPool,
        archive: Archive,
        settings: Changing<Settings>,
        metrics: Arc<Metrics>,
        (wake, scrubs): (Arc<Wake>, mpsc::Sender<Scrub>),
    ) -> Self {
        metrics.dry_run.set(i64::from(settings.dry_run));
        let now = Instant::now();
        Self {
            lanes: Lanes::new(pool.clone(), archive),
            pool,
            rows: settings.most_rows(),
            settings,
            metrics,
            wake,
            scrubs,
            most_lanes: 1,
            from: EVERYTHING,
            lowered_at: now,
            from_zero_at: now,
            failures: Failures::default(),
        }
    }

    /// Works until stopped. A transaction that has begun is brought to its end.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if self.settings.take() {
                self.start_anew();
            }
            let round = self.round().await;
            let next = self.failures.after(round, &self.metrics);
            next.wait(&self.wake, &self.settings, &stop).await;
        }
        while let Some(ended) = self.lanes.ended().await {
            if let Ok(Some(batch)) = ended.outcome {
                batch.count(&self.metrics);
                self.scrub(&batch);
            }
        }
    }

    /// By other settings: what a dry run walked past is looked at again.
    fn start_anew(&mut self) {
        self.metrics.dry_run.set(i64::from(self.settings.dry_run));
        self.rows = self.settings.most_rows();
        self.most_lanes = 1;
        self.lower(EVERYTHING);
    }

    /// One transaction comes to its end, or the time until the next is worth one.
    async fn round(&mut self) -> Result<Next> {
        self.lower_the_bound();
        while self.lanes.len() < self.most_lanes {
            self.lanes.begin(&self.settings, self.from, self.rows);
        }
        let Some(ended) = self.lanes.ended().await else { return Ok(Next::Batch) };
        let Ended { from, began, took, outcome } = ended;
        match outcome {
            Ok(Some(batch)) => {
                self.metrics.erase_batch_seconds.observe(took.as_secs_f64());
                batch.count(&self.metrics);
                self.scrub(&batch);
                // What began before another failed proves nothing for the rows of that one.
                if began >= self.lowered_at {
                    self.from = self.from.max(batch.next_from(self.settings.dry_run));
                    self.rows = self.rows.saturating_mul(2).min(self.settings.most_rows());
                    self.most_lanes = self.settings.lanes(batch.len());
                }
                Ok(Next::at_rate(&self.settings, batch.len(), began))
            }
            Ok(None) => {
                self.most_lanes = 1;
                // What is left may be in the other one's hands.
                if self.lanes.len() > 0 { Ok(Next::Batch) } else { self.until_next_due().await }
            }
            Err(Failure { error, claimed }) => {
                self.most_lanes = 1;
                self.lower(from);
                if error.is_unreachable() {
                    Err(error)
                } else {
                    self.narrow(&error, &claimed).await
                }
            }
        }
    }

    /// Best effort: where nobody takes them up fast enough, erasing goes on.
    fn scrub(&self, batch: &Batch) {
        for scrub in Scrub::of(batch.erased()) {
            let _ = self.scrubs.try_send(scrub);
        }
    }

    /// What was recorded meanwhile may be due before what was seen last; now and then, everything.
    fn lower_the_bound(&mut self) {
        let recorded = self.wake.take();
        if self.settings.dry_run {
            return;
        }
        if let Some(earliest) = recorded {
            self.lower((earliest, 0));
        }
        if self.from_zero_at.elapsed() >= FROM_ZERO_EVERY {
            self.lower(EVERYTHING);
            self.from_zero_at = Instant::now();
        }
    }

    fn lower(&mut self, to: Bound) {
        self.from = self.from.min(to);
        self.lowered_at = Instant::now();
    }

    async fn until_next_due(&self) -> Result<Next> {
        let next = in_time("next_due", TRANSACTION_LIMIT, async {
            let mut connection = self.pool.acquire().await.named("next_due_connect")?;
            ledger::next_due(&mut connection, &self.settings.hosts, self.from).await
        });
        let longest = if self.settings.dry_run || self.from == EVERYTHING {
            LONGEST_SLEEP
        } else {
            FROM_ZERO_EVERY.saturating_sub(self.from_zero_at.elapsed())
        };
        let seconds = next.await?.unwrap_or(f64::MAX).clamp(0.0, longest.as_secs_f64());
        Ok(Next::Sleep(Duration::from_secs_f64(seconds)))
    }

    /// A failing batch is halved until the culprit stands alone, and then it is put off alone. If
    /// it was in another session's way, that may hold the whole table: so not one after the other
    /// without a pause.
    async fn narrow(&mut self, error: &Error, claimed: &[i64]) -> Result<Next> {
        if claimed.is_empty() {
            return Err(error.clone());
        }
        if claimed.len() > 1 {
            debug!(%error, rows = claimed.len(), "a batch failed, trying half of it");
            self.rows = u32::try_from(claimed.len() / 2).unwrap_or(1).max(1);
            return Ok(Next::Batch);
        }
        in_time("put_off", TRANSACTION_LIMIT, async {
            let mut connection = self.pool.acquire().await.named("put_off_connect")?;
            ledger::put_off(&mut connection, claimed).await
        })
        .await?;
        if error.is_contention() {
            self.metrics.erase_failures.of(FailureCause::Locked).inc();
            return Err(error.clone());
        }
        warn!(%error, "a row cannot be erased, put off");
        self.metrics.erase_failures.of(FailureCause::Refused).inc();
        Ok(Next::Batch)
    }
}

impl Settings {
    /// The largest batch: not more than a second's worth where the rate is limited.
    pub(super) fn most_rows(&self) -> u32 {
        match self.rows_per_second {
            0 => self.batch.max(1),
            rate => self.batch.clamp(1, rate),
        }
    }

    /// How many transactions may be under way after one that claimed so many rows: a full one leaves a
    /// backlog, most likely.
    fn lanes(&self, claimed: usize) -> usize {
        let full = u32::try_from(claimed).is_ok_and(|rows| rows >= self.most_rows());
        let limited = self.rows_per_second > 0 || self.dry_run;
        if full && !limited { MOST_LANES } else { 1 }
    }
}
