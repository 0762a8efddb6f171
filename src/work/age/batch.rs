//! One transaction of a walk: look at some owners, erase what is too old, and forget it. Most of it goes in the database
//! alone (`bulk`); what that leaves, newest rows and what is on hold, is looked at row by row.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::{PgConnection, PgPool};

use super::{AgeSettings, Erased, bulk, rest_between};
use crate::{
    archive::{Archive, Erasure, Holder, OldRow, Scope, Table, Which},
    database::{Named, Result},
    ledger::{self, AgeStanding, Holdable, Known, Walk, WalkPlace},
    metrics::FailureCause,
    model::{LATEST, Mode, RowKey, Store, Timestamp},
    stanza,
    work::base::crash::crash_point,
};

/// What a transaction is to do.
pub(super) struct Step<'a> {
    pub(super) archive: &'a Archive,
    pub(super) table: &'a Table,
    pub(super) settings: &'a AgeSettings,
    /// The policy that must be in force.
    pub(super) policy: &'a [u8],
    /// Maximum number of rows that go in the database alone; `None`: all are looked at row by row.
    pub(super) bulk: Option<i64>,
    /// Maximum number of rows that are looked at row by row.
    pub(super) rows: i64,
    /// Maximum number of owners.
    pub(super) owners: i64,
    /// Pass over the rows, and erase nothing.
    pub(super) skip: bool,
}

/// What a transaction did.
pub(super) struct Batch {
    /// How many rows were erased in each store, and how.
    pub(super) erased: Erased,
    /// Rows that were left for the next walk.
    pub(super) failures: Vec<FailureCause>,
    /// There was more than fits into it.
    pub(super) is_full: bool,
    /// A walk ended in which nothing failed.
    pub(super) is_end_of_clean_walk: bool,
}

/// What became of a transaction.
pub(super) enum Ran {
    /// It was committed.
    Batch(Batch),
    /// Another daemon is at work or has ended the walk, or nothing may go.
    Nothing,
    /// Somebody places or ends a hold.
    HoldUnderWay,
    /// Not all rows could go in the database alone: nothing was done, and they are to be looked at row by row.
    InTheWay,
}

/// Goes on with the walk through one table.
pub(super) async fn run(pool: &PgPool, step: Step<'_>) -> Result<Ran> {
    let name = step.table.name();
    let mut transaction = pool.begin().await.named("age_begin")?;
    let Some(shortest) = step.settings.retention.shortest() else { return Ok(Ran::Nothing) };
    if !ledger::share_claims(&mut transaction).await? {
        return Ok(Ran::HoldUnderWay);
    }
    let Some(walk) = ledger::lock_walk(&mut transaction, name, step.policy).await? else {
        return Ok(Ran::Nothing);
    };
    // Another daemon may have ended the walk since, and somebody may have paused erasing.
    let state = ledger::age_state(&mut transaction).await?;
    let (now, paused) = (state.now, state.paused);
    if walk.next_at > now || paused || !AgeStanding::of(state, step.policy).is_in_force() {
        return Ok(Ran::Nothing);
    }
    let (after, inclusive) = after(&walk);
    let holders = step.table.holders(&mut transaction, &after, inclusive, step.owners).await?;
    let Some(last) = holders.last().cloned() else {
        let rest = rest_between(shortest, walk.failed > 0);
        ledger::end_walk(&mut transaction, name, rest).await?;
        transaction.commit().await.named("age_commit")?;
        let (erased, failures) = (Erased::new(), Vec::new());
        let is_end_of_clean_walk = walk.failed == 0;
        return Ok(Ran::Batch(Batch { erased, failures, is_full: false, is_end_of_clean_walk }));
    };
    let scopes = scopes(&step, &holders, &walk.place, now);
    let taken = match step.bulk {
        Some(rows) => bulk::take(&mut transaction, step.table, scopes, rows).await?,
        None => Some(bulk::Taken::nothing(scopes)),
    };
    let Some(bulk::Taken { erased, rest: scopes, cut }) = taken else { return Ok(Ran::InTheWay) };
    let (old, is_all) = step.table.old(&mut transaction, &scopes, step.rows).await?;
    let is_full = !is_all || cut.is_some();
    let mut batch = Batch { erased, failures: Vec::new(), is_full, is_end_of_clean_walk: false };
    if !step.skip {
        erase(&mut transaction, step.archive, &old, &mut batch).await?;
        crash_point!("aged");
    }
    let failed = if step.skip { 1 } else { batch.failures.len() };
    let failed = i64::try_from(failed).unwrap_or(i64::MAX);
    let place = match is_all {
        true => cut,
        false => old.last().and_then(|row| Some(place(scopes.get(row.scope)?, row.place))),
    };
    let all = WalkPlace { host: last.host, owner: last.owner, ..WalkPlace::default() };
    let place = place.unwrap_or(all);
    ledger::move_walk(&mut transaction, name, &place, failed).await?;
    transaction.commit().await.named("age_commit")?;
    crash_point!("aged_and_committed");
    Ok(Ran::Batch(batch))
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

/// Where the walk is after the row with this stamp and number.
pub(super) fn place(scope: &Scope, (stamp, row_number): (i64, i64)) -> WalkPlace {
    WalkPlace {
        host: scope.holder.host.clone(),
        owner: scope.holder.owner.clone(),
        within: Some(scope.store),
        stamp,
        row_number,
    }
}

/// How a row goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Delete,
    /// The newest of an archive keeps its id, by which clients continue to page.
    BlankNewest,
    /// The row stays in a queue from which none may be deleted.
    BlankQueued,
}

