//! Erasing by the companion module: leases what is due, asks for it to go, and settles by the answers.
//!
//! The work is done elsewhere and outside of our transactions, so a claim is a lease: until it runs out nobody
//! claims the entries again. What was done and not settled, because we were killed or the answer was lost, is
//! asked for again, and the module says that it is gone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Present;
use crate::{
    archive::remote::{Answer, Item, MOST_ITEMS, Outcome, Request, Requests, Unanswered},
    database::{Named as _, Result, in_time},
    ledger::{self, Claim, Claimed, Claims, Phase},
    metrics::{FailureCause, Metrics},
    model::{Mode, Store, Timestamp},
    policy,
    work::{
        Changing, TRANSACTION_LIMIT,
        crash::crash_point,
        erase::{Failures, LONGEST_SLEEP, Next, Settings},
        wake::Wake,
    },
};

/// Longer than one batch may take: beyond, the entries are anybody's.
const LEASE: Duration = Duration::from_secs(120);
/// A batch asks for nothing more after so long; what is left is given back.
const BATCH_WITHIN: Duration = Duration::from_secs(60);

/// The worker of one daemon.
pub struct Eraser<R> {
    pool: PgPool,
    requests: R,
    settings: Changing<Settings>,
    metrics: Arc<Metrics>,
    wake: Arc<Wake>,
    present: Present,
    /// A dry run goes past what it has counted.
    counted: (Timestamp, i64),
    failures: Failures,
    /// There may be leases whose work nobody settles any more: of an earlier life, of another daemon, or of a batch
    /// that failed.
    leases_left: bool,
}

/// Rows that one request names.
struct Group {
    host: String,
    owner: String,
    store: Store,
    /// They become placeholders, or go.
    blanks: bool,
    /// Positions among the claims.
    at: Vec<usize>,
}

/// What became of a claimed entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing was asked for.
    Untried,
    Answered(Outcome),
    Unanswered,
}

impl<R: Requests> Eraser<R> {
    /// A worker that starts with [`Eraser::run`].
    pub fn new(
        pool: PgPool,
        requests: R,
        settings: Changing<Settings>,
        metrics: Arc<Metrics>,
        (wake, present): (Arc<Wake>, Present),
    ) -> Self {
        metrics.dry_run.set(i64::from(settings.dry_run));
        let counted = (Timestamp::UNIX_EPOCH, 0);
        Self {
            pool,
            requests,
            settings,
            metrics,
            wake,
            present,
            counted,
            failures: Failures::default(),
            leases_left: true,
        }
    }

