//! Rows of the archive and entries of the ledger, brought in line: what tail and sweep share.
//!
//! Reads stanzas, asks policy, records what is missing, changes what differs. Total: a row that cannot
//! be read is counted and left alone.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use crate::{
    archive::{ARCHIVE_ROWS_AT_ONCE, Archive, Row, RowKey},
    database::Result,
    ledger::{self, Entry, Expiry, Name, Phase},
    model::{Facts, Judgement, LATEST, Outcome, Placement, Reason, Rules, Store, Timestamp},
    policy, stanza,
};

/// What judging needs to know beside the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// What the operator decided.
    pub(super) rules: &'a Rules,
    /// The database's clock.
    pub(super) now: Timestamp,
    /// Which rows are held until accepted.
    pub(super) backlog: Backlog,
    /// Words that a restore brought back below a placeholder's entry go again.
    pub(super) restores: bool,
}

/// Where rows come from, and can be looked at again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// Tables of the server.
    Archive(&'a Archive),
    /// The companion module, which shows rows as they stand and is not asked twice: what has gone by now, it
    /// says when it is asked to erase.
    Module,
}

impl Source<'_> {
    /// Placeholders in this store are deleted when their time comes.
    const fn deletes_from(self, store: Store) -> bool {
        match self {
            Self::Archive(archive) => archive.deletes_from(store),
            Self::Module => !matches!(store, Store::Queue),
        }
    }

    async fn archive_rows(self, connection: &mut PgConnection, ids: &[Id<'_>]) -> Result<Vec<Row>> {
        match self {
            Self::Archive(archive) => archive.archive_rows(connection, ids).await,
            Self::Module => Ok(Vec::new()),
        }
    }

    async fn still_there(
        self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
    ) -> Result<Vec<usize>> {
        match self {
            Self::Archive(archive) => archive.still_there(connection, keys).await,
            Self::Module => Ok((0..keys.len()).collect()),
        }
    }

    async fn with_words(
        self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
    ) -> Result<Vec<usize>> {
        match self {
            Self::Archive(archive) => archive.with_words(connection, keys).await,
            Self::Module => Ok((0..keys.len()).collect()),
        }
    }
}

/// Rows up to these numbers are backlog: they were there before the first start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backlog {
    /// Of archives and rooms.
    pub(super) archived: i64,
    /// Of offline queues, which may number their rows by themselves.
    pub(super) queued: i64,
}

impl Backlog {
    fn holds(self, key: &RowKey) -> bool {
        let upto = if key.store == Store::Queue { self.queued } else { self.archived };
        key.row_number <= upto
    }
}

/// What was found and done.
#[derive(Debug, Default)]
pub(super) struct Reconciled {
    /// What each row that is not newly recorded turned out to be, by its number.
    pub(super) outcomes: Vec<(i64, Store, Outcome)>,
    /// Entries that are new.
    pub(super) recorded: Vec<(Store, Reason)>,
    /// Entries that said something else.
    pub(super) changed: usize,
    /// Entries whose row says nothing any more.
    pub(super) dropped: usize,
    /// Placeholders that the ledger did not know.
    pub(super) adopted: usize,
    /// Timers that could not be read, by the row's number.
    pub(super) invalid_timers: Vec<(i64, u32)>,
    /// The rows that an entry stands for.
    known: HashSet<Identity>,
}

/// A row and what its stanza says; `None` where it cannot be read.
pub(super) struct Read<'a> {
    pub(super) row: &'a Row,
    pub(super) facts: Option<Facts>,
}

/// Brings the entries of these rows in line with what the rows say.
pub(super) async fn reconcile(
    connection: &mut PgConnection,
    source: Source<'_>,
    rows: &[Row],
    context: Context<'_>,
) -> Result<Reconciled> {
    let reads = rows.iter().map(Read::of).collect();
    reconcile_reads(connection, source, reads, context).await
}

/// The same for rows that are read already.
pub(super) async fn reconcile_reads(
    connection: &mut PgConnection,
    source: Source<'_>,
    reads: Vec<Read<'_>>,
    context: Context<'_>,
) -> Result<Reconciled> {
    let mut reconciled = Reconciled::default();
    let copies = reconcile_rows(connection, source, &reads, context, &mut reconciled).await?;
    // A new copy in an offline queue holds its archive row back: nobody has had the message.
    let copies: Vec<Id<'_>> = copies.iter().map(|it| (&*it.0, &*it.1, &*it.2)).collect();
    for ids in copies.chunks(ARCHIVE_ROWS_AT_ONCE) {
        let held = source.archive_rows(connection, ids).await?;
        let held: Vec<Read<'_>> = held.iter().map(Read::of).collect();
        reconcile_rows(connection, source, &held, context, &mut reconciled).await?;
    }
    Ok(reconciled)
}

/// Host, owner and archive id of a row of a user's archive.
type Id<'a> = (&'a str, &'a str, &'a str);

