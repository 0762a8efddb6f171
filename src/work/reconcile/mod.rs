//! Brings the archive's rows and the ledger's entries in line: what tail and sweep share.
//!
//! Reads stanzas, asks policy, records what is missing, changes what differs. Total: a row that cannot be read is
//! counted and left alone.

pub(super) mod companion;
mod deliveries;
mod evidence;
mod expiry;
mod page;
mod positions;
mod read;

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use tracing::debug;

use crate::{
    archive::{ARCHIVE_ROWS_AT_ONCE, Archive},
    database::Result,
    ledger::{self, Entry, Expiry, Phase},
    metrics::Metrics,
    model::{Inspected, Reason, RowId, RowKey, Rules, StartedBy, Store, Timestamp},
};

use self::read::{Awaited, Waits};
pub(super) use self::{
    deliveries::{notice_deliveries, release},
    expiry::Read,
    page::{candidates, end_page},
    positions::{Round, notice_positions},
    read::{Announced, notice_announced, notice_reading},
};

/// What judging needs to know besides the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// Where the rows can be looked at again. `None` for the companion module, which shows rows as they are and is not
    /// asked twice: it reports what is gone when it is asked to erase it.
    pub(super) archive: Option<&'a Archive>,
    /// What the operator decided.
    pub(super) rules: &'a Rules,
    /// The database's clock.
    pub(super) now: Timestamp,
    /// Set if the rows may be old: which of them are held. Such rows may also be from a backup, and then text where the
    /// ledger has a placeholder is erased again.
    pub(super) listed: Option<Backlog>,
}

/// Rows up to these numbers are backlog: they are from before the first start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlog {
    /// Of archives and rooms.
    pub(super) archived: i64,
    /// Of offline queues, which may have numbers of their own.
    pub(super) queued: i64,
}

impl Backlog {
    /// Nothing is held.
    pub(super) const NONE: Self = Self { archived: i64::MIN, queued: i64::MIN };
}

impl Context<'_> {
    fn holds(&self, key: &RowKey) -> bool {
        let upto = |it: Backlog| if key.store == Store::Queue { it.queued } else { it.archived };
        self.listed.map(upto).is_some_and(|upto| key.row_number <= upto)
    }

    /// Placeholders in this store are deleted when their time has come.
    fn deletes_from(&self, store: Store) -> bool {
        self.archive.map_or(store != Store::Queue, |archive| archive.deletes_from(store))
    }
}

/// What was found and done.
#[derive(Debug, Default)]
pub(super) struct Reconciled {
    /// Rows that were not newly recorded: their numbers, and what they are.
    pub(super) inspected: Vec<(i64, Store, Inspected)>,
    /// New entries, with their due times.
    pub(super) recorded: Vec<(Store, Reason, Timestamp)>,
    /// The number of entries that were changed.
    pub(super) changed: usize,
    /// The number of entries whose row is gone, or no longer asks for anything.
    pub(super) dropped: usize,
    /// The number of placeholders that were not in the ledger.
    pub(super) adopted: usize,
    /// What started timers: something showed that their messages were read.
    pub(super) started: Vec<StartedBy>,
    /// Unreadable timers, by the row's number.
    pub(super) invalid_timers: Vec<(i64, u32)>,
    /// The rows that an entry stands for.
    pub(super) known: HashSet<(i64, String, Vec<u8>)>,
}

