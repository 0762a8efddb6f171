//! The only place that builds everything and puts it together.

mod about;
mod aside;
mod canary;
mod check;
mod commands;
mod control;
mod daemon;
mod explain;
mod export;
mod hold;
pub mod init;
mod module;
mod preview;
mod reload;
mod requests;
mod retention;
mod settings;
mod sweep;
mod trial;

use sqlx::{Connection as _, PgConnection};
use tracing::info;

pub use about::about;
pub use check::check;
pub use control::{accept_backlog, backlog, pause, resume, status};
pub use daemon::{RunOptions, run};
pub use explain::{explain_given, explain_live};
pub use export::export;
pub use hold::{HoldWaits, Placed, add_hold, hold, hold_log, holds, release_hold};
pub use preview::{preview, scan};
pub use requests::{
    Followed, RequestState, ask_to_erase, erasable, follow_request, request_log, requests,
    withdraw_request,
};
pub use retention::{Accepted, accept_policy, age_outlook};
pub use sweep::{Swept, sweep};
pub use trial::{TrialEnd, TrialStep, try_out};

use crate::{
    archive::{self, Archive},
    config::{ArchiveKind, Config, EraseMode},
    database::{self, DatabaseSettings, Named, Session},
    ledger::{self, SchemaState},
    model::{Finding, Level, Mode},
};

/// Why a command failed, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or rejected something.
    #[error("the database failed: {0}\nhelp: {help}", help = .0.remedy())]
    Database(#[from] database::Error),
    /// A pooler is in front of the database.
    #[error(
        "there is a connection pooler between ephemerd and PostgreSQL, which loses our sessions' settings and locks\n\
         help: point database.url at PostgreSQL itself: ephemerd opens at most seven connections"
    )]
    Pooled,
    /// Our schema is missing, and we may not create it.
    #[error(
        "schema ephemerd is missing, or our role may not write there\n\
         help: run deploy/grants.sql in this database as a superuser, then `ephemerd migrate`"
    )]
    NotGranted,
    /// Our schema is not the version that this program needs.
    #[error("{0}")]
    Schema(&'static str),
    /// The server's tables are not as we need them.
    #[error("the archive cannot be used: {0}\nhelp: {1}")]
    Archive(String, String),
    /// Only the companion module can reach the archive.
    #[error(
        "the archive is in the XMPP server's own storage, which only its companion module can reach\nhelp: {0}"
    )]
    OutOfReach(&'static str),
    /// Of this host nothing is inspected or erased.
    #[error(
        "the host {0} is not in archive.hosts, so nothing of it is erased\n\
         help: name a user or room of one of these hosts, or add the host to the configuration of all daemons"
    )]
    Unlisted(String),
    /// Nobody would erase what is asked for.
    #[error(
        "no daemon runs, so nothing would be erased\n\
         help: start one with this configuration (`ephemerd run`), then ask again"
    )]
    NoDaemon,
    /// No daemon carries out a request.
    #[error(
        "request {0} stands, but no daemon has begun with it\n\
         help: let a daemon of this version run with this owner's host in archive.hosts and without erase.dry_run; \
         it carries out the request, which `ephemerd erase --list` shows"
    )]
    NotBegun(i64),
    /// A transaction that erases did not end in time.
    #[error(
        "the hold was not placed: a transaction that erases has not ended for minutes, and it may concern what is to be held\n\
         help: run `ephemerd pause`, look in pg_stat_activity for what it waits for, then try again"
    )]
    NotPlaced,
    /// A hold is in force, but something failed after that.
    #[error(
        "hold {0} was placed, but then the database failed: {1}\nhelp: `ephemerd hold show {0}` shows it"
    )]
    AfterPlacing(i64, database::Error),
    /// The HTTP port is in use, or we may not listen on it.
    #[error(
        "http.listen: cannot listen: {0}\nhelp: another daemon may be running; choose another port"
    )]
    Listen(std::io::ErrorKind),
    /// A worker ended when it should have kept running.
    #[error("the worker {0} ended by itself\nhelp: this is a bug; please report it with the log")]
    WorkerEnded(&'static str),
    /// A worker panicked; the log has its name and place.
    #[error(
        "a worker panicked\nhelp: this is a bug; please report it with the log, which names the worker"
    )]
    WorkerPanicked,
    /// The process could not listen for signals.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::ErrorKind),
}

