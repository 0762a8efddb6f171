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
mod reading;
mod render;
mod retention;
mod sample;
mod secret;
mod sources;
mod types;
mod uploads;
mod url;
mod validate;

use std::path::Path;

pub use address::{domain, stored as stored_address};
pub use change::{Change, changes_in_place};
pub use duration::{DurationError, parse as parse_duration, print as print_duration};
pub use error::{ConfigError, Origin};
pub use raw::{KEY_INFOS, KEYS, KeyInfo};
pub use render::Setting;
pub use retention::print as print_limit;
pub use sample::{Sample, filled_sample};
pub use sources::{DEFAULT_FILE, Sources};
pub use types::{
    ArchiveConfig, ArchiveKind, BacklogRule, CanaryConfig, CommandsConfig, ComponentConfig,
    DatabaseConfig, EraseConfig, EraseMode, HttpConfig, LogConfig, LogFormat, LogLevel,
    RetentionConfig, SweepConfig, UploadsConfig,
};
pub use url::{DatabaseUrl, GivenUrl};

use crate::{
    model::{Finding, HintRules, InheritRules, RoomRules, Rules, TimerRules, WishRules},
    policy::Retention,
};

/// The whole configuration, validated and complete.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[component]`: who we are to the XMPP server.
    pub component: ComponentConfig,
    /// `[database]`: the XMPP server's own PostgreSQL database.
    pub database: DatabaseConfig,
    /// `[archive]`: what is inspected, and how often.
    pub archive: ArchiveConfig,
    /// `[timers]`: how long a timer may run, and from when.
    pub timers: TimerRules,
    /// `[hints]`: what happens to messages that ask not to be stored.
    pub hints: HintRules,
    /// `[rooms]`: what starts the timers of rooms' messages.
    pub rooms: RoomRules,
    /// `[inherit]`: what belongs to a message.
    pub inherit: InheritRules,
    /// `[erase]`: how rows are erased.
    pub erase: EraseConfig,
    /// `[uploads]`: files that go with the messages that name them.
    pub uploads: UploadsConfig,
    /// `[retention]`: how long messages are kept at most.
    pub retention: RetentionConfig,
    /// `[sweep]`: how the whole archive is swept.
    pub sweep: SweepConfig,
    /// `[canary]`: a message that is to vanish, again and again.
    pub canary: CanaryConfig,
    /// `[commands]`: what users may ask for.
    pub commands: CommandsConfig,
    /// `[http]`: metrics and health.
    pub http: HttpConfig,
    /// `[log]`
    pub log: LogConfig,
    settings: Vec<Setting>,
    remarks: Vec<Finding>,
}

impl Config {
    /// Reads the named file, or [`DEFAULT_FILE`], and then the environment, which overrides it.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        Self::from_sources(&Sources::of_process(named)?)
    }

    /// Reads `sources`, and the files that contain its secrets.
    pub fn from_sources(sources: &Sources) -> Result<Self, ConfigError> {
        validate::config(sources)
    }

    /// Warnings: what works but should be looked at.
    pub fn remarks(&self) -> &[Finding] {
        &self.remarks
    }

    /// The rules that policy judges by.
    pub fn rules(&self) -> Rules {
        Rules {
            timers: self.timers.clone(),
            hints: self.hints.clone(),
            rooms: self.rooms.clone(),
            inherit: self.inherit,
            uploads: self.uploads.rules.clone(),
            wishes: WishRules {
                // Wishes are for archives in tables.
                followed: self.commands.settings && self.archive.kind != ArchiveKind::Component,
                shortest: self.commands.shortest_archive_for,
            },
        }
    }

    /// How long messages are kept, prepared for looking up whom which rule is for.
    pub fn retention(&self) -> Retention {
        Retention::new(self.retention.rules.clone())
    }
}
