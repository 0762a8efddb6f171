//! Messages that went only to sessions waiting to be resumed (XEP-0198), or to nobody. The module announces them, and
//! they are held like those with a copy in the offline queue until someone receives them.
//!
//! `hold` and `deliver` are for all kinds of archives. [`Listener`] is for archives in SQL, where other notices only
//! wake the tail.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::readings::Readings;
use crate::{
    archive::{
        Archive,
        companion::{Companion, Event, Notice, Requests, Shown, Unanswered},
    },
    database::{self, Named, Result, in_time},
    ledger,
    metrics::Metrics,
    model::{LATEST, Reason, Rules},
    policy, task,
    work::{
        TRANSACTION_LIMIT,
        base::{Retry, unheard::Unheard},
        reconcile::{Context, release},
    },
};

/// Maximum number of notices waiting to be recorded. If any are dropped, the module is asked to announce them again.
const MOST_WAITING: usize = 1_000;
/// Interval between attempts after the database failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long until a module that does not answer, or does not know, is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Maximum wait for a module to report what it knows.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Maximum number of batches of notices recorded before a module's answer is handled.
const MOST_BEFORE: usize = 20;

/// Nobody has received these rows of an owner's archive: they wait, and so will those that are not recorded yet.
pub(super) async fn hold(
    connection: &mut PgConnection,
    owner: (&str, &str),
    ids: &[String],
    rules: &Rules,
) -> Result<()> {
    let mut entries = ledger::archived_under(connection, owner, ids).await?;
    // What waits for its reader waits no longer for this, nor does what has a receipt.
    entries.retain(|it| {
        let by = it.expiry.start.by;
        it.expiry.reason != Reason::Undelivered && !by.is_by_reading() && !by.is_received()
    });
    for entry in &mut entries {
        let wait = rules.timers.unread_for;
        entry.expiry.due_at = wait.map_or(LATEST, |wait| policy::later(entry.expiry.due_at, wait));
        entry.expiry.reason = Reason::Undelivered;
    }
    ledger::change(connection, &entries).await?;
    ledger::note_undelivered(connection, owner, ids).await
}

/// Someone has received these rows of an owner's archive: their timers start, and the owner's rows are listed, because
/// only they say how long.
pub(super) async fn deliver(
    connection: &mut PgConnection,
    owner: (&str, &str),
    ids: &[String],
) -> Result<()> {
    let ids = names(owner, ids);
    ledger::start_timers(connection, &ids).await?;
    ledger::end_undelivered(connection, &ids).await
}

fn names<'a>(owner: (&'a str, &'a str), ids: &'a [String]) -> Vec<(&'a str, &'a str, &'a str)> {
    ids.iter().map(|id| (owner.0, owner.1, id.as_str())).collect()
}

/// What the listener notifies.
pub struct Outputs {
    /// The tail: rings at each notice.
    pub tail: Arc<Notify>,
    /// Gets what only rooms remember, which no tail sees.
    pub remembered: mpsc::Sender<Shown>,
    /// Hosts that the eraser waits for.
    pub unheard: Unheard,
}

/// Takes the modules' notices where archives are in SQL.
pub struct Listener<R> {
    pool: PgPool,
    requests: R,
    archive: Archive,
    rules: watch::Receiver<Rules>,
    hosts: Vec<String>,
    outputs: Outputs,
    /// Received and not recorded yet, in order.
    waiting: VecDeque<Notice>,
    /// What was read, by what modules announced.
    readings: Readings,
    /// The last notice of each module: its boot and number.
    heard: HashMap<String, (String, i64)>,
    /// Modules that are being asked.
    asking: JoinSet<(String, std::result::Result<Companion, Unanswered>)>,
    /// Hosts whose modules have announced everything they know since the component connected.
    complete: Vec<String>,
    /// Hosts whose modules may know something; all before the ledger was asked.
    may_know: Option<BTreeSet<String>>,
    /// Nobody waits for them any more from then on.
    waits_until: Instant,
    metrics: Arc<Metrics>,
    retry: Retry,
}

impl<R: Requests> Listener<R> {
    /// A listener that starts with [`Listener::run`].
    pub fn new(
        pool: PgPool,
        requests: R,
        archive: Archive,
        rules: watch::Receiver<Rules>,
        hosts: Vec<String>,
        metrics: Arc<Metrics>,
        outputs: Outputs,
    ) -> Self {
        Self {
            pool,
            requests,
            archive,
            rules,
            hosts,
            outputs,
            waiting: VecDeque::new(),
            readings: Readings::default(),
            heard: HashMap::new(),
            asking: JoinSet::new(),
            complete: Vec::new(),
            may_know: None,
            waits_until: Instant::now() + LONGEST_WAIT,
            metrics,
            retry: Retry::new("noting what nobody has received", RETRY, 1),
        }
    }

