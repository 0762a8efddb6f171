//! The tail: reads what is new in the archive, records what must go, moves the cursor.
//!
//! Rows may commit late, with a smaller number than rows read before. So each poll reads everything
//! beyond the cursor again, and the cursor moves to the newest row of an *earlier* poll once all
//! transactions of that time have ended and five seconds went by (a number is drawn from the sequence
//! before its transaction has an id).

mod deliveries;
mod pass;

use std::{sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::pass::{Pass, Tail};
use super::{
    Changing, TRANSACTION_LIMIT,
    crash::crash_point,
    reconcile::{Backlog, Context, Reconciled, Source, end_page, reconcile},
};
use crate::{
    archive::{Archive, MAX_STANZA_BYTES, Order, Row, Table},
    database::{Named, Result, in_time},
    ledger::{self, Cursor},
    metrics::Metrics,
    model::{Outcome, Reason, Rules, Store, Timestamp},
};

/// Archive rows that one statement searches.
const SPAN_ROWS: i64 = 5_000;
/// Candidates that one statement returns.
pub(super) const CANDIDATES: i64 = 500;
/// Bytes of stanzas that one statement returns, but for the last one.
pub(super) const CANDIDATE_BYTES: i64 = 8 * 1024 * 1024;
/// However often the bell rings, there is so much time between two polls.
const SHORTEST_POLL: Duration = Duration::from_millis(20);
/// Spans of one transaction: short ones let others in.
const SPANS: usize = 10;

/// What the tail needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    archive: Archive,
    tails: Vec<Tail>,
    settings: Changing<Settings>,
    metrics: Arc<Metrics>,
    standing: watch::Sender<Standing>,
    judging: watch::Sender<Rules>,
    started: Instant,
    /// Queue entries are looked at in rounds: this is the last one seen.
    queue_seen: i64,
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
    /// Another session holds a lock: nothing was read.
    Waits,
}

impl Inspector {
    /// A tail that starts with [`Inspector::run`]. `judging` is told of other rules once nothing is
    /// recorded by the old ones any more.
    pub fn new(
        pool: PgPool,
        archive: Archive,
        settings: Changing<Settings>,
        metrics: Arc<Metrics>,
        (standing, judging): (watch::Sender<Standing>, watch::Sender<Rules>),
    ) -> Self {
        let started = Instant::now();
        let tails = archive.tables().into_iter().map(Tail::new).collect();
        Self { pool, archive, tails, settings, metrics, standing, judging, started, queue_seen: 0 }
    }

