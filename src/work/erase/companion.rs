//! The eraser of archives behind the companion module: leases what is due, asks the module to erase it, and settles by
//! the answers.
//!
//! The work happens elsewhere and outside our transactions, so a claim is a lease: until it ends, nobody else claims
//! these entries. If we are killed or an answer is lost, what was erased but not settled is asked for again, and the
//! module answers that it is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    asked::Asked,
    count::Batch,
    fate::{Fate, Way},
    pace::{EVERYTHING, HOLD_REST, LONGEST_SLEEP, Next, Pace},
    settle::settle,
    turn::{self, Turn},
};
use crate::{
    archive::companion::{Answer, Item, MOST_ITEMS, Outcome, Request, Requests, Unanswered},
    database::{Named as _, Result, in_time},
    ledger::{self, Bound, Claim, Claimed, Claims, Expiry},
    metrics::FailureCause,
    model::{Mode, Store, Timestamp},
    policy,
    work::{
        TRANSACTION_LIMIT,
        base::{crash::crash_point, presence::Present},
    },
};

/// Longer than one batch may take. Afterwards anyone may claim the entries.
const LEASE: Duration = Duration::from_secs(120);
/// Pause after a module asked us to wait.
const BUSY_REST: Duration = Duration::from_secs(1);
/// Maximum time for the requests of one batch; what was not requested by then is given back.
const BATCH_WITHIN: Duration = Duration::from_secs(60);

/// The worker of one daemon.
pub struct CompanionEraser<R> {
    pool: PgPool,
    requests: R,
    pace: Pace,
    present: Present,
    /// Claims start here: a dry run skips what it has counted.
    from: Bound,
    /// The server needs its time for others until then.
    rest_until: Instant,
    /// There may be leases that nobody settles any more: from before a restart, from another daemon, or from a batch
    /// that failed.
    leases_left: bool,
}

/// What is leased, and the owners whose modules are about to be asked.
struct Leased {
    claims: Claims,
    asked: Asked,
}

/// Rows that one request names.
struct Group {
    host: String,
    owner: String,
    store: Store,
    way: Way,
    /// Positions among the claims.
    at: Vec<usize>,
}

impl<R: Requests> CompanionEraser<R> {
    /// A worker that starts with [`CompanionEraser::run`].
    pub fn new(pool: PgPool, requests: R, pace: Pace, present: Present) -> Self {
        let (from, rest_until) = (EVERYTHING, Instant::now());
        Self { pool, requests, pace, present, from, rest_until, leases_left: true }
    }