/// Erases these rows, except those that are on hold or that another session has locked.
async fn erase(
    connection: &mut PgConnection,
    archive: &Archive,
    old: &[OldRow],
    batch: &mut Batch,
) -> Result<()> {
    if old.is_empty() {
        return Ok(());
    }
    let on_hold: HashSet<usize> =
        ledger::aged_on_hold(connection, &old.iter().map(holdable).collect::<Vec<_>>())
            .await?
            .into_iter()
            .collect();
    let mut known: HashMap<usize, Known> = HashMap::new();
    let ids: Vec<_> = old.iter().map(|it| it.key.id()).collect();
    for it in ledger::lock_entries(connection, &ids).await? {
        known.insert(it.position, it);
    }
    let mut ways: BTreeMap<Way, Vec<usize>> = BTreeMap::new();
    for (at, row) in old.iter().enumerate() {
        let Some(way) = way(archive, row).filter(|_| !on_hold.contains(&at)) else { continue };
        // An eraser is at work on it.
        if known.get(&at).is_some_and(|it| it.id.is_none()) {
            batch.failures.push(FailureCause::Locked);
            continue;
        }
        ways.entry(way).or_default().push(at);
    }
    let (mut forget, mut received) = (Vec::new(), Vec::new());
    for (way, rows) in ways {
        let keys: Vec<&RowKey> = rows.iter().filter_map(|at| Some(&old.get(*at)?.key)).collect();
        for ((at, key), erasure) in
            rows.iter().zip(&keys).zip(go(connection, archive, way, &keys).await?)
        {
            let mode = if way == Way::Delete { Mode::Delete } else { Mode::Placeholder };
            match erasure {
                Erasure::Done | Erasure::Placeholder(_) => {
                    *batch.erased.entry((key.store, mode)).or_default() += 1;
                }
                Erasure::AlreadyGone | Erasure::TakenOver => {}
                Erasure::Locked => batch.failures.push(FailureCause::Locked),
                Erasure::Unchanged => batch.failures.push(FailureCause::Unchanged),
            }
            let is_left = matches!(erasure, Erasure::Locked | Erasure::Unchanged);
            if let Some(it) = known.get(at).filter(|_| !is_left) {
                forget.extend(it.id);
                if it.is_undelivered && key.store == Store::Archive {
                    received.push((key.host.as_str(), key.owner.as_str(), key.archive_id.as_str()));
                }
            }
        }
    }
    ledger::forget(connection, &forget).await?;
    ledger::end_undelivered(connection, &received).await
}

/// How this row goes; `None` if it stays: it is not too old yet, or nothing of it is left but what must stay.
fn way(archive: &Archive, row: &OldRow) -> Option<Way> {
    let deletes = archive.deletes_from(row.key.store);
    match (row.is_early, row.is_newest, row.is_blank) {
        (true, ..) => None,
        (_, true, true) => None,
        (_, true, false) => Some(Way::BlankNewest),
        (_, false, true) if !deletes => None,
        (_, false, false) if !deletes => Some(Way::BlankQueued),
        (_, false, _) => Some(Way::Delete),
    }
}

async fn go(
    connection: &mut PgConnection,
    archive: &Archive,
    way: Way,
    keys: &[&RowKey],
) -> Result<Vec<Erasure>> {
    match way {
        Way::Delete => archive.delete(connection, keys, Which::All).await,
        // It stays until a newer one comes, whenever that is.
        Way::BlankNewest => {
            archive
                .blank(connection, keys, Which::All, |xml| stanza::placeholder(xml, LATEST))
                .await
        }
        Way::BlankQueued => {
            archive.blank_queued(connection, keys, |xml| stanza::blank_queued(xml, LATEST)).await
        }
    }
}

fn holdable(row: &OldRow) -> Holdable<'_> {
    Holdable {
        host: &row.key.host,
        owner: &row.key.owner,
        peer: row.peer.as_deref(),
        stamped_at: row.key.stamped_at,
    }
}
