//! The sweep of archives in SQL: the whole archive in key order, resumable, by one daemon at a time. It finds what the
//! tail cannot: what was there before us, what a restore brought back, what changed rules judge differently.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::schedule::{self, Sweeping};
use crate::{
    archive::{Archive, Search, Table},
    database::{Named, Result, in_time},
    ledger::{self, Sweep},
    metrics::Metrics,
    model::{Rules, Store, Timestamp},
    work::{
        TRANSACTION_LIMIT,
        base::{Changing, Retry, crash::crash_point, rest},
        reconcile::{
            Backlog, Context, Read, Reconciled, candidates, encrypted_owners, end_page,
            find_belonging, notice_reading, notice_receipts, reconcile,
        },
    },
};

/// How often to check whether a sweep is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long to wait when another session was in the way; the step by which the pause grows when a sweep fails.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Archive rows that one transaction searches: enough to make its commit a small part of its cost.
const SPAN_ROWS: i64 = 50_000;

/// What the sweep needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepSettings {
    /// Only rows of these hosts.
    pub hosts: Vec<String>,
    /// From the end of one sweep to the start of the next.
    pub every: Duration,
    /// 0 means no limit.
    pub rows_per_second: u32,
    /// Whether what is older than the first start is held until the operator accepts it.
    pub hold_backlog: bool,
}

/// What one transaction of a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The sweep ended with this transaction, the last one of the last table.
    pub completed: bool,
    /// The number of rows it went through.
    pub rows: i64,
}

/// What one transaction did with one table.
pub(super) struct Part {
    pub(super) completed: bool,
    /// The table's row that it has reached.
    pub(super) position: i64,
    pub(super) rows: i64,
    pub(super) reconciled: Reconciled,
}

/// What the daemon has yet to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owes {
    Nothing,
    /// A sweep, if the last one judged by other rules.
    SweepByOtherRules,
    /// A sweep.
    Sweep,
}

/// The sweep of one archive.
pub struct Sweeper {
    pool: PgPool,
    pub(super) archive: Archive,
    pub(super) settings: Changing<SweepSettings>,
    rules: Changing<Rules>,
    metrics: Arc<Metrics>,
}

impl Sweeper {
    /// A sweep that starts with [`Sweeper::run`], or step by step. It judges by `rules`.
    pub fn new(
        pool: PgPool,
        archive: Archive,
        settings: Changing<SweepSettings>,
        rules: Changing<Rules>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { pool, archive, settings, rules, metrics }
    }

