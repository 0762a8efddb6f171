//! The way into PostgreSQL: the pool, and errors that tell no secrets.
//!
//! A database's own error text quotes rows: JIDs, ids, bodies. What leaves here is the SQLSTATE, the
//! constraint and our statement's name, nothing else.

mod probe;

use std::{fmt, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub use probe::{Probed, probe};

/// read_only_sql_transaction
const READ_ONLY: &str = "25006";

/// How many connections one daemon opens at the most, beside the one that tells who leads.
const MAX_CONNECTIONS: u32 = 6;

/// A connection that is given back, and does not answer for so long, is closed.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);

/// What our sessions say of themselves at their start, and what [`session`] looks for.
const LOCK_TIMEOUT: &str = "100ms";

/// What to do about a pooler.
pub const POOLED: &str = "a connection pooler stands between: let database.url lead to PostgreSQL itself; \
                          ephemerd opens seven connections at the most";

/// How to reach the database. Made from the configuration. Not `Debug`: it holds the password.
#[derive(Clone)]
pub struct Settings {
    /// Where and as whom.
    pub options: PgConnectOptions,
    /// The longest wait for a connection.
    pub acquire_timeout: Duration,
}

impl Settings {
    /// Our sessions never wait long for a lock, never sit idle in a transaction, and name themselves.
    ///
    /// `lock_timeout` stands below `deadlock_timeout` (1 s), so that the server is never the victim of
    /// a deadlock with us.
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options.application_name("ephemerd").options([
            ("lock_timeout", LOCK_TIMEOUT),
            ("statement_timeout", "60s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("timezone", "UTC"),
            // Statements are short: compiling one would take longer than running it.
            ("jit", "off"),
        ]);
        // sqlx would log what is slow as a whole; our own lines name the statement.
        let options = options.disable_statement_logging();
        Self { options, acquire_timeout: Duration::from_secs(5) }
    }

    /// One connection, in bounded time.
    pub async fn connect(&self) -> Result<PgConnection> {
        let connecting = async { PgConnection::connect_with(&self.options).await.named("connect") };
        in_time("connect", self.acquire_timeout, connecting).await
    }

    /// A pool that connects when first used: a database that is down only delays us.
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(self.acquire_timeout)
            .max_lifetime(Duration::from_secs(600))
            // sqlx waits for ever for one that was cut without a word, and would log what it says.
            .after_release(|connection, _| {
                Box::pin(async move {
                    let answer = tokio::time::timeout(GIVEN_UP_AFTER, connection.ping()).await;
                    Ok(answer.is_ok_and(|answer| answer.is_ok()))
                })
            })
            .connect_lazy_with(self.options.clone())
    }
}

/// What a connection leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// A database that can be written, and a session of our own.
    Ours,
    /// A stand-by, or a database that is read-only.
    StandBy,
    /// Our settings did not arrive: a pooler stands between, and sessions may not be ours alone.
    Pooled,
}

/// Asks what this connection leads to, in the one way that works through any pooler: without
/// preparing anything.
pub async fn session(connection: &mut PgConnection) -> Result<Session> {
    const NAME: &str = "session";
    let row = sqlx::raw_sql(
        "-- session
         SELECT current_setting('transaction_read_only')::bool, current_setting('lock_timeout')",
    )
    .fetch_one(connection)
    .await
    .named(NAME)?;
    let read_only: bool = row.try_get(0).named(NAME)?;
    let lock_timeout: String = row.try_get(1).named(NAME)?;
    Ok(match (lock_timeout == LOCK_TIMEOUT, read_only) {
        (false, _) => Session::Pooled,
        (true, true) => Session::StandBy,
        (true, false) => Session::Ours,
    })
}

/// Waits for the database's answer so long at the most: a connection may be cut without a word.
pub async fn in_time<T, E: From<Error>>(
    statement: &'static str,
    limit: Duration,
    work: impl Future<Output = std::result::Result<T, E>>,
) -> std::result::Result<T, E> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let cause = Cause::Unreachable("no answer in time".into());
            Err(Error { statement, cause }.into())
        }
    }
}

/// A statement or a connection that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    statement: &'static str,
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    /// The database said no.
    Refused { sqlstate: String, constraint: Option<String> },
    /// There is no way to the database now.
    Unreachable(String),
    /// What came back is not what was asked for.
    Unexpected(String),
}

impl Error {
    /// A failure that is no error of sqlx's: what came back makes no sense.
    pub fn unexpected(statement: &'static str, what: impl Into<String>) -> Self {
        Self { statement, cause: Cause::Unexpected(what.into()) }
    }

