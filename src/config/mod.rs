//! What the operator decided: one TOML file, and above it `EPHEMERD__SECTION__KEY` from the environment.
//!
//! ```text
//! Sources ─▶ raw (serde: keys) ─▶ validate (values) ─▶ Config ─▶ small structs for the workers
//! ```
//!
//! Only layer 5 sees this module: `app` hands each worker what it needs and no more.

mod address;
mod change;
mod duration;
mod error;
mod judge;
mod raw;
mod render;
mod secret;
mod sources;
mod types;
mod validate;

use std::collections::BTreeMap;
use std::path::Path;

pub use change::{Change, changes_in_place};
pub use duration::{DurationError, parse as parse_duration, print as print_duration};
pub use error::{ConfigError, Origin};
pub use raw::KEYS;
pub use render::Setting;
pub use secret::DatabaseUrl;
pub use sources::{DEFAULT_FILE, Sources};
pub use types::{
    ArchiveConfig, ArchiveKind, BacklogRule, ComponentConfig, DatabaseConfig, EraseConfig,
    EraseMode, HttpConfig, LogConfig, LogFormat, LogLevel, SweepConfig,
};

use crate::model::{HintRules, OfflineRules, Rules, TimerRules};

/// The whole configuration, read, judged and complete.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[component]`: who we are to the XMPP server.
    pub component: ComponentConfig,
    /// `[database]`: the XMPP server's own PostgreSQL database.
    pub database: DatabaseConfig,
    /// `[archive]`: what is inspected, and how often.
    pub archive: ArchiveConfig,
    /// `[timers]`: how long a timer may run.
    pub timers: TimerRules,
    /// `[hints]`: what becomes of what asked not to be kept.
    pub hints: HintRules,
    /// `[offline]`: what becomes of what nobody has received.
    pub offline: OfflineRules,
    /// `[erase]`: how rows go.
    pub erase: EraseConfig,
    /// `[sweep]`: how the whole archive is gone through.
    pub sweep: SweepConfig,
    /// `[http]`: metrics and health.
    pub http: HttpConfig,
    /// `[log]`
    pub log: LogConfig,
    origins: BTreeMap<&'static str, Origin>,
}

impl Config {
    /// Reads the file named, else [`DEFAULT_FILE`], and the environment above it.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        Self::from_sources(&Sources::of_process(named)?)
    }

    /// Reads what `sources` hold, and the files that its secrets are in.
    pub fn from_sources(sources: &Sources) -> Result<Self, ConfigError> {
        validate::config(sources)
    }

    /// The part that policy judges by.
    pub fn rules(&self) -> Rules {
        Rules {
            timers: self.timers.clone(),
            hints: self.hints.clone(),
            offline: self.offline.clone(),
        }
    }
}
