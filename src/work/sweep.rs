//! The sweep: the whole archive in key order, resumable, one at a time. It finds what the tail could
//! not: what was there before us, what a restore brought back, what other rules judge otherwise.

mod stale;

use std::{sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Changing, TRANSACTION_LIMIT,
    crash::crash_point,
    inspect::{CANDIDATE_BYTES, CANDIDATES, is_cut},
    reconcile::{Backlog, Context, Source, end_page, reconcile},
};
use crate::{
    archive::{Archive, Table},
    database::{Named, Result, in_time},
    ledger::{self, Entry, Found, Sweep},
    metrics::{Metrics, Repair},
    model::{Outcome, Rules, Store, Timestamp},
    policy,
};

/// So often the daemon looks whether a sweep is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Archive rows that one transaction searches: so many that its commit is a small part of its cost.
const SPAN_ROWS: i64 = 50_000;

/// Entries of the ledger beyond the archive's end that one transaction looks at.
const ENTRIES: i64 = 1_000;

/// What the sweep needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Only rows of these hosts.
    pub hosts: Vec<String>,
    /// From the end of one sweep to the start of the next.
    pub every: Duration,
    /// 0 is no limit.
    pub rows_per_second: u32,
    /// What is older than the first start is held until the operator accepts it.
    pub hold_backlog: bool,
}

/// What one transaction of a sweep did; added up, what a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The sweep came to its end with this transaction, that of the last table.
    pub completed: bool,
    /// It has come to this row of the table.
    pub position: i64,
    /// It goes up to this row.
    pub upto: i64,
    /// What it did.
    pub found: Found,
}

/// What the daemon has yet to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owes {
    Nothing,
    /// A sweep, if the last one judged otherwise.
    SweepByOtherRules,
    /// A sweep.
    Sweep,
}

/// The sweep of one archive.
pub struct Sweeper {
    pool: PgPool,
    archive: Archive,
    settings: Changing<Settings>,
    rules: Changing<Rules>,
    metrics: Arc<Metrics>,
}

impl Sweeper {
    /// A sweep that starts with [`Sweeper::run`], or step by step. It judges by `rules`.
    pub fn new(
        pool: PgPool,
        archive: Archive,
        settings: Changing<Settings>,
        rules: Changing<Rules>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { pool, archive, settings, rules, metrics }
    }