    /// Takes notices until stopped.
    pub async fn run(mut self, mut notices: mpsc::Receiver<Notice>, stop: CancellationToken) {
        let mut connection = self.requests.connection();
        let mut asks = tokio::time::interval(ASK_AGAIN);
        let mut retry = tokio::time::interval(RETRY);
        self.look_up().await;
        loop {
            self.hold_back();
            let may_take = self.waiting.len() < MOST_WAITING;
            let again = !self.waiting.is_empty() || !self.outputs.unheard.is_empty();
            let look = self.readings.next_look();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = connection.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.heard.clear();
                    // What the modules announced meanwhile is not known.
                    self.waits_until = Instant::now() + LONGEST_WAIT;
                    self.ask_anew();
                }
                Ok(()) = self.rules.changed() => {
                    // The modules are told what they shall announce of what was read.
                    self.ask_anew();
                }
                notice = notices.recv(), if may_take => {
                    let Some(notice) = notice else { return };
                    self.hear(notice);
                    self.record().await;
                }
                Some(Ok((host, answered))) = self.asking.join_next() => {
                    self.asked(host, answered).await;
                    self.take_all(&mut notices).await;
                }
                () = tokio::time::sleep_until(look) => self.look_at_readings().await,
                _ = asks.tick() => self.ask(),
                _ = retry.tick(), if again => {
                    self.record().await;
                    self.look_up().await;
                    self.ask();
                }
            }
        }
    }

    /// Asks all modules. What was asked before counts no more: it was on another connection, or for something else.
    fn ask_anew(&mut self) {
        self.complete.clear();
        self.asking = JoinSet::new();
        self.ask();
    }

    /// Asks the modules that have not done so to announce what they know.
    fn ask(&mut self) {
        if self.requests.connection().borrow().is_none() || !self.asking.is_empty() {
            return;
        }
        for host in self.hosts.iter().filter(|it| !self.complete.contains(it)) {
            let (requests, host) = (self.requests.clone(), host.clone());
            self.asking.spawn(task::named("sessions", async move {
                let asking = async {
                    let companion = requests.companion(&host).await?;
                    if companion.can.sessions || companion.can.room_reads {
                        requests.recall(&host).await?;
                    }
                    Ok(companion)
                };
                let answered = asking.await;
                (host, answered)
            }));
        }
    }

    async fn asked(&mut self, host: String, answered: std::result::Result<Companion, Unanswered>) {
        match answered {
            Ok(companion) if companion.can.sessions => {
                if self.note_module(&host, &companion).await {
                    self.complete.push(host);
                }
                // Others may have lost a notice meanwhile.
                self.ask();
            }
            Ok(companion) if companion.can.room_reads => {
                // It has no sessions that anything would wait for.
                if let Some(hosts) = &mut self.may_know {
                    hosts.remove(&host);
                }
                self.complete.push(host);
                self.ask();
            }
            Ok(_) | Err(Unanswered::Absent | Unanswered::Forbidden | Unanswered::Unimplemented) => {
                debug!(host, "no module reports what its sessions have");
                if let Some(hosts) = &mut self.may_know {
                    hosts.remove(&host);
                }
            }
            Err(why) => debug!(host, "what its sessions have is not known: {why}"),
        }
    }

    /// Records that this module may know something, for our next start. Returns whether that worked.
    async fn note_module(&mut self, host: &str, companion: &Companion) -> bool {
        let numbers = (companion.boot.as_str(), companion.number);
        let noted = in_time("sessions", TRANSACTION_LIMIT, async {
            let mut connection = self.pool.acquire().await.named("sessions_connect")?;
            ledger::start_feed(&mut connection, host, numbers).await
        });
        let noted = noted.await;
        if let Err(error) = &noted {
            self.retry.failed(error, &self.metrics);
        } else if let Some(hosts) = &mut self.may_know {
            hosts.insert(host.to_owned());
        }
        noted.is_ok()
    }

    /// Asks the ledger once which modules may know something.
    async fn look_up(&mut self) {
        if self.may_know.is_some() {
            return;
        }
        let found = in_time("sessions", TRANSACTION_LIMIT, async {
            let mut connection = self.pool.acquire().await.named("sessions_connect")?;
            ledger::fed_hosts(&mut connection, &self.hosts).await
        });
        match found.await {
            Ok(hosts) => self.may_know = Some(hosts.into_iter().collect()),
            Err(error) => drop(self.retry.failed(&error, &self.metrics)),
        }
    }

    /// Sets the hosts on which the eraser has to wait.
    fn hold_back(&self) {
        let waits = |host: &&String| {
            let may_know = self.may_know.as_ref().is_none_or(|hosts| hosts.contains(*host));
            may_know && !(self.complete.contains(host) && self.waiting.is_empty())
        };
        let is_over = Instant::now() >= self.waits_until;
        let hosts = self.hosts.iter().filter(|_| !is_over).filter(waits);
        self.outputs.unheard.set(hosts.cloned().collect());
    }

    /// Notices that a module sent before its answer have arrived; they are recorded before the answer counts.
    async fn take_all(&mut self, notices: &mut mpsc::Receiver<Notice>) {
        for _ in 0..MOST_BEFORE {
            while self.waiting.len() < MOST_WAITING
                && let Ok(notice) = notices.try_recv()
            {
                self.hear(notice);
            }
            self.record().await;
            if notices.is_empty() || !self.waiting.is_empty() {
                return;
            }
        }
    }

    fn hear(&mut self, notice: Notice) {
        self.outputs.tail.notify_one();
        let (boot, number) = (notice.boot.clone(), notice.number);
        let before = self.heard.insert(notice.host.clone(), (boot, number));
        let follows = before.is_none_or(|(boot, last)| boot == notice.boot && number <= last + 1);
        if !follows && self.complete.contains(&notice.host) {
            self.complete.retain(|it| *it != notice.host);
            // Nobody can stop erasing by having notices lost: half of the time nothing waits.
            if self.waits_until + LONGEST_WAIT < Instant::now() {
                self.waits_until = Instant::now() + LONGEST_WAIT;
            }
            self.ask();
        }
        match notice.event {
            Event::Undelivered(..) | Event::Delivered(..) => self.waiting.push_back(notice),
            Event::Read(owner, items) => self.readings.add((&notice.host, &owner), items),
            // If the queue is full, it is dropped and announced again.
            Event::Remembered(shown) => drop(self.outputs.remembered.try_send(*shown)),
            Event::Archived(_) | Event::Drained(_) => {}
        }
    }

    /// Records what is waiting, in one transaction per notice, until one fails.
    async fn record(&mut self) {
        while let Some(notice) = self.waiting.front() {
            let recorded = in_time("sessions", TRANSACTION_LIMIT, self.record_one(notice)).await;
            let Err(error) = recorded else {
                self.retry.succeeded();
                self.waiting.pop_front();
                continue;
            };
            // The next tick tries again. Nothing is erased before that when the database is back.
            if error.is_unreachable() {
                self.waits_until = Instant::now() + LONGEST_WAIT;
            }
            self.retry.failed(&error, &self.metrics);
            return;
        }
    }

    async fn record_one(&self, notice: &Notice) -> Result<()> {
        let mut transaction = self.pool.begin().await.named("sessions_begin")?;
        // No tail may be between looking up whether a row was received, and recording the row.
        ledger::lock_cursors(&mut transaction).await?;
        let rules = self.rules.borrow().clone();
        match &notice.event {
            Event::Undelivered(owner, ids) => {
                hold(&mut transaction, (&notice.host, owner), ids, &rules).await?;
            }
            Event::Delivered(owner, ids) => {
                let ids = names((&notice.host, owner), ids);
                let now = database::now(&mut transaction).await?;
                let (archive, rules) = (&self.archive, &rules);
                let context = Context { archive: Some(archive), rules, now, listed: None };
                release(&mut transaction, archive, &ids, context).await?;
                ledger::end_undelivered(&mut transaction, &ids).await?;
            }
            Event::Archived(_) | Event::Drained(_) | Event::Remembered(_) | Event::Read(..) => {}
        }
        transaction.commit().await.named("sessions_commit")
    }

    /// Starts the timers of what was read.
    async fn look_at_readings(&mut self) {
        let looked = in_time("readings", TRANSACTION_LIMIT, async {
            let mut transaction = self.pool.begin().await.named("readings_begin")?;
            // The tail starts timers too.
            ledger::lock_cursors(&mut transaction).await?;
            let now = database::now(&mut transaction).await?;
            let (archive, rules) = (Some(&self.archive), self.rules.borrow().clone());
            let context = Context { archive, rules: &rules, now, listed: None };
            let looked = self.readings.look(&mut transaction, context).await?;
            transaction.commit().await.named("readings_commit")?;
            Ok(looked)
        })
        .await;
        self.readings.settle(looked, &self.metrics);
    }
}

#[cfg(test)]
mod tests;