    /// Works until stopped. A batch that has begun is brought to its end.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut presence = self.present.watch();
        while !stop.is_cancelled() {
            presence.borrow_and_update();
            if self.settings.take() {
                self.metrics.dry_run.set(i64::from(self.settings.dry_run));
                self.counted = (Timestamp::UNIX_EPOCH, 0);
            }
            let round = self.round().await;
            self.leases_left |= round.is_err();
            let next = self.failures.after(round, &self.metrics);
            tokio::select! {
                () = next.wait(&self.wake, &self.settings, &stop) => {}
                _ = presence.changed() => {}
            }
        }
    }

    /// One batch, or how long to wait for the next. Only of hosts whose modules answer: the others' entries
    /// wait, untouched.
    async fn round(&mut self) -> Result<Next> {
        let present = self.present.hosts();
        let hosts: Vec<String> =
            self.settings.hosts.iter().filter(|it| present.contains(it)).cloned().collect();
        if hosts.is_empty() {
            // Another daemon may lead meanwhile, and die.
            self.leases_left = true;
            return Ok(Next::Sleep(LONGEST_SLEEP));
        }
        self.wake.take();
        if self.leases_left {
            in_time("end_leases", TRANSACTION_LIMIT, self.end_leases()).await?;
            self.leases_left = false;
        }
        let started = Instant::now();
        let claimed = in_time("lease", TRANSACTION_LIMIT, self.lease(&hosts)).await?;
        let Some(claims) = claimed else {
            let mut connection = self.pool.acquire().await.named("next_due_connect")?;
            let next = ledger::next_due(&mut connection, &hosts, self.counted).await?;
            let seconds = next.unwrap_or(f64::MAX).clamp(0.0, LONGEST_SLEEP.as_secs_f64());
            return Ok(Next::Sleep(Duration::from_secs_f64(seconds)));
        };
        let fates = if self.settings.dry_run {
            let last = claims.entries.last();
            self.counted = last.map_or(self.counted, |it| (it.next_at, it.entry.id + 1));
            vec![Fate::Answered(Outcome::Done); claims.entries.len()]
        } else {
            let until = policy::later(claims.now, self.settings.placeholder_for);
            crash_point!("leased");
            let fates = self.ask(&claims, until).await;
            crash_point!("asked");
            in_time("settle", TRANSACTION_LIMIT, self.settle(&claims, &fates, until)).await?;
            fates
        };
        self.metrics.erase_batch_seconds.observe(started.elapsed().as_secs_f64());
        self.count(&claims, &fates, started.elapsed());
        Ok(Next::at_rate(&self.settings, claims.entries.len(), started))
    }

    /// Only the daemon that leads has a module to ask, and we do nothing else meanwhile: no lease is worked on. One
    /// who led before may still do so; what is asked for twice does no harm.
    async fn end_leases(&self) -> Result<()> {
        let mut connection = self.pool.acquire().await.named("end_leases_connect")?;
        ledger::end_leases(&mut connection, LEASE.as_secs_f64()).await
    }

    /// Claims what is due, and takes it out of everybody's reach for a while.
    async fn lease(&self, hosts: &[String]) -> Result<Option<Claims>> {
        let mut transaction = self.pool.begin().await.named("lease_begin")?;
        let rows = i64::from(self.settings.most_rows());
        let what = Claim { hosts, from: self.counted, rows };
        let Some(claims) = ledger::claim(&mut transaction, what).await? else { return Ok(None) };
        if !self.settings.dry_run {
            let ids: Vec<i64> = claims.entries.iter().map(|it| it.entry.id).collect();
            ledger::lease(&mut transaction, &ids, LEASE.as_secs_f64()).await?;
            transaction.commit().await.named("lease_commit")?;
        }
        Ok(Some(claims))
    }

    /// One request for each owner and store, one after the other. A module that does not answer is not asked
    /// for the rest.
    async fn ask(&self, claims: &Claims, until: Timestamp) -> Vec<Fate> {
        let started = Instant::now();
        let mut fates = vec![Fate::Untried; claims.entries.len()];
        for group in self.groups(claims) {
            if self.present.of(&group.host).is_none() || started.elapsed() > BATCH_WITHIN {
                continue;
            }
            let answer = self.requests.ask(&group.host, request(&group, claims, until)).await;
            let outcomes: BTreeMap<String, Outcome> = match answer {
                Ok(Answer::Erased(outcomes)) => outcomes.into_iter().collect(),
                other => {
                    let why = other.err().unwrap_or(Unanswered::Unreadable);
                    self.unanswered(&group, why, &mut fates);
                    continue;
                }
            };
            for (position, entry) in entries(&group, claims) {
                let outcome = outcomes.get(&entry.entry.expiry.archive_id).copied();
                if let Some(fate) = fates.get_mut(position) {
                    *fate = Fate::Answered(outcome.unwrap_or(Outcome::Failed));
                }
            }
        }
        fates
    }

    fn unanswered(&self, group: &Group, why: Unanswered, fates: &mut [Fate]) {
        debug!(host = group.host, rows = group.at.len(), "rows were not erased: {why}");
        let fate = match why {
            // The owner is gone, and with it all rows.
            Unanswered::NotFound => Fate::Answered(Outcome::Gone),
            Unanswered::Busy | Unanswered::StorageFailed | Unanswered::Refused => Fate::Unanswered,
            // It is the module that fails, and not these rows.
            other => {
                self.present.lost(&group.host, other);
                Fate::Unanswered
            }
        };
        for position in &group.at {
            if let Some(slot) = fates.get_mut(*position) {
                *slot = fate;
            }
        }
    }

    fn groups(&self, claims: &Claims) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        // The last group of each owner, store and way.
        let mut last = BTreeMap::new();
        for (position, claimed) in claims.entries.iter().enumerate() {
            let expiry = &claimed.entry.expiry;
            let blanks = self.blanks(claimed);
            let key = (&expiry.host, &expiry.owner, expiry.store, blanks);
            let open = last.get(&key).copied().filter(|at: &usize| {
                // One request names no id twice.
                let same = |position: &usize| {
                    let other = claims.entries.get(*position);
                    other.is_some_and(|it| it.entry.expiry.archive_id == expiry.archive_id)
                };
                groups
                    .get(*at)
                    .is_some_and(|it: &Group| it.at.len() < MOST_ITEMS && !it.at.iter().any(same))
            });
            if let Some(group) = open.and_then(|at: usize| groups.get_mut(at)) {
                group.at.push(position);
                continue;
            }
            last.insert(key, groups.len());
            let (host, owner, store) = (expiry.host.clone(), expiry.owner.clone(), expiry.store);
            groups.push(Group { host, owner, store, blanks, at: vec![position] });
        }
        groups
    }

    /// Queue rows are always blanked in place; a placeholder whose time is over goes.
    fn blanks(&self, claimed: &Claimed) -> bool {
        let expiry = &claimed.entry.expiry;
        let goes = expiry.phase == Phase::Placeholder || self.settings.mode == Mode::Delete;
        expiry.store == Store::Queue || !goes
    }

    /// Brings the ledger in line with what was answered.
    async fn settle(&self, claims: &Claims, fates: &[Fate], until: Timestamp) -> Result<()> {
        let (mut forget, mut keep) = (Vec::new(), Vec::new());
        let (mut put_off, mut give_back) = (Vec::new(), Vec::new());
        for (claimed, fate) in claims.entries.iter().zip(fates) {
            let list = match fate {
                Fate::Untried => &mut give_back,
                Fate::Unanswered | Fate::Answered(Outcome::Failed) => &mut put_off,
                Fate::Answered(Outcome::Gone | Outcome::Other) => &mut forget,
                Fate::Answered(Outcome::Done) => {
                    let stands = self.blanks(claimed) && claimed.entry.expiry.store != Store::Queue;
                    if stands { &mut keep } else { &mut forget }
                }
            };
            list.push(claimed.entry.id);
        }
        let mut transaction = self.pool.begin().await.named("settle_begin")?;
        ledger::forget(&mut transaction, &forget).await?;
        ledger::keep_placeholders(&mut transaction, &keep, until).await?;
        ledger::put_off(&mut transaction, &put_off).await?;
        ledger::give_back(&mut transaction, &give_back).await?;
        transaction.commit().await.named("settle_commit")
    }

    /// Counts what was settled.
    fn count(&self, claims: &Claims, fates: &[Fate], took: Duration) {
        let metrics = &self.metrics;
        for (claimed, fate) in claims.entries.iter().zip(fates) {
            let expiry = &claimed.entry.expiry;
            match (fate, expiry.phase) {
                (Fate::Untried, _) => {}
                (Fate::Unanswered, _) => metrics.erase_failures.of(FailureCause::Unanswered).inc(),
                (Fate::Answered(Outcome::Failed), _) => {
                    metrics.erase_failures.of(FailureCause::Refused).inc();
                }
                (Fate::Answered(Outcome::Gone | Outcome::Other), _) => metrics.already_gone.inc(),
                (Fate::Answered(Outcome::Done), Phase::Placeholder) if self.settings.dry_run => {}
                (Fate::Answered(Outcome::Done), Phase::Placeholder) => {
                    metrics.placeholders_deleted.inc();
                }
                (Fate::Answered(Outcome::Done), Phase::Pending) => {
                    let mode = match (self.settings.dry_run, self.blanks(claimed)) {
                        (true, _) => Mode::DryRun,
                        (false, true) => Mode::Placeholder,
                        (false, false) => Mode::Delete,
                    };
                    metrics.erased.of(expiry.store, expiry.reason, mode).inc();
                    let late = (claims.now - expiry.due_at).as_seconds_f64();
                    metrics.erase_delay_seconds.observe(late + took.as_secs_f64());
                }
            }
        }
    }
}

fn entries<'a>(group: &'a Group, claims: &'a Claims) -> impl Iterator<Item = (usize, &'a Claimed)> {
    group.at.iter().filter_map(|at| Some((*at, claims.entries.get(*at)?)))
}

fn request(group: &Group, claims: &Claims, until: Timestamp) -> Request {
    let item = |(_, claimed): (usize, &Claimed)| {
        let expiry = &claimed.entry.expiry;
        let stamp = String::from_utf8_lossy(&expiry.digest).into_owned();
        Item { id: expiry.archive_id.clone(), stamp }
    };
    Request::Erase {
        owner: group.owner.clone(),
        store: group.store,
        items: entries(group, claims).map(item).collect(),
        until: group.blanks.then_some(until),
    }
}
