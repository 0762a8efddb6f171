//! Settings that may change while a worker runs.

use std::ops::Deref;

use tokio::sync::watch;

/// The settings of a worker. It takes new ones between two transactions, so that each transaction uses one version.
#[derive(Debug, Clone)]
pub struct Changing<T> {
    now: T,
    updates: watch::Receiver<T>,
}

impl<T: Clone> Changing<T> {
    /// The latest settings, and those to come.
    pub fn new(mut updates: watch::Receiver<T>) -> Self {
        let now = updates.borrow_and_update().clone();
        Self { now, updates }
    }

    /// Settings that never change.
    pub fn fixed(now: T) -> Self {
        Self::new(watch::channel(now).1)
    }

    /// Takes the latest settings. Returns whether they are new.
    pub fn take(&mut self) -> bool {
        let is_new = self.is_outdated();
        if is_new {
            self.now = self.updates.borrow_and_update().clone();
        }
        is_new
    }

    /// There are new settings to take.
    pub fn is_outdated(&self) -> bool {
        self.updates.has_changed().unwrap_or(false)
    }

    /// A copy of the current settings.
    pub fn clone_now(&self) -> T {
        self.now.clone()
    }

    /// Waits until there are new settings to take: for ever if nobody can send any.
    pub async fn changed(&self) {
        if self.updates.clone().changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl<T> Deref for Changing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.now
    }
}

/// Sends a value if it differs from the last one. Returns whether it did.
pub fn replace<T: PartialEq>(to: &watch::Sender<T>, value: T) -> bool {
    to.send_if_modified(|last| {
        let is_new = *last != value;
        *last = value;
        is_new
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn it_changes_when_it_is_taken_and_not_before() {
        let (send, updates) = watch::channel(1);
        let mut settings = Changing::new(updates);
        assert!(!settings.take());
        send.send_replace(2);
        send.send_replace(3);
        assert_eq!(*settings, 1);
        // Waiting takes nothing.
        settings.changed().await;
        settings.changed().await;
        assert!(settings.take());
        assert_eq!(*settings, 3);
        assert!(!settings.take());
    }

    #[tokio::test(start_paused = true)]
    async fn fixed_settings_never_change() {
        let mut settings = Changing::fixed(1);
        assert!(!settings.take());
        assert!(timeout(Duration::from_secs(3600), settings.changed()).await.is_err());
    }
}
