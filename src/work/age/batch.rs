//! One transaction of a walk: look at some owners, erase what is to go, and forget it. Most of it goes in the database
//! alone (`bulk`); what that leaves, newest rows and what is on hold, is looked at row by row.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::{PgConnection, PgPool};

use super::{
    AgeSettings, Erased, bulk,
    errand::{Errand, Leg, Then},
};
use crate::{
    archive::{Archive, Erasure, OldRow, Scope, Table, Which},
    database::{Named, Result},
    ledger::{self, Holdable, Known, WalkPlace},
    metrics::FailureCause,
    model::{LATEST, Mode, RowKey, Store},
    stanza,
    work::base::crash::crash_point,
};

/// What a transaction is to do.
pub(super) struct Step<'a> {
    pub(super) archive: &'a Archive,
    pub(super) table: &'a Table,
    pub(super) settings: &'a AgeSettings,
    /// For what rows go.
    pub(super) errand: Errand<'a>,
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
#[derive(Default)]
pub(super) struct Batch {
    /// How many rows were erased in each store, and how.
    pub(super) erased: Erased,
    /// Rows that were left for the next walk.
    pub(super) failures: Vec<FailureCause>,
    /// Rows that would have gone, but for a hold.
    pub(super) on_hold: i64,
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

/// Goes on with a walk.
pub(super) async fn run(pool: &PgPool, step: Step<'_>) -> Result<Ran> {
    let mut transaction = pool.begin().await.named("age_begin")?;
    if !ledger::share_claims(&mut transaction).await? {
        return Ok(Ran::HoldUnderWay);
    }
    let Some(Leg { scopes, then }) = step.errand.begin(&mut transaction, &step).await? else {
        return Ok(Ran::Nothing);
    };
    let Some((mut batch, place)) = look(&mut transaction, &step, scopes).await? else {
        return Ok(Ran::InTheWay);
    };
    let then = place.map_or(then, Then::At);
    batch.is_end_of_clean_walk = step.errand.leave(&mut transaction, &step, then, &batch).await?;
    transaction.commit().await.named("age_commit")?;
    if !batch.erased.is_empty() {
        crash_point!("aged_and_committed");
    }
    Ok(Ran::Batch(batch))
}

/// Erases what is to go in these scopes. Returns also where that ended, if that was not all; `None` if something stood in the
/// way.
async fn look(
    connection: &mut PgConnection,
    step: &Step<'_>,
    scopes: Vec<Scope>,
) -> Result<Option<(Batch, Option<WalkPlace>)>> {
    if scopes.is_empty() {
        return Ok(Some((Batch::default(), None)));
    }
    let taken = match step.bulk {
        Some(rows) => bulk::take(connection, step.table, scopes, rows).await?,
        None => Some(bulk::Taken::nothing(scopes)),
    };
    let Some(bulk::Taken { erased, rest: scopes, cut }) = taken else { return Ok(None) };
    let (old, is_all) = step.table.old(connection, &scopes, step.rows).await?;
    let mut batch = Batch { erased, is_full: !is_all || cut.is_some(), ..Batch::default() };
    let last = old.last().and_then(|row| Some(place(scopes.get(row.scope)?, row.place)));
    if !step.skip {
        erase(connection, step.archive, of_chats(old, &scopes), &mut batch).await?;
        crash_point!("aged");
    }
    Ok(Some((batch, if is_all { cut } else { last })))
}

/// The rows that are of their scopes' chats, where only the rows themselves say.
fn of_chats(mut old: Vec<OldRow>, scopes: &[Scope]) -> Vec<OldRow> {
    let chat = |row: &OldRow| scopes.get(row.scope).and_then(|it| it.chat.as_ref());
    old.retain(|row| chat(row).is_none_or(|chat| row.peer.as_ref() == Some(chat)));
    old
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
    old: Vec<OldRow>,
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
        let Some(way) = way(archive, row) else { continue };
        if on_hold.contains(&at) {
            batch.on_hold += 1;
            continue;
        }
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