/// Brings the entries of these rows in line with what the rows say.
pub(super) async fn reconcile(
    connection: &mut PgConnection,
    mut reads: Vec<Read<'_>>,
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<()> {
    let copies = reconcile_page(connection, &mut reads, context, reconciled).await?;
    let Some(archive) = context.archive else { return Ok(()) };
    // A new copy in an offline queue holds its archive row back, because nobody has received the message.
    let copies: Vec<(&str, &str, &str)> =
        copies.iter().map(|it| (&*it.0, &*it.1, &*it.2)).collect();
    for ids in copies.chunks(ARCHIVE_ROWS_AT_ONCE) {
        let held = archive.archive_rows(connection, ids).await?;
        reconcile_page(connection, &mut Read::all(&held), context, reconciled).await?;
    }
    if !copies.is_empty() && context.rules.looks_for_readers_in(Store::Archive) {
        ledger::align_copies(connection, &copies).await?;
    }
    Ok(())
}

/// One page. Returns (host, owner, archive id) of the rows that newly recorded queue rows are copies of.
async fn reconcile_page(
    connection: &mut PgConnection,
    reads: &mut [Read<'_>],
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<Vec<(String, String, String)>> {
    expiry::find_peers(connection, reads).await?;
    let reads: &[Read<'_>] = reads;
    let names: Vec<RowId<'_>> = reads.iter().map(|read| read.row.key.id()).collect();
    let entries: HashMap<usize, Entry> =
        ledger::entries_of(connection, &names).await?.into_iter().collect();
    let undelivered: HashSet<usize> =
        ledger::undelivered(connection, &names).await?.into_iter().collect();

    let awaited = Awaited::among(connection, reads, context).await?;

    let (mut plan, mut recorded) = (Plan::default(), HashSet::new());
    for (position, read) in reads.iter().enumerate() {
        let (key, entry) = (&read.row.key, entries.get(&position));
        let invalid = read.facts.as_ref().map_or(0, |facts| facts.timers.invalid);
        if invalid > 0 {
            reconciled.invalid_timers.push((key.row_number, invalid));
        }
        let waits =
            Waits { undelivered: undelivered.contains(&position), unread: awaited.has(position) };
        let expiry = read.expiry(entry, waits, context);
        if expiry.is_some() || (entry.is_some() && read.facts.is_none()) {
            reconciled.known.insert(apart(key));
        }
        if expiry.as_ref() != entry.map(|it| &it.expiry) {
            recorded.insert(position);
        }
        match (expiry, entry) {
            (Some(expiry), None) => plan.missing.push(expiry),
            (Some(expiry), Some(entry)) => plan.align(entry, expiry, context),
            (None, entry) => {
                let is_read = read.facts.is_some();
                // It was read, and asks for nothing that the entry could stand for.
                let empty = entry.filter(|it| is_read && it.expiry.phase == Phase::Pending);
                reconciled.dropped += usize::from(empty.is_some());
                plan.outdated.extend(empty.map(|it| it.id));
                let is = if is_read { Inspected::Unmarked } else { Inspected::Unreadable };
                reconciled.inspected.push((key.row_number, key.store, is));
            }
        }
    }
    let copies = plan.carry_out(connection, context, reconciled).await?;
    awaited.note(connection, reads, &recorded).await?;
    Ok(copies)
}

/// What one page makes of the ledger.
#[derive(Debug, Default)]
struct Plan {
    /// To be recorded.
    missing: Vec<Expiry>,
    changes: Vec<Entry>,
    /// Entries to be forgotten, by id.
    outdated: Vec<i64>,
    /// Entries of placeholders whose rows have text, perhaps from a backup, with what they would become.
    restored: Vec<Entry>,
}

impl Plan {
    /// This entry stands for a row that now asks for this.
    fn align(&mut self, entry: &Entry, expiry: Expiry, context: Context<'_>) {
        match (entry.expiry.phase, expiry.phase) {
            (Phase::Pending, Phase::Placeholder) => {
                self.outdated.push(entry.id);
                self.missing.push(expiry);
            }
            (Phase::Pending, Phase::Pending) if expiry != entry.expiry => {
                self.changes.push(Entry { id: entry.id, expiry });
            }
            (Phase::Placeholder, Phase::Pending) if context.listed.is_some() => {
                self.restored.push(Entry { id: entry.id, expiry });
            }
            _ => {}
        }
    }

    /// Returns (host, owner, archive id) of the rows that newly recorded queue rows are copies of.
    async fn carry_out(
        mut self,
        connection: &mut PgConnection,
        context: Context<'_>,
        reconciled: &mut Reconciled,
    ) -> Result<Vec<(String, String, String)>> {
        for Entry { id, expiry } in still_with_text(connection, self.restored, context).await? {
            self.outdated.push(id);
            self.missing.push(expiry);
        }
        ledger::forget(connection, &self.outdated).await?;
        ledger::change(connection, &self.changes).await?;
        reconciled.changed += self.changes.len();
        record(connection, self.missing, context, reconciled).await
    }
}

/// Checks rows with text whose entries are placeholders again: the eraser may have been there since.
async fn still_with_text(
    connection: &mut PgConnection,
    restored: Vec<Entry>,
    context: Context<'_>,
) -> Result<Vec<Entry>> {
    let Some(archive) = context.archive.filter(|_| !restored.is_empty()) else {
        return Ok(restored);
    };
    let keys: Vec<&RowKey> = restored.iter().map(|it| &it.expiry.row).collect();
    let with_text = archive.with_words(connection, &keys).await?;
    let with_text: HashSet<usize> = with_text.into_iter().collect();
    let kept = restored.into_iter().enumerate().filter(|(at, _)| with_text.contains(at));
    Ok(kept.map(|(_, it)| it).collect())
}

/// Records, and then checks again: what was erased between reading and recording is dropped.
async fn record(
    connection: &mut PgConnection,
    missing: Vec<Expiry>,
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<Vec<(String, String, String)>> {
    let recorded = ledger::record(connection, &missing).await?;
    let entry = |(at, id): (usize, i64)| Some(Entry { id, expiry: missing.get(at)?.clone() });
    let mut new: Vec<Entry> = recorded.into_iter().filter_map(entry).collect();
    if let Some(archive) = context.archive {
        drop_gone(connection, archive, &mut new).await?;
    }
    let mut copies = Vec::new();
    for Entry { expiry, .. } in new {
        match expiry.phase {
            Phase::Pending => {
                reconciled.recorded.push((expiry.row.store, expiry.reason, expiry.due_at))
            }
            Phase::Placeholder => reconciled.adopted += 1,
        }
        copies.extend(expiry.copy_of.map(|copy_of| (expiry.row.host, expiry.row.owner, copy_of)));
    }
    Ok(copies)
}

/// Forgets the entries whose rows are gone, and takes them out of the list.
pub(super) async fn drop_gone(
    connection: &mut PgConnection,
    archive: &Archive,
    entries: &mut Vec<Entry>,
) -> Result<Vec<Entry>> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&RowKey> = entries.iter().map(|it| &it.expiry.row).collect();
    let there: HashSet<usize> = archive.still_there(connection, &keys).await?.into_iter().collect();
    let mut position = 0..;
    let is_gone = |_: &mut Entry| position.next().is_none_or(|at| !there.contains(&at));
    let gone: Vec<Entry> = entries.extract_if(.., is_gone).collect();
    ledger::forget(connection, &ids(&gone)).await?;
    Ok(gone)
}

/// The ids of these entries.
pub(super) fn ids(entries: &[Entry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.id).collect()
}

/// What tells rows of one table apart: numbers are reused after a restore, and Prosody's rows have no digest.
fn apart(key: &RowKey) -> (i64, String, Vec<u8>) {
    (key.row_number, key.archive_id.clone(), key.digest.clone())
}

impl Reconciled {
    /// The entry stands for one of the rows.
    pub(super) fn knows(&self, entry: &Entry) -> bool {
        self.known.contains(&apart(&entry.expiry.row))
    }

    /// Counts what was committed. Rows up to `counted` are read again, but not counted again.
    pub(super) fn count(&self, metrics: &Metrics, counted: i64) {
        for (row_number, store, is) in self.inspected.iter().filter(|it| it.0 > counted) {
            metrics.stanzas_inspected.of(*store, *is).inc();
            if *is == Inspected::Unreadable {
                debug!(row_number, "unreadable, left alone");
                metrics.unreadable_stanzas.inc();
            }
        }
        for (store, ..) in &self.recorded {
            metrics.stanzas_inspected.of(*store, Inspected::Marked).inc();
        }
        self.count_recorded(metrics);
        let invalid = self.invalid_timers.iter().filter(|it| it.0 > counted);
        metrics.invalid_timers.inc_by(invalid.map(|it| u64::from(it.1)).sum());
    }

    /// When the first new entry goes that is in a user's archive and not held back by a copy in the queue.
    pub(super) fn first_due(&self) -> Option<Timestamp> {
        let goes = |it: &&(Store, Reason, Timestamp)| {
            it.0 == Store::Archive && it.1 != Reason::Undelivered
        };
        self.recorded.iter().filter(goes).map(|it| it.2).min()
    }

    /// Counts only the new entries, and timers that started.
    pub(super) fn count_recorded(&self, metrics: &Metrics) {
        for (_, reason, _) in &self.recorded {
            metrics.expiries_recorded.of(*reason).inc();
        }
        for by in &self.started {
            metrics.started.of(*by).inc();
        }
    }
}
