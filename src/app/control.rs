//! Operator commands that go through the database: pause, resume, backlog, status.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::{Error, connect, settings::age_settings};
use crate::{
    config::Config,
    ledger::{self, Held, Pause},
    ops::{self, Status},
    work::backlog,
};

/// Pauses erasing for all daemons; `None` means until resumed.
pub async fn pause(config: &Config, length: Option<Duration>) -> Result<Pause, Error> {
    let mut connection = connect(config).await?;
    let paused = ledger::pause(&mut connection, length).await;
    close(connection).await;
    Ok(paused?)
}

/// Ends a pause for all daemons. Returns the pause that was in force.
pub async fn resume(config: &Config) -> Result<Pause, Error> {
    let mut connection = connect(config).await?;
    let before = ledger::resume(&mut connection).await;
    close(connection).await;
    Ok(before?)
}

/// The current status.
pub async fn status(config: &Config) -> Result<Status, Error> {
    let mut connection = connect(config).await?;
    let age = age_settings(config);
    let policy = age.retention.shortest().map(|_| age.policy());
    let status = ops::status(&mut connection, &config.archive.hosts, policy).await;
    close(connection).await;
    Ok(status?)
}

/// The held backlog.
pub async fn backlog(config: &Config) -> Result<Vec<Held>, Error> {
    let mut connection = connect(config).await?;
    let held = ledger::held(&mut connection).await;
    close(connection).await;
    Ok(held?)
}

/// Releases the backlog, now and in later sweeps. Returns how many entries are no longer held.
pub async fn accept_backlog(config: &Config, report: impl FnMut(i64)) -> Result<i64, Error> {
    let mut connection = connect(config).await?;
    let released = backlog::accept(&mut connection, report).await;
    close(connection).await;
    Ok(released?)
}

/// A polite goodbye; it does not matter whether it arrives.
async fn close(connection: PgConnection) {
    let _ = connection.close().await;
}
