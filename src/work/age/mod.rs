//! Retention by age, what somebody asked to be erased, and what users wish: owner by owner, what is older than that goes, the
//! oldest first, whatever its sender asked for.
//!
//! It needs no entries in the ledger. A walk goes through the owners of a table again and again, and looks at each
//! owner's oldest rows by index, so that what nothing is asked of costs nothing. A policy is announced before it is
//! followed (`announce`), and one transaction at a time follows it (`batch`), beside the erasers of what is due. A request is a walk through one
//! owner's stores (`errand`), a wish one through its user's archive that begins again and again, and all else is the same.

mod announce;
mod batch;
mod bulk;
mod errand;
mod refused;
mod size;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::{
    batch::{Ran, Step},
    errand::Errand,
    refused::Refused,
    size::Size,
};
use crate::{
    archive::{Archive, Table},
    database::{Error, Named, Result, in_time},
    ledger::{self, AgeStanding, AgeState},
    metrics::{FailureCause, Metrics},
    model::{Mode, Store, WishRules},
    policy::Retention,
    work::{
        TRANSACTION_LIMIT,
        base::{Changing, Retry, count, rest},
    },
};

/// How often to look whether there is anything to do.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Pause while somebody places or ends a hold.
const HOLD_REST: Duration = Duration::from_millis(20);
/// Rests between two walks: a hundredth of the shortest time that anything is kept, within these bounds.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(900);
/// The same after a walk that left rows because they were locked or refused.
const REST_AFTER_FAILURES: Duration = Duration::from_secs(60);
/// How often to look for requests and wishes if nobody says that there is one.
const LOOK_FOR_ERRANDS: Duration = Duration::from_secs(60);
/// Requests, and wishes, that are looked at in turn.
const MOST_IN_TURN: i64 = 100;
/// How long one table is worked on before anything else is looked at, while it has much that is too old.
const LONGEST_TURN: Duration = Duration::from_millis(500);

/// What erasing by age needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgeSettings {
    /// Only rows of these hosts.
    pub hosts: Vec<String>,
    /// How long messages are kept.
    pub retention: Retention,
    /// What users may wish.
    pub wishes: WishRules,
    /// A policy by which more rows than this would go waits for the operator.
    pub confirm_above: u32,
    /// How long nothing goes by a new policy.
    pub grace: Duration,
    /// Maximum number of rows in one transaction.
    pub batch: u32,
    /// 0 means no limit.
    pub rows_per_second: u32,
    /// Nothing is erased.
    pub dry_run: bool,
}

impl AgeSettings {
    /// By which the ledger knows the policy. The hosts are part of it: another host's messages were never announced.
    pub fn policy(&self) -> Vec<u8> {
        let mut hosts = self.hosts.clone();
        hosts.sort_unstable();
        let mut policy = self.retention.fingerprint(self.grace, self.confirm_above).to_vec();
        policy.extend(hosts.join(",").into_bytes());
        policy
    }

    /// The largest batch: at most one second's worth if the rate is limited.
    fn most_rows(&self) -> u32 {
        match self.rows_per_second {
            0 => self.batch.max(1),
            rate => self.batch.clamp(1, rate),
        }
    }
}

/// The worker of one daemon.
pub struct AgeEraser {
    pool: PgPool,
    archive: Archive,
    settings: Changing<AgeSettings>,
    metrics: Arc<Metrics>,
    /// Rings when somebody gives a command.
    commands: Arc<Notify>,
    /// The policy of these settings was announced, by us or another daemon.
    is_announced: bool,
    /// The log says that another policy was announced since.
    is_said: bool,
    /// The log says that some rows cannot be erased.
    is_refusing: bool,
    /// Tables that refuse everything.
    refused: Refused,
    /// The size of the next transaction with each table.
    sizes: BTreeMap<&'static str, Size>,
}

