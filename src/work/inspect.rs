//! The tail: reads what is new in the archive, records what must go, moves the cursor.
//!
//! Rows may commit late, with a smaller number than rows read before. So each poll reads everything
//! beyond the cursor again, and the cursor moves to the newest row of an *earlier* poll once all
//! transactions of that time have ended and five seconds went by (a number is drawn from the sequence
//! before its transaction has an id).

use std::{collections::HashSet, sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    reconcile::{Context, Reconciled, reconcile, release},
    row_key,
};
use crate::{
    archive::{Horizon, MAX_STANZA_BYTES, Row, RowKey, prosody},
    database::{Named, Result},
    ledger::{self, Cursor, Entry},
    metrics::Metrics,
    model::{Outcome, Reason, Rules, Store, Timestamp},
};

/// The cursor's name.
pub(super) const ARCHIVE: &str = "prosodyarchive";

/// A number drawn from the sequence reaches its row within this time, or its transaction is visible.
const SETTLING: Duration = Duration::from_secs(5);

/// Archive rows that one statement searches.
pub(super) const SPAN_ROWS: i64 = 5_000;
/// Candidates that one statement returns.
pub(super) const CANDIDATES: i64 = 500;
/// Bytes of stanzas that one statement returns, but for the last one.
pub(super) const CANDIDATE_BYTES: i64 = 8 * 1024 * 1024;
/// Entries of offline queues that one transaction looks at.
const QUEUE_ENTRIES: i64 = 1_000;
/// Spans of one transaction: short ones let others in.
const SPANS: usize = 10;

/// What the tail needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Only rows of these hosts.
    pub hosts: Vec<String>,
    /// Between two polls.
    pub poll: Duration,
    /// What the operator decided.
    pub rules: Rules,
}

/// How inspection stands, for readiness.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// The archive's end was last reached so; `None` before the first time.
    pub caught_up: Option<Instant>,
    /// The last poll reached the database.
    pub reachable: bool,
}

/// The tail of one archive.
pub struct Inspector {
    pool: PgPool,
    settings: Settings,
    metrics: Arc<Metrics>,
    standing: watch::Sender<Standing>,
    started: Instant,
    mark: Option<Mark>,
    pass: Option<Pass>,
    /// Queue entries are looked at in rounds: this is the last one seen.
    queue_seen: i64,
}

/// An earlier poll: how far rows and transactions had come.
#[derive(Debug, Clone, Copy)]
struct Mark {
    newest: i64,
    xmax: i64,
    taken: Instant,
}

/// One reading from the cursor to the archive's end; a long one takes several transactions.
#[derive(Debug, Clone, Copy)]
struct Pass {
    at: i64,
    until: i64,
    /// Everything up to here is final: the cursor may follow.
    safe: i64,
    horizon: Horizon,
}

/// How a step of the tail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The archive's end was reached.
    CaughtUp,
    /// There is more.
    More,
    /// Another daemon is at it.
    Elsewhere,
}

impl Inspector {
    /// A tail that starts with [`Inspector::run`].
    pub fn new(
        pool: PgPool,
        settings: Settings,
        metrics: Arc<Metrics>,
        standing: watch::Sender<Standing>,
    ) -> Self {
        let started = Instant::now();
        Self { pool, settings, metrics, standing, started, mark: None, pass: None, queue_seen: 0 }
    }

