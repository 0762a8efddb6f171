//! The only place that builds everything and joins it.

mod check;
mod control;
mod daemon;
mod explain;
mod preview;
mod sweep;

use sqlx::{Connection as _, PgConnection};
use tracing::info;

pub use check::check;
pub use control::{accept_backlog, backlog, pause, resume, status};
pub use daemon::{RunOptions, run};
pub use explain::{explain_given, explain_live};
pub use preview::{preview, scan};
pub use sweep::{Swept, sweep};

use crate::{
    archive::prosody,
    config::Config,
    database,
    ledger::{self, Schema},
    model::Level,
};

/// What a command failed with, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or refused.
    #[error("the database failed: {0}\nhelp: {help}", help = .0.remedy())]
    Database(#[from] database::Error),
    /// Our schema is not there, and we may not make it.
    #[error(
        "schema ephemerd is missing, or our role may not write there\n\
         help: run deploy/grants.sql in this database as a superuser, then `ephemerd migrate`"
    )]
    NotGranted,
    /// Our schema is not as this program needs it.
    #[error("{0}")]
    Schema(&'static str),
    /// The server's tables are not as we need them.
    #[error("the archive cannot be used: {0}\nhelp: {1}")]
    Archive(String, String),
    /// The HTTP port is taken, or not ours.
    #[error("http.listen: cannot listen: {0}\nhelp: another daemon may run; choose another port")]
    Listen(std::io::ErrorKind),
    /// A worker ended while it should have gone on.
    #[error("a worker ended by itself\nhelp: this is a defect: please report it with the log")]
    WorkerEnded,
    /// The process could not listen to signals.
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::ErrorKind),
}

impl Error {
    /// Trying again is useless until somebody acts.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Database(_) | Self::Listen(_) | Self::Signals(_) | Self::WorkerEnded => false,
            Self::NotGranted | Self::Schema(_) | Self::Archive(..) => true,
        }
    }
}

const MISSING: Error = Error::Schema(
    "schema ephemerd holds no tables yet\nhelp: run `ephemerd migrate`, or `ephemerd check` to see what else is missing",
);
const NEWER: Error = Error::Schema(
    "schema ephemerd is newer than this program\nhelp: install the newer version of ephemerd again",
);
const BEHIND: Error = Error::Schema(
    "schema ephemerd is older than this program\nhelp: run `ephemerd migrate`, or `ephemerd run` without --no-migrate",
);

/// Brings our schema up to date; `ephemerd migrate`. Returns whether anything was to do.
pub async fn migrate(config: &Config) -> Result<bool, Error> {
    let mut connection = database::Settings::new(config.database.options()).connect().await?;
    let migrated = bring_up_to_date(&mut connection, true).await;
    let _ = connection.close().await;
    migrated
}

/// How an operator's command reaches the database.
fn patient(config: &Config) -> database::Settings {
    database::Settings::new(config.database.options()).patient()
}

/// A connection for an operator's command, to a schema as this program needs it.
async fn connect(config: &Config) -> Result<PgConnection, Error> {
    let mut connection = patient(config).connect().await?;
    match ledger::schema(&mut connection).await.map_err(not_granted)? {
        Schema::Current => Ok(connection),
        Schema::Missing => Err(MISSING),
        Schema::Behind => Err(BEHIND),
        Schema::Newer => Err(NEWER),
    }
}

/// The archive as this program needs it, or the first problem with it.
async fn probe_archive(connection: &mut PgConnection) -> Result<(), Error> {
    let findings = prosody::probe(connection).await?;
    match findings.into_iter().find(|finding| finding.level == Level::Problem) {
        Some(problem) => Err(Error::Archive(problem.what, problem.remedy)),
        None => Ok(()),
    }
}

/// The schema as this program needs it, or why not. Returns whether it had to be changed.
async fn bring_up_to_date(connection: &mut PgConnection, may_migrate: bool) -> Result<bool, Error> {
    match ledger::schema(connection).await.map_err(not_granted)? {
        Schema::Current => Ok(false),
        Schema::Newer => Err(NEWER),
        Schema::Missing | Schema::Behind if !may_migrate => Err(BEHIND),
        Schema::Missing | Schema::Behind => {
            ledger::migrate(connection).await.map_err(not_granted)?;
            info!("schema ephemerd is up to date");
            Ok(true)
        }
    }
}

/// Tells missing grants (42501, 3F000 no such schema) from a database that is away.
fn not_granted(error: database::Error) -> Error {
    match error.sqlstate() {
        Some("42501" | "3F000") => Error::NotGranted,
        _ => Error::Database(error),
    }
}