    /// Works until stopped. A batch that has begun is finished.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut presence = self.present.watch();
        stop.run_until_cancelled(self.pace.let_go(&self.pool)).await;
        while !stop.is_cancelled() {
            presence.borrow_and_update();
            if self.pace.take_settings() {
                self.from = EVERYTHING;
            }
            let round = self.round().await;
            self.leases_left |= round.is_err();
            tokio::select! {
                () = self.pace.wait_after(round, &stop) => {}
                _ = presence.changed() => {}
            }
        }
    }

    /// One batch, or how long to wait for the next. Only for hosts whose modules answer: entries of the others
    /// wait, untouched.
    async fn round(&mut self) -> Result<Next> {
        let present = self.present.hosts();
        let hosts: Vec<String> =
            self.pace.settings.hosts.iter().filter(|it| present.contains(it)).cloned().collect();
        if hosts.is_empty() {
            // Another daemon may become the leader meanwhile, and die.
            self.leases_left = true;
            return Ok(Next::Sleep(LONGEST_SLEEP));
        }
        let rest = self.rest_until.saturating_duration_since(Instant::now());
        if !rest.is_zero() {
            return Ok(Next::Rest(rest));
        }
        self.pace.take_note();
        if self.leases_left {
            in_time("end_leases", TRANSACTION_LIMIT, self.end_leases()).await?;
            self.leases_left = false;
        }
        let began = Instant::now();
        let leased = in_time("lease", TRANSACTION_LIMIT, self.lease(&hosts)).await?;
        let Leased { claims, asked } = match leased {
            Ok(leased) => leased,
            Err(Turn::HoldUnderWay) => return Ok(Next::Rest(HOLD_REST)),
            Err(_) => {
                return Next::when_due(&self.pool, &hosts, (self.from, false), LONGEST_SLEEP).await;
            }
        };
        let claimed_at = Instant::now();
        let fates = if self.pace.settings.dry_run {
            vec![Fate::Erased(Mode::DryRun); claims.entries.len()]
        } else {
            let until = policy::later(claims.now, self.pace.settings.placeholder_for);
            crash_point!("leased");
            let fates = self.ask(&claims, until).await;
            crash_point!("asked");
            let is_open = |fate: &Fate| *fate == Fate::PutOff(FailureCause::Unanswered);
            let open = claims.entries.iter().zip(&fates).filter(|(_, fate)| is_open(fate));
            let over = asked.over(&owners(open.map(|(claimed, _)| claimed)));
            let settling = self.settle(&claims, &fates, until, &over);
            in_time("settle", TRANSACTION_LIMIT, settling).await?;
            fates
        };
        let batch = Batch { claims, fates, claimed_at, settled_at: Instant::now() };
        if self.pace.settings.dry_run {
            self.from = batch.next_from(true);
        }
        self.pace.metrics.erase_batch_seconds.observe(began.elapsed().as_secs_f64());
        batch.count(&self.pace.metrics);
        Ok(Next::at_rate(&self.pace.settings, batch.len(), began))
    }

    /// Only the leader has modules to ask, and we ask for nothing meanwhile, so nobody works on these leases. A former
    /// leader may still do so; asking for the same row twice does no harm.
    async fn end_leases(&self) -> Result<()> {
        let mut connection = self.pool.acquire().await.named("end_leases_connect")?;
        ledger::end_leases(&mut connection, LEASE.as_secs_f64()).await
    }

    /// Claims what is due and puts it out of everyone's reach for a while; or why there is nothing to do.
    async fn lease(&self, hosts: &[String]) -> Result<std::result::Result<Leased, Turn>> {
        let mut transaction = self.pool.begin().await.named("lease_begin")?;
        let rows = i64::from(self.pace.settings.most_rows());
        let what = Claim { hosts, from: self.from, rows };
        let claims = match turn::claim(&mut transaction, what).await? {
            Turn::Claims(claims) => claims,
            other => return Ok(Err(other)),
        };
        let mut asked = Asked::default();
        if !self.pace.settings.dry_run {
            let ids: Vec<i64> = claims.entries.iter().map(|it| it.entry.id).collect();
            ledger::lease(&mut transaction, &ids, LEASE.as_secs_f64()).await?;
            asked = Asked::note(&mut transaction, owners(&claims.entries)).await?;
            transaction.commit().await.named("lease_commit")?;
        }
        Ok(Ok(Leased { claims, asked }))
    }

    async fn settle(
        &self,
        claims: &Claims,
        fates: &[Fate],
        until: Timestamp,
        over: &[i64],
    ) -> Result<()> {
        let mut transaction = self.pool.begin().await.named("settle_begin")?;
        settle(&mut transaction, claims, fates, until).await?;
        ledger::answered(&mut transaction, over).await?;
        transaction.commit().await.named("settle_commit")
    }

    /// Sends one request per owner and store, one after the other. If a module does not answer or the server needs a
    /// rest, the remaining entries stay untried; they are claimed again, together with what has fallen due for
    /// their owners meanwhile.
    async fn ask(&mut self, claims: &Claims, until: Timestamp) -> Vec<Fate> {
        let started = Instant::now();
        let mut fates = vec![Fate::Untried; claims.entries.len()];
        for group in self.groups(claims) {
            let is_late = started.elapsed() > BATCH_WITHIN || self.rest_until > Instant::now();
            if self.present.of(&group.host).is_none() || is_late {
                continue;
            }
            let answered = self.ask_for(&group, claims, until).await;
            for (at, fate) in group.at.iter().zip(answered) {
                if let Some(slot) = fates.get_mut(*at) {
                    *slot = fate;
                }
            }
        }
        fates
    }

    /// What became of each row of the group; nothing if none of them was tried.
    async fn ask_for(&mut self, group: &Group, claims: &Claims, until: Timestamp) -> Vec<Fate> {
        match self.requests.ask(&group.host, request(group, claims, until)).await {
            Ok(Answer::Erased { outcomes, rest }) => {
                self.rest_until = Instant::now() + rest;
                let outcomes: BTreeMap<String, Outcome> = outcomes.into_iter().collect();
                let outcome = |it: &Expiry| outcomes.get(&it.row.archive_id).copied();
                let answered = expiries(group, claims);
                answered.map(|(_, it)| fate(outcome(it), group.way, it)).collect()
            }
            Err(Unanswered::Busy) => {
                self.rest_until = Instant::now() + BUSY_REST;
                Vec::new()
            }
            other => {
                let why = other.err().unwrap_or(Unanswered::Unreadable);
                vec![self.unanswered(group, why); group.at.len()]
            }
        }
    }

    fn unanswered(&self, group: &Group, why: Unanswered) -> Fate {
        debug!(host = group.host, rows = group.at.len(), "rows were not erased: {why}");
        match why {
            // The owner was deleted, and with it all rows.
            Unanswered::NotFound => return Fate::AlreadyGone,
            Unanswered::StorageFailed | Unanswered::Refused => {}
            // The module is at fault, not these rows.
            other => self.present.lost(&group.host, other),
        }
        Fate::PutOff(FailureCause::Unanswered)
    }

    fn groups(&self, claims: &Claims) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        // The last group of each owner, store and way.
        let mut last = BTreeMap::new();
        for (position, claimed) in claims.entries.iter().enumerate() {
            let expiry = &claimed.entry.expiry;
            let row = &expiry.row;
            let way = match row.store {
                Store::Queue => Way::BlankQueued,
                _ => Way::of(expiry, self.pace.settings.mode),
            };
            let key = (&row.host, &row.owner, row.store, way);
            let open = last.get(&key).copied().and_then(|at: usize| groups.get_mut(at));
            // One request must not name an id twice.
            let is_named = |it: &Group| {
                expiries(it, claims).any(|(_, other)| other.row.archive_id == row.archive_id)
            };
            match open.filter(|it| it.at.len() < MOST_ITEMS && !is_named(it)) {
                Some(group) => group.at.push(position),
                None => {
                    last.insert(key, groups.len());
                    let (host, owner, store) = (row.host.clone(), row.owner.clone(), row.store);
                    groups.push(Group { host, owner, store, way, at: vec![position] });
                }
            }
        }
        groups
    }
}

