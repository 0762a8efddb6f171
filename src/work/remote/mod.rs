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

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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

/// The offline queue that is being listed, and whether it was handed out meanwhile: then the list shows copies that
/// are there no more.
#[derive(Debug, Clone, Default)]
pub struct Queue(Arc<Mutex<Option<Listed>>>);

#[derive(Debug)]
struct Listed {
    host: String,
    owner: String,
    is_stale: bool,
}

impl Queue {
    /// The list of this queue begins.
    fn begin(&self, (host, owner): (&str, &str)) {
        let (host, owner) = (host.to_owned(), owner.to_owned());
        self.change(|listed| *listed = Some(Listed { host, owner, is_stale: false }));
    }

    /// This queue was handed out.
    fn drained(&self, (host, owner): (&str, &str)) {
        self.change(|listed| {
            if let Some(it) = listed.as_mut().filter(|it| it.host == host && it.owner == owner) {
                it.is_stale = true;
            }
        });
    }

    fn is_stale(&self) -> bool {
        self.change(|listed| listed.as_ref().is_some_and(|it| it.is_stale))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Option<Listed>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
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

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn only_the_queue_that_is_listed_grows_stale() {
        let queue = Queue::default();
        queue.drained(("h", "rosa"));
        queue.begin(("h", "rosa"));
        assert!(!queue.is_stale(), "what came before does not count");
        queue.drained(("h", "otto"));
        queue.drained(("g", "rosa"));
        assert!(!queue.is_stale());
        queue.clone().drained(("h", "rosa"));
        assert!(queue.is_stale());
        queue.begin(("h", "otto"));
        assert!(!queue.is_stale());
    }
}
