//! The walk: lists rows owner by owner and brings the ledger in line with them. In this order it lists: owners whose
//! offline queue was handed out; what was archived while notices may have been lost; and, as the sweep, everything.

mod page;
mod whole;

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Sweeping;
use crate::{
    archive::companion::{Page, Requests, Unanswered, jid_order},
    database::{self, Named as _},
    ledger::{self, CatchUp},
    metrics::Metrics,
    model::{Store, Timestamp},
    work::base::{
        Changing, Retry, count,
        presence::{CompanionSettings, Present, SWEEP},
    },
};

/// How often to check whether there is something to list.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Pause between two lists, as long as the module's own.
const PACE: Duration = Duration::from_millis(60);
/// The first and the maximum wait if the module asks us to wait.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MOST: Duration = Duration::from_secs(60);
/// Maximum number of attempts if the storage fails.
const STORAGE_TRIES: u32 = 3;
/// Maximum number of consecutive owners whose rows cannot be listed: beyond that, the server is at fault.
const MOST_SKIPPED: u32 = 5;
/// Archives of owners whose queue was handed out, listed between two owners of a longer list.
const RELISTS: usize = 4;
/// Maximum number of attempts at such a list: together they take about an hour. The next sweep lists it too.
const RELIST_ATTEMPTS: i16 = 10;
/// Owners that one statement finds in the ledger.
const OWNERS: i64 = 500;
/// Queues first, so that no copy is overlooked.
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
    /// Only rows stamped from here on. `None` means all rows: an entry whose row is not among them is stale.
    since: Option<Timestamp>,
    /// Set for the sweep: it is at this position and owner.
    sweep: Option<(i64, &'a str)>,
}

/// The walk of one daemon.
pub struct Walker<R> {
    pool: PgPool,
    requests: R,
    settings: Changing<CompanionSettings>,
    metrics: Arc<Metrics>,
    present: Present,
    absent_since: Option<Instant>,
    /// Consecutive owners whose rows could not be listed.
    skipped: u32,
}

impl<R: Requests> Walker<R> {
    /// A walk that starts with [`Walker::run`].
    pub fn new(
        pool: PgPool,
        requests: R,
        settings: Changing<CompanionSettings>,
        metrics: Arc<Metrics>,
        present: Present,
    ) -> Self {
        Self { pool, requests, settings, metrics, present, absent_since: None, skipped: 0 }
    }