impl Error {
    /// Retrying is pointless until somebody acts.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Database(_) | Self::NotPlaced | Self::AfterPlacing(..) => false,
            Self::NoDaemon | Self::NotBegun(_) => false,
            Self::Listen(_) | Self::Signals(_) => false,
            Self::WorkerEnded(_) | Self::WorkerPanicked => false,
            Self::Pooled | Self::NotGranted | Self::Schema(_) | Self::Archive(..) => true,
            Self::OutOfReach(_) | Self::Unlisted(_) => true,
        }
    }
}

impl Error {
    /// The documentation page with more details.
    pub const fn page(&self) -> &'static str {
        match self {
            Self::Database(_) => "docs/runbook.md#ephemerddatabaseerrors",
            Self::NotPlaced | Self::AfterPlacing(..) => "docs/holds.md#placing-one",
            Self::NoDaemon | Self::NotBegun(_) => "docs/requests.md#what-is-refused",
            Self::Pooled => "docs/reliability.md#what-is-refused",
            Self::NotGranted => "docs/operating.md#the-database",
            Self::Schema(_) => "docs/operating.md#upgrades",
            Self::Archive(..) => "docs/supported.md",
            Self::Listen(_) | Self::Unlisted(_) => "docs/configuration.md",
            Self::OutOfReach(_) => "docs/operating.md#sweeps",
            Self::WorkerEnded(_) | Self::WorkerPanicked | Self::Signals(_) => {
                "docs/runbook.md#ephemerddown"
            }
        }
    }
}

const MISSING: Error = Error::Schema(
    "schema ephemerd has no tables yet\nhelp: run `ephemerd migrate`, or `ephemerd check` to see what else is missing",
);
const NEWER: Error = Error::Schema(
    "schema ephemerd is newer than this program\nhelp: install the newer version of ephemerd again",
);
const BEHIND: Error = Error::Schema(
    "schema ephemerd is older than this program\nhelp: run `ephemerd migrate`, or `ephemerd run` without --no-migrate",
);

/// `ephemerd migrate`: migrates our schema. Returns whether anything had to be done.
pub async fn migrate(config: &Config) -> Result<bool, Error> {
    let settings = DatabaseSettings::new(config.database.options());
    let mut connection = settings.connect().await.map_err(pooled)?;
    are_our_own(&mut connection, &settings).await?;
    let migrated = bring_up_to_date(&mut connection, true).await;
    let _ = connection.close().await;
    migrated
}

/// A session for an operator's command. It may wait longer for a lock than the workers may, since it touches
/// no archive rows.
async fn session(config: &Config) -> Result<PgConnection, Error> {
    let settings = DatabaseSettings::new(config.database.options());
    let mut connection = settings.connect().await.map_err(pooled)?;
    is_ours(&mut connection).await?;
    sqlx::query("-- command_patience\nSET lock_timeout = '10s'")
        .execute(&mut connection)
        .await
        .named("command_patience")?;
    Ok(connection)
}

/// The same, once our schema is the version that this program needs.
async fn connect(config: &Config) -> Result<PgConnection, Error> {
    let mut connection = session(config).await?;
    match ledger::schema(&mut connection).await.map_err(not_granted)? {
        SchemaState::Current => Ok(connection),
        SchemaState::Missing => Err(MISSING),
        SchemaState::Behind => Err(BEHIND),
        SchemaState::Newer => Err(NEWER),
    }
}