/// Starts the timers of archive rows whose copies have left the offline queue: at `context.now`.
pub(super) async fn release(
    connection: &mut PgConnection,
    archive: &Archive,
    ids: &[Id<'_>],
    context: Context<'_>,
) -> Result<()> {
    for ids in ids.chunks(ARCHIVE_ROWS_AT_ONCE) {
        let rows = archive.archive_rows(connection, ids).await?;
        let names: Vec<Name<'_>> = rows.iter().map(|row| row.key.name()).collect();
        let mut changes = Vec::new();
        for (position, mut entry) in ledger::entries_of(connection, &names).await? {
            let held = entry.expiry.reason == Reason::Undelivered;
            let Some(row) = rows.get(position).filter(|_| held) else { continue };
            entry.expiry.runs_from = context.now;
            let read = Read::of(row);
            let source = Source::Archive(archive);
            if let Some(expiry) = read.expiry(source, Some(&entry), false, context) {
                changes.push(Entry { id: entry.id, expiry });
            }
        }
        ledger::change(connection, &changes).await?;
    }
    Ok(())
}

/// Does one page. Returns the (host, owner, archive id) that newly recorded queue rows are copies of.
async fn reconcile_rows(
    connection: &mut PgConnection,
    source: Source<'_>,
    reads: &[Read<'_>],
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<Vec<(String, String, String)>> {
    let names: Vec<Name<'_>> = reads.iter().map(|read| read.row.key.name()).collect();
    let entries: HashMap<usize, Entry> =
        ledger::entries_of(connection, &names).await?.into_iter().collect();
    let undelivered: HashSet<usize> =
        ledger::undelivered(connection, &names).await?.into_iter().collect();

    let (mut missing, mut changes) = (Vec::new(), Vec::new());
    let (mut outdated, mut restored) = (Vec::new(), Vec::new());
    for (position, read) in reads.iter().enumerate() {
        reconciled.note_timers(read);
        let entry = entries.get(&position);
        let expiry = read.expiry(source, entry, undelivered.contains(&position), context);
        if expiry.is_some() || (entry.is_some() && read.facts.is_none()) {
            reconciled.known.insert(identity(&read.row.key));
        }
        match (expiry, entry) {
            (Some(expiry), None) => missing.push((expiry, read.row)),
            (Some(expiry), Some(entry)) => {
                if entry.expiry.phase == Phase::Pending && expiry.phase == Phase::Placeholder {
                    outdated.push(entry.id);
                    missing.push((expiry, read.row));
                } else if entry.expiry.phase == Phase::Pending && expiry != entry.expiry {
                    changes.push(Entry { id: entry.id, expiry });
                } else if entry.expiry.phase == Phase::Placeholder
                    && expiry.phase == Phase::Pending
                    && context.restores
                {
                    restored.push((entry.id, expiry, read.row));
                }
            }
            (None, entry) => {
                let empty = entry.filter(|it| read.says_nothing(it));
                reconciled.dropped += usize::from(empty.is_some());
                outdated.extend(empty.map(|it| it.id));
                let (number, store) = (read.row.key.row_number, read.row.key.store);
                reconciled.outcomes.push((number, store, read.outcome()));
            }
        }
    }
    for (id, expiry, row) in still_with_words(connection, source, restored).await? {
        outdated.push(id);
        missing.push((expiry, row));
    }
    if !outdated.is_empty() {
        ledger::forget(connection, &outdated).await?;
    }
    ledger::change(connection, &changes).await?;
    reconciled.changed += changes.len();
    record(connection, source, missing, reconciled).await
}

/// Looks again at rows with words whose entries are placeholders: the eraser may have been there since.
async fn still_with_words<'a>(
    connection: &mut PgConnection,
    source: Source<'_>,
    restored: Vec<(i64, Expiry, &'a Row)>,
) -> Result<Vec<(i64, Expiry, &'a Row)>> {
    if restored.is_empty() {
        return Ok(restored);
    }
    let keys: Vec<&RowKey> = restored.iter().map(|(_, _, row)| &row.key).collect();
    let with_words: HashSet<usize> =
        source.with_words(connection, &keys).await?.into_iter().collect();
    let kept = restored.into_iter().enumerate().filter(|(at, _)| with_words.contains(at));
    Ok(kept.map(|(_, it)| it).collect())
}

/// Records, then looks again: what was erased between reading and recording is dropped.
async fn record(
    connection: &mut PgConnection,
    source: Source<'_>,
    missing: Vec<(Expiry, &Row)>,
    reconciled: &mut Reconciled,
) -> Result<Vec<(String, String, String)>> {
    let (expiries, rows): (Vec<Expiry>, Vec<&Row>) = missing.into_iter().unzip();
    let recorded = ledger::record(connection, &expiries).await?;
    if recorded.is_empty() {
        return Ok(Vec::new());
    }
    let new: Vec<(i64, &Expiry, &Row)> = recorded
        .iter()
        .filter_map(|(at, id)| Some((*id, expiries.get(*at)?, *rows.get(*at)?)))
        .collect();
    let keys: Vec<&RowKey> = new.iter().map(|(_, _, row)| &row.key).collect();
    let standing: HashSet<usize> =
        source.still_there(connection, &keys).await?.into_iter().collect();
    let (mut vanished, mut copies) = (Vec::new(), Vec::new());
    for (position, (id, expiry, _)) in new.into_iter().enumerate() {
        if !standing.contains(&position) {
            vanished.push(id);
            continue;
        }
        match expiry.phase {
            Phase::Pending => reconciled.recorded.push((expiry.store, expiry.reason)),
            Phase::Placeholder => reconciled.adopted += 1,
        }
        if let Some(copy_of) = &expiry.copy_of {
            copies.push((expiry.host.clone(), expiry.owner.clone(), copy_of.clone()));
        }
    }
    if !vanished.is_empty() {
        ledger::forget(connection, &vanished).await?;
    }
    Ok(copies)
}

/// A row's number, archive id and digest.
type Identity = (i64, String, Vec<u8>);

/// Numbers are used again after a restore, and Prosody's rows have no digest.
fn identity(key: &RowKey) -> Identity {
    (key.row_number, key.archive_id.clone(), key.digest.clone())
}

impl<'a> Read<'a> {
    pub(super) fn of(row: &'a Row) -> Self {
        Self { row, facts: row.xml.as_deref().and_then(|xml| stanza::read(xml).ok()) }
    }

    fn outcome(&self) -> Outcome {
        if self.facts.is_some() { Outcome::Unmarked } else { Outcome::Unreadable }
    }

    /// The row was read, and says nothing that the entry could stand for.
    fn says_nothing(&self, entry: &Entry) -> bool {
        self.facts.is_some() && entry.expiry.phase == Phase::Pending
    }

    /// What the ledger should say of this row. A timer that runs keeps its start.
    fn expiry(
        &self,
        source: Source<'_>,
        entry: Option<&Entry>,
        undelivered: bool,
        context: Context<'_>,
    ) -> Option<Expiry> {
        let (facts, key) = (self.facts.as_ref()?, &self.row.key);
        let same_row = |it: &&Entry| {
            it.expiry.row_number == key.row_number && it.expiry.stamped_at == key.stamped_at
        };
        let runs_from = entry.filter(same_row).map_or_else(
            || policy::runs_from(self.row.stamp, context.now),
            |it| it.expiry.runs_from,
        );
        let (due_at, reason, phase) = match facts.expired_until {
            // What a placeholder once was is not known any more; no label tells it.
            Some(_) if !source.deletes_from(key.store) => return None,
            Some(until) => (until, Reason::Timer, Phase::Placeholder),
            None => {
                let placement = Placement { store: key.store, runs_from, undelivered };
                let (due_at, reason) = match policy::judge(facts, &placement, context.rules) {
                    Judgement::Goes(verdict) => (verdict.due_at, verdict.reason),
                    Judgement::Stays(because) if policy::waits(key.store, &because, facts) => {
                        (LATEST, Reason::Undelivered)
                    }
                    Judgement::Stays(_) => return None,
                };
                (due_at, reason, Phase::Pending)
            }
        };
        let is_copy = key.store == Store::Queue && phase == Phase::Pending;
        let stanza_id = facts.last_stanza_id.as_ref().filter(|_| is_copy);
        Some(Expiry {
            store: key.store,
            host: key.host.clone(),
            owner: key.owner.clone(),
            archive_id: key.archive_id.clone(),
            row_number: key.row_number,
            stamped_at: key.stamped_at,
            digest: key.digest.clone(),
            copy_of: stanza_id.map(|it| it.id.clone()),
            runs_from,
            due_at,
            reason,
            phase,
            backlog: match entry {
                Some(entry) => entry.expiry.backlog,
                None => phase == Phase::Pending && context.backlog.holds(key),
            },
        })
    }
}

/// Ends a page at `end`. An archive row at the very end is left to the next page, which may begin with
/// its copy in the offline queue: the row must not go before that copy is known.
pub(super) fn end_page(rows: &mut Vec<Row>, from: i64, end: i64) -> i64 {
    let at_the_end = |row: &mut Row| {
        row.key.store == Store::Archive && row.key.row_number == end && end - 1 > from
    };
    if rows.pop_if(at_the_end).is_some() { end - 1 } else { end }
}

impl Reconciled {
    /// The entry stands for one of the rows.
    pub(super) fn knows(&self, entry: &Entry) -> bool {
        let it = &entry.expiry;
        self.known.contains(&(it.row_number, it.archive_id.clone(), it.digest.clone()))
    }

    fn note_timers(&mut self, read: &Read<'_>) {
        let invalid = read.facts.as_ref().map_or(0, |facts| facts.timers.invalid);
        if invalid > 0 {
            self.invalid_timers.push((read.row.key.row_number, invalid));
        }
    }
}
