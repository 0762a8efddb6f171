//! For what rows go without entries in the ledger, and where it is kept how far that has come: a policy has a walk through
//! each table, a request one through its owner's stores, a wish one through its owner's archive.

use std::time::Duration;

use sqlx::PgConnection;

use super::{
    AgeSettings, REST_AFTER_FAILURES,
    batch::{Batch, Step, place},
    rest_between,
};
use crate::{
    archive::{Holder, Reach, Scope},
    database::Result,
    ledger::{self, AgeStanding, Progress, Walk, WalkPlace, WishWalk},
    model::{Store, Timestamp, Wish},
    policy,
    work::base::count,
};

/// How long a request rests while nothing but a hold keeps its rows. When a hold ends it is looked at anyway.
const REST_ON_HOLD: Duration = Duration::from_secs(900);

/// For what rows go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Errand<'a> {
    /// They are too old by the policy with this digest.
    Policy(&'a [u8]),
    /// Somebody asked for it: the request's number.
    Request(i64),
    /// They are older than their owner wishes: the wish's number.
    Wish(i64),
}

/// What a transaction is to look at, and where the walk is once all of it was.
pub(super) struct Leg {
    pub(super) scopes: Vec<Scope>,
    pub(super) then: Then,
}

/// Where a walk goes on.
pub(super) enum Then {
    At(WalkPlace),
    End {
        /// Of earlier transactions, rows are left that could not be erased.
        has_failed: bool,
        /// The shortest time that anything is kept.
        shortest: Duration,
    },
}

impl Errand<'_> {
    /// How the log names the rows.
    pub(super) const fn which(self) -> &'static str {
        match self {
            Self::Policy(_) => "that is too old",
            Self::Request(_) => "that somebody asked to be erased",
            Self::Wish(_) => "that is older than its owner wishes",
        }
    }

    /// Locks what this transaction goes on with. `None` if another daemon is at work on it, or nothing may go.
    pub(super) async fn begin(
        self,
        connection: &mut PgConnection,
        step: &Step<'_>,
    ) -> Result<Option<Leg>> {
        match self {
            Self::Policy(policy) => go_on_by_policy(connection, step, policy).await,
            Self::Request(id) => go_on_by_request(connection, step, id).await,
            Self::Wish(id) => go_on_by_wish(connection, step, id).await,
        }
    }

    /// Notes how far the walk has come. Returns whether that was its end and nothing had failed.
    pub(super) async fn leave(
        self,
        connection: &mut PgConnection,
        step: &Step<'_>,
        then: Then,
        batch: &Batch,
    ) -> Result<bool> {
        let name = step.table.name();
        let failed = if step.skip { 1 } else { count(batch.failures.len()) };
        let erased = i64::try_from(batch.erased.values().sum::<u64>()).unwrap_or(i64::MAX);
        let progress = Progress { erased, on_hold: batch.on_hold, failed };
        match (self, then) {
            (Self::Policy(_), Then::At(place)) => {
                ledger::move_walk(connection, name, &place, failed).await?;
                Ok(false)
            }
            (Self::Request(id), Then::At(place)) => {
                ledger::move_request(connection, id, &place, progress).await?;
                Ok(false)
            }
            (Self::Wish(id), Then::At(place)) => {
                let place = (place.stamp, place.row_number);
                ledger::move_wish(connection, id, place, failed).await?;
                Ok(false)
            }
            (errand, Then::End { has_failed, shortest }) => {
                let has_failed = has_failed || failed > 0;
                match errand {
                    Self::Policy(_) => {
                        let rest = rest_between(shortest, has_failed);
                        ledger::end_walk(connection, name, rest).await?;
                    }
                    Self::Request(id) => {
                        let rest = if has_failed { REST_AFTER_FAILURES } else { REST_ON_HOLD };
                        ledger::end_request(connection, id, progress, rest).await?;
                    }
                    Self::Wish(id) => {
                        let rest = rest_between(shortest, has_failed);
                        ledger::end_wish(connection, id, rest).await?;
                    }
                }
                Ok(!has_failed)
            }
        }
    }
}

async fn go_on_by_policy(
    connection: &mut PgConnection,
    step: &Step<'_>,
    policy: &[u8],
) -> Result<Option<Leg>> {
    let Some(walk) = ledger::lock_walk(connection, step.table.name(), policy).await? else {
        return Ok(None);
    };
    // Another daemon may have ended the walk since, and somebody may have paused erasing.
    let state = ledger::age_state(connection).await?;
    let (now, paused) = (state.now, state.paused);
    if walk.next_at > now || paused || !AgeStanding::of(state, policy).is_in_force() {
        return Ok(None);
    }
    let (after, inclusive) = after(&walk);
    let holders = step.table.holders(connection, &after, inclusive, step.owners).await?;
    let Some(Holder { host, owner }) = holders.last().cloned() else {
        let shortest = step.settings.retention.shortest().unwrap_or_default();
        let then = Then::End { has_failed: walk.failed > 0, shortest };
        return Ok(Some(Leg { scopes: Vec::new(), then }));
    };
    let scopes = scopes(step, &holders, &walk.place, now);
    Ok(Some(Leg { scopes, then: Then::At(WalkPlace { host, owner, ..WalkPlace::default() }) }))
}

