use std::time::Duration;

use super::Store;

/// How long messages are kept at most, whatever their senders asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionRules {
    /// For everybody to whom no rule applies.
    pub everyone: Limits,
    /// For some: no name is in two of them.
    pub rules: Vec<RetentionRule>,
}

/// A rule for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// Whose messages the names are about.
    pub whose: Whose,
    /// Bare addresses of users or rooms, or names of hosts.
    pub names: Vec<String>,
    /// How long they are kept.
    pub limits: Limits,
    /// Why, for whoever reads the rules.
    pub reason: Option<String>,
}

/// What the names of a rule are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Users: archive and offline queue.
    Users,
    /// Rooms: their archives.
    Rooms,
    /// All users or rooms of a host.
    Hosts,
}

impl Whose {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Rooms => "rooms",
            Self::Hosts => "hosts",
        }
    }
}

/// A limit for each store; `None` where nothing was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// For users' archives.
    pub archive: Option<Limit>,
    /// For rooms' archives.
    pub room: Option<Limit>,
    /// For offline queues.
    pub queue: Option<Limit>,
}

impl Limits {
    /// The limit for this store.
    pub const fn of(&self, store: Store) -> Option<Limit> {
        match store {
            Store::Archive => self.archive,
            Store::Room => self.room,
            Store::Queue => self.queue,
        }
    }
}

/// How long a message is kept at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// Its age does not matter.
    #[default]
    Never,
    /// It goes this long after it was archived.
    After(Duration),
}
