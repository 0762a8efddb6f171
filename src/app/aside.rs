//! What runs beside the workers: releasing the backlog, and reporting their state to HTTP.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::daemon::{Workers, begin};
use crate::{
    archive::Archive,
    component::{self, ComponentSettings, Exchange},
    database::Named,
    ledger::DaemonState,
    metrics::Metrics,
    model::Clock,
    ops::Readiness,
    work::{backlog, gauges, inspect::Inspection, sweep::Removals},
};

/// Wait between attempts while the database is unavailable.
const TRY_EVERY: Duration = Duration::from_secs(10);

impl Workers {
    /// The workers that watch which owners the archive's tables have.
    pub(super) fn spawn_watchers(
        &self,
        tasks: &mut JoinSet<&'static str>,
        archive: &Archive,
        leading: watch::Receiver<bool>,
    ) {
        let (pool, metrics) = (|| self.pool.clone(), || Arc::clone(&self.metrics));
        let hosts = || self.config.archive.hosts.clone();
        let unlisted =
            gauges::watch_hosts(pool(), archive.clone(), hosts(), metrics(), self.stop.clone());
        begin(tasks, "hosts", unlisted);
        let removals = Removals::new(pool(), archive.clone(), hosts(), leading, metrics());
        begin(tasks, "removals", removals.run(self.stop.clone()));
    }
}

async fn release(pool: &PgPool) -> crate::database::Result<i64> {
    let mut connection = pool.acquire().await.named("release_connect")?;
    backlog::release(&mut connection, |_| {}).await
}

async fn until(flag: &mut watch::Receiver<bool>, is: bool) {
    if flag.wait_for(|flag| *flag == is).await.is_err() {
        std::future::pending().await
    }
}

/// Keeps the component connected while this daemon leads, until stopped.
pub(super) async fn connect_while_leading(
    settings: ComponentSettings,
    exchange: Exchange,
    metrics: Arc<Metrics>,
    mut leading: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    loop {
        let led = stop.run_until_cancelled(leading.wait_for(|leads| *leads)).await;
        if !matches!(led, Some(Ok(_))) {
            return;
        }
        drop(led);
        let given_up = stop.child_token();
        let connected = component::run(
            settings.clone(),
            exchange.clone(),
            Arc::clone(&metrics),
            given_up.clone(),
        );
        let until_given_up = async {
            let _ = leading.wait_for(|leads| !*leads).await;
            given_up.cancel();
        };
        tokio::join!(connected, stop.run_until_cancelled(until_given_up));
    }
}

/// How often to count the companion modules that answer.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// Keeps up to date what this daemon says of itself to others: whether it leads and is connected, and how many modules answer.
pub(super) async fn tell_state(
    state: watch::Sender<DaemonState>,
    mut leading: watch::Receiver<bool>,
    mut connection: watch::Receiver<Option<u64>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let instance = hex::encode(rand::random::<[u8; 4]>());
    while !stop.is_cancelled() {
        let now = DaemonState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: instance.clone(),
            leads: *leading.borrow_and_update(),
            connected: connection.borrow_and_update().is_some(),
            modules: metrics.companions.get(),
        };
        state.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
        tokio::select! {
            Ok(()) = leading.changed() => {}
            Ok(()) = connection.changed() => {}
            () = sleep(COUNT_EVERY) => {}
            () = stop.cancelled() => {}
        }
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
