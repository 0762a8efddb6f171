//! The ledger in figures, for Prometheus and the status page: counted now and then, never when somebody asks.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::TRANSACTION_LIMIT;
use crate::{
    archive::Archive,
    database::{Named, Result, in_time},
    ledger::{self, Outlooks, Pause, Sweep, Tally},
    metrics::Metrics,
    model::{Clock, Timestamp},
};

/// The shortest time between two counts.
const EVERY: Duration = Duration::from_secs(15);

/// Counting takes at most one part in so many of the time, …
const IDLE_PARTS: u32 = 100;

/// … but nobody waits longer for fresh figures: alerts live by them.
const LONGEST: Duration = Duration::from_secs(120);

/// So often the archive's hosts are compared with those that are listed: where no index names them, that reads it all.
const HOSTS_EVERY: Duration = Duration::from_secs(6 * 3600);

/// After a failure that may be over by then. What took too long would do so again.
const HOSTS_AGAIN: Duration = Duration::from_secs(600);

/// What is counted.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Only entries of these hosts can be overdue.
    pub hosts: Vec<String>,
    /// The archive's tables, each with a sweep of its own.
    pub tables: Vec<String>,
}

/// What was counted last.
#[derive(Debug, Clone)]
pub struct Counted {
    /// When, by our own clock.
    pub as_of: Timestamp,
    /// The ledger in figures.
    pub tally: Tally,
    /// What goes when.
    pub outlook: Outlooks,
    /// Whether erasing is paused.
    pub pause: Pause,
    /// How the sweep of each table stands.
    pub sweeps: Vec<(String, Sweep)>,
}

/// Keeps the gauges of the ledger and the page's figures fresh, until stopped.
pub async fn run(
    pool: PgPool,
    settings: Settings,
    clock: Arc<dyn Clock>,
    (metrics, page): (Arc<Metrics>, watch::Sender<Option<Counted>>),
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
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
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
                let passes = error.is_contention() || error.is_unreachable();
                if passes { HOSTS_AGAIN } else { HOSTS_EVERY }
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// How long the counting took as well: waiting for a connection costs the database nothing.
async fn refresh(
    pool: &PgPool,
    settings: &Settings,
    metrics: &Metrics,
    clock: &dyn Clock,
) -> Result<(Counted, Duration)> {
    let mut connection = pool.acquire().await.named("tally_connect")?;
    let started = Instant::now();
    let tally = ledger::tally(&mut connection, &settings.hosts).await?;
    let outlook = ledger::outlook(&mut connection, &settings.hosts).await?;
    let counting = started.elapsed();
    metrics.pending_expiries.set(tally.pending);
    metrics.pending_placeholders.set(tally.placeholders);
    metrics.backlog_expiries.set(tally.backlog);
    metrics.overdue_expiries.set(tally.overdue);
    metrics.set_oldest_overdue(tally.oldest_overdue());
    let pause = ledger::paused(&mut connection).await?;
    metrics.paused.set(i64::from(pause != Pause::None));
    let mut sweeps = ledger::sweeps(&mut connection).await?;
    sweeps.retain(|(name, _)| settings.tables.contains(name));
    let swept = last_swept(&sweeps);
    metrics
        .sweep_last_completion_timestamp_seconds
        .set(swept.map_or(0.0, |at| at.timestamp_micros() as f64 / 1e6));
    Ok((Counted { as_of: clock.now(), tally, outlook, pause, sweeps }, counting))
}

/// When the whole archive was last swept, whichever daemon did it and however long ago: `None` unless each table was.
fn last_swept(sweeps: &[(String, Sweep)]) -> Option<Timestamp> {
    // No time at all is less than any.
    sweeps.iter().map(|(_, sweep)| sweep.completed_at).min().flatten()
}
