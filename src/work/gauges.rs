//! The ledger in figures for Prometheus: counted now and then, never per scrape.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::TRANSACTION_LIMIT;
use crate::{
    database::{Named, Result, in_time},
    ledger,
    metrics::Metrics,
    model::Timestamp,
};

/// The shortest time between two counts.
const EVERY: Duration = Duration::from_secs(15);

/// Counting takes at most one part in so many of the time, …
const IDLE_PARTS: u32 = 100;

/// … but nobody waits longer for fresh figures: alerts live by them.
const LONGEST: Duration = Duration::from_secs(120);

/// What is counted.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Only entries of these hosts can be overdue.
    pub hosts: Vec<String>,
    /// The archive's tables, each with a sweep of its own.
    pub tables: Vec<String>,
}

/// Keeps the gauges of the ledger fresh, until stopped.
pub async fn run(pool: PgPool, settings: Settings, metrics: Arc<Metrics>, stop: CancellationToken) {
    loop {
        let refreshed = in_time("tally", TRANSACTION_LIMIT, refresh(&pool, &settings, &metrics));
        let pause = match refreshed.await {
            Ok(counting) => (counting * IDLE_PARTS).clamp(EVERY, LONGEST),
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

/// How long the counting took: waiting for a connection costs the database nothing.
async fn refresh(pool: &PgPool, settings: &Settings, metrics: &Metrics) -> Result<Duration> {
    let mut connection = pool.acquire().await.named("tally_connect")?;
    let started = Instant::now();
    let tally = ledger::tally(&mut connection, &settings.hosts).await?;
    let counting = started.elapsed();
    metrics.pending_expiries.set(tally.pending);
    metrics.pending_placeholders.set(tally.placeholders);
    metrics.backlog_expiries.set(tally.backlog);
    metrics.overdue_expiries.set(tally.overdue);
    metrics.set_oldest_due(tally.oldest_due);
    let control = ledger::control(&mut connection).await?;
    metrics.paused.set(i64::from(control.paused));
    let swept = last_swept(ledger::sweeps(&mut connection).await?, &settings.tables);
    metrics
        .sweep_last_completion_timestamp_seconds
        .set(swept.map_or(0.0, |at| at.timestamp_micros() as f64 / 1e6));
    Ok(counting)
}

/// When the whole archive was last swept, whichever daemon did it and however long ago: `None` unless each table was.
fn last_swept(sweeps: Vec<(String, ledger::Sweep)>, tables: &[String]) -> Option<Timestamp> {
    let ours = sweeps.into_iter().filter(|(name, _)| tables.contains(name));
    // No time at all is less than any.
    ours.map(|(_, sweep)| sweep.completed_at).min().flatten()
}