/// The owner after which the walk goes on; with that one itself if not all of it was looked at.
fn after(walk: &Walk) -> (Holder, bool) {
    let WalkPlace { host, owner, within, .. } = &walk.place;
    (Holder { host: host.clone(), owner: owner.clone() }, within.is_some())
}

/// The owners' stores from which anything goes by its age, from the walk's place on.
fn scopes(step: &Step<'_>, holders: &[Holder], from: &WalkPlace, now: Timestamp) -> Vec<Scope> {
    let AgeSettings { hosts, retention, .. } = step.settings;
    let mut scopes = step.table.scopes(holders, hosts, retention, now);
    if let Some(within) = from.within {
        let is_there = |it: &Scope| it.holder.host == from.host && it.holder.owner == from.owner;
        scopes.retain(|it| !(is_there(it) && it.store < within));
        for scope in scopes.iter_mut().filter(|it| is_there(it) && it.store == within) {
            scope.after = (from.stamp, from.row_number);
        }
    }
    scopes
}

/// A request is gone through store by store.
async fn go_on_by_request(
    connection: &mut PgConnection,
    step: &Step<'_>,
    id: i64,
) -> Result<Option<Leg>> {
    let Some(request) = ledger::lock_request(connection, id).await? else { return Ok(None) };
    let is_listed = step.settings.hosts.contains(&request.owner.host);
    if !is_listed || ledger::age_state(connection).await?.paused {
        return Ok(None);
    }
    let owner = (request.owner.host.as_str(), request.owner.local.as_str());
    let reach = Reach { upto: request.before, queued_upto: request.queued_upto };
    let with = request.with.as_deref();
    let mut stores = step.archive.scopes_of(connection, owner, with, reach).await?;
    let WalkPlace { host, owner, within, stamp, row_number } = &request.place;
    let is_there = |it: &Scope| {
        Some(it.store) == *within && it.holder.host == *host && it.holder.owner == *owner
    };
    if let Some(at) = stores.iter().position(|(_, it)| is_there(it)) {
        stores.drain(..at);
        stores.iter_mut().take(1).for_each(|(_, it)| it.after = (*stamp, *row_number));
    }
    let mut ahead = stores.into_iter();
    let end = Then::End { has_failed: request.failed > 0, shortest: Duration::ZERO };
    let Some((table, scope)) = ahead.next() else {
        return Ok(Some(Leg { scopes: Vec::new(), then: end }));
    };
    if table != *step.table {
        // Another daemon has come further since.
        return Ok(None);
    }
    let then = ahead.next().map(|(_, it)| Then::At(place(&it, it.after)));
    Ok(Some(Leg { scopes: vec![scope], then: then.unwrap_or(end) }))
}

/// A wish is about one user's archive, and never about a queue: what waits there nobody has received.
async fn go_on_by_wish(
    connection: &mut PgConnection,
    step: &Step<'_>,
    id: i64,
) -> Result<Option<Leg>> {
    let Some(walk) = ledger::lock_wish(connection, id).await? else { return Ok(None) };
    let WishWalk { owner, with, archive_for, place, failed, now } = walk;
    let wish = Wish { archive_for: Some(archive_for), ..Wish::default() };
    let wished = policy::wished(wish, step.settings.wishes);
    let is_listed = step.settings.hosts.contains(&owner.host);
    let Some(wished) = wished.filter(|_| is_listed) else { return Ok(None) };
    if ledger::age_state(connection).await?.paused {
        return Ok(None);
    }
    let reach = Reach { upto: policy::wished_cutoff(wished, now), queued_upto: 0 };
    let owner = (owner.host.as_str(), owner.local.as_str());
    let stores = step.archive.scopes_of(connection, owner, with.as_deref(), reach).await?;
    let of_archive = |(_, scope): &(_, Scope)| scope.store == Store::Archive;
    let scope = stores.into_iter().find(of_archive).map(|it| Scope { after: place, ..it.1 });
    let then = Then::End { has_failed: failed > 0, shortest: wished };
    Ok(Some(Leg { scopes: scope.into_iter().collect(), then }))
}
