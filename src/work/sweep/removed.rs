//! What follows when accounts and rooms are removed or renamed: the server deletes or renames all of their rows at once, and
//! the ledger would have their ids until the next sweep.
//!
//! Looks only when anybody has written anything, and at one row of each owner; if that is gone, at all of them. What
//! PostgreSQL counts of updates and deletes would tell more, but comes when the session that made them is next idle, and
//! Prosody's never is: its driver begins a transaction as soon as one has ended.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    archive::{Archive, Reach, Search},
    database::{self, Named, Result, in_time},
    ledger::{self, Entry},
    metrics::Metrics,
    model::{LATEST, RowKey, Store},
    work::{
        TRANSACTION_LIMIT,
        base::{Retry, count},
        reconcile::{candidates, drop_gone},
    },
};

/// How often to look.
const EVERY: Duration = Duration::from_secs(10);
/// Looking takes at most about one part in this many of the time.
const RESTING_PARTS: u32 = 30;
/// Owners that one statement looks at.
const OWNERS: i32 = 500;
/// Entries or quotes that one transaction looks at.
const ENTRIES: i64 = 1_000;
/// How many of an owner's entries are looked for elsewhere.
const ELSEWHERE: usize = 10;

/// Follows what is removed from one archive's tables.
pub struct Removals {
    pool: PgPool,
    archive: Archive,
    hosts: Vec<String>,
    leading: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    /// The snapshot when the last round began.
    seen: Option<String>,
}

impl Removals {
    /// It starts with [`Removals::run`], and works while `leading`.
    pub const fn new(
        pool: PgPool,
        archive: Archive,
        hosts: Vec<String>,
        leading: watch::Receiver<bool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { pool, archive, hosts, leading, metrics, seen: None }
    }

