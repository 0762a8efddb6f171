//! The only place that builds everything and joins it.

mod check;
mod control;
mod daemon;
mod explain;
mod module;
mod preview;
mod reload;
mod settings;
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
    archive::{self, Archive},
    config::{ArchiveKind, Config, EraseMode},
    database::{self, Named, Session},
    ledger::{self, Schema},
    model::{Finding, Level, Mode},
};

/// What a command failed with, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or refused.
    #[error("the database failed: {0}\nhelp: {help}", help = .0.remedy())]
    Database(#[from] database::Error),
    /// A pooler stands between us and the database.
    #[error(
        "a connection pooler stands between ephemerd and PostgreSQL, and our session's settings and locks do not survive it\n\
         help: let database.url lead to PostgreSQL itself: ephemerd opens seven connections at the most"
    )]
    Pooled,
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
    /// No one but the companion module reaches the archive.
    #[error(
        "the archive lies in the XMPP server's own storage, which only its companion module reaches\nhelp: {0}"
    )]
    OutOfReach(&'static str),
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
            Self::Pooled | Self::NotGranted | Self::Schema(_) | Self::Archive(..) => true,
            Self::OutOfReach(_) => true,
        }
    }
}

impl Error {
    /// The page of the documentation that has more of it.
    pub const fn page(&self) -> &'static str {
        match self {
            Self::Database(_) => "docs/runbook.md#ephemerddatabaseerrors",
            Self::Pooled => "docs/reliability.md#what-is-refused",
            Self::NotGranted => "docs/operating.md#the-database",
            Self::Schema(_) => "docs/operating.md#upgrades",
            Self::Archive(..) => "docs/supported.md",
            Self::Listen(_) => "docs/configuration.md",
            Self::OutOfReach(_) => "docs/operating.md#sweeps",
            Self::WorkerEnded | Self::Signals(_) => "docs/runbook.md#ephemerddown",
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
    let settings = database::Settings::new(config.database.options());
    let mut connection = settings.connect().await.map_err(pooled)?;
    let migrated = bring_up_to_date(&mut connection, true).await;
    let _ = connection.close().await;
    migrated
}

/// A session of our own for an operator's command: it may wait longer for a lock than the workers may,
/// since it touches no archive rows.
async fn session(config: &Config) -> Result<PgConnection, Error> {
    let settings = database::Settings::new(config.database.options());
    let mut connection = settings.connect().await.map_err(pooled)?;
    is_ours(&mut connection).await?;
    sqlx::query("-- command_patience\nSET lock_timeout = '10s'")
        .execute(&mut connection)
        .await
        .named("command_patience")?;
    Ok(connection)
}

/// The same, with our schema as this program needs it.
async fn connect(config: &Config) -> Result<PgConnection, Error> {
    let mut connection = session(config).await?;
    match ledger::schema(&mut connection).await.map_err(not_granted)? {
        Schema::Current => Ok(connection),
        Schema::Missing => Err(MISSING),
        Schema::Behind => Err(BEHIND),
        Schema::Newer => Err(NEWER),
    }
}

async fn is_ours(connection: &mut PgConnection) -> Result<(), Error> {
    match database::session(connection).await? {
        Session::Ours => Ok(()),
        Session::StandBy => Err(database::Error::stand_by("session").into()),
        Session::Pooled => Err(Error::Pooled),
    }
}

/// The archive as this program needs it, and what else was found, or the first problem with it.
async fn open_archive(
    connection: &mut PgConnection,
    config: &Config,
) -> Result<(Archive, Vec<Finding>), Error> {
    let kind = archive_kind(config).ok_or(Error::OutOfReach("ask the daemon that runs"))?;
    let probed = archive::probe(connection, kind, &config.archive.hosts).await?;
    let problem = probed.findings.iter().find(|finding| finding.level == Level::Problem);
    match (probed.archive, problem) {
        (Some(archive), _) => Ok((archive, probed.findings)),
        (None, Some(it)) => Err(Error::Archive(it.what.clone(), it.remedy.clone())),
        (None, None) => Err(Error::Archive("no schema was found".to_owned(), String::new())),
    }
}

/// The server's tables that are read; none where only its companion module reaches the archive.
fn archive_kind(config: &Config) -> Option<archive::Kind> {
    match config.archive.kind {
        ArchiveKind::Prosody => Some(archive::Kind::Prosody),
        ArchiveKind::Ejabberd => Some(archive::Kind::Ejabberd),
        ArchiveKind::Component => None,
    }
}

/// The schema as this program needs it, or why not. Returns whether it had to be changed.
async fn bring_up_to_date(connection: &mut PgConnection, may_migrate: bool) -> Result<bool, Error> {
    is_ours(connection).await?;
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

/// Tells a pooler that refuses our session's settings (08P01) from a database that is away.
fn pooled(error: database::Error) -> Error {
    match error.sqlstate() {
        Some("08P01") => Error::Pooled,
        _ => Error::Database(error),
    }
}

/// Tells missing grants (42501, 3F000 no such schema) from a database that is away.
fn not_granted(error: database::Error) -> Error {
    match error.sqlstate() {
        Some("42501" | "3F000") => Error::NotGranted,
        _ => Error::Database(error),
    }
}

/// What becomes of archived rows.
fn erase_mode(config: &Config) -> Mode {
    match (config.erase.mode, config.archive.kind) {
        (EraseMode::Delete, _) => Mode::Delete,
        // Prosody refuses a cursor whose row is gone: the row must stay for a while.
        (EraseMode::Placeholder, _) | (EraseMode::Auto, ArchiveKind::Prosody) => Mode::Placeholder,
        // It may be either server: a placeholder breaks nothing on any.
        (EraseMode::Auto, ArchiveKind::Component) => Mode::Placeholder,
        // ejabberd compares ids: nothing breaks.
        (EraseMode::Auto, ArchiveKind::Ejabberd) => Mode::Delete,
    }
}
