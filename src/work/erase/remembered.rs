//! What only rooms remember: marked messages that no archive holds, and subjects. Everyone who joins is shown them, so
//! they are removed when their time has come.
//!
//! They have no row, so they are not in the ledger. They are remembered here, without their text, and the module
//! announces them again after we restart. This worker runs with archives in SQL and without.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use sqlx::PgPool;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    EraseSettings,
    asked::Asked,
    scrub::{Rooms, Scrub},
};
use crate::{
    archive::companion::{Answer, Request, Requests, Shown, Unanswered},
    database::{self, Named as _, Result, in_time},
    ledger::{self, Pause},
    model::{Placement, Store, Timestamp},
    policy, stanza,
    work::{
        TRANSACTION_LIMIT,
        base::{Changing, presence::CompanionSettings},
    },
};

/// Maximum number of announcements waiting. Any beyond that are dropped, and announced again later.
pub const MOST_WAITING: usize = 256;
/// Maximum number remembered. Any beyond that are announced again, once some have gone.
const MOST_KEPT: usize = 10_000;
/// Interval between requests to announce everything.
const ASK_EVERY: Duration = Duration::from_secs(600);
/// Nothing is remembered for longer than this; it is announced again.
const LONGEST: Duration = Duration::from_secs(86_400 * 365);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(10);

/// Host, owner and id.
type Name = (String, String, String);

/// The worker of one daemon.
pub struct Remembered<R> {
    pool: PgPool,
    requests: R,
    settings: Changing<CompanionSettings>,
    erasing: Changing<EraseSettings>,
    due: BTreeSet<(Instant, Name)>,
    /// With the stamp of each.
    known: HashMap<Name, Timestamp>,
    /// When to ask for everything.
    ask_at: Instant,
}

impl<R: Requests> Remembered<R> {
    /// A worker that starts with [`Remembered::run`].
    pub fn new(
        pool: PgPool,
        requests: R,
        settings: watch::Receiver<CompanionSettings>,
        erasing: watch::Receiver<EraseSettings>,
    ) -> Self {
        let (settings, erasing) = (Changing::new(settings), Changing::new(erasing));
        let (due, known) = (BTreeSet::new(), HashMap::new());
        Self { pool, requests, settings, erasing, due, known, ask_at: Instant::now() }
    }

