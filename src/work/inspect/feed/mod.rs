//! The feed: takes the modules' notices, judges and records them, and finds out what was lost.

mod greet;
mod track;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{greet::load, track::Track};
use super::{Inspection, readings::Readings, sessions};
use crate::{
    archive::companion::{Companion, Event, Notice, Requests, Shown, Unanswered},
    database::{Named, Result, in_time},
    ledger::{self, Heard},
    metrics::Metrics,
    model::Store,
    work::{
        TRANSACTION_LIMIT,
        base::{
            Changing, Retry, count,
            presence::{CompanionSettings, Present},
        },
        reconcile::{Reconciled, companion},
    },
};

/// Maximum number of notices taken for one transaction.
const BATCH: usize = 100;
/// How long to wait for more after the first notice of a batch, and after each archive row for what follows: the copy
/// in an offline queue is announced right after the row, which may be due at once but must wait for that copy.
const GATHER: Duration = Duration::from_millis(30);
/// Maximum number of batches recorded before a greeting is handled.
const MOST_BEFORE: usize = 20;
/// How long until a module is asked again that has counted a notice we have not received.
const DOUBT: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(500);

/// Whom the feed works with.
pub struct Links {
    /// Gets new settings once nothing is recorded by the old ones any more: listing then corrects that.
    pub judging: watch::Sender<CompanionSettings>,
    /// Which modules answer.
    pub present: Present,
    /// Gets what only rooms remember.
    pub remembered: mpsc::Sender<Shown>,
    /// Rings when there may be something to list.
    pub walk: Arc<Notify>,
    /// The state of inspection.
    pub state: watch::Sender<Inspection>,
    /// Whether this daemon is the leader.
    pub leading: watch::Receiver<bool>,
}

/// The feed of one daemon.
pub struct Feed<R> {
    pool: PgPool,
    requests: R,
    settings: Changing<CompanionSettings>,
    metrics: Arc<Metrics>,
    links: Links,
    tracks: HashMap<String, Track>,
    greetings: JoinSet<(String, std::result::Result<Companion, Unanswered>)>,
    /// To be recorded next.
    batch: Vec<Notice>,
    /// Received, with the time, for the next batch.
    held: Vec<(Notice, Instant)>,
    /// What was read, by what modules announced.
    readings: Readings,
    retry: Retry,
}

