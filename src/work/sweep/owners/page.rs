//! One owner's rows, page by page, and the ledger's entries that have no row.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use sqlx::PgConnection;

use super::{Purpose, Requests, Stop, Walked, Walker};
use crate::{
    archive::companion::{Page, Shown},
    database::{self, Named as _, in_time},
    ledger,
    model::{RowKey, Store},
    work::{
        TRANSACTION_LIMIT,
        base::{count, presence::SWEEP},
        reconcile::{Reconciled, companion, ids},
        sweep::schedule,
    },
};

/// Maximum number of one owner's rows remembered, 8 bytes each. Beyond that, what is gone is found when it is due.
const MOST_SEEN: usize = 500_000;
/// Maximum attempts to list a queue that is handed out meanwhile. Then it is left: each hand-out was announced.
const MOST_STALE: u32 = 3;
/// Entries that one statement reads.
const ENTRIES: i64 = 1_000;

/// What was listed for an owner.
struct Listed<'a> {
    host: &'a str,
    owner: &'a str,
    store: Store,
    /// The rows, as hashes of what tells them apart.
    seen: HashSet<u64>,
    /// Entries up to this one were recorded before the list began.
    newest: i64,
}

impl<R: Requests> Walker<R> {
    /// Lists an owner's rows and brings the ledger in line, in one transaction per page. Returns whether they could be
    /// listed.
    pub(super) async fn list(
        &mut self,
        of: (&str, &str),
        store: Store,
        purpose: Purpose<'_>,
    ) -> Walked<bool> {
        match self.list_all(of, store, purpose).await {
            Ok(()) => {
                self.skipped = 0;
                Ok(true)
            }
            Err(Stop::Module(host, why)) => self.skip(&host, why).map(|()| false),
            Err(other) => Err(other),
        }
    }

    async fn list_all(
        &self,
        (host, owner): (&str, &str),
        store: Store,
        purpose: Purpose<'_>,
    ) -> Walked<()> {
        let newest = ledger::newest_entry(&mut *self.connection().await?).await?;
        let empty = || Listed { host, owner, store, seen: HashSet::new(), newest };
        let (mut listed, mut after, mut stale) = (empty(), None::<String>, 0);
        self.present.list_queue((host, owner));
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
                self.present.list_queue((host, owner));
                continue;
            };
            if purpose.sweep.is_some() {
                schedule::report(&reconciled, &self.metrics);
            } else {
                reconciled.count(&self.metrics, i64::MIN);
            }
            // A module that makes no progress would hold us for ever.
            if page.complete || page.last == after {
                return Ok(());
            }
            after = page.last;
        }
    }

    /// One page. `None` if it is of a queue that was handed out since it was requested.
    async fn take(
        &self,
        listed: &Listed<'_>,
        page: &Page<Shown>,
        purpose: Purpose<'_>,
    ) -> database::Result<Option<Reconciled>> {
        let mut transaction = self.pool.begin().await.named("walk_begin")?;
        if listed.store != Store::Room {
            // A worker that records a hand-out either did so before us, or waits for us and sees what we record.
            ledger::lock_feeds(&mut transaction, &[listed.host.to_owned()]).await?;
        }
        if listed.store == Store::Queue && self.present.is_list_stale() {
            return Ok(None);
        }
        let context = companion::listed(&mut transaction, &self.settings, listed.host).await?;
        let mut reconciled = Reconciled::default();
        companion::reconcile(&mut transaction, &page.found, context, &mut reconciled).await?;
        if page.complete && purpose.since.is_none() && listed.seen.len() < MOST_SEEN {
            reconciled.dropped += listed.drop_gone(&mut transaction).await?;
        }
        if let Some((position, owner)) = purpose.sweep {
            let counts = schedule::counts(count(page.found.len()), &reconciled);
            ledger::move_sweep(&mut transaction, SWEEP, position, counts).await?;
            if page.complete {
                ledger::move_sweep_to_owner(&mut transaction, SWEEP, owner).await?;
            }
        }
        transaction.commit().await.named("walk_commit")?;
        Ok(Some(reconciled))
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

    /// Drops the entries that have no row. A copy that has left the offline queue was received.
    async fn drop_gone(&self, connection: &mut PgConnection) -> database::Result<usize> {
        let Self { host, owner, store, newest, .. } = *self;
        let (mut after, mut dropped) = (0, 0);
        loop {
            let (of, span) = ((host, owner, store), (after, newest));
            let mut entries = ledger::entries_of_owner(connection, of, span, ENTRIES).await?;
            let full = count(entries.len()) >= ENTRIES;
            after = entries.last().map_or(after, |entry| entry.id);
            entries.retain(|it| !self.seen.contains(&hash(&it.expiry.row)));
            dropped += entries.len();
            if store == Store::Queue {
                companion::deliver(connection, &entries).await?;
            } else {
                ledger::forget(connection, &ids(&entries)).await?;
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
