//! Brings the archive's rows and the ledger's entries in line: what tail and sweep share.
//!
//! Reads stanzas, asks policy, records what is missing, changes what differs. Total: a row that cannot be read is
//! counted and left alone.

mod belonging;
pub(super) mod companion;
mod deliveries;
mod evidence;
mod expiry;
mod files;
mod page;
mod plan;
mod positions;
mod quotes;
mod read;
mod receipts;
mod wishes;

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use tracing::debug;

use crate::{
    archive::{ARCHIVE_ROWS_AT_ONCE, Archive},
    database::Result,
    ledger::{self, Entry, Expiry, Phase},
    metrics::Metrics,
    model::{Inspected, Reason, RowId, RowKey, Rules, StartedBy, Store, Timestamp},
    policy,
};

pub(super) use self::{
    deliveries::{notice_deliveries, release},
    expiry::Read,
    page::{candidates, end_page, find_belonging},
    positions::{Round, notice_positions},
    read::{Announced, notice_announced, notice_reading},
    receipts::notice_receipts,
    wishes::encrypted_owners,
};
use self::{
    plan::Plan,
    read::{Awaited, Waits},
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
    /// Timers and times of expiry that cannot be read, by the row's number.
    pub(super) invalid_timers: Vec<(i64, u32)>,
    /// The numbers of rows that may belong to a message too far back to tell.
    pub(super) too_far: HashSet<i64>,
    /// The number of quotes that are to be cut.
    pub(super) recorded_quotes: usize,
    /// Quotes of these rows, by their ids in the ledger.
    pub(super) quotes: Vec<i64>,
    /// The numbers of rows that quote a message that goes, and that cannot be cut for certain.
    pub(super) uncut: HashSet<i64>,
    /// Something is named now of an owner of whom nothing was, and so may have to do with others' rows.
    pub(super) names_more: bool,
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
    let replies = quotes::replies(&mut reads, context.rules.inherit.quotes);
    let copies = reconcile_all(connection, reads, context, reconciled).await?;
    quotes::note_quotes(connection, replies, context, reconciled).await?;
    let Some(archive) = context.archive else { return Ok(()) };
    // A new copy in an offline queue holds its archive row back, because nobody has received the message.
    let copies: Vec<(&str, &str, &str)> =
        copies.iter().map(|it| (&*it.0, &*it.1, &*it.2)).collect();
    for ids in copies.chunks(ARCHIVE_ROWS_AT_ONCE) {
        let held = archive.archive_rows(connection, ids).await?;
        reconcile_all(connection, Read::all(&held), context, reconciled).await?;
    }
    if !copies.is_empty() && context.rules.looks_for_readers_in(Store::Archive) {
        ledger::align_copies(connection, &copies).await?;
    }
    Ok(())
}

/// These rows, and then those among them that belong to others which were recorded meanwhile. Returns (host, owner, archive
/// id) of the rows that newly recorded queue rows are copies of.
async fn reconcile_all(
    connection: &mut PgConnection,
    reads: Vec<Read<'_>>,
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<Vec<(String, String, String)>> {
    let (mut open, mut copies, mut is_first) = (reads, Vec::new(), true);
    wishes::follow_wishes(connection, &mut open, context).await?;
    for _ in 0..=ledger::MOST_LINKS {
        belonging::find_targets(connection, &mut open, context, reconciled).await?;
        let is_settled = |read: &mut Read<'_>| read.target.is_some() || read.names_another;
        let mut reads: Vec<Read<'_>> = match std::mem::take(&mut is_first) {
            true => std::mem::take(&mut open),
            false => {
                let again: Vec<Read<'_>> = open.extract_if(.., is_settled).collect();
                let numbers: HashSet<i64> = again.iter().map(|it| it.row.key.row_number).collect();
                reconciled.inspected.retain(|it| !numbers.contains(&it.0));
                again
            }
        };
        let before = reconciled.recorded.len();
        let page = reconcile_page(connection, &mut reads, context, reconciled).await?;
        copies.extend(page.copies);
        let may_belong = |read: &mut Read<'_>| read.target.is_none() && read.belongs_to().is_some();
        open.extend(reads.extract_if(.., may_belong));
        if open.is_empty() || !page.has_lost && reconciled.recorded.len() == before {
            break;
        }
    }
    Ok(copies)
}

/// What became of a page.
struct Page {
    /// (host, owner, archive id) of the rows that newly recorded queue rows are copies of.
    copies: Vec<(String, String, String)>,
    /// Some messages were to go with others that are not pending any more.
    has_lost: bool,
}