    /// Sweeps whenever it is time, until stopped. `sweeping` says whether one is under way, `holding`
    /// whether it holds back what is older than the first start.
    pub async fn run(
        mut self,
        (sweeping, holding): (watch::Sender<bool>, watch::Sender<bool>),
        stop: CancellationToken,
    ) {
        let mut failures: u32 = 0;
        let mut owes = Owes::SweepByOtherRules;
        while !stop.is_cancelled() {
            let started = Instant::now();
            if self.settings.take() {
                holding.send_replace(self.settings.hold_backlog);
            }
            if self.rules.take() {
                owes = Owes::Sweep;
            }
            if owes != Owes::Nothing && self.ask_for(owes).await.is_ok() {
                owes = Owes::Nothing;
            }
            let pause = match in_time("sweep", TRANSACTION_LIMIT, self.step()).await {
                Ok(Some(progress)) => {
                    failures = 0;
                    sweeping.send_replace(!progress.completed);
                    self.pace(progress, started.elapsed())
                }
                Ok(None) => {
                    sweeping.send_replace(false);
                    LOOK_EVERY
                }
                Err(error) if error.is_contention() => {
                    debug!(%error, "the sweep waits for another session");
                    LOOK_EVERY
                }
                Err(error) => {
                    self.metrics.database_errors.inc();
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        warn!(%error, "the sweep failed, trying again");
                    } else {
                        debug!(%error, failures, "the sweep failed again");
                    }
                    LOOK_EVERY * failures.min(15)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.settings.told() => {}
                () = self.rules.told() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Other hosts, timers or hints judge otherwise: once a start and once a change, not for as long as
    /// they differ, so that two daemons that differ do not sweep for ever.
    async fn ask_for(&self, owed: Owes) -> Result<()> {
        if owed == Owes::Sweep {
            // Whatever the last one judged by: what we recorded since was judged by the old rules.
            info!("a sweep is due: timers or hints have changed");
            return self.request().await;
        }
        let mut connection = self.pool.acquire().await.named("sweep_connect")?;
        for table in self.archive.tables() {
            match ledger::sweep(&mut connection, table.name()).await? {
                // The first start asks for one as the tail begins: asking here too would begin it twice.
                None => {}
                Some(sweep) if sweep.requested || self.judged_alike(&sweep) => {}
                Some(_) => {
                    info!("a sweep is due: hosts, timers or hints are new");
                    return self.request().await;
                }
            }
        }
        Ok(())
    }

    /// The sweep under way, or the last one where there is none, judges as we do.
    fn judged_alike(&self, sweep: &Sweep) -> bool {
        let rules = if sweep.started_at.is_some() { &sweep.rules } else { &sweep.completed_rules };
        *rules == self.fingerprint()
    }

    /// Asks for a sweep from the start.
    pub async fn request(&self) -> Result<()> {
        let mut connection = self.pool.acquire().await.named("sweep_connect")?;
        for table in self.archive.tables() {
            ledger::request_sweep(&mut connection, table.name()).await?;
        }
        Ok(())
    }

    /// Asks for a sweep, unless one is under way that judges as we do: the next steps go on with that
    /// one, which is returned as it stands.
    pub async fn request_or_resume(&self) -> Result<Option<Vec<Sweep>>> {
        let sweeps = self.standing().await?;
        let goes_on = |it: &Sweep| it.started_at.is_some() && !it.requested;
        let alike = |it: &Sweep| it.requested || self.judged_alike(it);
        if sweeps.iter().any(goes_on) && sweeps.iter().all(alike) {
            return Ok(Some(sweeps));
        }
        self.request().await.map(|()| None)
    }

    /// How the sweep of each table stands, whoever is at it.
    pub async fn standing(&self) -> Result<Vec<Sweep>> {
        let mut connection = self.pool.acquire().await.named("sweep_connect")?;
        let tables = self.archive.tables();
        let sweeps = ledger::sweeps(&mut connection).await?;
        let ours = |name: &str| tables.iter().any(|table| table.name() == name);
        Ok(sweeps.into_iter().filter(|(name, _)| ours(name)).map(|(_, sweep)| sweep).collect())
    }

    /// One transaction. `None` where there is nothing to do, or another daemon is at it.
    pub async fn step(&self) -> Result<Option<Progress>> {
        let tables = self.archive.tables();
        for (at, table) in tables.iter().enumerate() {
            if let Some(progress) = self.step_of(table).await? {
                let completed = progress.completed && at + 1 == tables.len();
                return Ok(Some(Progress { completed, ..progress }));
            }
        }
        Ok(None)
    }

    async fn step_of(&self, table: &Table) -> Result<Option<Progress>> {
        let name = table.name();
        let mut transaction = self.pool.begin().await.named("sweep_begin")?;
        let Some(mut sweep) = ledger::lock_sweep(&mut transaction, name).await? else {
            return Ok(None);
        };
        let horizon = table.horizon(&mut transaction).await?;
        if sweep.requested || (sweep.started_at.is_none() && self.is_due(&sweep, horizon.now)) {
            let first = table.span_end(&mut transaction, (0, horizon.newest), 1).await?;
            let span = (first.map_or(0, |(first, _)| first.saturating_sub(1)), horizon.newest);
            ledger::start_sweep(&mut transaction, name, span, &self.fingerprint()).await?;
            info!(table = name, upto = horizon.newest, "a sweep begins");
            sweep = Sweep { position: 0, upto: horizon.newest, ..sweep };
        } else if sweep.started_at.is_none() {
            return Ok(None);
        }
        let progress = if sweep.position < sweep.upto {
            self.sweep_archive(&mut transaction, table, &sweep, horizon.now).await?
        } else {
            self.sweep_ledger(&mut transaction, table, &sweep).await?
        };
        let Progress { position, found, .. } = progress;
        ledger::move_sweep(&mut transaction, name, position, found).await?;
        if progress.completed {
            ledger::complete_sweep(&mut transaction, name).await?;
        }
        transaction.commit().await.named("sweep_commit")?;
        crash_point!("swept");
        self.count(progress, horizon.now);
        Ok(Some(progress))
    }

    fn is_due(&self, sweep: &Sweep, now: Timestamp) -> bool {
        sweep.completed_at.is_none_or(|at| policy::later(at, self.settings.every) <= now)
    }

    fn fingerprint(&self) -> Vec<u8> {
        fingerprint(&self.rules, &self.settings.hosts)
    }

    /// One span of the archive: rows in line with entries, then entries in line with rows.
    async fn sweep_archive(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        sweep: &Sweep,
        now: Timestamp,
    ) -> Result<Progress> {
        let (from, upto) = (sweep.position, sweep.upto);
        let most = self.most_rows();
        let span = table.span_end(connection, (from, upto), most).await?;
        let (end, count) = span.unwrap_or((upto, 0));
        let limits = (CANDIDATES, CANDIDATE_BYTES);
        let hosts = &self.settings.hosts;
        let mut rows = table.candidates(connection, hosts, (from, end), limits).await?;
        let (end, count) = match rows.last() {
            Some(last) if is_cut(&rows) => {
                let end = last.key.row_number;
                let span = table.span_end(connection, (from, end), most).await?;
                (end, span.map_or(0, |(_, count)| count))
            }
            // The last span ends where the sweep does, not at the last row that stands.
            _ if count < most => (upto, count),
            _ => (end, count),
        };
        let at = if end < upto { end_page(&mut rows, from, end) } else { end };
        // What is left to the next page counts there.
        let count = if at < end { count - 1 } else { count };
        let backlog = self.backlog(connection).await?;
        let context = Context { rules: &self.rules, now, backlog, restores: true };
        let reconciled =
            reconcile(connection, Source::Archive(&self.archive), &rows, context).await?;
        for (_, reason) in &reconciled.recorded {
            self.metrics.expiries_recorded.of(*reason).inc();
        }
        let mut dropped = reconciled.dropped;
        let mut after = from;
        loop {
            let span = (after, at);
            let (entries, full) = entries(connection, table, span).await?;
            let Some(last) = entries.last() else { break };
            after = last.expiry.row_number;
            let stale = entries.into_iter().filter(|it| !reconciled.knows(it));
            dropped += self.drop_stale(connection, stale.collect()).await?;
            if !full {
                break;
            }
        }
        let unreadable =
            reconciled.outcomes.iter().filter(|it| it.2 == Outcome::Unreadable).count();
        let found = Found {
            rows: count,
            added: number(reconciled.recorded.len()),
            changed: number(reconciled.changed),
            dropped: number(dropped),
            adopted: number(reconciled.adopted),
            unreadable: number(unreadable),
        };
        Ok(Progress { completed: false, position: at, upto, found })
    }

    async fn backlog(&self, connection: &mut PgConnection) -> Result<Backlog> {
        let mut backlog = Backlog::default();
        if !self.settings.hold_backlog || ledger::control(connection).await?.backlog_accepted {
            return Ok(backlog);
        }
        for table in self.archive.tables() {
            let cursor = ledger::cursor(connection, table.name()).await?;
            let upto = cursor.map_or(i64::MAX, |cursor| cursor.first_position);
            if table.stores().contains(&Store::Queue) {
                backlog.queued = upto;
            }
            if table.stores().contains(&Store::Archive) {
                backlog.archived = upto;
            }
        }
        Ok(backlog)
    }

    fn count(&self, progress: Progress, now: Timestamp) {
        let repairs = [
            (Repair::Added, progress.found.added),
            (Repair::Changed, progress.found.changed),
            (Repair::Dropped, progress.found.dropped),
            (Repair::Adopted, progress.found.adopted),
        ];
        for (repair, count) in repairs {
            self.metrics.sweep_repaired.of(repair).inc_by(count.unsigned_abs());
        }
        if progress.completed {
            let seconds = now.timestamp_micros() as f64 / 1e6;
            self.metrics.sweep_last_completion_timestamp_seconds.set(seconds);
            info!("the sweep has come to its end");
        }
    }

    /// What one transaction searches: a second's worth, and more than one row, whose copy may follow.
    fn most_rows(&self) -> i64 {
        let rate = i64::from(self.settings.rows_per_second);
        if rate == 0 { SPAN_ROWS } else { SPAN_ROWS.min(rate.max(2)) }
    }

    /// How long to wait after a step that took so long, so as not to go faster than is allowed.
    pub fn pace(&self, progress: Progress, took: Duration) -> Duration {
        if self.settings.rows_per_second == 0 {
            return Duration::ZERO;
        }
        let seconds = progress.found.rows as f64 / f64::from(self.settings.rows_per_second);
        Duration::from_secs_f64(seconds.max(0.0)).saturating_sub(took)
    }
}

/// What a sweep judges by.
pub(super) fn fingerprint(rules: &Rules, hosts: &[String]) -> Vec<u8> {
    let mut hosts = hosts.to_vec();
    hosts.sort_unstable();
    let mut fingerprint = policy::fingerprint(rules).to_vec();
    fingerprint.extend(hosts.join(",").into_bytes());
    fingerprint
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The next entries of a span, and whether there are more. After a restore several may have one number: they are never
/// taken apart by the end of a page.
async fn entries(
    connection: &mut PgConnection,
    table: &Table,
    span: (i64, i64),
) -> Result<(Vec<Entry>, bool)> {
    let mut entries = ledger::entries_between(connection, table.stores(), span, ENTRIES).await?;
    let full = i64::try_from(entries.len()).is_ok_and(|n| n >= ENTRIES);
    if let Some(last) = entries.last().map(|it| it.expiry.row_number).filter(|_| full) {
        let before = entries.partition_point(|it| it.expiry.row_number < last);
        if before > 0 {
            entries.truncate(before);
        }
    }
    Ok((entries, full))
}