impl<R: Requests> Feed<R> {
    /// A feed that starts with [`Feed::run`].
    pub fn new(
        pool: PgPool,
        requests: R,
        settings: Changing<CompanionSettings>,
        metrics: Arc<Metrics>,
        links: Links,
    ) -> Self {
        Self {
            pool,
            requests,
            settings,
            metrics,
            links,
            tracks: HashMap::new(),
            greetings: JoinSet::new(),
            batch: Vec::new(),
            held: Vec::new(),
            readings: Readings::default(),
            retry: Retry::new("recording notices", Duration::from_secs(1), 1),
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
                self.links.judging.send_replace(self.settings.clone_now());
            }
            let may_take = self.batch.is_empty();
            // After what was announced before.
            let may_look = may_take && self.held.is_empty();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = connection.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let number = *connection.borrow_and_update();
                    self.reconnected(number);
                }
                () = std::future::ready(()), if may_take && !self.held.is_empty() => {
                    self.gather(&mut notices).await;
                    self.record_or_wait(&stop).await;
                }
                notice = notices.recv(), if may_take && self.held.is_empty() => {
                    let Some(notice) = notice else { return };
                    self.held.push((notice, Instant::now()));
                }
                Some(Ok((host, greeting))) = self.greetings.join_next() => {
                    // The notices that it sent before it answered have arrived, and come first.
                    for _ in 0..MOST_BEFORE {
                        if self.retry.is_failing() || (notices.is_empty() && self.held.is_empty()) {
                            break;
                        }
                        self.gather(&mut notices).await;
                        self.record_or_wait(&stop).await;
                    }
                    self.greeted(&host, greeting).await;
                }
                () = tokio::time::sleep_until(self.readings.next_look()), if may_look => {
                    self.look_at_readings().await;
                }
                _ = tick.tick() => {
                    self.record_or_wait(&stop).await;
                    self.greet();
                    self.look().await;
                }
            }
        }
    }

    /// Takes what was held and what arrives into the batch. Archive rows that have just arrived are held for the next
    /// one: their copies may follow, with notices of others in between.
    async fn gather(&mut self, notices: &mut mpsc::Receiver<Notice>) {
        let began = self.held.first().map_or_else(Instant::now, |held| held.1);
        for _ in 0..BATCH {
            match timeout_at(began + GATHER, notices.recv()).await {
                Ok(Some(notice)) => self.held.push((notice, Instant::now())),
                Ok(None) | Err(_) => break,
            }
        }
        let copies: HashSet<Copied> = self.held.iter().filter_map(|it| copied(&it.0).1).collect();
        for (notice, at) in std::mem::take(&mut self.held) {
            let waits = at.elapsed() < GATHER
                && copied(&notice).0.is_some_and(|row| !copies.contains(&row));
            match waits {
                true => self.held.push((notice, at)),
                false => self.batch.push(notice),
            }
        }
    }

    /// The connection is new: another daemon may have received notices meanwhile, so our numbers mean nothing.
    fn reconnected(&mut self, number: Option<u64>) {
        self.greetings.abort_all();
        self.tracks.clear();
        self.links.present.nobody();
        self.metrics.companions.set(0);
        if number.is_some() {
            self.greet();
        }
    }

    /// Records the batch. One that fails is kept, and retried at the next tick.
    async fn record_or_wait(&mut self, stop: &CancellationToken) {
        if self.batch.is_empty() {
            return;
        }
        let recorded = in_time("feed", TRANSACTION_LIMIT, self.record());
        match recorded.await {
            Ok((tracks, reconciled)) => {
                if self.retry.succeeded() {
                    // Some may have been dropped for lack of space: the modules know.
                    self.tracks.values_mut().for_each(|track| track.greet_at = None);
                }
                reconciled.count(&self.metrics, i64::MIN);
                self.tracks.extend(tracks);
                for notice in self.batch.drain(..) {
                    if let Event::Read(owner, items) = notice.event {
                        self.readings.add((&notice.host, &owner), items);
                    }
                }
                self.links.walk.notify_one();
            }
            Err(error) => {
                let pause = self.retry.failed(&error, &self.metrics);
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
        }
    }

    /// One transaction. Returns how far the numbers are with it.
    async fn record(&self) -> Result<(HashMap<String, Track>, Reconciled)> {
        let mut transaction = self.pool.begin().await.named("feed_begin")?;
        let hosts: Vec<String> = self.batch.iter().map(|notice| notice.host.clone()).collect();
        ledger::lock_feeds(&mut transaction, &hosts).await?;
        let mut tracks: HashMap<String, Track> = HashMap::new();
        let mut started_anew = HashSet::new();
        let (mut rows, mut reconciled) = (Vec::new(), Reconciled::default());
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
            // In order: a copy announced after its queue was handed out is a new one.
            if !matches!(notice.event, Event::Archived(_) | Event::Remembered(_) | Event::Read(..))
            {
                self.reconcile(&mut transaction, &mut rows, &mut reconciled).await?;
            }
            self.record_event(&mut transaction, notice, &mut rows).await?;
        }
        self.reconcile(&mut transaction, &mut rows, &mut reconciled).await?;
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

    /// Records what a notice announces; archived rows are only added to `rows`.
    async fn record_event(
        &self,
        connection: &mut PgConnection,
        notice: &Notice,
        rows: &mut Vec<Shown>,
    ) -> Result<()> {
        let host = notice.host.as_str();
        match &notice.event {
            Event::Archived(shown) => {
                rows.push((**shown).clone());
                Ok(())
            }
            Event::Remembered(shown) => {
                drop(self.links.remembered.try_send((**shown).clone()));
                Ok(())
            }
            Event::Drained(owner) => {
                self.links.present.drained((host, owner));
                drained(connection, (host, owner)).await
            }
            Event::Undelivered(owner, ids) => {
                sessions::hold(connection, (host, owner), ids, &self.settings.rules).await
            }
            Event::Delivered(owner, ids) => sessions::deliver(connection, (host, owner), ids).await,
            // Looked at after this transaction, which records what it may name.
            Event::Read(..) => Ok(()),
        }
    }

    async fn reconcile(
        &self,
        connection: &mut PgConnection,
        rows: &mut Vec<Shown>,
        reconciled: &mut Reconciled,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let context = companion::announced(connection, &self.settings).await?;
        companion::reconcile(connection, rows, context, reconciled).await?;
        rows.clear();
        Ok(())
    }

    /// Starts the timers of what was read.
    async fn look_at_readings(&mut self) {
        let looked = in_time("readings", TRANSACTION_LIMIT, async {
            let mut transaction = self.pool.begin().await.named("readings_begin")?;
            let context = companion::announced(&mut transaction, &self.settings).await?;
            let looked = self.readings.look(&mut transaction, context).await?;
            transaction.commit().await.named("readings_commit")?;
            Ok(looked)
        })
        .await;
        self.readings.settle(looked, &self.metrics);
    }

    /// Gives up on numbers that have not arrived in time, and reports the state of inspection.
    async fn look(&mut self) {
        let looked = async {
            let mut connection = self.pool.acquire().await.named("feed_connect")?;
            for (host, track) in self.tracks.iter_mut().filter(|it| it.1.is_overdue(DOUBT)) {
                let (boot, highest) = (track.boot.clone(), track.highest());
                let numbers = (boot.as_str(), highest);
                let lost = track.lost(numbers).unwrap_or(0);
                ledger::follow_feed(&mut connection, host, numbers, Heard::Lost).await?;
                self.metrics.notices_lost.inc_by(lost);
                info!(host, lost, "notices were lost: listing what was archived since");
                self.links.walk.notify_one();
                track.follow(numbers);
                // What was lost may have been about sessions.
                (track.recalled, track.greet_at) = (false, None);
            }
            ledger::catch_ups(&mut connection, &self.settings.hosts).await
        };
        let due = in_time("feed", TRANSACTION_LIMIT, looked).await;
        let leads = *self.links.leading.borrow();
        let all_there = self.links.present.hosts().len() == self.settings.hosts.len();
        // What has just arrived is recorded at once.
        let is_old = |it: &(Notice, Instant)| it.1.elapsed() >= TICK;
        let recorded = self.batch.is_empty() && !self.held.first().is_some_and(is_old);
        let clear = all_there && recorded && self.tracks.values().all(|it| it.keeps_up(DOUBT));
        let since = Instant::now();
        self.links.state.send_modify(|state| {
            state.reachable = due.is_ok();
            let caught_up = due.as_ref().is_ok_and(Vec::is_empty) && clear;
            // The leader reports the lag; ours would only grow.
            if caught_up || (!leads && due.is_ok()) {
                state.caught_up = Some(since);
            }
        });
        if let Err(error) = &due {
            self.retry.failed(error, &self.metrics);
        }
        if clear {
            let now = crate::model::Clock::now(&crate::model::SystemClock);
            self.metrics.last_inspection_timestamp_seconds.set(now.timestamp_micros() as f64 / 1e6);
        }
    }
}

/// The queue was handed out: all its copies are delivered.
async fn drained(connection: &mut PgConnection, (host, owner): (&str, &str)) -> Result<()> {
    const ENTRIES: i64 = 1_000;
    let queue = (host, owner, Store::Queue);
    loop {
        let copies = ledger::entries_of_owner(connection, queue, (0, i64::MAX), ENTRIES).await?;
        companion::deliver(connection, &copies).await?;
        if count(copies.len()) < ENTRIES {
            return Ok(());
        }
    }
}

/// A row of a user's archive as its copy in the offline queue names it: host, owner, id.
type Copied = (String, String, String);

/// The row that this notice may be about, and the one that its row is a copy of.
fn copied(notice: &Notice) -> (Option<Copied>, Option<Copied>) {
    let Event::Archived(shown) = &notice.event else { return (None, None) };
    let key = &shown.row.key;
    let named = |id: &String| (key.host.clone(), key.owner.clone(), id.clone());
    let is_archived = key.store == Store::Archive;
    (is_archived.then(|| named(&key.archive_id)), shown.copy_of.as_ref().map(named))
}