    /// Sweeps whenever it is time, until stopped.
    pub async fn run(mut self, sweeping: Sweeping, stop: CancellationToken) {
        let mut retry = Retry::new("the sweep", TRY_AGAIN, 15);
        let mut owes = Owes::SweepByOtherRules;
        while !stop.is_cancelled() {
            let started = Instant::now();
            if self.settings.take() {
                sweeping.holding.send_replace(self.settings.hold_backlog);
            }
            if self.rules.take() {
                owes = Owes::Sweep;
            }
            if owes != Owes::Nothing && self.request_owed(owes).await.is_ok() {
                owes = Owes::Nothing;
            }
            let pause = match in_time("sweep", TRANSACTION_LIMIT, self.step()).await {
                Ok(Some(progress)) => {
                    retry.succeeded();
                    sweeping.under_way.send_replace(!progress.completed);
                    self.pace(progress, started.elapsed())
                }
                Ok(None) => {
                    retry.succeeded();
                    sweeping.under_way.send_replace(false);
                    LOOK_EVERY
                }
                Err(error) if error.is_contention() => {
                    debug!(%error, "the sweep waits for another session");
                    TRY_AGAIN
                }
                Err(error) => retry.failed(&error, &self.metrics),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.settings.changed() => {}
                () = self.rules.changed() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// If hosts, timers or hints have changed, a sweep is requested once per start and once per change, and not for as
    /// long as they differ: otherwise two daemons that differ would sweep for ever.
    async fn request_owed(&self, owed: Owes) -> Result<()> {
        if owed == Owes::Sweep {
            // Whatever the last one judged by, what we have recorded since was judged by the old rules.
            info!("a sweep is due: timers or hints have changed");
            return self.request().await;
        }
        // The tail requests one at the first start, when there are none: a second request would begin it again.
        let sweeps = self.sweeps().await?;
        if sweeps.iter().any(|it| schedule::is_outdated(it, &self.fingerprint())) {
            info!("a sweep is due: hosts, timers or hints have changed");
            self.request().await?;
        }
        Ok(())
    }

    /// Requests a sweep from the beginning.
    async fn request(&self) -> Result<()> {
        let mut connection = self.pool.acquire().await.named("sweep_connect")?;
        self.request_by(&mut connection).await
    }

    async fn request_by(&self, connection: &mut PgConnection) -> Result<()> {
        for table in self.archive.tables() {
            ledger::request_sweep(connection, table.name()).await?;
        }
        Ok(())
    }

    /// Requests a sweep, unless one by our rules is under way: the next steps resume that one, which is returned.
    /// `connection`: one that waits for locks, since a step of a daemon's may take longer than workers wait.
    pub async fn request_or_resume(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<Vec<Sweep>>> {
        let sweeps = self.sweeps().await?;
        let is_under_way = |it: &Sweep| it.started_at.is_some() && !it.requested;
        let fingerprint = self.fingerprint();
        if sweeps.iter().any(is_under_way)
            && !sweeps.iter().any(|it| schedule::is_outdated(it, &fingerprint))
        {
            return Ok(Some(sweeps));
        }
        self.request_by(connection).await.map(|()| None)
    }

    /// The sweep of each table, whichever daemon is working on it.
    pub async fn sweeps(&self) -> Result<Vec<Sweep>> {
        let mut connection = self.pool.acquire().await.named("sweep_connect")?;
        let tables = self.archive.tables();
        let sweeps = ledger::sweeps(&mut connection).await?;
        let ours = |name: &str| tables.iter().any(|table| table.name() == name);
        Ok(sweeps.into_iter().filter(|(name, _)| ours(name)).map(|(_, sweep)| sweep).collect())
    }

    /// One transaction. `None` if there is nothing to do, or another daemon is working on it.
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
        let mut connection = self.pool.acquire().await.named("sweep_connect")?;
        if !schedule::has_work(&mut connection, name, self.settings.every).await? {
            return Ok(None);
        }
        let mut transaction = connection.begin().await.named("sweep_begin")?;
        let Some(mut sweep) = ledger::lock_sweep(&mut transaction, name).await? else {
            return Ok(None);
        };
        let horizon = table.horizon(&mut transaction).await?;
        if schedule::begins(&sweep, self.settings.every) {
            let first = table.span_end(&mut transaction, (0, horizon.newest), 1).await?;
            let span = (first.map_or(0, |(first, _)| first.saturating_sub(1)), horizon.newest);
            let fingerprint = self.fingerprint();
            sweep = schedule::begin(&mut transaction, name, sweep, span, &fingerprint).await?;
        } else if sweep.started_at.is_none() {
            return Ok(None);
        }
        let part = if sweep.position < sweep.upto {
            self.sweep_archive(&mut transaction, table, &sweep, horizon.now).await?
        } else {
            self.sweep_ledger(&mut transaction, table, &sweep).await?
        };
        let counts = schedule::counts(part.rows, &part.reconciled);
        ledger::move_sweep(&mut transaction, name, part.position, counts).await?;
        if part.completed {
            ledger::complete_sweep(&mut transaction, name).await?;
        }
        transaction.commit().await.named("sweep_commit")?;
        crash_point!("swept");
        schedule::report(&part.reconciled, &self.metrics);
        if part.completed {
            schedule::completed(horizon.now, &self.metrics);
        }
        Ok(Some(Progress { completed: part.completed, rows: part.rows }))
    }

    fn fingerprint(&self) -> Vec<u8> {
        schedule::fingerprint(&self.rules, &self.settings.hosts)
    }

    /// One span of the archive: brings entries in line with rows, then drops entries that have none.
    async fn sweep_archive(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        sweep: &Sweep,
        now: Timestamp,
    ) -> Result<Part> {
        let (from, upto) = (sweep.position, sweep.upto);
        let most = self.most_rows();
        let span = table.span_end(connection, (from, upto), most).await?;
        let (end, rows) = span.unwrap_or((upto, 0));
        let hosts = self.settings.hosts.as_slice();
        let mut named = ledger::named_owners(connection).await?;
        let encrypted = encrypted_owners(connection, self.rules.wishes).await?;
        let files = self.rules.uploads.patterns();
        let searched = (
            hosts,
            Search::marked_and(&named, &self.rules).and_encrypted(&encrypted).and_naming(&files),
        );
        let (mut page, cut) = candidates(connection, table, searched, (from, end)).await?;
        let (end, rows) = if cut < end {
            let span = table.span_end(connection, (from, cut), most).await?;
            (cut, span.map_or(0, |(_, rows)| rows))
        } else {
            // The last span ends where the sweep does, not at the last row that is still there.
            (if rows < most { upto } else { end }, rows)
        };
        let position = if end < upto { end_page(&mut page, from, end) } else { end };
        // The row that is left to the next page is counted there.
        let rows = if position < end { rows - 1 } else { rows };
        let listed = Some(self.backlog(connection).await?);
        let context = Context { archive: Some(&self.archive), rules: &self.rules, now, listed };
        let mut reconciled = Reconciled::default();
        reconcile(connection, Read::all(&page), context, &mut reconciled).await?;
        let span = (from, position);
        if !reconciled.recorded.is_empty() {
            find_belonging(connection, table, hosts, span, &mut named, context, &mut reconciled)
                .await?;
        }
        self.drop_stale(connection, table, span, &mut reconciled).await?;
        let of = (table.stores(), hosts);
        ledger::forget_stale_quotes(connection, of, span, &reconciled.quotes).await?;
        notice_reading(connection, table, hosts, span, context, &mut reconciled).await?;
        notice_receipts(connection, table, hosts, span, context).await?;
        Ok(Part { completed: false, position, rows, reconciled })
    }

    async fn backlog(&self, connection: &mut PgConnection) -> Result<Backlog> {
        let mut backlog = Backlog::NONE;
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

    /// What one transaction searches: a second's worth, but more than one row, because its copy may follow.
    fn most_rows(&self) -> i64 {
        let rate = i64::from(self.settings.rows_per_second);
        if rate == 0 { SPAN_ROWS } else { SPAN_ROWS.min(rate.max(2)) }
    }

    /// How long to wait after a step that took this long, to stay within the rate.
    pub fn pace(&self, progress: Progress, took: Duration) -> Duration {
        rest(progress.rows, self.settings.rows_per_second, took)
    }
}
