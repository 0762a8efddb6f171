//! Settings that may change while a worker works.

use std::ops::Deref;

use tokio::sync::watch;

/// What a worker goes by. It takes what it is told between two transactions, so that each is of one
/// piece.
#[derive(Debug, Clone)]
pub struct Changing<T> {
    now: T,
    told: watch::Receiver<T>,
}

impl<T: Clone> Changing<T> {
    /// What was told last, and what will be.
    pub fn new(mut told: watch::Receiver<T>) -> Self {
        let now = told.borrow_and_update().clone();
        Self { now, told }
    }

    /// What never changes.
    pub fn fixed(now: T) -> Self {
        Self::new(watch::channel(now).1)
    }

    /// Takes what was told since the last time; whether there was anything.
    pub fn take(&mut self) -> bool {
        let is_new = self.told.has_changed().unwrap_or(false);
        if is_new {
            self.now = self.told.borrow_and_update().clone();
        }
        is_new
    }

    /// What it goes by now, for another to go by.
    pub fn clone_now(&self) -> T {
        self.now.clone()
    }

    /// Waits until there is something to take: for ever where nobody is left to tell.
    pub async fn told(&self) {
        if self.told.clone().changed().await.is_err() {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn it_changes_when_it_is_taken_and_not_before() {
        let (tell, told) = watch::channel(1);
        let mut settings = Changing::new(told);
        assert!(!settings.take());
        tell.send_replace(2);
        tell.send_replace(3);
        assert_eq!(*settings, 1);
        // Waiting takes nothing.
        settings.told().await;
        settings.told().await;
        assert!(settings.take());
        assert_eq!(*settings, 3);
        assert!(!settings.take());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_by_nobody_waits() {
        let mut settings = Changing::fixed(1);
        assert!(!settings.take());
        assert!(timeout(Duration::from_secs(3600), settings.told()).await.is_err());
    }
}