/// One page.
async fn reconcile_page(
    connection: &mut PgConnection,
    reads: &mut [Read<'_>],
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<Page> {
    expiry::find_peers(connection, reads).await?;
    belonging::find_names(connection, reads).await?;
    let names: Vec<RowId<'_>> = reads.iter().map(|read| read.row.key.id()).collect();
    let mut entries: HashMap<usize, Entry> =
        ledger::entries_of(connection, &names).await?.into_iter().collect();
    let undelivered: HashSet<usize> =
        ledger::undelivered(connection, &names).await?.into_iter().collect();

    let awaited = Awaited::among(connection, reads, context).await?;

    let waits = |position: usize| Waits {
        undelivered: undelivered.contains(&position),
        unread: awaited.has(position),
    };
    let cut = Cut::among(reads, &entries);
    let (expiries, has_cut) = judge(reads, &mut entries, waits, context);
    let due: Vec<Option<Timestamp>> = (expiries.iter())
        .map(|it| it.as_ref().filter(|it| it.phase == Phase::Pending).map(|it| it.due_at))
        .collect();
    let (mut plan, mut recorded) = (Plan::default(), HashSet::new());
    for (position, (read, expiry)) in reads.iter().zip(expiries).enumerate() {
        let (key, entry) = (&read.row.key, entries.get(&position));
        let invalid = read.facts.as_ref().map_or(0, |it| policy::invalid(it, context.rules));
        if invalid > 0 {
            reconciled.invalid_timers.push((key.row_number, invalid));
        }
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
                plan.unasked.extend(empty.map(|it| it.id));
                plan.outdated.extend(empty.map(|it| it.id));
                let is = if is_read { Inspected::Unmarked } else { Inspected::Unreadable };
                reconciled.inspected.push((key.row_number, key.store, is));
            }
        }
    }
    let copies = plan.carry_out(connection, context, reconciled).await?;
    ledger::part_beyond(connection, &cut.beyond, &cut.judged).await?;
    awaited.note(connection, reads, &recorded).await?;
    files::note(connection, reads, &due, context).await?;
    let has_lost = belonging::keep_up(connection, reads, &recorded).await? || has_cut;
    Ok(Page { copies, has_lost })
}

/// Messages that turn out to name others than was thought, so that they follow nothing any more.
struct Cut {
    /// What they followed.
    beyond: Vec<ledger::Follows>,
    /// The entries of the page.
    judged: Vec<i64>,
}

impl Cut {
    fn among(reads: &[Read<'_>], entries: &HashMap<usize, Entry>) -> Self {
        let is_cut = |at: &usize| reads.get(*at).is_some_and(|it| it.names_another);
        let cut = entries.iter().filter(|(at, _)| is_cut(at));
        Self {
            beyond: cut.filter_map(|(_, entry)| entry.expiry.follows).collect(),
            judged: entries.values().map(|it| it.id).collect(),
        }
    }
}

/// What the ledger should say of each row, and whether something follows nothing any more that may follow another one. What
/// belongs to a message that turns out to stay, or to name another one, is judged again by itself.
fn judge(
    reads: &mut [Read<'_>],
    entries: &mut HashMap<usize, Entry>,
    waits: impl Fn(usize) -> Waits,
    context: Context<'_>,
) -> (Vec<Option<Expiry>>, bool) {
    let mut has_cut = false;
    let mut expiries: Vec<Option<Expiry>> = (reads.iter().enumerate())
        .map(|(at, read)| read.expiry(entries.get(&at), waits(at), context))
        .collect();
    loop {
        let stays = |(at, read): (usize, &Read<'_>)| {
            let judged_to_stay = read.facts.is_some() && expiries.get(at)?.is_none();
            entries.get(&at).filter(|_| judged_to_stay).map(|it| it.id)
        };
        let staying: HashSet<i64> = reads.iter().enumerate().filter_map(stays).collect();
        let cut = |(at, read): (usize, &Read<'_>)| {
            entries.get(&at).filter(|_| read.names_another).map(|it| it.id)
        };
        let cut: HashSet<i64> = reads.iter().enumerate().filter_map(cut).collect();
        let followed = |it: &Option<Expiry>| it.as_ref()?.follows.map(|it| it.entry);
        let mut parted = false;
        for (at, (read, expiry)) in reads.iter_mut().zip(&mut expiries).enumerate() {
            let is_through =
                |it: ledger::Target| it.via != it.follows.entry && cut.contains(&it.via);
            let is_cut = read.target.is_some_and(is_through);
            if is_cut || followed(expiry).is_some_and(|it| staying.contains(&it)) {
                has_cut |= is_cut;
                read.names_another = is_cut;
                read.target = None;
                if let Some(entry) = entries.get_mut(&at) {
                    entry.expiry.follows = None;
                }
                *expiry = read.expiry(entries.get(&at), waits(at), context);
                parted = true;
            }
        }
        if !parted {
            return (expiries, has_cut);
        }
    }
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
        let too_far = self.too_far.iter().filter(|it| **it > counted).count();
        metrics.belonging_unclear.inc_by(u64::try_from(too_far).unwrap_or(u64::MAX));
        let uncut = self.uncut.iter().filter(|it| **it > counted).count();
        metrics.quotes_left.inc_by(u64::try_from(uncut).unwrap_or(u64::MAX));
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
        let quotes = u64::try_from(self.recorded_quotes).unwrap_or(u64::MAX);
        metrics.expiries_recorded.of(Reason::Quote).inc_by(quotes);
        for by in &self.started {
            metrics.started.of(*by).inc();
        }
    }
}