    /// Walks whenever there is something to list, until stopped. `bell` rings when there may be.
    pub async fn run(mut self, bell: Arc<Notify>, sweeping: Sweeping, stop: CancellationToken) {
        let mut retry = Retry::new("listing", LOOK_EVERY, 10);
        let mut asked = false;
        loop {
            if self.settings.take() {
                asked = false;
                sweeping.holding.send_replace(self.settings.hold_backlog);
            }
            let walked = async {
                if !asked {
                    asked = self.request_if_rules_changed().await?;
                }
                self.walk(&sweeping.under_way).await
            };
            let Some(walked) = stop.run_until_cancelled(walked).await else { return };
            sweeping.under_way.send_replace(false);
            let mut pause = LOOK_EVERY;
            match walked {
                Ok(()) => drop(retry.succeeded()),
                Err(Stop::Module(host, why)) => {
                    debug!(host, "listing was interrupted: {why}");
                    self.present.lost(&host, why);
                }
                Err(Stop::Database(error)) if error.is_contention() => {
                    debug!(%error, "listing waits for another session");
                }
                Err(Stop::Database(error)) => pause += retry.failed(&error, &self.metrics),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = bell.notified(), if !retry.is_failing() => {}
                () = self.settings.changed() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn connection(&self) -> database::Result<PoolConnection<Postgres>> {
        self.pool.acquire().await.named("walk_connect")
    }

    /// Everything there is to do now.
    async fn walk(&mut self, under_way: &watch::Sender<bool>) -> Walked<()> {
        loop {
            let hosts = self.present.hosts();
            if hosts.is_empty() {
                return Ok(());
            }
            // In turns, so that users who keep one of them busy do not hold up the others.
            let mut went_on = self.relists(&hosts).await?;
            if let Some(catch_up) = self.catch_up_due(&hosts).await? {
                self.catch_up(catch_up, &hosts).await?;
                went_on = true;
            }
            if let Some(sweep) = self.sweep_due().await? {
                under_way.send_replace(true);
                went_on |= self.sweep_part(&sweep).await?;
            }
            if !went_on {
                return Ok(());
            }
        }
    }

    async fn catch_up_due(&self, hosts: &[String]) -> Walked<Option<CatchUp>> {
        let due = ledger::catch_ups(&mut *self.connection().await?, hosts).await?;
        Ok(due.into_iter().next())
    }

    /// Archives of a few owners whose queue was handed out, so that their timers start. Returns whether there were any.
    async fn relists(&mut self, hosts: &[String]) -> Walked<bool> {
        for at in 0..RELISTS {
            let next = ledger::next_relist(&mut *self.connection().await?, hosts).await?;
            let Some(relist) = next else { return Ok(at > 0) };
            let purpose = Purpose { since: Some(relist.since), sweep: None };
            let of = (relist.host.as_str(), relist.owner.as_str());
            let listed = self.list(of, Store::Archive, purpose).await?;
            let mut connection = self.connection().await?;
            match listed {
                true => ledger::relisted(&mut connection, &relist).await?,
                false => ledger::put_off_relist(&mut connection, &relist, RELIST_ATTEMPTS).await?,
            }
        }
        Ok(true)
    }

    /// Queues that the ledger knows are listed in full, because nobody reported when they were handed out; everything
    /// else only since the notices were lost.
    async fn catch_up(&mut self, mut at: CatchUp, hosts: &[String]) -> Walked<()> {
        let host = at.host.clone();
        let (since, steps) = (Some(at.since), 1 + STORES.len());
        // What is lost from now on, even while the first owner is listed, is due again afterwards.
        self.save(&at).await?;
        let mut any_skipped = false;
        while usize::try_from(at.step).is_ok_and(|step| step < steps) {
            let step = usize::try_from(at.step).unwrap_or(0);
            let after = std::mem::take(&mut at.after_owner);
            let (owners, store, since) = match step.checked_sub(1).and_then(|at| STORES.get(at)) {
                None => {
                    let known = self.known_owners(&host, Store::Queue, &after, None).await?;
                    (known, Store::Queue, None)
                }
                Some(store) => (self.owners(&host, *store, &after).await?, *store, since),
            };
            for owner in owners.found {
                let purpose = Purpose { since, sweep: None };
                any_skipped |= !self.list((&host, &owner), store, purpose).await?;
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
        let mut connection = self.connection().await?;
        if any_skipped {
            // A sweep that is under way is not restarted for that.
            let sweep = ledger::sweep(&mut connection, SWEEP).await?;
            if sweep.is_none_or(|sweep| sweep.started_at.is_none()) {
                ledger::request_sweep(&mut connection, SWEEP).await?;
            }
        }
        ledger::complete_catch_up(&mut connection, &host).await?;
        self.metrics.catch_ups.inc();
        info!(host, "listed what was archived while notices may have been lost");
        Ok(())
    }

    async fn save(&self, at: &CatchUp) -> Walked<()> {
        Ok(ledger::move_catch_up(&mut *self.connection().await?, at).await?)
    }

    /// Whether the host has this store: a host of rooms has no queues, and a host with queues no rooms.
    fn has(&self, host: &str, store: Store) -> Walked<bool> {
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
        if !self.has(host, store)? {
            return Ok(Page::empty());
        }
        let after = (!after.is_empty()).then(|| after.to_owned());
        self.patiently(host, || self.requests.owners(host, store, after.clone())).await
    }

    /// The next owners that the ledger knows, up to this one.
    async fn known_owners(
        &self,
        host: &str,
        store: Store,
        after: &str,
        upto: Option<&str>,
    ) -> Walked<Page<String>> {
        if !self.has(host, store)? {
            return Ok(Page::empty());
        }
        let (of, span) = ((host, store), (after, upto));
        let found = ledger::owners(&mut *self.connection().await?, of, span, OWNERS).await?;
        let complete = count(found.len()) < OWNERS;
        Ok(Page { last: found.last().cloned(), found, complete })
    }

    /// The next owners that either knows: an owner known only to the ledger may have been deleted with all rows.
    async fn all_owners(&self, host: &str, store: Store, after: &str) -> Walked<Page<String>> {
        let mut page = self.owners(host, store, after).await?;
        let upto = page.last.as_deref().filter(|_| !page.complete);
        let known = self.known_owners(host, store, after, upto).await?;
        if let Some(last) = known.last.filter(|_| !known.complete) {
            let end = jid_order(&last);
            page.found.retain(|owner| jid_order(owner) <= end);
            (page.last, page.complete) = (Some(last), false);
        }
        page.found.extend(known.found);
        page.found.sort_by_key(|owner| jid_order(owner));
        page.found.dedup();
        Ok(page)
    }

    /// Asks again as long as the module only asks us to wait, and a few times if its storage fails. The answer is used
    /// at once: the pause comes before the request.
    async fn patiently<T, F: Future<Output = Result<T, Unanswered>>>(
        &self,
        host: &str,
        ask: impl Fn() -> F,
    ) -> Walked<T> {
        let (mut wait, mut tries) = (WAIT_FIRST, 1);
        loop {
            tokio::time::sleep(PACE).await;
            let why = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(why) => why,
            };
            let has_failed = why == Unanswered::StorageFailed;
            let passes = why == Unanswered::Busy || (has_failed && tries < STORAGE_TRIES);
            if !passes || self.present.of(host).is_none() {
                return Err(Stop::Module(host.to_owned(), why));
            }
            tries += u32::from(has_failed);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MOST);
        }
    }

    /// One owner's rows cannot be listed, and the others do not wait for that: one of their files is damaged, or a
    /// stanza is too large to be sent. After many consecutive ones we rest as if the module had failed.
    fn skip(&mut self, host: &str, why: Unanswered) -> Walked<()> {
        use Unanswered::{Refused, StorageFailed, Unreadable};
        self.skipped += 1;
        if !matches!(why, Refused | StorageFailed | Unreadable) || self.skipped > MOST_SKIPPED {
            self.skipped = 0;
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
