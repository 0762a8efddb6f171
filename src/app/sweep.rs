//! `ephemerd sweep`: requests a sweep and performs it, together with any running daemons.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Error, archive_kind, connect, open_archive, pooled, settings::sweep_settings};
use crate::{
    config::Config,
    database::{self, DatabaseSettings},
    ledger::{self, Sweep, SweepCounts},
    metrics::Metrics,
    work::{Changing, base::presence, sweep::Sweeper},
};

/// How often to check another daemon's progress.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Maximum consecutive failed steps, with [`LOOK_EVERY`] between them: rows may be locked.
const MOST_FAILURES: u32 = 25;

/// A running, connected daemon picks up a sweep within this time.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);
const NOBODY_SWEEPS: Error = Error::OutOfReach(
    "let a daemon run (`ephemerd run`), with its component connected and the modules answering: it does the sweep \
     that is asked for now, and `ephemerd status` shows how far it is",
);

/// How a requested sweep ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Swept {
    /// It finished; otherwise we were stopped, and a daemon or the next sweep continues it.
    pub completed: bool,
    /// It continued a sweep that had reached this share, from 0 to 1.
    pub resumed_at: Option<f64>,
    /// Its progress, from 0 to 1.
    pub share: f64,
    /// What it did, whoever took part.
    pub found: SweepCounts,
}

/// Sweeps until the end, or until stopped. `report` is called with its progress.
pub async fn sweep(
    config: &Config,
    stop: CancellationToken,
    report: impl FnMut(f64, SweepCounts),
) -> Result<Swept, Error> {
    let mut connection = connect(config).await?;
    let swept = match archive_kind(config) {
        Some(_) => sweep_tables(&mut connection, config, &stop, report).await,
        None => follow(&mut connection, &stop, report).await,
    };
    let _ = connection.close().await;
    swept
}

async fn sweep_tables(
    connection: &mut PgConnection,
    config: &Config,
    stop: &CancellationToken,
    report: impl FnMut(f64, SweepCounts),
) -> Result<Swept, Error> {
    let (archive, _) = open_archive(connection, config).await?;
    let settings = DatabaseSettings::new(config.database.options());
    // It finds the host that can be written to, which the pool then uses.
    let _ = settings.connect().await.map_err(pooled)?.close().await;
    let pool = settings.pool();
    let settings = Changing::fixed(sweep_settings(config));
    let rules = Changing::fixed(config.rules());
    let metrics = Arc::new(Metrics::new());
    let sweeper = Sweeper::new(pool.clone(), archive, settings, rules, metrics);
    let swept = match sweeper.request_or_resume(connection).await {
        Ok(resumed) => steps(&sweeper, resumed.map(|it| share(&it)), stop, report).await,
        Err(error) => Err(error),
    };
    pool.close().await;
    Ok(swept?)
}

/// Only the leader reaches the modules: request a sweep through the ledger and watch it. A sweep already in
/// progress is watched as it is.
async fn follow(
    connection: &mut PgConnection,
    stop: &CancellationToken,
    mut report: impl FnMut(f64, SweepCounts),
) -> Result<Swept, Error> {
    let goes_on = |it: &Sweep| it.started_at.is_some() && !it.requested;
    let resumed = ledger::sweep(connection, presence::SWEEP).await?.filter(goes_on);
    if resumed.is_none() {
        ledger::request_sweep(connection, presence::SWEEP).await?;
    }
    let resumed_at = resumed.map(|it| it.share());
    let asked_at = Instant::now();
    loop {
        let Some(sweep) = ledger::sweep(connection, presence::SWEEP).await? else {
            return Err(NOBODY_SWEEPS);
        };
        let share = share(std::slice::from_ref(&sweep));
        let swept = |completed| Swept { completed, resumed_at, share, found: sweep.found };
        if !is_open(&sweep) {
            return Ok(swept(true));
        }
        if sweep.requested && asked_at.elapsed() > TAKEN_UP_WITHIN {
            return Err(NOBODY_SWEEPS);
        }
        report(share, sweep.found);
        if stop.is_cancelled() {
            return Ok(swept(false));
        }
        stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
    }
}

async fn steps(
    sweeper: &Sweeper,
    resumed_at: Option<f64>,
    stop: &CancellationToken,
    mut report: impl FnMut(f64, SweepCounts),
) -> database::Result<Swept> {
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let pause = match sweeper.step().await {
            Ok(step) => {
                failures = 0;
                step.map_or(LOOK_EVERY, |progress| sweeper.pace(progress, started.elapsed()))
            }
            Err(error) if error.is_unreachable() || failures == MOST_FAILURES => return Err(error),
            Err(_) => {
                failures += 1;
                LOOK_EVERY
            }
        };
        let sweeps = sweeper.sweeps().await?;
        let found = sweeps.iter().fold(SweepCounts::default(), |sum, sweep| sum.plus(sweep.found));
        let share = share(&sweeps);
        let swept = |completed| Swept { completed, resumed_at, share, found };
        if !sweeps.iter().any(is_open) {
            return Ok(swept(true));
        }
        report(share, found);
        if stop.is_cancelled() {
            return Ok(swept(false));
        }
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// Requested or in progress.
fn is_open(sweep: &Sweep) -> bool {
    sweep.requested || sweep.started_at.is_some()
}

/// Their combined progress, each table counting the same.
fn share(sweeps: &[Sweep]) -> f64 {
    let of = |sweep: &Sweep| match sweep.started_at {
        _ if sweep.requested => 0.0,
        Some(_) => sweep.share(),
        None => 1.0,
    };
    sweeps.iter().map(of).sum::<f64>() / sweeps.len().max(1) as f64
}