async fn is_ours(connection: &mut PgConnection) -> Result<(), Error> {
    match database::session(connection).await? {
        Session::Ours => Ok(()),
        Session::Standby => Err(database::Error::standby("session").into()),
        Session::Pooled => Err(Error::Pooled),
    }
}

/// The same, and no pooler hides that it shares sessions.
async fn are_our_own(
    connection: &mut PgConnection,
    settings: &DatabaseSettings,
) -> Result<(), Error> {
    is_ours(connection).await?;
    match database::are_shared(settings).await? {
        true => Err(Error::Pooled),
        false => Ok(()),
    }
}

/// Lets statements of this session take long: one owner may have millions of rows, and nobody waits for us.
async fn count_in_peace(connection: &mut PgConnection) -> database::Result<()> {
    sqlx::query("-- counting_patience\nSET statement_timeout = '1h'")
        .execute(connection)
        .await
        .named("counting_patience")?;
    Ok(())
}

/// Opens the archive if it is as this program needs it; also returns the findings. Otherwise fails with the
/// first problem.
async fn open_archive(
    connection: &mut PgConnection,
    config: &Config,
) -> Result<(Archive, Vec<Finding>), Error> {
    let kind = archive_kind(config).ok_or(Error::OutOfReach("ask the running daemon"))?;
    let probed = archive::probe(connection, kind, &config.archive.hosts).await?;
    let problem = probed.findings.iter().find(|finding| finding.level == Level::Problem);
    match (probed.archive, problem) {
        (Some(archive), _) => Ok((archive, probed.findings)),
        (None, Some(it)) => Err(Error::Archive(it.what.clone(), it.remedy.clone())),
        (None, None) => Err(Error::Archive("no schema was found".to_owned(), String::new())),
    }
}

/// The server's tables, or `None` if only the companion module reaches the archive.
fn archive_kind(config: &Config) -> Option<archive::Kind> {
    match config.archive.kind {
        ArchiveKind::Prosody => Some(archive::Kind::Prosody),
        ArchiveKind::Ejabberd => Some(archive::Kind::Ejabberd),
        ArchiveKind::Component => None,
    }
}

/// Migrates the schema, or says why not. Returns whether anything had to be done.
async fn bring_up_to_date(connection: &mut PgConnection, may_migrate: bool) -> Result<bool, Error> {
    is_ours(connection).await?;
    match ledger::schema(connection).await.map_err(not_granted)? {
        SchemaState::Current => Ok(false),
        SchemaState::Newer => Err(NEWER),
        SchemaState::Missing | SchemaState::Behind if !may_migrate => Err(BEHIND),
        SchemaState::Missing | SchemaState::Behind => {
            ledger::migrate(connection).await.map_err(not_granted)?;
            info!("schema ephemerd is up to date");
            Ok(true)
        }
    }
}

/// Distinguishes a pooler that rejects our session's settings (08P01) from a database that is unavailable.
fn pooled(error: database::Error) -> Error {
    match error.sqlstate() {
        Some("08P01") => Error::Pooled,
        _ => Error::Database(error),
    }
}

/// Distinguishes missing grants (42501, 3F000 no such schema) from a database that is unavailable.
fn not_granted(error: database::Error) -> Error {
    match error.sqlstate() {
        Some("42501" | "3F000") => Error::NotGranted,
        _ => Error::Database(error),
    }
}

/// What happens to archived rows.
fn erase_mode(config: &Config) -> Mode {
    match (config.erase.mode, config.archive.kind) {
        (EraseMode::Delete, _) => Mode::Delete,
        // Prosody rejects a paging cursor whose row is gone: the row must stay for a while.
        (EraseMode::Placeholder, _) | (EraseMode::Auto, ArchiveKind::Prosody) => Mode::Placeholder,
        // It may be either server, and a placeholder breaks nothing on any.
        (EraseMode::Auto, ArchiveKind::Component) => Mode::Placeholder,
        // ejabberd compares ids, so nothing breaks.
        (EraseMode::Auto, ArchiveKind::Ejabberd) => Mode::Delete,
    }
}
