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
};

/// The shortest time between two counts.
const EVERY: Duration = Duration::from_secs(15);

/// Counting takes at most one part in so many of the time.
const IDLE_PARTS: u32 = 100;

/// Keeps the gauges of the ledger fresh, until stopped.
pub async fn run(pool: PgPool, hosts: Vec<String>, metrics: Arc<Metrics>, stop: CancellationToken) {
    loop {
        let started = Instant::now();
        let refreshed = in_time("tally", TRANSACTION_LIMIT, refresh(&pool, &hosts, &metrics));
        if refreshed.await.is_err() {
            metrics.database_errors.inc();
        }
        let pause = EVERY.max(started.elapsed() * IDLE_PARTS);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn refresh(pool: &PgPool, hosts: &[String], metrics: &Metrics) -> Result<()> {
    let mut connection = pool.acquire().await.named("tally_connect")?;
    let tally = ledger::tally(&mut connection, hosts).await?;
    metrics.pending_expiries.set(tally.pending);
    metrics.pending_placeholders.set(tally.placeholders);
    metrics.backlog_expiries.set(tally.backlog);
    metrics.overdue_expiries.set(tally.overdue);
    metrics.set_oldest_due(tally.oldest_due);
    let control = ledger::control(&mut connection).await?;
    metrics.paused.set(i64::from(control.paused));
    Ok(())
}
