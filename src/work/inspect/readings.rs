//! What modules announced as read. It may name rows that are recorded only later, so it is looked at again for ten minutes,
//! and is kept nowhere but in memory.

use std::{collections::BTreeMap, time::Duration};

use sqlx::PgConnection;
use tokio::time::Instant;

use crate::{
    archive::companion::Reading,
    database::Result,
    metrics::Metrics,
    model::StartedBy,
    work::{
        base::Retry,
        reconcile::{Announced, Context, notice_announced},
    },
};

/// How long after it came it is looked at. The tail is woken by the same notice and takes no second if it keeps up.
const LOOKS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(100),
    Duration::from_secs(600),
];
/// Maximum number of messages kept; those that were to be looked at last are dropped.
const MOST_KEPT: usize = 10_000;
/// Maximum number of messages that one transaction looks at.
const MOST_AT_ONCE: usize = 1_000;

/// What is kept, by when it is looked at next.
#[derive(Debug)]
pub(super) struct Readings {
    kept: BTreeMap<Key, Kept>,
    /// Tells those of one moment apart.
    next: u64,
    /// Nothing is looked at before, because looking failed.
    not_before: Instant,
    retry: Retry,
}

type Key = (Instant, u64);

/// What a look found: what started timers, and what was looked at.
#[derive(Debug, Default)]
pub(super) struct Looked {
    started: Vec<StartedBy>,
    keys: Vec<Key>,
}

impl Default for Readings {
    fn default() -> Self {
        let retry = Retry::new("starting the timers of what was read", Duration::from_secs(1), 10);
        Self { kept: BTreeMap::new(), next: 0, not_before: Instant::now(), retry }
    }
}

#[derive(Debug, Clone)]
struct Kept {
    came: Instant,
    looks: usize,
    announced: Announced,
}

impl Readings {
    /// This owner has read these.
    pub(super) fn add(&mut self, (host, owner): (&str, &str), readings: Vec<Reading>) {
        let came = Instant::now();
        for reading in readings {
            let (host, owner) = (host.to_owned(), owner.to_owned());
            self.keep(Kept { came, looks: 0, announced: Announced { host, owner, reading } });
        }
    }

    fn keep(&mut self, kept: Kept) {
        let Some(after) = LOOKS.get(kept.looks) else { return };
        self.next += 1;
        self.kept.insert((kept.came + *after, self.next), kept);
        if self.kept.len() > MOST_KEPT {
            self.kept.pop_last();
        }
    }

    /// When something is to be looked at; a long time if nothing is kept.
    pub(super) fn next_look(&self) -> Instant {
        let next = self.kept.first_key_value().map(|it| it.0.0.max(self.not_before));
        next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600))
    }

    /// Looks at what is due, in this transaction. After the commit, [`Readings::settle`] takes what was found.
    pub(super) async fn look(
        &self,
        connection: &mut PgConnection,
        context: Context<'_>,
    ) -> Result<Looked> {
        let due = ..=(Instant::now(), u64::MAX);
        let due: Vec<_> = self.kept.range(due).take(MOST_AT_ONCE).collect();
        let mut looked = Looked { keys: due.iter().map(|it| *it.0).collect(), ..Looked::default() };
        for is_new in [true, false] {
            let these = due.iter().filter(|it| (it.1.looks == 0) == is_new);
            let these: Vec<Announced> = these.map(|it| it.1.announced.clone()).collect();
            let started = notice_announced(connection, &these, context, is_new).await?;
            looked.started.extend(started);
        }
        Ok(looked)
    }

    /// What was looked at is looked at once more later, or never again; after a failure all of it.
    pub(super) fn settle(&mut self, looked: Result<Looked>, metrics: &Metrics) {
        match looked {
            Ok(Looked { started, keys }) => {
                self.retry.succeeded();
                started.iter().for_each(|by| metrics.started.of(*by).inc());
                self.looked_at(&keys);
            }
            Err(error) => self.not_before = Instant::now() + self.retry.failed(&error, metrics),
        }
    }

    fn looked_at(&mut self, keys: &[Key]) {
        for kept in keys.iter().filter_map(|key| self.kept.remove(key)).collect::<Vec<_>>() {
            self.keep(Kept { looks: kept.looks + 1, ..kept });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(id: usize) -> Reading {
        let id = id.to_string();
        Reading::new("marker", "ann@h", &id, ("2026-11-22T03:34:18Z", None)).unwrap()
    }

    /// The times of all looks, in seconds after it came.
    async fn looks(readings: &mut Readings) -> Vec<u64> {
        let (began, mut looks) = (Instant::now(), Vec::new());
        while let Some((key, _)) = readings.kept.first_key_value().map(|it| (*it.0, ())) {
            tokio::time::sleep_until(readings.next_look()).await;
            looks.push(began.elapsed().as_secs());
            readings.looked_at(&[key]);
        }
        looks
    }

    #[tokio::test(start_paused = true)]
    async fn what_names_something_unknown_is_kept_for_ten_minutes() {
        let mut readings = Readings::default();
        readings.add(("h", "bob"), vec![reading(1)]);
        assert_eq!(looks(&mut readings).await, [0, 1, 10, 100, 600]);
        assert!(readings.kept.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_the_newest_comes_first() {
        let mut readings = Readings::default();
        readings.add(("h", "bob"), (0..MOST_KEPT).map(reading).collect());
        let keys: Vec<_> = readings.kept.keys().copied().collect();
        readings.looked_at(&keys);
        readings.add(("h", "eve"), vec![reading(0)]);
        assert_eq!(readings.kept.len(), MOST_KEPT);
        assert_eq!(readings.kept.first_key_value().unwrap().1.announced.owner, "eve");
    }
}