fn expiries<'a>(group: &'a Group, claims: &'a Claims) -> impl Iterator<Item = (usize, &'a Expiry)> {
    group.at.iter().filter_map(|at| Some((*at, &claims.entries.get(*at)?.entry.expiry)))
}

/// Owners (host, local part) of claimed rows.
fn owners<'a>(claimed: impl IntoIterator<Item = &'a Claimed>) -> BTreeSet<(&'a str, &'a str)> {
    let rows = claimed.into_iter().map(|it| &it.entry.expiry.row);
    rows.map(|row| (row.host.as_str(), row.owner.as_str())).collect()
}

/// What became of this row; no outcome means failure.
fn fate(outcome: Option<Outcome>, way: Way, expiry: &Expiry) -> Fate {
    match outcome.unwrap_or(Outcome::Failed) {
        Outcome::Done if way == Way::Blank => Fate::Kept(expiry.row.digest.clone()),
        Outcome::Done => Fate::Erased(way.mode()),
        Outcome::Gone | Outcome::Other => Fate::AlreadyGone,
        Outcome::Failed => Fate::PutOff(FailureCause::Refused),
    }
}

fn request(group: &Group, claims: &Claims, until: Timestamp) -> Request {
    let item = |(_, expiry): (usize, &Expiry)| {
        let stamp = String::from_utf8_lossy(&expiry.row.digest).into_owned();
        Item { id: expiry.row.archive_id.clone(), stamp }
    };
    Request::Erase {
        owner: group.owner.clone(),
        store: group.store,
        items: expiries(group, claims).map(item).collect(),
        until: (group.way != Way::Delete).then_some(until),
    }
}