    /// Looks until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut retry = Retry::new("looking for removed accounts", EVERY, 6);
        loop {
            let began = Instant::now();
            let Some(looked) = stop.run_until_cancelled(self.look()).await else { return };
            let pause = match looked {
                Ok(()) => {
                    retry.succeeded();
                    EVERY.max(began.elapsed() * RESTING_PARTS)
                }
                Err(error) => retry.failed(&error, &self.metrics),
            };
            let stopped = stop.run_until_cancelled(async {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    Ok(()) = self.leading.changed() => {}
                }
            });
            if stopped.await.is_none() {
                return;
            }
        }
    }

    /// Goes through all owners, unless nobody has written anything since the last time.
    async fn look(&mut self) -> Result<()> {
        if !*self.leading.borrow_and_update() {
            self.seen = None;
            return Ok(());
        }
        let mut connection = self.pool.acquire().await.named("removals_connect")?;
        let snapshot = database::snapshot(&mut connection).await?;
        if self.seen.as_ref() == Some(&snapshot) {
            return Ok(());
        }
        let (mut after, mut is_complete) = (Some(String::new()), true);
        while let Some(at) = after {
            let sampling = self.sample(&mut connection, &at);
            let (gone, next) = in_time("removals_sample", TRANSACTION_LIMIT, sampling).await?;
            for (host, owner) in &gone {
                match self.follow(&mut connection, (host, owner)).await {
                    // Whoever has an entry of this owner keeps nobody else waiting.
                    Err(error) if error.is_contention() => {
                        debug!(%error, "a removed account waits for another session");
                        is_complete = false;
                    }
                    followed => followed?,
                }
            }
            after = next;
        }
        self.seen = is_complete.then_some(snapshot);
        Ok(())
    }

    /// Those of the next owners of whom a row is gone, as host and local part, and after whom to go on.
    async fn sample(
        &self,
        connection: &mut PgConnection,
        after: &str,
    ) -> Result<(BTreeSet<(String, String)>, Option<String>)> {
        let (rows, next) = ledger::sampled_rows(connection, after, OWNERS).await?;
        let keys: Vec<_> = rows.iter().collect();
        let there = self.archive.still_there(connection, &keys).await?;
        let gone = rows.iter().enumerate().filter(|it| !there.contains(&it.0));
        Ok((gone.map(|(_, it)| (it.host.clone(), it.owner.clone())).collect(), next))
    }

    /// Forgets this owner's entries and quotes whose rows are gone; everything, if no row is left.
    async fn follow(&self, connection: &mut PgConnection, owner: (&str, &str)) -> Result<()> {
        let (mut after, mut dropped, mut sought) = (Some(0), 0, Vec::new());
        while let Some(at) = after {
            let dropping = self.drop_entries(connection, owner, at);
            let (mut gone, next) = in_time("removals_drop", TRANSACTION_LIMIT, dropping).await?;
            dropped += gone.len();
            gone.truncate(ELSEWHERE - sought.len());
            sought.append(&mut gone);
            after = next;
        }
        in_time("removals_forget", TRANSACTION_LIMIT, async {
            self.drop_quotes(connection, owner).await?;
            match self.has_rows(connection, owner).await? {
                true => Ok(()),
                false => ledger::forget_owner(connection, owner).await,
            }
        })
        .await?;
        if dropped == 0 {
            return Ok(());
        }
        self.metrics.removed_entries.inc_by(count(dropped).unsigned_abs());
        let seeking = self.is_elsewhere(connection, &sought);
        if in_time("removals_seek", TRANSACTION_LIMIT, seeking).await? {
            info!("a sweep is due: rows of an account or room are not what they were");
            for table in self.archive.tables() {
                ledger::request_sweep(connection, table.name()).await?;
            }
        }
        Ok(())
    }

    /// Drops those of the next entries whose rows are gone. Returns these, and after which entry to go on.
    async fn drop_entries(
        &self,
        connection: &mut PgConnection,
        owner: (&str, &str),
        after: i64,
    ) -> Result<(Vec<Entry>, Option<i64>)> {
        let mut transaction = connection.begin().await.named("removed_begin")?;
        let locked = ledger::lock_entries_of_owner(&mut transaction, owner, after, ENTRIES);
        let mut entries = locked.await?;
        let is_full = count(entries.len()) >= ENTRIES;
        let last = entries.last().filter(|_| is_full).map(|it| it.id);
        let gone = drop_gone(&mut transaction, &self.archive, &mut entries).await?;
        transaction.commit().await.named("removed_commit")?;
        Ok((gone, last))
    }

    /// Without a lock: a quote's row is always named as it was recorded, and nobody waits for one that is gone.
    async fn drop_quotes(&self, connection: &mut PgConnection, owner: (&str, &str)) -> Result<()> {
        let mut after = Some(0);
        while let Some(at) = after {
            let quotes = ledger::quotes_of_owner(connection, owner, at, ENTRIES).await?;
            let is_full = count(quotes.len()) >= ENTRIES;
            after = quotes.last().filter(|_| is_full).map(|it| it.0);
            let keys: Vec<&RowKey> = quotes.iter().map(|it| &it.1).collect();
            let there = self.archive.still_there(connection, &keys).await?;
            let gone = quotes.iter().enumerate().filter(|it| !there.contains(&it.0));
            let gone: Vec<i64> = gone.map(|(_, it)| it.0).collect();
            ledger::forget_quotes(connection, &gone).await?;
        }
        Ok(())
    }

    async fn has_rows(&self, connection: &mut PgConnection, owner: (&str, &str)) -> Result<bool> {
        let all = Reach { upto: LATEST, queued_upto: i64::MAX };
        for (table, scope) in self.archive.scopes_of(connection, owner, None, all).await? {
            let ages = table.ages(connection, &[scope], 1).await?;
            if ages.iter().any(|it| it.rows > 0 || it.oldest.is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether any of these rows has another owner now, or another text.
    async fn is_elsewhere(&self, connection: &mut PgConnection, gone: &[Entry]) -> Result<bool> {
        let table = self.archive.archive_table();
        for entry in gone {
            let row = &entry.expiry.row;
            let span = (row.row_number - 1, row.row_number);
            let searched = (self.hosts.as_slice(), Search::MARKED);
            let (found, _) = candidates(connection, &table, searched, span).await?;
            let is_it = |key: &RowKey| {
                let is_owners = (&key.host, &key.owner) == (&row.host, &row.owner);
                key.archive_id == row.archive_id && (is_owners || key.digest == row.digest)
            };
            if found.iter().any(|it| it.key.store != Store::Queue && is_it(&it.key)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
