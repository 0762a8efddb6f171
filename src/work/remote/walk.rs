//! The walk: lists rows owner by owner and brings the ledger in line with them. What it lists, in this order:
//! owners whose offline queue was handed out; what was archived while notices may have been lost; and now and
//! then everything (the sweep).

mod page;
mod sweep;

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Present, Queue, SWEEP, Settings};
use crate::{
    archive::remote::{Page, Requests, Unanswered},
    database::{self, Named as _},
    ledger::{self, CatchUp},
    metrics::Metrics,
    model::{Store, Timestamp},
    work::Changing,
};

/// So often we look whether there is something to list.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two lists: the module leaves as much.
const PACE: Duration = Duration::from_millis(60);
/// Where the module asks us to wait, at first and at the most.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MOST: Duration = Duration::from_secs(60);
/// A storage that failed is asked so often in all.
const STORAGE_TRIES: u32 = 3;
/// After so many owners in a row whose rows cannot be had we rest: that may be the server's trouble, and not theirs.
const MOST_LEFT: u32 = 5;
/// Archives of owners whose queue was handed out, between two owners of a longer list.
const RELISTS: usize = 4;
/// Such a list is tried so often, which takes about an hour; the next sweep has it, too.
const RELIST_ATTEMPTS: i16 = 10;
/// Owners of the ledger that are looked up at once.
const OWNERS: i64 = 500;
/// Queues first, so that nobody's copy is overlooked.
const STORES: [Store; 3] = [Store::Queue, Store::Archive, Store::Room];

/// Why the walk stops for now.
#[derive(Debug)]
enum Stop {
    Database(database::Error),
    /// The module of this host.
    Module(String, Unanswered),
}

impl From<database::Error> for Stop {
    fn from(error: database::Error) -> Self {
        Self::Database(error)
    }
}

type Walked<T> = Result<T, Stop>;

/// What is listed of an owner, and why.
#[derive(Debug, Clone, Copy)]
struct Purpose<'a> {
    /// Rows stamped from here on; all where there is none: then what is not among them is gone.
    since: Option<Timestamp>,
    /// It is the sweep's: at this position, with this owner.
    sweep: Option<(i64, &'a str)>,
}

/// The walk of one daemon.
pub struct Walker<R> {
    pool: PgPool,
    requests: R,
    settings: Changing<Settings>,
    metrics: Arc<Metrics>,
    present: Present,
    queue: Queue,
    absent_since: Option<Instant>,
    /// Owners in a row whose rows could not be had.
    left: u32,
}

impl<R: Requests> Walker<R> {
    /// A walk that starts with [`Walker::run`].
    pub fn new(
        pool: PgPool,
        requests: R,
        settings: Changing<Settings>,
        metrics: Arc<Metrics>,
        (present, queue): (Present, Queue),
    ) -> Self {
        let absent_since = None;
        Self { pool, requests, settings, metrics, present, queue, absent_since, left: 0 }
    }

