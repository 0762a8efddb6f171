//! One owner's rows, page by page, and what the ledger has beyond them.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use sqlx::PgConnection;

use super::{Purpose, Requests, Stop, Walked, Walker};
use crate::{
    archive::{
        RowKey,
        remote::{Page, Shown},
    },
    database::{self, Named as _, in_time},
    ledger::{self, Entry, Found},
    model::{Outcome, Store},
    work::{
        TRANSACTION_LIMIT,
        reconcile::Reconciled,
        remote::{SWEEP, told},
        row_key,
    },
};

/// Marked rows of one owner that are remembered, 8 bytes each: where there are more, what is gone is found
/// when it is due.
const MOST_SEEN: usize = 500_000;
/// A queue that is handed out again and again is left after so many lists: each hand-out was told.
const MOST_STALE: u32 = 3;
/// Entries that are read at once.
const ENTRIES: i64 = 1_000;

/// What was listed of an owner.
struct Listed<'a> {
    host: &'a str,
    owner: &'a str,
    store: Store,
    /// The rows, by a hash of what tells them apart.
    seen: HashSet<u64>,
    /// Entries up to this one stand for rows from before the list.
    newest: i64,
}

impl<R: Requests> Walker<R> {
    /// Lists an owner's rows and brings the ledger in line, a transaction for each page. Whether they could be had.
    pub(super) async fn list(
        &mut self,
        of: (&str, &str),
        store: Store,
        purpose: Purpose<'_>,
    ) -> Walked<bool> {
        match self.list_all(of, store, purpose).await {
            Ok(()) => {
                self.left = 0;
                Ok(true)
            }
            Err(Stop::Module(host, why)) => self.leave(&host, why).map(|()| false),
            Err(other) => Err(other),
        }
    }

    async fn list_all(
        &self,
        (host, owner): (&str, &str),
        store: Store,
        purpose: Purpose<'_>,
    ) -> Walked<()> {
        let mut connection = self.pool.acquire().await.named("walk_connect")?;
        let newest = ledger::newest_entry(&mut connection).await?;
        drop(connection);
        let empty = || Listed { host, owner, store, seen: HashSet::new(), newest };
        let (mut listed, mut after, mut stale) = (empty(), None::<String>, 0);
        self.queue.begin((host, owner));
        loop {
            let ask = || self.requests.rows((host, owner), store, purpose.since, after.clone());
            let page = self.patiently(host, ask).await?;
            listed.see(&page.found);
            let took = self.take(&listed, &page, purpose);
            let Some(reconciled) = in_time("walk", TRANSACTION_LIMIT, took).await? else {
                (listed, after, stale) = (empty(), None, stale + 1);
                if stale == MOST_STALE {
                    return Ok(());
                }
                self.queue.begin((host, owner));
                continue;
            };
            self.tell(&reconciled, purpose);
            // A module that does not get on would hold us for ever.
            if page.complete || page.last == after {
                return Ok(());
            }
            after = page.last;
        }
    }

    /// One page. `None` where it is of a queue that was handed out since it was asked for.
    async fn take(
        &self,
        listed: &Listed<'_>,
        page: &Page<Shown>,
        purpose: Purpose<'_>,
    ) -> database::Result<Option<(Reconciled, Found)>> {
        let mut transaction = self.pool.begin().await.named("walk_begin")?;
        if listed.store != Store::Room {
            // Whoever notes that a queue was handed out does so before us, or waits for us and sees what we record.
            ledger::lock_feeds(&mut transaction, &[listed.host.to_owned()]).await?;
        }
        if listed.store == Store::Queue && self.queue.is_stale() {
            return Ok(None);
        }
        let context = told::context(&mut transaction, &self.settings, listed.host, true).await?;
        let reconciled = told::reconcile(&mut transaction, &page.found, context).await?;
        let mut dropped = reconciled.dropped;
        if page.complete && purpose.since.is_none() && listed.seen.len() < MOST_SEEN {
            dropped += listed.drop_gone(&mut transaction).await?;
        }
        let unreadable =
            reconciled.outcomes.iter().filter(|it| it.2 == Outcome::Unreadable).count();
        let found = Found {
            rows: number(page.found.len()),
            added: number(reconciled.recorded.len()),
            changed: number(reconciled.changed),
            dropped: number(dropped),
            adopted: number(reconciled.adopted),
            unreadable: number(unreadable),
        };
        if let Some((position, owner)) = purpose.sweep {
            ledger::move_sweep(&mut transaction, SWEEP, position, found).await?;
            if page.complete {
                ledger::move_sweep_to_owner(&mut transaction, SWEEP, owner).await?;
            }
        }
        transaction.commit().await.named("walk_commit")?;
        Ok(Some((reconciled, found)))
    }

    fn tell(&self, (reconciled, found): &(Reconciled, Found), purpose: Purpose<'_>) {
        if purpose.sweep.is_some() {
            for (_, reason) in &reconciled.recorded {
                self.metrics.expiries_recorded.of(*reason).inc();
            }
            self.count(*found);
        } else {
            told::count(reconciled, &self.metrics);
        }
    }
}

impl Listed<'_> {
    fn see(&mut self, rows: &[Shown]) {
        for row in rows {
            if self.seen.len() < MOST_SEEN {
                self.seen.insert(hash(&row.row.key));
            }
        }
    }

    /// Drops the entries that stand for none of the rows. A copy that has left the offline queue was
    /// received.
    async fn drop_gone(&self, connection: &mut PgConnection) -> database::Result<usize> {
        let Self { host, owner, store, newest, .. } = *self;
        let (mut after, mut dropped) = (0, 0);
        loop {
            let span = (after, newest);
            let of = (host, owner, store);
            let entries = ledger::entries_of_owner(connection, of, span, ENTRIES).await?;
            let full = i64::try_from(entries.len()).is_ok_and(|count| count >= ENTRIES);
            after = entries.last().map_or(after, |entry| entry.id);
            let is_gone = |it: &Entry| !self.seen.contains(&hash(&row_key(&it.expiry)));
            let gone: Vec<Entry> = entries.into_iter().filter(is_gone).collect();
            dropped += gone.len();
            if store == Store::Queue {
                told::deliver(connection, &gone).await?;
            } else if !gone.is_empty() {
                let ids: Vec<i64> = gone.iter().map(|entry| entry.id).collect();
                ledger::forget(connection, &ids).await?;
            }
            if !full {
                return Ok(dropped);
            }
        }
    }
}

fn hash(key: &RowKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&key.archive_id, &key.digest).hash(&mut hasher);
    hasher.finish()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
