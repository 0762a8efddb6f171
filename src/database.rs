//! PostgreSQL access: the pool, and errors that carry no row data.
//!
//! A database's own error text quotes rows: JIDs, ids, bodies. Our errors hold only the SQLSTATE, the
//! constraint and the statement's name.

mod cause;
mod probe;
mod settings;

use std::{fmt, io, time::Duration};

use sqlx::{PgConnection, Row as _};

pub use probe::{Probed, are_shared, probe};
pub use settings::DatabaseSettings;

use crate::model::Timestamp;

/// read_only_sql_transaction
const READ_ONLY: &str = "25006";

/// Every session of ours sets this when it starts; [`session`] checks for it.
const LOCK_TIMEOUT: &str = "100ms";

/// What to do about a pooler.
pub const POOLED: &str = "there is a connection pooler in between: point database.url at PostgreSQL itself; \
                          ephemerd opens at most seven connections";

/// What kind of session a connection turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// A writable database, and a session to ourselves.
    Ours,
    /// A standby or a read-only database.
    Standby,
    /// Our settings did not arrive: there is a pooler in between, and sessions may be shared.
    Pooled,
}

/// Checks what this connection is. It prepares nothing, so it works through any pooler.
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
        (true, true) => Session::Standby,
        (true, false) => Session::Ours,
    })
}

/// The database's clock, by which everything is due.
pub async fn now(connection: &mut PgConnection) -> Result<Timestamp> {
    sqlx::query_scalar("-- now\nSELECT clock_timestamp()").fetch_one(connection).await.named("now")
}

/// What a statement would see now of others' transactions, in PostgreSQL's own notation: another one after any that wrote
/// something, in any database of the server, has ended.
pub async fn snapshot(connection: &mut PgConnection) -> Result<String> {
    sqlx::query_scalar("-- snapshot\nSELECT pg_current_snapshot()::text")
        .fetch_one(connection)
        .await
        .named("snapshot")
}

/// What every role may know of a PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct About {
    /// Its version, as it names it.
    pub version: String,
    /// Whether it has the role that was asked for.
    pub has_role: bool,
}

/// What a server is, and whether it has this role.
pub async fn about(connection: &mut PgConnection, role: &str) -> Result<About> {
    sqlx::query_as(
        "-- about
         SELECT current_setting('server_version') AS version,
                EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS has_role",
    )
    .bind(role)
    .fetch_one(connection)
    .await
    .named("about")
}

/// Waits this long at most for the database's answer: a connection may be cut silently.
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

/// A failed statement or connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    statement: &'static str,
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    /// The database rejected it.
    Refused { sqlstate: String, constraint: Option<String> },
    /// The database cannot be reached at present.
    Unreachable(String),
    /// A server answered, but TLS could not be negotiated.
    Tls { problem: String, remedy: &'static str },
    /// The result is not what was asked for.
    Unexpected(String),
}

impl Error {
    /// An error that sqlx does not know about: the result makes no sense.
    pub fn unexpected(statement: &'static str, what: impl Into<String>) -> Self {
        Self { statement, cause: Cause::Unexpected(what.into()) }
    }

    /// The database is read-only: a standby.
    pub fn standby(statement: &'static str) -> Self {
        let cause = Cause::Refused { sqlstate: READ_ONLY.to_owned(), constraint: None };
        Self { statement, cause }
    }

