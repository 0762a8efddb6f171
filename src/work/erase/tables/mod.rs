//! The eraser of archives in SQL: claims what is due, erases it and forgets it in one transaction; then counts.

mod batch;
mod lanes;
mod quotes;
mod trouble;

use std::time::Duration;

use sqlx::PgPool;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::{
    batch::{Failure, Ran},
    lanes::{Ended, Lanes},
    quotes::Cut,
    trouble::{Cause, Troubles},
};
use super::{
    EraseSettings,
    count::Batch,
    pace::{EVERYTHING, HOLD_REST, LONGEST_SLEEP, Next, Pace},
    scrub::Scrub,
};
use crate::{
    archive::Archive,
    database::{Error, Named, Result, in_time},
    ledger::{self, Bound},
    metrics::FailureCause,
    model::Store,
    work::{TRANSACTION_LIMIT, base::unheard::Unheard},
};

/// How often a claim starts from the very beginning, dead index entries and all. What a killed daemon had claimed
/// waits at most this long.
const FROM_ZERO_EVERY: Duration = Duration::from_secs(10);

/// While much is due, quotes wait at most this long.
const CUT_EVERY: Duration = Duration::from_secs(1);

/// Maximum number of concurrent transactions while more is due than one of them takes.
const MOST_LANES: usize = 2;

/// Whom the eraser notifies.
pub struct Notified {
    /// Gets the rooms whose histories are to be scrubbed.
    pub scrubs: mpsc::Sender<Scrub>,
    /// Says why nothing can be erased, as long as that is so.
    pub blocked: watch::Sender<Option<String>>,
}

/// The worker of one daemon.
pub struct TableEraser {
    pool: PgPool,
    lanes: Lanes,
    pace: Pace,
    unheard: Unheard,
    scrubs: mpsc::Sender<Scrub>,
    /// Rows of the next transaction: halved when one fails, doubled when one succeeds.
    rows: u32,
    /// How many transactions may be under way.
    most_lanes: usize,
    /// Claims start here.
    from: Bound,
    /// A transaction that began before this may have missed what is above the bound.
    lowered_at: Instant,
    from_zero_at: Instant,
    /// Quotes of the next transaction that cuts some, and when the last one began.
    quotes: u32,
    cut_at: Instant,
    archive: Archive,
    troubles: Troubles,
}

impl TableEraser {
    /// A worker that starts with [`TableEraser::run`].
    pub fn new(
        pool: PgPool,
        archive: Archive,
        unheard: Unheard,
        pace: Pace,
        notified: Notified,
    ) -> Self {
        let now = Instant::now();
        Self {
            troubles: Troubles::new(archive.clone(), notified.blocked),
            lanes: Lanes::new(pool.clone(), archive.clone()),
            pool,
            archive,
            rows: pace.settings.most_rows(),
            quotes: pace.settings.most_rows(),
            cut_at: now,
            pace,
            unheard,
            scrubs: notified.scrubs,
            most_lanes: 1,
            from: EVERYTHING,
            lowered_at: now,
            from_zero_at: now,
        }
    }