    /// Takes announcements and has each message scrubbed when it is due, until stopped.
    pub async fn run(mut self, mut announced: mpsc::Receiver<Shown>, stop: CancellationToken) {
        let mut connection = self.requests.connection();
        loop {
            if self.settings.take() {
                // Other rules may judge each message differently.
                self.forget_all();
            }
            self.erasing.take();
            let is_connected = connection.borrow_and_update().is_some();
            let next = self.due.first().map_or(self.ask_at, |first| first.0);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = connection.changed() => match changed {
                    Ok(()) => self.forget_all(),
                    Err(_) => return,
                },
                Some(shown) = announced.recv() => self.hear(&shown).await,
                () = self.settings.changed() => {}
                () = sleep_until(next.min(self.ask_at)), if is_connected => {
                    stop.run_until_cancelled(self.work()).await;
                }
            }
        }
    }

    /// Everything is announced again, by the same module or another.
    fn forget_all(&mut self) {
        self.due.clear();
        self.known.clear();
        self.ask_at = Instant::now();
    }

    async fn hear(&mut self, shown: &Shown) {
        let key = &shown.row.key;
        let name = (key.host.clone(), key.owner.clone(), key.archive_id.clone());
        if self.known.len() >= MOST_KEPT || self.known.contains_key(&name) {
            return;
        }
        match in_time("remembered", TRANSACTION_LIMIT, self.due_in(shown)).await {
            Ok(Some(due_in)) => {
                self.due.insert((Instant::now() + due_in, name.clone()));
                self.known.insert(name, key.stamped_at);
            }
            Ok(None) => {}
            Err(error) => {
                debug!(%error, "what a room remembers could not be judged, asking again");
                self.ask_at = self.ask_at.min(Instant::now() + RETRY);
            }
        }
    }

    /// The time left until it is due. `None` if nothing asks for it to go.
    async fn due_in(&self, shown: &Shown) -> Result<Option<Duration>> {
        let Some(facts) = shown.row.xml.as_deref().and_then(|xml| stanza::read(xml).ok()) else {
            return Ok(None);
        };
        let mut connection = self.pool.acquire().await.named("remembered_connect")?;
        let now = database::now(&mut connection).await?;
        let start = policy::archived(shown.row.stamp, now);
        let placement = Placement::of(Store::Room, start.at, start, false);
        let verdict = policy::decide(&facts, &placement, &self.settings.rules);
        let left = |due_at: Timestamp| (due_at - now).to_std().unwrap_or(Duration::ZERO);
        Ok(verdict.map(|it| left(it.due_at).min(LONGEST)))
    }

    /// Asks for everything if it is time to, and otherwise has what is due scrubbed.
    async fn work(&mut self) {
        if self.ask_at <= Instant::now() {
            self.ask_at = Instant::now() + ASK_EVERY;
            for host in self.settings.hosts.clone() {
                if let Err(why) = self.ask(&host).await {
                    debug!(host, "its module did not announce what rooms remember: {why}");
                }
            }
            return;
        }
        let due = self.take_due();
        if due.is_empty() {
            return;
        }
        let (free, asked) =
            in_time("remembered", TRANSACTION_LIMIT, self.free(&due)).await.unwrap_or_default();
        let (due, kept) = due.into_iter().partition(|(name, _)| free.contains(name));
        self.put_off(kept);
        let mut unanswered = BTreeSet::new();
        for scrub in Scrub::of(rooms(&due)) {
            let Scrub { host, owner, ids } = scrub;
            if self.requests.ask(&host, Request::Scrub { owner: owner.clone(), ids }).await.is_err()
            {
                unanswered.insert((host, owner));
            }
        }
        let is_unanswered = |name: &Name| unanswered.contains(&(name.0.clone(), name.1.clone()));
        self.put_off(due.into_iter().filter(|(name, _)| is_unanswered(name)).collect());
        let unanswered = unanswered.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
        let over = asked.over(&unanswered);
        let noting = in_time("remembered", TRANSACTION_LIMIT, self.note_answers(&over));
        if let Err(error) = noting.await {
            debug!(%error, "answers could not be noted: whoever places a hold waits a little longer");
        }
    }

    async fn ask(&self, host: &str) -> std::result::Result<(), Unanswered> {
        if self.requests.companion(host).await?.can.remember {
            match self.requests.ask(host, Request::Remembered).await? {
                Answer::Remembered(count) => debug!(host, count, "rooms remember these"),
                _ => debug!(host, "an answer of another kind"),
            }
        }
        Ok(())
    }

    /// What may be scrubbed of this: nothing while erasing is paused, in a dry run or while somebody places a hold, and
    /// nothing on hold. Whoever places a hold from now on waits for the answers.
    async fn free(&self, due: &[(Name, Timestamp)]) -> Result<(HashSet<Name>, Asked)> {
        let mut transaction = self.pool.begin().await.named("remembered_begin")?;
        let may_claim = ledger::share_claims(&mut transaction).await?;
        let is_paused = ledger::paused(&mut transaction).await? != Pause::None;
        if !may_claim || is_paused || self.erasing.dry_run {
            return Ok(<_>::default());
        }
        let rows: Vec<(&str, &str, Timestamp)> =
            due.iter().map(|((host, owner, _), at)| (host.as_str(), owner.as_str(), *at)).collect();
        let held = ledger::rooms_on_hold(&mut transaction, &rows).await?;
        let free = due.iter().enumerate().filter(|(at, _)| !held.contains(at));
        let free: HashSet<Name> = free.map(|(_, (name, _))| name.clone()).collect();
        let owners = free.iter().map(|(host, owner, _)| (host.as_str(), owner.as_str())).collect();
        let asked = Asked::note(&mut transaction, owners).await?;
        transaction.commit().await.named("remembered_commit")?;
        Ok((free, asked))
    }

    async fn note_answers(&self, over: &[i64]) -> Result<()> {
        let mut connection = self.pool.acquire().await.named("remembered_connect")?;
        ledger::answered(&mut connection, over).await
    }

    /// What is due, with its stamp.
    fn take_due(&mut self) -> Vec<(Name, Timestamp)> {
        let now = Instant::now();
        let mut due = Vec::new();
        while self.due.first().is_some_and(|first| first.0 <= now) {
            let Some((_, name)) = self.due.pop_first() else { break };
            due.extend(self.known.remove_entry(&name));
        }
        due
    }

    fn put_off(&mut self, names: Vec<(Name, Timestamp)>) {
        let at = Instant::now() + RETRY;
        for (name, stamp) in names {
            self.known.insert(name.clone(), stamp);
            self.due.insert((at, name));
        }
    }
}

fn rooms(due: &[(Name, Timestamp)]) -> Rooms {
    let mut rooms = Rooms::new();
    for ((host, owner, id), _) in due {
        rooms.entry((host.clone(), owner.clone())).or_default().insert(id.clone());
    }
    rooms
}