    /// Names the statement that failed and drops anything that must not be logged.
    pub fn new(statement: &'static str, error: &sqlx::Error) -> Self {
        let cause = match error {
            sqlx::Error::Database(error) => Cause::Refused {
                sqlstate: error.code().unwrap_or_default().into_owned(),
                constraint: error.constraint().map(str::to_owned),
            },
            sqlx::Error::Io(error) => cause::of_io(error),
            sqlx::Error::Tls(error) => cause::of_tls(error.as_ref()),
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

    /// The SQLSTATE, if the database sent one.
    pub fn sqlstate(&self) -> Option<&str> {
        match &self.cause {
            Cause::Refused { sqlstate, .. } => Some(sqlstate),
            Cause::Unreachable(_) | Cause::Tls { .. } | Cause::Unexpected(_) => None,
        }
    }

    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        if let Cause::Tls { remedy, .. } = self.cause {
            return remedy;
        }
        match self.sqlstate() {
            Some("28P01" | "28000") => {
                "check the role in database.url, its password, and the server's pg_hba.conf"
            }
            Some("3D000") => "check the name of the database at the end of database.url",
            Some("08P01") => POOLED,
            Some(READ_ONLY) => "point database.url at the primary, which accepts writes",
            Some("42501") => "run deploy/grants.sql in this database as a superuser",
            Some("55000") => {
                "a publication may cover this table, which then needs ALTER TABLE … REPLICA IDENTITY FULL"
            }
            Some("53300") => {
                "raise max_connections, or our role's CONNECTION LIMIT: one daemon opens up to 7"
            }
            Some("55P03") => "a lock is being held for a long time: try again, or look at pg_locks",
            Some(_) => "look at PostgreSQL's log",
            None => "check the host and port in database.url, and that PostgreSQL runs there",
        }
    }

    /// Another session was in the way, and a retry will succeed. Not a failure of the database.
    pub fn is_contention(&self) -> bool {
        // 55P03 lock_not_available, 40001 serialization_failure, 40P01 deadlock_detected
        matches!(self.sqlstate(), Some("55P03" | "40001" | "40P01"))
    }

    /// No row of the table can be changed at all: a privilege is missing (42501), a publication covers a
    /// table without a replica identity (55000), the table or a column is gone (42P01, 42703), or it does not
    /// support this change (0A000).
    pub fn is_of_the_table(&self) -> bool {
        matches!(self.sqlstate(), Some("42501" | "55000" | "42P01" | "42703" | "0A000"))
    }

    /// The database cannot be reached, so a smaller batch would not help.
    pub fn is_unreachable(&self) -> bool {
        match &self.cause {
            Cause::Unreachable(_) | Cause::Tls { .. } => true,
            // 08 connection, 53 resources (too many connections, disk full), 57P operator (shutting
            // down, starting up), 25006 a standby, 28 authorisation.
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
            Cause::Tls { problem, .. } => write!(f, "TLS failed: {problem}"),
            Cause::Unreachable(what) | Cause::Unexpected(what) => f.write_str(what),
        }
    }
}

/// What went wrong with a connection, in words. Where the system calls the error uncategorized, the name was not found.
pub fn reason(error: &io::Error) -> String {
    match error.to_string().starts_with("failed to lookup address information") {
        true => "cannot resolve the name".to_owned(),
        false => error.kind().to_string(),
    }
}

/// The errors that operators meet most often, in words.
fn in_words(sqlstate: &str) -> &'static str {
    match sqlstate {
        READ_ONLY => " (the database is a standby or read-only)",
        "28000" | "28P01" => " (the database does not accept our role or password)",
        "3D000" => " (there is no such database)",
        "42501" => " (our role lacks a privilege)",
        "53300" => " (too many connections, of the server or of our role)",
        "55000" => " (the table is not in a state for this)",
        "55P03" => " (another session holds a lock)",
        "57P01" | "57P02" | "57P03" => " (the database is starting up or shutting down)",
        "57014" => " (it took too long)",
        _ => "",
    }
}

/// The result of a database call.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the statement that a result comes from.
pub trait Named<T> {
    /// The same result; its error is named and stripped.
    fn named(self, statement: &'static str) -> Result<T>;
}

impl<T> Named<T> for std::result::Result<T, sqlx::Error> {
    fn named(self, statement: &'static str) -> Result<T> {
        self.map_err(|error| Error::new(statement, &error))
    }
}