impl AgeEraser {
    /// A worker that starts with [`AgeEraser::run`].
    pub fn new(
        pool: PgPool,
        archive: Archive,
        settings: Changing<AgeSettings>,
        metrics: Arc<Metrics>,
        commands: Arc<Notify>,
    ) -> Self {
        Self {
            pool,
            archive,
            settings,
            metrics,
            commands,
            is_announced: false,
            is_said: false,
            is_refusing: false,
            refused: Refused::default(),
            sizes: BTreeMap::new(),
        }
    }

    /// Works until stopped. A transaction that has begun is finished.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut retry = Retry::new("erasing by age", Duration::from_millis(500), 10);
        while !stop.is_cancelled() {
            if self.settings.take() {
                self.is_announced = false;
                self.sizes.clear();
                self.refused.try_again();
            }
            let pause = match self.round(&stop).await {
                Ok(pause) => {
                    retry.succeeded();
                    pause
                }
                Err(error) if error.is_contention() => {
                    debug!(%error, "erasing by age waits for another session");
                    LOOK_EVERY
                }
                Err(error) => retry.failed(&error, &self.metrics),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.settings.changed() => {}
                () = self.commands.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Goes on with requests, wishes and policy. Returns how long to wait.
    async fn round(&mut self, stop: &CancellationToken) -> Result<Duration> {
        // None waits for the others to succeed.
        let (requests, wishes) = (self.requests(stop).await, self.wishes(stop).await);
        let policy = self.policy().await;
        Ok(together([requests?, wishes?, policy?]))
    }

    /// Goes on with requests. Returns how long to wait.
    async fn requests(&mut self, stop: &CancellationToken) -> Result<Duration> {
        let (requests, standing) = in_time("due_requests", TRANSACTION_LIMIT, async {
            let mut connection = self.pool.acquire().await.named("age_connect")?;
            ledger::due_requests(&mut connection, &self.settings.hosts, MOST_IN_TURN).await
        })
        .await?;
        self.metrics.requests.set(standing);
        let due = requests.into_iter().map(|it| (Errand::Request(it.id), it.within, it.due_in));
        self.in_turn(due, stop).await
    }

    /// Goes on with what users wish. Returns how long to wait.
    async fn wishes(&mut self, stop: &CancellationToken) -> Result<Duration> {
        if !self.settings.wishes.followed {
            return Ok(LONGEST_REST);
        }
        let wishes = in_time("due_wishes", TRANSACTION_LIMIT, async {
            let mut connection = self.pool.acquire().await.named("age_connect")?;
            ledger::due_wishes(&mut connection, &self.settings.hosts, MOST_IN_TURN).await
        })
        .await?;
        let wish = |(id, due_in)| (Errand::Wish(id), Some(Store::Archive), due_in);
        self.in_turn(wishes.into_iter().map(wish), stop).await
    }

    /// One transaction for each of these errands that is to be looked at, in this order: with the table that has the store
    /// which is next, or with the first one. Returns how long to wait.
    async fn in_turn(
        &mut self,
        errands: impl Iterator<Item = (Errand<'static>, Option<Store>, Duration)>,
        stop: &CancellationToken,
    ) -> Result<Duration> {
        let (mut pauses, mut failure) = (vec![LOOK_FOR_ERRANDS], None);
        for (errand, within, due_in) in errands {
            // Other settings may forbid the rest, and are taken at once.
            if stop.is_cancelled() || self.settings.is_outdated() {
                break;
            }
            if self.settings.dry_run || !due_in.is_zero() {
                pauses.push(due_in.max(LOOK_EVERY));
                break;
            }
            let next = |table: &Table| within.is_none_or(|store| table.stores().contains(&store));
            let table = self.archive.tables().into_iter().find(next);
            let Some(table) = table.filter(|it| !self.refused.is_resting(it)) else { continue };
            match self.step(&table, errand).await {
                Ok(pause) => pauses.push(pause),
                Err(error) if error.is_unreachable() => return Err(error),
                // The others go on.
                Err(error) => failure = Some(error),
            }
            // The rate is for all of them; the first come first.
            if (SHORTEST_REST..LOOK_EVERY).contains(&together(pauses.iter().copied())) {
                break;
            }
        }
        failure.map_or_else(|| Ok(together(pauses)), Err)
    }

    /// Announces the policy if it is new, and erases a batch if it is time. Returns how long to wait.
    async fn policy(&mut self) -> Result<Duration> {
        if !self.is_announced {
            announce::announce(&self.pool, &self.archive, &self.settings).await?;
            self.is_announced = true;
        }
        // Nothing goes by its age: only other settings change that, and they end any wait.
        if self.settings.retention.shortest().is_none() {
            self.metrics.age_unaccepted.set(0);
            self.metrics.age_waiting.set(0);
            return Ok(LONGEST_REST);
        }
        let state = in_time("age_state", TRANSACTION_LIMIT, self.state()).await?;
        let policy = self.settings.policy();
        let paused = state.paused;
        let standing = AgeStanding::of(state, &policy);
        self.metrics.age_unaccepted.set(match &standing {
            AgeStanding::Unaccepted(it) => it.first_rows,
            _ => 0,
        });
        self.metrics.age_waiting.set(i64::from(!standing.is_in_force()));
        self.warn_of_others(&standing);
        if self.settings.dry_run || paused || !standing.is_in_force() {
            return Ok(LOOK_EVERY);
        }
        let mut pause = LOOK_EVERY;
        for table in self.due().await? {
            if !self.refused.is_resting(&table) {
                pause = pause.min(self.turn(&table, Errand::Policy(&policy)).await?);
            }
        }
        Ok(pause)
    }

    async fn state(&self) -> Result<AgeState> {
        let mut connection = self.pool.acquire().await.named("age_connect")?;
        ledger::age_state(&mut connection).await
    }

    /// Of daemons that differ, none erases but the one that announced its policy last.
    fn warn_of_others(&mut self, standing: &AgeStanding) {
        let differs = matches!(standing, AgeStanding::Replaced(_));
        if differs && !self.is_said {
            warn!(
                help = "give all daemons the same [retention] and archive.hosts, then reload one of them",
                "another daemon has announced another retention policy: this one erases nothing by age"
            );
        }
        self.is_said = differs;
    }

    /// The tables through which a walk is under way or begins now, as seen without a lock.
    async fn due(&self) -> Result<Vec<Table>> {
        let mut tables = self.archive.tables();
        let names: Vec<String> = tables.iter().map(|it| it.name().to_owned()).collect();
        let mut connection = self.pool.acquire().await.named("age_connect")?;
        let due = ledger::due_walks(&mut connection, &names).await?;
        tables.retain(|it| due.iter().any(|name| name == it.name()));
        Ok(tables)
    }

    /// Transactions with one table, until it needs a pause. Returns how long that is.
    async fn turn(&mut self, table: &Table, errand: Errand<'_>) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let pause = self.step(table, errand).await?;
            if !pause.is_zero() || began.elapsed() >= LONGEST_TURN {
                return Ok(pause);
            }
        }
    }

    /// One transaction with one table. Returns how long to wait for the next one.
    async fn step(&mut self, table: &Table, errand: Errand<'_>) -> Result<Duration> {
        let began = Instant::now();
        let size = self.sizes.get(table.name()).copied();
        let size = size.unwrap_or_else(|| Size::first(&self.settings));
        match self.transaction(table, errand, size, false).await {
            Ok(Ran::InTheWay) => Ok(self.look_at_each(table, size)),
            Ok(ran) => {
                if let Ran::Batch(batch) = &ran {
                    self.is_refusing &= !batch.is_end_of_clean_walk;
                    let size = size.after(&self.settings, batch.is_full, began.elapsed());
                    self.sizes.insert(table.name(), size);
                    if !batch.erased.is_empty() {
                        self.refused.end(table);
                    }
                }
                Ok(self.after(errand, &ran, began))
            }
            Err(error) if error.is_unreachable() => Err(error),
            Err(error) if error.is_of_the_table() => {
                self.refused.note(table, errand.which(), &error);
                self.metrics.erase_failures.of(FailureCause::Refused).inc();
                Ok(LOOK_EVERY)
            }
            Err(error) if size.bulk().is_some() => {
                debug!(%error, "a batch by age failed, looking at its rows one by one");
                Ok(self.look_at_each(table, size))
            }
            Err(error) if error.is_contention() => Err(error),
            Err(error) => self.narrow(table, errand, size, error).await,
        }
    }

    /// The next transactions with this table look at rows one by one: another session has some, or a trigger keeps them.
    fn look_at_each(&mut self, table: &Table, size: Size) -> Duration {
        self.sizes.insert(table.name(), size.row_by_row(&self.settings));
        Duration::ZERO
    }

    async fn transaction(
        &self,
        table: &Table,
        errand: Errand<'_>,
        size: Size,
        skip: bool,
    ) -> Result<Ran> {
        let (archive, settings, owners) = (&self.archive, &self.settings, size.owners);
        let (bulk, rows) = (size.bulk().map(i64::from), size.rows.into());
        let step = Step { archive, table, settings, errand, bulk, rows, owners, skip };
        in_time("age", TRANSACTION_LIMIT, batch::run(&self.pool, step)).await
    }

    fn after(&self, errand: Errand<'_>, ran: &Ran, began: Instant) -> Duration {
        match ran {
            Ran::Nothing => LOOK_EVERY,
            Ran::InTheWay => Duration::ZERO,
            Ran::HoldUnderWay => HOLD_REST,
            Ran::Batch(batch) => {
                let erased = match errand {
                    Errand::Policy(_) | Errand::Wish(_) => &self.metrics.age_erased,
                    Errand::Request(_) => &self.metrics.request_erased,
                };
                for ((store, mode), rows) in &batch.erased {
                    erased.of(*store, *mode).inc_by(*rows);
                }
                for cause in &batch.failures {
                    self.metrics.erase_failures.of(*cause).inc();
                }
                let erased: u64 = batch.erased.values().sum();
                let erased = usize::try_from(erased).unwrap_or(usize::MAX);
                rest(count(erased), self.settings.rows_per_second, began.elapsed())
            }
        }
    }

    /// A failing batch is halved until the culprit is alone, and then that row is passed over until the next walk.
    async fn narrow(
        &mut self,
        table: &Table,
        errand: Errand<'_>,
        size: Size,
        error: Error,
    ) -> Result<Duration> {
        if let Some(half) = size.half() {
            debug!(%error, rows = size.rows, "a batch by age failed, trying half of it");
            self.sizes.insert(table.name(), half);
            return Ok(Duration::ZERO);
        }
        if std::mem::replace(&mut self.is_refusing, true) {
            debug!(%error, "another row {} cannot be erased", errand.which());
        } else {
            warn!(
                %error,
                help = "ephemerd_erase_failures_total counts such rows; each walk tries them again",
                "a row {} cannot be erased, and is left until the next walk",
                errand.which()
            );
        }
        self.metrics.erase_failures.of(FailureCause::Refused).inc();
        self.transaction(table, errand, size.one_row(), true).await?;
        Ok(Duration::ZERO)
    }
}

/// How long to wait before going on with several things: those that go on soon rest one after the other.
fn together(pauses: impl IntoIterator<Item = Duration>) -> Duration {
    let (rests, waits): (Vec<Duration>, Vec<Duration>) =
        pauses.into_iter().partition(|it| *it < LOOK_EVERY);
    match rests.is_empty() {
        true => waits.into_iter().min().unwrap_or(LONGEST_REST),
        false => rests.into_iter().sum(),
    }
}

/// How long to rest after a walk.
fn rest_between(shortest: Duration, failed: bool) -> Duration {
    let longest = if failed { REST_AFTER_FAILURES } else { LONGEST_REST };
    (shortest / 100).clamp(SHORTEST_REST, longest)
}

/// How rows were erased.
type Erased = BTreeMap<(Store, Mode), u64>;
