//! Where only the server's companion modules reach the archives (`archive.kind = "component"`): which modules answer,
//! and what feed, walk and eraser need to know about each other.
//!
//! Only the leader has the component's connection, so it alone does any of this.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tracing::warn;

use crate::{
    archive::companion::{Abilities, Unanswered},
    model::Rules,
};

/// The name of these archives' sweep in the ledger.
pub const SWEEP: &str = "component";

/// What recording and listing need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompanionSettings {
    /// Only rows of these hosts.
    pub hosts: Vec<String>,
    /// What the operator decided.
    pub rules: Rules,
    /// From the end of one sweep to the start of the next.
    pub every: Duration,
    /// Whether what is older than the first start is held until the operator accepts it.
    pub hold_backlog: bool,
}

/// The offline queue that is being listed, and whether it was handed out meanwhile: then the list shows copies that are
/// gone.
#[derive(Debug)]
struct Listed {
    host: String,
    owner: String,
    is_stale: bool,
}

/// The hosts whose modules answer, with their abilities; and the queue that is being listed.
#[derive(Debug, Clone)]
pub struct Present {
    hosts: watch::Sender<BTreeMap<String, Abilities>>,
    queue: Arc<Mutex<Option<Listed>>>,
}

impl Default for Present {
    fn default() -> Self {
        Self { hosts: watch::Sender::new(BTreeMap::new()), queue: Arc::default() }
    }
}

impl Present {
    /// Gets changes of the hosts.
    pub fn watch(&self) -> watch::Receiver<BTreeMap<String, Abilities>> {
        self.hosts.subscribe()
    }

    /// The hosts whose modules can do everything that this kind needs.
    pub(in crate::work) fn hosts(&self) -> Vec<String> {
        self.hosts.borrow().keys().cloned().collect()
    }

    pub(in crate::work) fn of(&self, host: &str) -> Option<Abilities> {
        self.hosts.borrow().get(host).copied()
    }

    pub(in crate::work) fn found(&self, host: &str, can: Abilities) {
        self.hosts.send_if_modified(|present| {
            present.insert(host.to_owned(), can).is_none_or(|before| before != can)
        });
    }

    /// The module does not answer as it should. It is not asked for anything until it is greeted again.
    pub(in crate::work) fn lost(&self, host: &str, why: Unanswered) {
        let was_there = self.hosts.send_if_modified(|present| present.remove(host).is_some());
        if was_there && why != Unanswered::Disconnected {
            warn!(host, help = why.remedy(), "the companion module no longer answers: {why}");
        }
    }

    pub(in crate::work) fn nobody(&self) {
        super::replace(&self.hosts, BTreeMap::new());
    }

    /// Listing of this queue begins.
    pub(in crate::work) fn list_queue(&self, (host, owner): (&str, &str)) {
        let (host, owner) = (host.to_owned(), owner.to_owned());
        self.queue(|listed| *listed = Some(Listed { host, owner, is_stale: false }));
    }

    /// This queue was handed out.
    pub(in crate::work) fn drained(&self, (host, owner): (&str, &str)) {
        self.queue(|listed| {
            if let Some(it) = listed.as_mut().filter(|it| it.host == host && it.owner == owner) {
                it.is_stale = true;
            }
        });
    }

    pub(in crate::work) fn is_list_stale(&self) -> bool {
        self.queue(|listed| listed.as_ref().is_some_and(|it| it.is_stale))
    }

    fn queue<T>(&self, with: impl FnOnce(&mut Option<Listed>) -> T) -> T {
        with(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::Present;

    #[test]
    fn only_the_list_of_the_same_queue_becomes_stale() {
        let present = Present::default();
        present.drained(("h", "rosa"));
        present.list_queue(("h", "rosa"));
        assert!(!present.is_list_stale(), "it was handed out before the list began");
        present.drained(("h", "otto"));
        present.drained(("g", "rosa"));
        assert!(!present.is_list_stale());
        present.clone().drained(("h", "rosa"));
        assert!(present.is_list_stale());
        present.list_queue(("h", "otto"));
        assert!(!present.is_list_stale());
    }
}