    /// The database can only be read: a stand-by.
    pub fn stand_by(statement: &'static str) -> Self {
        let cause = Cause::Refused { sqlstate: READ_ONLY.to_owned(), constraint: None };
        Self { statement, cause }
    }

    /// Names the statement that failed and drops what must not be told.
    pub fn new(statement: &'static str, error: &sqlx::Error) -> Self {
        let cause = match error {
            sqlx::Error::Database(error) => Cause::Refused {
                sqlstate: error.code().unwrap_or_default().into_owned(),
                constraint: error.constraint().map(str::to_owned),
            },
            sqlx::Error::Io(error) => Cause::Unreachable(error.kind().to_string()),
            sqlx::Error::Tls(_) => Cause::Unreachable("TLS failed".into()),
            sqlx::Error::PoolTimedOut => Cause::Unreachable("no connection in time".into()),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Cause::Unreachable("the pool is closed".into())
            }
            sqlx::Error::Protocol(_) => Cause::Unreachable("the protocol broke off".into()),
            sqlx::Error::RowNotFound => Cause::Unexpected("a row is missing".into()),
            sqlx::Error::ColumnDecode { index, .. } => {
                Cause::Unexpected(format!("column {index} cannot be read"))
            }
            sqlx::Error::ColumnNotFound(name) => {
                Cause::Unexpected(format!("column {name} is missing"))
            }
            _ => Cause::Unexpected("the driver failed".into()),
        };
        Self { statement, cause }
    }

    /// The SQLSTATE, where the database gave one.
    pub fn sqlstate(&self) -> Option<&str> {
        match &self.cause {
            Cause::Refused { sqlstate, .. } => Some(sqlstate),
            Cause::Unreachable(_) | Cause::Unexpected(_) => None,
        }
    }

    /// What to do about it, for people.
    pub fn remedy(&self) -> &'static str {
        match self.sqlstate() {
            Some("28P01" | "28000") => {
                "check the role in database.url, its password, and the server's pg_hba.conf"
            }
            Some("3D000") => "check the name of the database at the end of database.url",
            Some("08P01") => POOLED,
            Some(READ_ONLY) => "let database.url lead to the primary, which can be written to",
            Some("42501") => "run deploy/grants.sql in this database as a superuser",
            Some("53300") => "raise max_connections: one daemon opens up to 7",
            Some("55P03") => "something holds a lock for long: try again, or look into pg_locks",
            Some(_) => "look into PostgreSQL's log",
            None => "check the host and port in database.url, and that PostgreSQL runs there",
        }
    }

    /// Another session was in the way: the same will succeed when it is gone. No failure of the
    /// database.
    pub fn is_contention(&self) -> bool {
        // 55P03 lock_not_available, 40001 serialization_failure, 40P01 deadlock_detected
        matches!(self.sqlstate(), Some("55P03" | "40001" | "40P01"))
    }

    /// There is no way to the database now, so trying the same with less makes no sense.
    pub fn is_unreachable(&self) -> bool {
        match &self.cause {
            Cause::Unreachable(_) => true,
            // 08 connection, 53 resources (too many connections, disk full), 57P operator (shutting
            // down, starting up), 25006 a stand-by, 28 authorisation.
            Cause::Refused { sqlstate, .. } => {
                ["08", "53", "57P", READ_ONLY, "28"].iter().any(|class| sqlstate.starts_with(class))
            }
            Cause::Unexpected(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.statement)?;
        match &self.cause {
            Cause::Refused { sqlstate, constraint: None } => {
                write!(f, "SQLSTATE {sqlstate}{}", in_words(sqlstate))
            }
            Cause::Refused { sqlstate, constraint: Some(constraint) } => {
                write!(f, "SQLSTATE {sqlstate}, constraint {constraint}")
            }
            Cause::Unreachable(what) | Cause::Unexpected(what) => f.write_str(what),
        }
    }
}

/// What an operator meets most often, in words.
fn in_words(sqlstate: &str) -> &'static str {
    match sqlstate {
        READ_ONLY => " (the database is a stand-by or read-only)",
        "28000" | "28P01" => " (the database does not accept our role or password)",
        "3D000" => " (there is no such database)",
        "53300" => " (the database has too many connections)",
        "55P03" => " (another session holds a lock)",
        "57P01" | "57P02" | "57P03" => " (the database is starting or stopping)",
        "57014" => " (it took too long)",
        _ => "",
    }
}

/// What a database call gives.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the statement of a result.
pub trait Named<T> {
    /// The same result, its error named and stripped.
    fn named(self, statement: &'static str) -> Result<T>;
}

impl<T> Named<T> for std::result::Result<T, sqlx::Error> {
    fn named(self, statement: &'static str) -> Result<T> {
        self.map_err(|error| Error::new(statement, &error))
    }
}
