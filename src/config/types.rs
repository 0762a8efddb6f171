use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::url::DatabaseUrl;
use crate::component::ServerAddress;
use crate::model::{Address, RetentionRules, UploadRules};

/// Our identity on the XMPP server (XEP-0114).
#[derive(Debug, Clone)]
pub struct ComponentConfig {
    /// Our own address: a domain.
    pub jid: String,
    /// Where the server listens for components.
    pub server: ServerAddress,
    /// The secret that the handshake proves.
    pub secret: SecretString,
}

/// The XMPP server's own PostgreSQL database, which also contains our schema.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// Where it is, and our role there.
    pub url: DatabaseUrl,
    /// The password, unless it is in the URL or not needed.
    pub password: Option<SecretString>,
}

impl DatabaseConfig {
    /// How to connect to each host, including the password. Never print it.
    pub fn options(&self) -> Vec<PgConnectOptions> {
        let with_password = |options: PgConnectOptions| match &self.password {
            Some(password) => options.password(password.expose_secret()),
            None => options,
        };
        self.url.options().into_iter().map(with_password).collect()
    }
}

/// What is inspected, and how often.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// The server's way of keeping archives.
    pub kind: ArchiveKind,
    /// The hosts whose rows we may erase, and no others. Not empty, distinct, lower case.
    pub hosts: Vec<String>,
    /// Interval between polls.
    pub poll: Duration,
    /// Above this lag we are not ready.
    pub max_lag: Duration,
}

/// How rows are erased.
#[derive(Debug, Clone)]
pub struct EraseConfig {
    /// Whether a row stays as a placeholder for a while.
    pub mode: EraseMode,
    /// How long a placeholder is kept.
    pub placeholder_for: Duration,
    /// Maximum rows per transaction.
    pub batch: u32,
    /// Maximum rows erased per second; `None` for no limit.
    pub rows_per_second: Option<u32>,
    /// Count what is due, but erase nothing.
    pub dry_run: bool,
    /// What happens to messages archived before the first start.
    pub backlog: BacklogRule,
}

/// Files that go with the messages that name them.
#[derive(Debug, Clone)]
pub struct UploadsConfig {
    /// Which files.
    pub rules: UploadRules,
    /// The hosts whose companion modules remove them.
    pub hosts: Vec<String>,
}

/// How long messages are kept at most.
#[derive(Debug, Clone)]
pub struct RetentionConfig {
    /// Whose messages are kept how long.
    pub rules: RetentionRules,
    /// A policy by which more rows than this would go waits until the operator accepts it.
    pub confirm_above: u32,
    /// From the announcement of a policy to the first row that goes by it.
    pub grace: Duration,
}

/// How the whole archive is swept.
#[derive(Debug, Clone)]
pub struct SweepConfig {
    /// Interval between sweeps.
    pub every: Duration,
    /// Maximum rows read per second; `None` for no limit.
    pub rows_per_second: Option<u32>,
}

/// A message that is to vanish, again and again.
#[derive(Debug, Clone)]
pub struct CanaryConfig {
    /// Who gets it; `None` if nobody does.
    pub account: Option<Address>,
    /// How often.
    pub every: Duration,
}

/// What users may ask for.
#[derive(Debug, Clone)]
pub struct CommandsConfig {
    /// Users may ask what is kept of them.
    pub enabled: bool,
    /// Users may erase what is kept of them.
    pub erase: bool,
    /// Users may set how long their own archives keep messages.
    pub settings: bool,
    /// The shortest time that they may set.
    pub shortest_archive_for: Duration,
    /// Maximum requests of one user in a minute.
    pub per_minute: u32,
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
    /// The minimum severity.
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
        /// Placeholder if clients page by ids that must stay valid (Prosody), else delete.
        Auto = "auto",
        /// The text goes; the row stays for a while.
        Placeholder = "placeholder",
        /// The row goes.
        Delete = "delete",
    }
);
choice!(
    /// What happens to messages archived before the first start.
    BacklogRule {
        /// Recorded, shown, and kept until the operator accepts it.
        Hold = "hold",
        /// Erased like everything else.
        Erase = "erase",
    }
);
choice!(
    /// The minimum severity.
    LogLevel {
        /// Permanent failures.
        Error = "error",
        /// Things that somebody should look at.
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
        /// Programs: one JSON object per line.
        Json = "json",
    }
);
