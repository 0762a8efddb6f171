//! The way into PostgreSQL: the pool, and errors that tell no secrets.
//!
//! A database's own error text quotes rows: JIDs, ids, bodies. What leaves here is the SQLSTATE, the
//! constraint and our statement's name, nothing else.

mod probe;

use std::{fmt, time::Duration};

use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub use probe::{Probed, probe};

/// How many connections one daemon opens at the most.
const MAX_CONNECTIONS: u32 = 6;

/// Below `deadlock_timeout` (1 s).
const LOCK_TIMEOUT: &str = "100ms";

/// How to reach the database. Made from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where and as whom.
    pub options: PgConnectOptions,
    /// The longest wait for a connection.
    pub acquire_timeout: Duration,
    /// The longest wait for a lock, as PostgreSQL shows it.
    lock_timeout: &'static str,
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
        ]);
        Self { options, acquire_timeout: Duration::from_secs(5), lock_timeout: LOCK_TIMEOUT }
    }

    /// The same for an operator's command, which waits longer for a lock: it touches no archive rows.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.lock_timeout = "10s";
        self.options = self.options.options([("lock_timeout", self.lock_timeout)]);
        self
    }

    /// One connection, in bounded time.
    pub async fn connect(&self) -> Result<PgConnection> {
        let connecting = PgConnection::connect_with(&self.options);
        match tokio::time::timeout(self.acquire_timeout, connecting).await {
            Ok(connected) => connected.named("connect"),
            Err(_) => Err(Error::new("connect", &sqlx::Error::PoolTimedOut)),
        }
    }

    /// A pool that connects when first used: a database that is down only delays us.
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(self.acquire_timeout)
            .max_lifetime(Duration::from_secs(1800))
            .connect_lazy_with(self.options.clone())
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

    const STANDBY: &'static str = "let database.url lead to the primary, which can be written to";

    /// What to do about it, for people.
    pub fn remedy(&self) -> &'static str {
        match self.sqlstate() {
            Some("28P01" | "28000") => {
                "check the role in database.url, its password, and the server's pg_hba.conf"
            }
            Some("3D000") => "check the name of the database at the end of database.url",
            Some("08P01") => {
                "if database.url leads to a connection pool, let it pool sessions and pass `options` on, \
                 or go past it"
            }
            Some("25006") => Self::STANDBY,
            Some("42501") => "run deploy/grants.sql in this database as a superuser",
            Some("53300") => "raise max_connections: one daemon needs up to 6",
            Some("55P03") => "something holds a lock for long: try again, or look into pg_locks",
            Some(_) => "look into PostgreSQL's log",
            None => "check the host and port in database.url, and that PostgreSQL runs there",
        }
    }

    /// There is no way to the database now, so trying the same with less makes no sense.
    pub fn is_unreachable(&self) -> bool {
        match &self.cause {
            Cause::Unreachable(_) => true,
            // 08 connection, 53 resources (too many connections, disk full), 57P operator (shutting
            // down, starting up), 25006 a stand-by, 28 authorisation.
            Cause::Refused { sqlstate, .. } => {
                ["08", "53", "57P", "25006", "28"].iter().any(|class| sqlstate.starts_with(class))
            }
            Cause::Unexpected(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.statement)?;
        match &self.cause {
            Cause::Refused { sqlstate, constraint: None } => write!(f, "SQLSTATE {sqlstate}"),
            Cause::Refused { sqlstate, constraint: Some(constraint) } => {
                write!(f, "SQLSTATE {sqlstate}, constraint {constraint}")
            }
            Cause::Unreachable(what) | Cause::Unexpected(what) => f.write_str(what),
        }
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