    /// Polls until stopped, and at once when the bell rings.
    pub async fn run(mut self, bell: Arc<Notify>, stop: CancellationToken) {
        let mut failures: u32 = 0;
        while !stop.is_cancelled() {
            if self.settings.take() {
                self.judging.send_if_modified(|rules| replace(rules, &self.settings.rules));
            }
            let step = match in_time("inspect", TRANSACTION_LIMIT, self.step()).await {
                Err(error) if error.is_contention() => {
                    debug!(%error, "inspection waits for another session");
                    self.give_up_passes();
                    Ok(Step::Waits)
                }
                step => step,
            };
            self.tell(&step);
            let pause = match step {
                Ok(Step::More) => Duration::ZERO,
                Ok(Step::CaughtUp | Step::Elsewhere | Step::Waits) => {
                    failures = 0;
                    self.settings.poll
                }
                Err(error) => {
                    self.metrics.database_errors.inc();
                    self.give_up_passes();
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
                () = self.settings.told() => {}
                () = rung(&bell), if failures == 0 => {}
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

    /// What was read and not committed is read again.
    fn give_up_passes(&mut self) {
        for tail in &mut self.tails {
            tail.pass = None;
        }
    }

    /// One transaction of each table's tail; the first table that has more is read on alone.
    async fn step(&mut self) -> Result<Step> {
        let mut together = Step::CaughtUp;
        for at in 0..self.tails.len() {
            match self.step_of(at).await? {
                Step::CaughtUp => {}
                Step::More => return Ok(Step::More),
                other => together = other,
            }
        }
        Ok(together)
    }

    /// Cut off at any point, it leaves the tails as they were.
    async fn step_of(&mut self, at: usize) -> Result<Step> {
        let Some(tail) = self.tails.get_mut(at) else { return Ok(Step::CaughtUp) };
        let table = tail.table.clone();
        let name = table.name();
        let mut transaction = self.pool.begin().await.named("inspect_begin")?;
        let Some(cursor) = ledger::lock_cursor(&mut transaction, name).await? else {
            let first = first_start(&mut transaction, &table).await?;
            transaction.commit().await.named("inspect_commit")?;
            return Ok(if first { Step::More } else { Step::Elsewhere });
        };
        let pass = match tail.pass.take() {
            Some(pass) => pass,
            None => {
                let horizon = table.horizon(&mut transaction).await?;
                let restored = tail.is_restored(horizon, cursor);
                if restored {
                    let newest = horizon.newest;
                    warn!(newest, "the archive was restored from a backup: inspecting it anew");
                    let back = tail.restart(horizon, cursor);
                    ledger::move_cursor(&mut transaction, name, back).await?;
                }
                let remade = tail.is_remade(horizon, cursor);
                if remade && !restored {
                    info!(table = name, "the table was restored or written anew: a sweep is due");
                }
                if restored || remade || tail.wants_sweep(horizon) {
                    ledger::request_sweep(&mut transaction, name).await?;
                }
                if restored {
                    transaction.commit().await.named("inspect_commit")?;
                    return Ok(Step::More);
                }
                tail.start_pass(horizon, cursor)
            }
        };
        let (pass, tallied) = self.read_on(&mut transaction, &table, pass, cursor).await?;
        if table.stores().contains(&Store::Queue) {
            self.notice_deliveries(&mut transaction, pass.horizon.now).await?;
        }
        let moved = pass.moved(cursor);
        if moved != cursor {
            ledger::move_cursor(&mut transaction, name, moved).await?;
        }
        crash_point!("recorded");
        transaction.commit().await.named("inspect_commit")?;
        crash_point!("inspected");
        tallied.count(&self.metrics);
        let Some(tail) = self.tails.get_mut(at) else { return Ok(Step::CaughtUp) };
        if pass.at < pass.until {
            tail.pass = Some(pass);
            return Ok(Step::More);
        }
        tail.end_pass(pass);
        self.metrics.last_inspection_timestamp_seconds.set(seconds(pass.horizon.now));
        Ok(Step::CaughtUp)
    }

    /// Reads and records until the pass ends or the transaction is long enough.
    async fn read_on(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        mut pass: Pass,
        cursor: Cursor,
    ) -> Result<(Pass, Tallied)> {
        let mut tallied = Tallied::default();
        for _ in 0..SPANS {
            let rest = (pass.at, pass.until);
            let end = table.span_end(connection, rest, SPAN_ROWS).await?;
            let Some((end, _)) = end else {
                pass.at = pass.until;
                break;
            };
            let span = (pass.at, end);
            let limits = (CANDIDATES, CANDIDATE_BYTES);
            let hosts = &self.settings.hosts;
            let mut rows = table.candidates(connection, hosts, span, limits).await?;
            let end = match rows.last() {
                Some(last) if is_cut(&rows) => last.key.row_number,
                _ => end,
            };
            pass.at = if end < pass.until { end_page(&mut rows, span.0, end) } else { end };
            let context = Context {
                rules: &self.settings.rules,
                now: pass.horizon.now,
                backlog: Backlog::default(),
                restores: false,
            };
            let reconciled =
                reconcile(connection, Source::Archive(&self.archive), &rows, context).await?;
            tallied.add(reconciled, cursor);
        }
        Ok((pass, tallied))
    }
}

/// The bell, but not at every stroke: what it rings for comes in the company of more.
async fn rung(bell: &Notify) {
    tokio::time::sleep(SHORTEST_POLL).await;
    bell.notified().await;
}

/// The cursor goes to the newest row, so that live messages never wait for history.
async fn first_start(connection: &mut PgConnection, table: &Table) -> Result<bool> {
    let horizon = table.horizon(connection).await?;
    let newest = match table.order() {
        // The cursor never passes the database's clock, whatever the server's clock says.
        Order::Stamps => horizon.newest.min(horizon.now.timestamp_micros()),
        Order::Sequence | Order::Whole => horizon.newest,
    };
    let first = ledger::start_cursor(connection, table.name(), newest).await?;
    if first {
        let table = table.name();
        // Also where one was done before: rows may have come since, and lie behind the cursor.
        ledger::request_sweep(connection, table).await?;
        info!(table, row_number = newest, "first start: inspection begins after this row");
    }
    Ok(first)
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

/// Whether they were others.
fn replace(rules: &mut Rules, by: &Rules) -> bool {
    let others = rules != by;
    rules.clone_from(by);
    others
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