    /// Polls until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failures: u32 = 0;
        while !stop.is_cancelled() {
            let step = self.step().await;
            self.tell(&step);
            let pause = match step {
                Ok(Step::More) => Duration::ZERO,
                Ok(Step::CaughtUp | Step::Elsewhere) => {
                    failures = 0;
                    self.settings.poll
                }
                Err(error) => {
                    self.metrics.database_errors.inc();
                    self.pass = None;
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        warn!(%error, "inspection failed, trying again");
                    } else {
                        debug!(%error, failures, "inspection failed again");
                    }
                    self.settings.poll.max(Duration::from_millis(500)) * failures.min(10)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn tell(&self, step: &Result<Step>) {
        let now = Instant::now();
        self.standing.send_modify(|standing| {
            standing.reachable = step.is_ok();
            // Whoever is at it elsewhere tells its own lag; ours would only grow.
            if matches!(step, Ok(Step::CaughtUp | Step::Elsewhere)) {
                standing.caught_up = Some(now);
            }
        });
        let since = self.standing.borrow().caught_up.unwrap_or(self.started);
        self.metrics.inspection_lag_seconds.set(now.duration_since(since).as_secs_f64());
    }

    /// One transaction of the tail.
    async fn step(&mut self) -> Result<Step> {
        let mut transaction = self.pool.begin().await.named("inspect_begin")?;
        let Some(cursor) = ledger::lock_cursor(&mut transaction, ARCHIVE).await? else {
            let first = first_start(&mut transaction).await?;
            transaction.commit().await.named("inspect_commit")?;
            return Ok(if first { Step::More } else { Step::Elsewhere });
        };
        let pass = match self.pass.take() {
            Some(pass) => Pass { at: pass.at.max(cursor.position), ..pass },
            None => self.start_pass(prosody::horizon(&mut transaction).await?, cursor),
        };
        let (pass, tallied) = self.read_on(&mut transaction, pass, cursor).await?;
        self.notice_deliveries(&mut transaction, pass.horizon.now).await?;
        let moved = Cursor {
            position: cursor.position.max(pass.at.min(pass.safe)),
            frontier: cursor.frontier.max(pass.at),
            ..cursor
        };
        if moved != cursor {
            ledger::move_cursor(&mut transaction, ARCHIVE, moved).await?;
        }
        transaction.commit().await.named("inspect_commit")?;
        tallied.count(&self.metrics);
        self.metrics.last_inspection_timestamp_seconds.set(seconds(pass.horizon.now));
        if pass.at < pass.until {
            self.pass = Some(pass);
            return Ok(Step::More);
        }
        self.end_pass(pass);
        Ok(Step::CaughtUp)
    }

    fn start_pass(&self, horizon: Horizon, cursor: Cursor) -> Pass {
        let settled = self.mark.filter(|mark| mark.is_settled(horizon));
        Pass {
            at: cursor.position,
            until: horizon.newest,
            safe: settled.map_or(cursor.position, |mark| mark.newest),
            horizon,
        }
    }

    fn end_pass(&mut self, pass: Pass) {
        let keep = self.mark.is_some_and(|mark| pass.safe < mark.newest);
        if !keep {
            let Horizon { newest, xmax, .. } = pass.horizon;
            self.mark = Some(Mark { newest, xmax, taken: Instant::now() });
        }
    }

    /// Reads and records until the pass ends or the transaction is long enough.
    async fn read_on(
        &self,
        connection: &mut PgConnection,
        mut pass: Pass,
        cursor: Cursor,
    ) -> Result<(Pass, Tallied)> {
        let mut tallied = Tallied::default();
        for _ in 0..SPANS {
            let end = prosody::span_end(connection, pass.at, pass.until, SPAN_ROWS).await?;
            let Some((end, _)) = end else {
                pass.at = pass.until;
                break;
            };
            let span = (pass.at, end);
            let limits = (CANDIDATES, CANDIDATE_BYTES);
            let hosts = &self.settings.hosts;
            let rows = prosody::candidates(connection, hosts, span, limits).await?;
            pass.at = match rows.last() {
                Some(last) if is_cut(&rows) => last.key.row_number,
                _ => end,
            };
            let context = Context {
                rules: &self.settings.rules,
                now: pass.horizon.now,
                backlog_upto: 0,
                restores: false,
            };
            tallied.add(reconcile(connection, &rows, context).await?, cursor);
        }
        Ok((pass, tallied))
    }
}

impl Inspector {
    /// When a copy has left an offline queue, somebody has the message now: its timer starts.
    async fn notice_deliveries(
        &mut self,
        connection: &mut PgConnection,
        now: Timestamp,
    ) -> Result<()> {
        let queued = ledger::queue_entries(connection, self.queue_seen, QUEUE_ENTRIES).await?;
        self.queue_seen = match queued.last() {
            Some(last) if i64::try_from(queued.len()).is_ok_and(|n| n >= QUEUE_ENTRIES) => last.id,
            _ => 0,
        };
        if queued.is_empty() {
            return Ok(());
        }
        let keys: Vec<RowKey> = queued.iter().map(|it| row_key(&it.expiry)).collect();
        let keys: Vec<&RowKey> = keys.iter().collect();
        let standing: HashSet<usize> =
            prosody::still_there(connection, &keys).await?.into_iter().collect();
        let gone: Vec<&Entry> = queued
            .iter()
            .enumerate()
            .filter(|(position, _)| !standing.contains(position))
            .map(|(_, entry)| entry)
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = gone.iter().map(|entry| entry.id).collect();
        ledger::forget(connection, &ids).await?;
        let copies: Vec<_> = gone
            .iter()
            .map(|entry| &entry.expiry)
            .filter_map(|it| Some((&*it.host, &*it.owner, it.copy_of.as_deref()?)))
            .collect();
        let context =
            Context { rules: &self.settings.rules, now, backlog_upto: 0, restores: false };
        release(connection, &copies, context).await
    }
}

/// The cursor goes to the newest row, so that live messages never wait for history.
async fn first_start(connection: &mut PgConnection) -> Result<bool> {
    let horizon = prosody::horizon(connection).await?;
    let first = ledger::start_cursor(connection, ARCHIVE, horizon.newest).await?;
    if first {
        // Also where one was done before: rows may have come since, and lie behind the cursor.
        ledger::request_sweep(connection, ARCHIVE).await?;
        info!(sort_id = horizon.newest, "first start: inspection begins after this row");
    }
    Ok(first)
}

impl Mark {
    /// Everything that could still come below this mark has come and is visible.
    fn is_settled(&self, horizon: Horizon) -> bool {
        horizon.xmin >= self.xmax && self.taken.elapsed() >= SETTLING
    }
}

/// The statement's limits cut this page: there may be more in the span.
pub(super) fn is_cut(rows: &[Row]) -> bool {
    let size = |row: &Row| {
        row.xml
            .as_ref()
            .map_or(i64::from(MAX_STANZA_BYTES), |xml| i64::try_from(xml.len()).unwrap_or(i64::MAX))
    };
    i64::try_from(rows.len()).is_ok_and(|rows| rows >= CANDIDATES)
        || rows.iter().map(size).sum::<i64>() >= CANDIDATE_BYTES
}

fn seconds(at: Timestamp) -> f64 {
    at.timestamp_micros() as f64 / 1e6
}

/// What is counted once the transaction is committed.
#[derive(Default)]
struct Tallied {
    outcomes: Vec<(Store, Outcome)>,
    recorded: Vec<(Store, Reason)>,
    invalid_timers: u32,
}

impl Tallied {
    /// Rows that an earlier poll read are read again, but not counted again.
    fn add(&mut self, reconciled: Reconciled, cursor: Cursor) {
        let is_new = |row_number: i64| row_number > cursor.frontier;
        for (row_number, store, outcome) in reconciled.outcomes {
            if is_new(row_number) {
                self.outcomes.push((store, outcome));
            }
            if outcome == Outcome::Unreadable {
                debug!(row_number, "unreadable, left alone");
            }
        }
        let timers = reconciled.invalid_timers.iter().filter(|it| is_new(it.0));
        self.invalid_timers += timers.map(|it| it.1).sum::<u32>();
        self.recorded.extend(reconciled.recorded);
    }

    fn count(self, metrics: &Metrics) {
        for (store, outcome) in self.outcomes {
            metrics.stanzas_inspected.of(store, outcome).inc();
            if outcome == Outcome::Unreadable {
                metrics.unreadable_stanzas.inc();
            }
        }
        for (store, reason) in self.recorded {
            metrics.stanzas_inspected.of(store, Outcome::Marked).inc();
            metrics.expiries_recorded.of(reason).inc();
        }
        metrics.invalid_timers.inc_by(u64::from(self.invalid_timers));
    }
}
