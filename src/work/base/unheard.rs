//! Hosts whose companion module may know of messages that nobody has received and has not said so yet, because it could
//! not reach us: with archives in SQL nothing is erased there meanwhile.
//!
//! [`Unheard`] is where the listener says which hosts these are, and where the eraser looks.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::watch;

use super::wake::Wake;
use crate::model::Timestamp;

/// The hosts that wait for their modules.
#[derive(Debug, Clone)]
pub struct Unheard {
    hosts: watch::Sender<BTreeSet<String>>,
    bell: Arc<Wake>,
}

impl Unheard {
    /// At first all of these wait. `bell` rings whenever one waits no longer.
    pub fn new(hosts: &[String], bell: Arc<Wake>) -> Self {
        Self { hosts: watch::Sender::new(hosts.iter().cloned().collect()), bell }
    }

    /// From now on exactly these wait.
    pub(in crate::work) fn set(&self, hosts: BTreeSet<String>) {
        let mut is_fewer = false;
        self.hosts.send_if_modified(|unheard| {
            is_fewer = !unheard.is_subset(&hosts);
            let changed = *unheard != hosts;
            *unheard = hosts;
            changed
        });
        if is_fewer {
            // What was passed over is due at once.
            self.bell.ring(Timestamp::UNIX_EPOCH);
        }
    }

    /// Whether none waits.
    pub(in crate::work) fn is_empty(&self) -> bool {
        self.hosts.borrow().is_empty()
    }

    /// Which of these do not wait.
    pub(in crate::work) fn heard(&self, hosts: &[String]) -> Vec<String> {
        let unheard = self.hosts.borrow();
        hosts.iter().filter(|it| !unheard.contains(*it)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bell_rings_when_a_host_waits_no_longer() {
        let (hosts, bell) = (["a".to_owned(), "b".to_owned()], Arc::new(Wake::default()));
        let unheard = Unheard::new(&hosts, Arc::clone(&bell));
        assert!(unheard.heard(&hosts).is_empty());
        unheard.set(BTreeSet::from(["b".to_owned()]));
        assert_eq!(
            (unheard.heard(&hosts), bell.take()),
            (vec!["a".to_owned()], Some(Timestamp::UNIX_EPOCH))
        );
        unheard.set(hosts.iter().cloned().collect());
        assert_eq!((unheard.is_empty(), bell.take()), (false, None));
        unheard.set(BTreeSet::new());
        assert!(unheard.is_empty() && bell.take().is_some());
    }
}
