//! `ephemerd sweep`: asks for a sweep and does it, together with whatever daemons run.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Error, archive_kind, connect, open_archive};
use crate::{
    config::{BacklogRule, Config},
    database,
    ledger::{self, Found, Sweep},
    metrics::Metrics,
    work::{
        Changing, remote,
        sweep::{self, Sweeper},
    },
};

/// So often we look how far another daemon has come that is at it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Steps that may fail one after another, with [`LOOK_EVERY`] between them: rows may be locked.
const MOST_FAILURES: u32 = 25;

/// A daemon that runs and is connected takes a sweep up within this time.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);
const NOBODY_SWEEPS: Error = Error::OutOfReach(
    "let a daemon run (`ephemerd run`), with its component connected and the modules answering: it does the sweep \
     that is asked for now, and `ephemerd status` shows how far it is",
);

/// How a sweep that was asked for ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Swept {
    /// It came to its end; else we were stopped, and the next sweep or a daemon goes on with it.
    pub completed: bool,
    /// It went on with one that had come so far, from 0 to 1.
    pub resumed_at: Option<f64>,
    /// How far it has come, from 0 to 1.
    pub share: f64,
    /// What it did, whoever took part.
    pub found: Found,
}

/// Sweeps until the end, or until stopped. `told` hears how far it has come.
pub async fn sweep(
    config: &Config,
    stop: CancellationToken,
    told: impl FnMut(f64, Found),
) -> Result<Swept, Error> {
    let mut connection = connect(config).await?;
    if archive_kind(config).is_none() {
        let swept = follow(&mut connection, &stop, told).await;
        let _ = connection.close().await;
        return swept;
    }
    let opened = open_archive(&mut connection, config).await;
    let _ = connection.close().await;
    let (archive, _) = opened?;
    let pool = database::Settings::new(config.database.options()).pool();
    let settings = Changing::fixed(sweep_settings(config));
    let rules = Changing::fixed(config.rules());
    let metrics = Arc::new(Metrics::new());
    let sweeper = Sweeper::new(pool.clone(), archive, settings, rules, metrics);
    let swept = steps(&sweeper, &stop, told).await;
    pool.close().await;
    Ok(swept?)
}

/// Only the daemon that leads reaches the modules: it is asked by way of the ledger, and its sweep watched. One
/// that is under way is watched as it is.
async fn follow(
    connection: &mut PgConnection,
    stop: &CancellationToken,
    mut told: impl FnMut(f64, Found),
) -> Result<Swept, Error> {
    let goes_on = |it: &Sweep| it.started_at.is_some() && !it.requested;
    let resumed = ledger::sweep(connection, remote::SWEEP).await?.filter(goes_on);
    if resumed.is_none() {
        ledger::request_sweep(connection, remote::SWEEP).await?;
    }
    let resumed_at = resumed.map(|it| it.share());
    let asked_at = Instant::now();
    loop {
        let Some(sweep) = ledger::sweep(connection, remote::SWEEP).await? else {
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
        told(share, sweep.found);
        if stop.is_cancelled() {
            return Ok(swept(false));
        }
        stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
    }
}

async fn steps(
    sweeper: &Sweeper,
    stop: &CancellationToken,
    mut told: impl FnMut(f64, Found),
) -> database::Result<Swept> {
    let resumed_at = sweeper.request_or_resume().await?.map(|sweeps| share(&sweeps));
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
        let sweeps = sweeper.standing().await?;
        let found = sweeps.iter().fold(Found::default(), |sum, sweep| sum.plus(sweep.found));
        let share = share(&sweeps);
        let swept = |completed| Swept { completed, resumed_at, share, found };
        if !sweeps.iter().any(is_open) {
            return Ok(swept(true));
        }
        told(share, found);
        if stop.is_cancelled() {
            return Ok(swept(false));
        }
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// It is asked for or under way.
fn is_open(sweep: &Sweep) -> bool {
    sweep.requested || sweep.started_at.is_some()
}

/// How far they have come together, each table counting alike.
fn share(sweeps: &[Sweep]) -> f64 {
    let of = |sweep: &Sweep| match sweep.started_at {
        _ if sweep.requested => 0.0,
        Some(_) => sweep.share(),
        None => 1.0,
    };
    sweeps.iter().map(of).sum::<f64>() / sweeps.len().max(1) as f64
}

/// What the configuration says to the sweeper.
pub(super) fn sweep_settings(config: &Config) -> sweep::Settings {
    sweep::Settings {
        hosts: config.archive.hosts.clone(),
        every: config.sweep.every,
        rows_per_second: config.sweep.rows_per_second.unwrap_or(0),
        hold_backlog: config.erase.backlog == BacklogRule::Hold,
    }
}
