//! The feed: takes what the modules tell, judges and records it, and finds out what was lost.

mod greet;
mod track;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sqlx::PgPool;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{greet::load, track::Track};
use super::{Present, Queue, Settings, told};
use crate::{
    archive::remote::{Companion, Notice, Requests, Told, Unanswered},
    database::{Named, Result, in_time},
    ledger::{self, Heard},
    metrics::Metrics,
    model::Store,
    work::{Changing, TRANSACTION_LIMIT, inspect::Standing, reconcile::Reconciled},
};

/// Notices of one transaction.
const BATCH: usize = 100;
/// After the first notice of a batch we wait so long for more, and after each archive row for what follows: the
/// copy in an offline queue is told right after the row, which may be due at once but must wait for that copy.
const GATHER: Duration = Duration::from_millis(30);
/// Batches that are recorded before a greeting is looked at, at the most.
const MOST_BEFORE: usize = 20;
/// A module that told of a notice which has not come is asked again after so long.
const DOUBT: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(500);
/// After a failure of the database.
const RETRY: Duration = Duration::from_secs(1);

/// The feed of one daemon.
pub struct Feed<R> {
    pool: PgPool,
    requests: R,
    settings: Changing<Settings>,
    /// Listing goes by other rules once we do: what we recorded before, it then corrects.
    judging: watch::Sender<Settings>,
    metrics: Arc<Metrics>,
    present: Present,
    queue: Queue,
    /// There may be something to list.
    walk: Arc<Notify>,
    standing: watch::Sender<Standing>,
    leading: watch::Receiver<bool>,
    tracks: HashMap<String, Track>,
    greetings: JoinSet<(String, std::result::Result<Companion, Unanswered>)>,
    /// Recorded next.
    batch: Vec<Notice>,
    /// What came, and when, and goes into the next batch.
    held: Vec<(Notice, Instant)>,
    failures: u32,
}

impl<R: Requests> Feed<R> {
    /// A feed that starts with [`Feed::run`]. It tells `present` who answers, and rings `walk`.
    pub fn new(
        pool: PgPool,
        requests: R,
        (settings, judging): (Changing<Settings>, watch::Sender<Settings>),
        metrics: Arc<Metrics>,
        (present, walk, queue): (Present, Arc<Notify>, Queue),
        (standing, leading): (watch::Sender<Standing>, watch::Receiver<bool>),
    ) -> Self {
        Self {
            pool,
            requests,
            settings,
            judging,
            metrics,
            present,
            queue,
            walk,
            standing,
            leading,
            tracks: HashMap::new(),
            greetings: JoinSet::new(),
            batch: Vec::new(),
            held: Vec::new(),
            failures: 0,
        }
    }

