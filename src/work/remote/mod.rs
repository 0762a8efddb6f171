//! What the daemon does where only the server's companion module reaches the archives
//! (`archive.kind = "component"`): the module tells, is asked to list, and erases.
//!
//! `feed` records what it tells and finds out what was lost; `walk` lists owner by owner; `erase` leases what
//! is due and asks for it to go. `beside` is for archives in SQL, where the module only helps.
//!
//! Only the daemon that leads has the component's connection, so it alone does any of this.

pub mod beside;
pub mod erase;
pub mod feed;
mod told;
pub mod walk;

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::watch;
use tracing::warn;

use crate::{
    archive::remote::{Abilities, Unanswered},
    model::Rules,
};

/// The name under which the sweep of these archives stands.
pub const SWEEP: &str = "component";

/// What recording and listing need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Only rows of these hosts.
    pub hosts: Vec<String>,
    /// What the operator decided.
    pub rules: Rules,
    /// From the end of one sweep to the start of the next.
    pub every: Duration,
    /// What is older than the first start is held until the operator accepts it.
    pub hold_backlog: bool,
}

/// The hosts whose modules answer, and what they can do.
#[derive(Debug, Clone)]
pub struct Present(watch::Sender<BTreeMap<String, Abilities>>);

impl Default for Present {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Present {
    /// Hears of changes.
    pub fn watch(&self) -> watch::Receiver<BTreeMap<String, Abilities>> {
        self.0.subscribe()
    }

    /// The hosts whose modules can do all that this kind needs.
    fn hosts(&self) -> Vec<String> {
        self.0.borrow().keys().cloned().collect()
    }

    fn of(&self, host: &str) -> Option<Abilities> {
        self.0.borrow().get(host).copied()
    }

    fn found(&self, host: &str, can: Abilities) {
        self.0.send_if_modified(|present| {
            present.insert(host.to_owned(), can).is_none_or(|before| before != can)
        });
    }

    /// The module does not answer as it must: nothing more is asked of it until it is greeted again.
    fn lost(&self, host: &str, why: Unanswered) {
        let was_there = self.0.send_if_modified(|present| present.remove(host).is_some());
        if was_there && why != Unanswered::Disconnected {
            warn!(host, help = why.remedy(), "the companion module answers no more: {why}");
        }
    }

    fn nobody(&self) {
        self.0.send_if_modified(|present| {
            let changed = !present.is_empty();
            present.clear();
            changed
        });
    }
}