    /// Works until stopped. A transaction that has begun is finished.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.pace.let_go(&self.pool)).await;
        while !stop.is_cancelled() {
            if self.pace.take_settings() {
                // What a dry run skipped is claimed again.
                self.rows = self.pace.settings.most_rows();
                self.quotes = self.rows;
                self.most_lanes = 1;
                self.lower(EVERYTHING);
            }
            let round = self.round().await;
            self.pace.wait_after(round, &stop).await;
        }
        while let Some(ended) = self.lanes.ended().await {
            if let Ok(Ran::Batch(batch)) = ended.outcome {
                self.count(&batch);
            }
        }
    }

    /// Finishes one transaction, or returns how long to wait for the next.
    async fn round(&mut self) -> Result<Next> {
        self.lower_the_bound();
        self.troubles.expire();
        while self.lanes.len() < self.most_lanes {
            self.lanes.begin(&self.now(), self.from, self.rows);
        }
        let Some(ended) = self.lanes.ended().await else { return Ok(Next::Batch) };
        let Ended { from, began, outcome } = ended;
        match outcome {
            Ok(Ran::Batch(batch)) => {
                self.pace.metrics.erase_batch_seconds.observe(began.elapsed().as_secs_f64());
                self.count(&batch);
                self.troubles.after(&batch);
                // A batch that started before another failed may have skipped that one's rows.
                if began >= self.lowered_at {
                    self.from = self.from.max(batch.next_from(self.pace.settings.dry_run));
                    self.rows = self.rows.saturating_mul(2).min(self.pace.settings.most_rows());
                    self.most_lanes = most_lanes(&self.pace.settings, batch.claims.len());
                }
                if self.cut_at.elapsed() >= CUT_EVERY {
                    self.cut_quotes().await?;
                }
                Ok(Next::at_rate(&self.pace.settings, batch.len(), began))
            }
            Ok(Ran::HoldUnderWay) => {
                self.most_lanes = 1;
                Ok(Next::Rest(HOLD_REST))
            }
            Ok(Ran::Nothing) => {
                self.most_lanes = 1;
                // The other transaction may hold what is left.
                if self.lanes.len() > 0 {
                    return Ok(Next::Batch);
                }
                match self.cut_quotes().await? {
                    Next::Sleep(_) => self.until_next_due().await,
                    more => Ok(more),
                }
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

    /// The settings for the next transaction, without the hosts whose modules may know of messages nobody has received.
    fn now(&self) -> EraseSettings {
        let settings = self.pace.settings.clone_now();
        EraseSettings { hosts: self.unheard.heard(&settings.hosts), ..settings }
    }

    /// Counts, and has rooms scrubbed. Scrubbing is best effort: if the queue is full, they are dropped.
    fn count(&self, batch: &Batch) {
        batch.count(&self.pace.metrics);
        for scrub in Scrub::after(batch) {
            let _ = self.scrubs.try_send(scrub);
        }
    }

    /// What was recorded meanwhile may be due earlier than the bound. Now and then, it goes back to the beginning.
    fn lower_the_bound(&mut self) {
        let recorded = self.pace.take_note();
        if self.pace.settings.dry_run {
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
        let longest = if self.pace.settings.dry_run || self.from == EVERYTHING {
            LONGEST_SLEEP
        } else {
            FROM_ZERO_EVERY.saturating_sub(self.from_zero_at.elapsed())
        };
        let settings = self.now();
        Next::when_due(&self.pool, &settings.hosts, (self.from, settings.cuts()), longest).await
    }

    /// Cuts quotes that are due: one transaction. [`Next::Sleep`] if there are none.
    async fn cut_quotes(&mut self) -> Result<Next> {
        let settings = self.now();
        if !settings.cuts() {
            return Ok(Next::Sleep(LONGEST_SLEEP));
        }
        let (began, rows, metrics) = (Instant::now(), self.quotes, &self.pace.metrics);
        self.cut_at = began;
        match quotes::cut(&self.pool, &self.archive, &settings, rows, metrics).await {
            Ok(Cut::Nothing) => Ok(Next::Sleep(LONGEST_SLEEP)),
            Ok(Cut::HoldUnderWay) => Ok(Next::Rest(HOLD_REST)),
            Ok(Cut::Quotes(cut)) => {
                self.quotes = rows.saturating_mul(2).min(settings.most_rows());
                Ok(Next::at_rate(&settings, cut, began))
            }
            Err(quotes::Failure { error, .. }) if error.is_unreachable() => Err(error),
            Err(quotes::Failure { error, claimed }) => self.narrow_quotes(&error, &claimed).await,
        }
    }

    /// As [`TableEraser::narrow`], with quotes.
    async fn narrow_quotes(&mut self, error: &Error, claimed: &[(i64, Store)]) -> Result<Next> {
        let Some((id, store)) = claimed.first() else { return Err(error.clone()) };
        if claimed.len() > 1 {
            debug!(%error, quotes = claimed.len(), "cutting quotes failed, trying half of them");
            self.quotes = u32::try_from(claimed.len() / 2).unwrap_or(1).max(1);
            return Ok(Next::Batch);
        }
        quotes::put_off(&self.pool, &[*id]).await?;
        if error.is_contention() {
            self.pace.metrics.erase_failures.of(FailureCause::Locked).inc();
            return Err(error.clone());
        }
        self.troubles.note(*store, Cause::refused(error));
        self.pace.metrics.erase_failures.of(FailureCause::Refused).inc();
        Ok(Next::Batch)
    }

    /// A failing batch is halved until the culprit is alone, and then only that row is put off. If another session
    /// was in the way it may hold the whole table, so there is a pause before the next row.
    async fn narrow(&mut self, error: &Error, claimed: &[(i64, Store)]) -> Result<Next> {
        let Some((_, store)) = claimed.first() else { return Err(error.clone()) };
        if claimed.len() > 1 {
            debug!(%error, rows = claimed.len(), "a batch failed, trying half of it");
            self.rows = u32::try_from(claimed.len() / 2).unwrap_or(1).max(1);
            return Ok(Next::Batch);
        }
        in_time("put_off", TRANSACTION_LIMIT, async {
            let mut connection = self.pool.acquire().await.named("put_off_connect")?;
            let ids: Vec<i64> = claimed.iter().map(|(id, _)| *id).collect();
            ledger::put_off(&mut connection, &ids).await
        })
        .await?;
        if error.is_contention() {
            self.pace.metrics.erase_failures.of(FailureCause::Locked).inc();
            return Err(error.clone());
        }
        self.troubles.note(*store, Cause::refused(error));
        self.pace.metrics.erase_failures.of(FailureCause::Refused).inc();
        Ok(Next::Batch)
    }
}

/// How many transactions may be under way after one that claimed this many rows: a full one most likely leaves
/// more that is due.
fn most_lanes(settings: &EraseSettings, claimed: usize) -> usize {
    let full = u32::try_from(claimed).is_ok_and(|rows| rows >= settings.most_rows());
    let limited = settings.rows_per_second > 0 || settings.dry_run;
    if full && !limited { MOST_LANES } else { 1 }
}
