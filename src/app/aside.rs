//! What runs beside the workers: releasing the backlog, and reporting their state to HTTP.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    database::Named,
    metrics::Metrics,
    model::Clock,
    ops::Readiness,
    work::{backlog, inspect::Inspection},
};

/// Wait between attempts while the database is unavailable.
const TRY_EVERY: Duration = Duration::from_secs(10);

async fn release(pool: &PgPool) -> crate::database::Result<i64> {
    let mut connection = pool.acquire().await.named("release_connect")?;
    backlog::release(&mut connection, |_| {}).await
}

async fn until(flag: &mut watch::Receiver<bool>, is: bool) {
    if flag.wait_for(|flag| *flag == is).await.is_err() {
        std::future::pending().await
    }
}

/// Releases what was held, as soon as the configuration says that nothing is to be held.
pub(super) async fn release_backlog(
    pool: PgPool,
    metrics: Arc<Metrics>,
    mut holds: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let mut logged = false;
    loop {
        if stop.run_until_cancelled(until(&mut holds, false)).await.is_none() {
            return;
        }
        match stop.run_until_cancelled(release(&pool)).await {
            None => return,
            Some(Ok(count)) => {
                if count > 0 {
                    info!(count, "the backlog is no longer held: erase.backlog is \"erase\"");
                }
                logged = false;
                stop.run_until_cancelled(until(&mut holds, true)).await;
            }
            Some(Err(error)) => {
                metrics.database_errors.inc();
                if !std::mem::replace(&mut logged, true) {
                    warn!(%error, "the backlog cannot be released, will retry");
                }
                stop.run_until_cancelled(tokio::time::sleep(TRY_EVERY)).await;
            }
        }
    }
}

/// Reports the workers' state to HTTP after each poll.
pub(super) async fn tell_readiness(
    readiness: watch::Sender<Readiness>,
    clock: Arc<dyn Clock>,
    mut states: watch::Receiver<Inspection>,
    sweeps: watch::Receiver<bool>,
    blocks: watch::Receiver<Option<String>>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return stop.cancelled().await },
            () = stop.cancelled() => return,
        }
        let state = *states.borrow_and_update();
        let now = Instant::now();
        let sweeping = *sweeps.borrow();
        readiness.send_modify(|readiness| {
            readiness.database = state.reachable;
            readiness.schema = true;
            readiness.lag_seconds = state.caught_up.map(|at| now.duration_since(at).as_secs_f64());
            readiness.sweeping = sweeping;
            readiness.blocked.clone_from(&blocks.borrow());
            readiness.as_of = clock.now();
        });
    }
}