    /// Walks whenever there is something to list, until stopped. `bell` rings when there may be; `sweeping` is
    /// told, and `holding` whether what is older than the first start is held back.
    pub async fn run(
        mut self,
        bell: Arc<Notify>,
        (sweeping, holding): (watch::Sender<bool>, watch::Sender<bool>),
        stop: CancellationToken,
    ) {
        let mut failures: u32 = 0;
        let mut asked = false;
        loop {
            if self.settings.take() {
                asked = false;
                holding.send_replace(self.settings.hold_backlog);
            }
            let walked = async {
                if !asked {
                    asked = self.request_if_rules_changed().await?;
                }
                self.walk(&sweeping).await
            };
            let Some(walked) = stop.run_until_cancelled(walked).await else { return };
            match walked {
                Ok(()) => failures = 0,
                Err(Stop::Module(host, why)) => {
                    debug!(host, "listing was broken off: {why}");
                    self.present.lost(&host, why);
                }
                Err(Stop::Database(error)) if error.is_contention() => {
                    debug!(%error, "listing waits for another session");
                }
                Err(Stop::Database(error)) => {
                    self.metrics.database_errors.inc();
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        warn!(%error, "listing failed, trying again");
                    } else {
                        debug!(%error, failures, "listing failed again");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY * (1 + failures.min(10))) => {}
                () = bell.notified(), if failures == 0 => {}
                () = self.settings.told() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Everything that there is to do now.
    async fn walk(&mut self, sweeping: &watch::Sender<bool>) -> Walked<()> {
        let outcome = self.walk_on(sweeping).await;
        sweeping.send_replace(false);
        outcome
    }

    async fn walk_on(&mut self, sweeping: &watch::Sender<bool>) -> Walked<()> {
        loop {
            let hosts = self.present.hosts();
            if hosts.is_empty() {
                return Ok(());
            }
            // In turns, so that nobody who keeps one of them busy holds up the others.
            let mut went_on = self.relists(&hosts).await?;
            if let Some(catch_up) = self.catch_up_due(&hosts).await? {
                self.catch_up(catch_up, &hosts).await?;
                went_on = true;
            }
            if let Some(sweep) = self.sweep_due().await? {
                sweeping.send_replace(true);
                went_on |= self.sweep_part(&sweep).await?;
            }
            if !went_on {
                return Ok(());
            }
        }
    }

    async fn catch_up_due(&self, hosts: &[String]) -> Walked<Option<CatchUp>> {
        let mut connection = self.pool.acquire().await.named("walk_connect")?;
        Ok(ledger::catch_ups(&mut connection, hosts).await?.into_iter().next())
    }

    /// Archives of a few owners whose queue was handed out: timers start. Whether there was any.
    async fn relists(&mut self, hosts: &[String]) -> Walked<bool> {
        for at in 0..RELISTS {
            let mut connection = self.pool.acquire().await.named("walk_connect")?;
            let next = ledger::next_relist(&mut connection, hosts).await?;
            drop(connection);
            let Some(relist) = next else { return Ok(at > 0) };
            let purpose = Purpose { since: Some(relist.since), sweep: None };
            let of = (relist.host.as_str(), relist.owner.as_str());
            let listed = self.list(of, Store::Archive, purpose).await?;
            let mut connection = self.pool.acquire().await.named("walk_connect")?;
            match listed {
                true => ledger::relisted(&mut connection, &relist).await?,
                false => ledger::put_off_relist(&mut connection, &relist, RELIST_ATTEMPTS).await?,
            }
        }
        Ok(true)
    }

    /// Queues that the ledger knows are looked at whole, for nobody told when they were handed out; of all else
    /// only what is new.
    async fn catch_up(&mut self, mut at: CatchUp, hosts: &[String]) -> Walked<()> {
        let host = at.host.clone();
        let (since, steps) = (Some(at.since), 1 + STORES.len());
        // What is lost from now on, even while the first owner is listed, is due again afterwards.
        self.save(&at).await?;
        let mut left = false;
        while usize::try_from(at.step).is_ok_and(|step| step < steps) {
            let step = usize::try_from(at.step).unwrap_or(0);
            let after = std::mem::take(&mut at.after_owner);
            let (owners, store, since) = match step.checked_sub(1).and_then(|at| STORES.get(at)) {
                None => (self.known_owners(&host, Store::Queue, &after).await?, Store::Queue, None),
                Some(store) => (self.owners(&host, *store, &after).await?, *store, since),
            };
            for owner in owners.found {
                let purpose = Purpose { since, sweep: None };
                left |= !self.list((&host, &owner), store, purpose).await?;
                self.save(&CatchUp { after_owner: owner, ..at.clone() }).await?;
                // After a restart many log in while much is to be listed: their timers do not wait for that.
                self.relists(hosts).await?;
            }
            match owners.last.filter(|_| !owners.complete) {
                Some(last) => at.after_owner = last,
                None => at.step += 1,
            }
            self.save(&at).await?;
        }
        let mut connection = self.pool.acquire().await.named("walk_connect")?;
        if left {
            // A sweep that is under way is not begun again for that.
            let sweep = ledger::sweep(&mut connection, SWEEP).await?;
            if sweep.is_none_or(|sweep| sweep.started_at.is_none()) {
                ledger::request_sweep(&mut connection, SWEEP).await?;
            }
        }
        ledger::complete_catch_up(&mut connection, &host).await?;
        self.metrics.catch_ups.inc();
        info!(host, "what was archived while notices may have been lost is listed");
        Ok(())
    }

    async fn save(&self, at: &CatchUp) -> Walked<()> {
        let mut connection = self.pool.acquire().await.named("walk_connect")?;
        Ok(ledger::move_catch_up(&mut connection, at).await?)
    }

    /// The host has this store: rooms have no queues, and hosts with queues no rooms.
    fn may_have(&self, host: &str, store: Store) -> Walked<bool> {
        let gone = || Stop::Module(host.to_owned(), Unanswered::Disconnected);
        let queue = self.present.of(host).ok_or_else(gone)?.queue;
        Ok(match store {
            Store::Queue => queue,
            Store::Archive => true,
            Store::Room => !queue,
        })
    }

    /// The next owners that the module knows.
    async fn owners(&self, host: &str, store: Store, after: &str) -> Walked<Page<String>> {
        if !self.may_have(host, store)? {
            return Ok(Page::empty());
        }
        let after = (!after.is_empty()).then(|| after.to_owned());
        self.patiently(host, || self.requests.owners(host, store, after.clone())).await
    }

    /// The next owners that the ledger knows.
    async fn known_owners(&self, host: &str, store: Store, after: &str) -> Walked<Page<String>> {
        if !self.may_have(host, store)? {
            return Ok(Page::empty());
        }
        let mut connection = self.pool.acquire().await.named("walk_connect")?;
        let found = ledger::owners(&mut connection, (host, store), (after, None), OWNERS).await?;
        let complete = i64::try_from(found.len()).is_ok_and(|count| count < OWNERS);
        Ok(Page { last: found.last().cloned(), found, complete })
    }

    /// The same for both together: who has only entries may have been removed with all rows.
    async fn all_owners(&self, host: &str, store: Store, after: &str) -> Walked<Page<String>> {
        if !self.may_have(host, store)? {
            return Ok(Page::empty());
        }
        let mut page = self.owners(host, store, after).await?;
        let upto = page.last.clone().filter(|_| !page.complete);
        let mut connection = self.pool.acquire().await.named("walk_connect")?;
        let span = (after, upto.as_deref());
        let known = ledger::owners(&mut connection, (host, store), span, OWNERS).await?;
        let key = |owner: &String| format!("{owner}@").into_bytes();
        // There may be more of them: then only up to the last of these is complete.
        if let Some(last) =
            known.last().filter(|_| i64::try_from(known.len()).is_ok_and(|n| n >= OWNERS))
        {
            let end = key(last);
            page.found.retain(|owner| key(owner) <= end);
            (page.last, page.complete) = (Some(last.clone()), false);
        }
        page.found.extend(known);
        page.found.sort_by_key(key);
        page.found.dedup();
        Ok(page)
    }

    /// Asks again for as long as the module only wants us to wait, and a few times where its storage failed. What
    /// it answers is used at once: the pause comes before.
    async fn patiently<T, F: Future<Output = Result<T, Unanswered>>>(
        &self,
        host: &str,
        ask: impl Fn() -> F,
    ) -> Walked<T> {
        let (mut wait, mut tries) = (WAIT_FIRST, 1);
        loop {
            tokio::time::sleep(PACE).await;
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(why) if self.is_worth_waiting(host, why, tries) => {
                    tries += u32::from(why == Unanswered::StorageFailed);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(WAIT_MOST);
                }
                Err(why) => return Err(Stop::Module(host.to_owned(), why)),
            }
        }
    }

    fn is_worth_waiting(&self, host: &str, why: Unanswered, tries: u32) -> bool {
        let passes =
            why == Unanswered::Busy || (why == Unanswered::StorageFailed && tries < STORAGE_TRIES);
        passes && self.present.of(host).is_some()
    }

    /// One owner's rows cannot be had, and the others do not wait for that: a file of his is damaged, or something
    /// in it is more than can be told. After many in a row we rest as if the module had failed.
    fn leave(&mut self, host: &str, why: Unanswered) -> Walked<()> {
        use Unanswered::{Refused, StorageFailed, Unreadable};
        self.left += 1;
        if !matches!(why, Refused | StorageFailed | Unreadable) || self.left > MOST_LEFT {
            self.left = 0;
            return Err(Stop::Module(host.to_owned(), why));
        }
        self.metrics.unreadable_stanzas.inc();
        warn!(
            host,
            help = why.remedy(),
            "an owner's messages cannot be listed and are left alone: {why}"
        );
        Ok(())
    }
}
