//! The ledger in figures, for Prometheus and the status page: counted now and then, never on request.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::TRANSACTION_LIMIT;
use crate::{
    archive::Archive,
    database::{Named, Result, in_time},
    ledger::{self, AgeState, Outlooks, Pause, Sweep, Tally},
    metrics::Metrics,
    model::{Clock, Timestamp},
};

/// Minimum interval between counts.
const EVERY: Duration = Duration::from_secs(15);

/// Counting takes up at most one part in this many of the time, …
const IDLE_PARTS: u32 = 100;

/// … but figures are never older than this: alerts depend on them.
const LONGEST: Duration = Duration::from_secs(120);

/// How often the archive's hosts are compared with the listed ones. Without an index on them, that reads everything.
const HOSTS_EVERY: Duration = Duration::from_secs(6 * 3600);

/// The same after a failure that may be over by then. What took too long would do so again.
const HOSTS_AGAIN: Duration = Duration::from_secs(600);

/// What is counted.
#[derive(Debug, Clone)]
pub struct GaugeSettings {
    /// Only entries of these hosts can be overdue.
    pub hosts: Vec<String>,
    /// The archive's tables, each with a sweep of its own.
    pub tables: Vec<String>,
}

/// What was counted last.
#[derive(Debug, Clone)]
pub struct Counted {
    /// The time, by our own clock.
    pub as_of: Timestamp,
    /// The ledger in figures.
    pub tally: Tally,
    /// What is due when.
    pub outlook: Outlooks,
    /// Whether erasing is paused.
    pub pause: Pause,
    /// The sweep of each table.
    pub sweeps: Vec<(String, Sweep)>,
    /// The retention policy that was announced last.
    pub age: AgeState,
}

/// Keeps the gauges of the ledger and the page's figures fresh, until stopped.
pub async fn run(
    pool: PgPool,
    settings: GaugeSettings,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    page: watch::Sender<Option<Counted>>,
    stop: CancellationToken,
) {
    loop {
        let refreshed =
            in_time("tally", TRANSACTION_LIMIT, refresh(&pool, &settings, &metrics, &*clock));
        let pause = match refreshed.await {
            Ok((counted, counting)) => {
                page.send_replace(Some(counted));
                (counting * IDLE_PARTS).clamp(EVERY, LONGEST)
            }
            Err(_) => {
                metrics.database_errors.inc();
                EVERY
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Keeps the gauge of unlisted hosts, until stopped.
pub async fn watch_hosts(
    pool: PgPool,
    archive: Archive,
    hosts: Vec<String>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    loop {
        let counted = in_time("unlisted_hosts", TRANSACTION_LIMIT, async {
            let mut connection = pool.acquire().await.named("unlisted_hosts_connect")?;
            archive.unlisted_hosts(&mut connection, &hosts).await
        });
        let pause = match stop.run_until_cancelled(counted).await {
            None => return,
            Some(Ok(unlisted)) => {
                metrics.unlisted_hosts.set(i64::try_from(unlisted.len()).unwrap_or(i64::MAX));
                HOSTS_EVERY
            }
            Some(Err(error)) => {
                if !error.is_contention() {
                    metrics.database_errors.inc();
                }
                debug!(%error, "the archive's hosts were not counted");
                let took_too_long = !error.is_contention() && !error.is_unreachable();
                if took_too_long { HOSTS_EVERY } else { HOSTS_AGAIN }
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Returns also how long counting took, without the wait for a connection, which costs the database nothing.
async fn refresh(
    pool: &PgPool,
    settings: &GaugeSettings,
    metrics: &Metrics,
    clock: &dyn Clock,
) -> Result<(Counted, Duration)> {
    let mut connection = pool.acquire().await.named("tally_connect")?;
    let started = Instant::now();
    let tally = ledger::tally(&mut connection, &settings.hosts).await?;
    let outlook = ledger::outlook(&mut connection, &settings.hosts).await?;
    let counting = started.elapsed();
    let files = ledger::count_files(&mut connection).await?;
    let pause = ledger::paused(&mut connection).await?;
    let mut sweeps = ledger::sweeps(&mut connection).await?;
    sweeps.retain(|(name, _)| settings.tables.contains(name));
    let age = ledger::age_state(&mut connection).await?;
    // All at once, so that metrics and page agree.
    metrics.pending_expiries.set(tally.pending);
    metrics.pending_quotes.set(tally.quotes);
    metrics.unread_expiries.set(tally.unread);
    metrics.pending_placeholders.set(tally.placeholders);
    metrics.backlog_expiries.set(tally.backlog);
    metrics.overdue_expiries.set(tally.overdue);
    metrics.held_expiries.set(tally.on_hold);
    metrics.set_oldest_overdue(tally.oldest_overdue());
    metrics.pending_files.set(files.going);
    metrics.paused.set(i64::from(pause != Pause::None));
    // Whichever daemon swept, and however long ago. `None`, which is less than any time, unless each table was swept.
    let swept = sweeps.iter().map(|(_, sweep)| sweep.completed_at).min().flatten();
    metrics
        .sweep_last_completion_timestamp_seconds
        .set(swept.map_or(0.0, |at| at.timestamp_micros() as f64 / 1e6));
    Ok((Counted { as_of: clock.now(), tally, outlook, pause, sweeps, age }, counting))
}
