use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::secret::DatabaseUrl;
use crate::component::ServerAddress;

/// Who we are to the XMPP server (XEP-0114).
#[derive(Debug, Clone)]
pub struct ComponentConfig {
    /// Our own address: a domain.
    pub jid: String,
    /// Where the server waits for components.
    pub server: ServerAddress,
    /// What the handshake proves that we know.
    pub secret: SecretString,
}

/// The XMPP server's own PostgreSQL database, where our schema lives too.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// Where it is and who we are there.
    pub url: DatabaseUrl,
    /// The password, unless the URL holds it or none is needed.
    pub password: Option<SecretString>,
}

impl DatabaseConfig {
    /// How to connect, the password included. Never print it.
    pub fn options(&self) -> PgConnectOptions {
        let options = self.url.options();
        match &self.password {
            Some(password) => options.password(password.expose_secret()),
            None => options,
        }
    }
}

/// What is inspected, and how often.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// The server's way of keeping archives.
    pub kind: ArchiveKind,
    /// The hosts whose rows we may touch: never another. Not empty, distinct, lower case.
    pub hosts: Vec<String>,
    /// The time from one look at the archive's end to the next.
    pub poll: Duration,
    /// Further behind the archive than this we are not ready.
    pub max_lag: Duration,
}

/// How rows go.
#[derive(Debug, Clone)]
pub struct EraseConfig {
    /// Whether a row stays as a placeholder for a while.
    pub mode: EraseMode,
    /// How long a placeholder stays.
    pub placeholder_for: Duration,
    /// Rows in one transaction, at most.
    pub batch: u32,
    /// Rows erased in a second, at most; `None` is no limit.
    pub rows_per_second: Option<u32>,
    /// Counts what is due and erases nothing.
    pub dry_run: bool,
    /// What becomes of what was archived before the first start.
    pub backlog: BacklogRule,
}

/// How the whole archive is gone through.
#[derive(Debug, Clone)]
pub struct SweepConfig {
    /// The time from one sweep to the next.
    pub every: Duration,
    /// Rows read in a second, at most; `None` is no limit.
    pub rows_per_second: Option<u32>,
}

/// Metrics and health.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Where we listen.
    pub listen: SocketAddr,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Nothing less severe is logged.
    pub level: LogLevel,
    /// For people or for programs.
    pub format: LogFormat,
}

macro_rules! choice {
    ($(#[doc = $doc:literal])+ $type:ident { $(#[doc = $help:literal] $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $type {
            $(#[doc = $help] $variant,)+
        }

        impl $type {
            /// All choices.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl super::judge::Choice for $type {
            fn all() -> &'static [Self] { Self::ALL }
            fn name(self) -> &'static str { self.as_str() }
        }
    };
}

choice!(
    /// The server's way of keeping archives.
    ArchiveKind {
        /// Prosody with SQL storage on PostgreSQL.
        Prosody = "prosody",
        /// ejabberd with SQL storage on PostgreSQL.
        Ejabberd = "ejabberd",
        /// Any other storage, reached by the companion module in the server.
        Component = "component",
    }
);
choice!(
    /// Whether an erased row stays as a placeholder for a while.
    EraseMode {
        /// Placeholder where clients page by ids that must stay valid (Prosody), else delete.
        Auto = "auto",
        /// The words go, the row stays for a while.
        Placeholder = "placeholder",
        /// The row goes.
        Delete = "delete",
    }
);
choice!(
    /// What becomes of what was archived before the first start.
    BacklogRule {
        /// Recorded, shown, and kept until the operator accepts it.
        Hold = "hold",
        /// Erased like everything else.
        Erase = "erase",
    }
);
choice!(
    /// Nothing less severe is logged.
    LogLevel {
        /// What failed for good.
        Error = "error",
        /// What somebody should look at.
        Warn = "warn",
        /// What changed.
        Info = "info",
        /// What was done.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
);
choice!(
    /// For whom the log is written.
    LogFormat {
        /// People.
        Human = "human",
        /// Programs: one JSON object in a line.
        Json = "json",
    }
);