    /// Takes notices until stopped.
    pub async fn run(mut self, mut notices: mpsc::Receiver<Notice>, stop: CancellationToken) {
        let mut connection = self.requests.connection();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.reconnected(*connection.borrow_and_update());
        loop {
            if self.settings.take() {
                self.judging.send_replace(self.settings.clone_now());
            }
            let has_room = self.batch.is_empty();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = connection.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let number = *connection.borrow_and_update();
                    self.reconnected(number);
                }
                () = std::future::ready(()), if has_room && !self.held.is_empty() => {
                    self.gather(&mut notices).await;
                    self.record_or_wait(&stop).await;
                }
                notice = notices.recv(), if has_room && self.held.is_empty() => {
                    let Some(notice) = notice else { return };
                    self.held.push((notice, Instant::now()));
                }
                Some(Ok((host, greeting))) = self.greetings.join_next() => {
                    // What it told before it answered has come, and goes before.
                    for _ in 0..MOST_BEFORE {
                        if self.failures > 0 || (notices.is_empty() && self.held.is_empty()) {
                            break;
                        }
                        self.gather(&mut notices).await;
                        self.record_or_wait(&stop).await;
                    }
                    self.greeted(&host, greeting).await;
                }
                _ = tick.tick() => {
                    self.record_or_wait(&stop).await;
                    self.greet();
                    self.look().await;
                }
            }
        }
    }

    /// Takes what was held and what comes into the batch. Archive rows that came just now are held for the next
    /// one: their copies may follow, and others' notices stand between.
    async fn gather(&mut self, notices: &mut mpsc::Receiver<Notice>) {
        let began = self.held.first().map_or_else(Instant::now, |held| held.1);
        for _ in 0..BATCH {
            match timeout_at(began + GATHER, notices.recv()).await {
                Ok(Some(notice)) => self.held.push((notice, Instant::now())),
                Ok(None) | Err(_) => break,
            }
        }
        let copied: HashSet<Copied> = self.held.iter().filter_map(|it| Copied::by(&it.0)).collect();
        for (notice, at) in std::mem::take(&mut self.held) {
            let waits = at.elapsed() < GATHER
                && Copied::may_be(&notice).is_some_and(|row| !copied.contains(&row));
            match waits {
                true => self.held.push((notice, at)),
                false => self.batch.push(notice),
            }
        }
    }

    /// A new connection: what we knew of numbers, another daemon may have gone on with.
    fn reconnected(&mut self, number: Option<u64>) {
        self.greetings.abort_all();
        self.tracks.clear();
        self.present.nobody();
        self.metrics.companions.set(0);
        if number.is_some() {
            self.greet();
        }
    }

    /// Records the batch; one that fails is kept, and tried again with the next tick.
    async fn record_or_wait(&mut self, stop: &CancellationToken) {
        if self.batch.is_empty() {
            return;
        }
        let recorded = in_time("feed", TRANSACTION_LIMIT, self.record());
        match recorded.await {
            Ok((tracks, reconciled)) => {
                if std::mem::take(&mut self.failures) > 0 {
                    info!("recording what is told again");
                    // There may have been no room for all of it: the modules know.
                    self.tracks.values_mut().for_each(|track| track.greet_at = None);
                }
                for it in &reconciled {
                    told::count(it, &self.metrics);
                }
                self.tracks.extend(tracks);
                self.batch.clear();
                self.walk.notify_one();
            }
            Err(error) => {
                self.failed(&error);
                stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
            }
        }
    }

    fn failed(&mut self, error: &crate::database::Error) {
        if !error.is_contention() {
            self.metrics.database_errors.inc();
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            warn!(%error, "what is told cannot be recorded, trying again");
        } else {
            debug!(%error, failures = self.failures, "what is told cannot be recorded");
        }
    }

    /// One transaction. Returns how far the numbers have come with it.
    async fn record(&self) -> Result<(HashMap<String, Track>, Vec<Reconciled>)> {
        let mut transaction = self.pool.begin().await.named("feed_begin")?;
        let hosts: Vec<String> = self.batch.iter().map(|notice| notice.host.clone()).collect();
        ledger::lock_feeds(&mut transaction, &hosts).await?;
        let mut tracks: HashMap<String, Track> = HashMap::new();
        let mut started_anew = HashSet::new();
        let mut reconciled = Vec::new();
        let mut rows = Vec::new();
        for notice in &self.batch {
            let host = notice.host.as_str();
            let numbers = (notice.boot.as_str(), notice.number);
            let known = self.tracks.get(host).cloned().unwrap_or_default();
            let track = tracks.entry(host.to_owned()).or_insert(known);
            if !track.is_known {
                load(&mut transaction, host, track, (numbers.0, numbers.1 - 1)).await?;
            }
            if track.hear(numbers) {
                started_anew.insert(host);
            }
            match &notice.told {
                Told::Archived(shown) => rows.push((**shown).clone()),
                Told::Drained(owner) => {
                    self.queue.drained((host, owner));
                    // In order: what is told after this is a new copy.
                    reconciled.extend(self.reconcile(&mut transaction, &mut rows).await?);
                    self.drained(&mut transaction, (host, owner)).await?;
                }
            }
        }
        reconciled.extend(self.reconcile(&mut transaction, &mut rows).await?);
        for (host, track) in &tracks {
            let numbers = (track.boot.as_str(), track.number);
            let heard = match started_anew.contains(host.as_str()) {
                true => Heard::Lost,
                false if track.is_clear() => Heard::All,
                false => Heard::NotYetAll,
            };
            ledger::follow_feed(&mut transaction, host, numbers, heard).await?;
        }
        transaction.commit().await.named("feed_commit")?;
        Ok((tracks, reconciled))
    }

    async fn reconcile(
        &self,
        connection: &mut sqlx::PgConnection,
        rows: &mut Vec<crate::archive::remote::Shown>,
    ) -> Result<Option<Reconciled>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let context = told::context(connection, &self.settings, "", false).await?;
        let reconciled = told::reconcile(connection, rows, context).await?;
        rows.clear();
        Ok(Some(reconciled))
    }

    async fn drained(
        &self,
        connection: &mut sqlx::PgConnection,
        (host, owner): (&str, &str),
    ) -> Result<()> {
        const ENTRIES: i64 = 1_000;
        let queue = (host, owner, Store::Queue);
        loop {
            let copies =
                ledger::entries_of_owner(connection, queue, (0, i64::MAX), ENTRIES).await?;
            told::deliver(connection, &copies).await?;
            if i64::try_from(copies.len()).is_ok_and(|count| count < ENTRIES) {
                return Ok(());
            }
        }
    }

    /// Gives up on numbers that have not come in time, and tells how all stands.
    async fn look(&mut self) {
        let overdue: Vec<(String, Track)> = self
            .tracks
            .iter()
            .filter(|(_, track)| track.is_overdue(DOUBT))
            .map(|(host, track)| (host.clone(), track.clone()))
            .collect();
        let looked = async {
            let mut connection = self.pool.acquire().await.named("feed_connect")?;
            for (host, track) in overdue {
                let highest = track.highest();
                let numbers = (track.boot.as_str(), highest);
                let lost = track.lost(numbers).unwrap_or(0);
                ledger::follow_feed(&mut connection, &host, numbers, Heard::Lost).await?;
                self.metrics.notices_lost.inc_by(lost);
                info!(host, lost, "notices were lost: listing what was archived since");
                self.walk.notify_one();
                if let Some(track) = self.tracks.get_mut(&host) {
                    let boot = track.boot.clone();
                    track.follow((&boot, highest));
                }
            }
            ledger::catch_ups(&mut connection, &self.settings.hosts).await
        };
        let due = in_time("feed", TRANSACTION_LIMIT, looked).await;
        let leads = *self.leading.borrow();
        let all_there = self.present.hosts().len() == self.settings.hosts.len();
        // What came just now is recorded at once.
        let is_old = |it: &(Notice, Instant)| it.1.elapsed() >= TICK;
        let recorded = self.batch.is_empty() && !self.held.first().is_some_and(is_old);
        let clear = all_there && recorded && self.tracks.values().all(|it| it.keeps_up(DOUBT));
        let since = Instant::now();
        self.standing.send_modify(|standing| {
            standing.reachable = due.is_ok();
            let caught_up = due.as_ref().is_ok_and(Vec::is_empty) && clear;
            // Whoever leads tells its own lag; ours would only grow.
            if caught_up || (!leads && due.is_ok()) {
                standing.caught_up = Some(since);
            }
        });
        if let Err(error) = &due {
            self.failed(error);
        }
        if clear {
            let now = crate::model::Clock::now(&crate::model::SystemClock);
            self.metrics.last_inspection_timestamp_seconds.set(now.timestamp_micros() as f64 / 1e6);
        }
    }
}

/// A row of a user's archive, by what its copy in the offline queue names: host, owner, id.
#[derive(PartialEq, Eq, Hash)]
struct Copied(String, String, String);

impl Copied {
    /// The row that this may be.
    fn may_be(notice: &Notice) -> Option<Self> {
        let Told::Archived(shown) = &notice.told else { return None };
        let key = &shown.row.key;
        (key.store == Store::Archive)
            .then(|| Self(key.host.clone(), key.owner.clone(), key.archive_id.clone()))
    }

    /// The row that this is a copy of.
    fn by(notice: &Notice) -> Option<Self> {
        let Told::Archived(shown) = &notice.told else { return None };
        let key = &shown.row.key;
        Some(Self(key.host.clone(), key.owner.clone(), shown.copy_of.clone()?))
    }
}
