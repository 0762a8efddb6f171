//! Timers that start at reading: which rows wait for their owner, and what in the archive shows that they were read.
//!
//! Evidence counts only from the owner's own archive or items, because there the owner's server stamped who sent it. It
//! comes after what it names, so rows are recorded first. What names a row that is not recorded yet counts when the tail
//! reads the same span again: until all earlier transactions have ended on Prosody, for ten minutes on ejabberd.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sqlx::PgConnection;

use super::{Context, Read, Reconciled};
use crate::{
    archive::{Archive, Sought, Table, Trace},
    database::Result,
    ledger::{self, Seen, Started, Unread, Waiting},
    model::{Stamp, Start, StartRule, StartedBy, Store, Timestamp},
    policy,
    stanza::{self, Shows},
};

/// Rows that one statement returns, each up to 64 KiB long.
const TRACES: i64 = 200;
/// Entries that start at once.
const ENTRIES: i64 = 10_000;
/// An account that showed nothing for so long does not count as one that shows what it reads.
const READER_FOR: Duration = Duration::from_secs(30 * 86_400);

/// What a row waits for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waits {
    /// Nobody has received it.
    pub(super) undelivered: bool,
    /// Its timer starts when its owner reads it.
    pub(super) unread: bool,
}

/// Rows that wait for their owner to read them, by position.
#[derive(Debug, Default)]
pub(super) struct Awaited(BTreeMap<usize, Awaits>);

#[derive(Debug)]
struct Awaits {
    chat: String,
    message: Option<String>,
    timer: Duration,
}

impl Awaited {
    /// The rows among these that their owners received, with words and a timer, and whose timers start at reading.
    pub(super) async fn among(
        connection: &mut PgConnection,
        reads: &[Read<'_>],
        context: Context<'_>,
    ) -> Result<Self> {
        let rules = &context.rules.timers;
        if !rules.start.looks_for_readers() {
            return Ok(Self::default());
        }
        let rows = reads.iter().enumerate();
        let mut awaited: BTreeMap<usize, Awaits> =
            rows.filter_map(|(at, read)| Some((at, awaits(read, context)?))).collect();
        if rules.start == StartRule::Auto && !awaited.is_empty() {
            let positions: Vec<usize> = awaited.keys().copied().collect();
            let keys = positions.iter().filter_map(|at| reads.get(*at)).map(|it| &it.row.key);
            let owners: Vec<_> = keys.map(|it| (it.host.as_str(), it.owner.as_str())).collect();
            let readers = ledger::readers(connection, &owners).await?;
            let readers: HashSet<usize> =
                readers.iter().filter_map(|at| positions.get(*at).copied()).collect();
            awaited.retain(|at, _| readers.contains(at));
        }
        Ok(Self(awaited))
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.0.contains_key(&position)
    }

    /// Notes by what the entries of these rows, new or changed, are found again.
    pub(super) async fn note(
        &self,
        connection: &mut PgConnection,
        reads: &[Read<'_>],
        recorded: &HashSet<usize>,
    ) -> Result<()> {
        let new = self.0.iter().filter(|(at, _)| recorded.contains(at));
        let unread: Vec<Unread<'_>> = new
            .filter_map(|(at, awaits)| {
                Some(Unread {
                    row: reads.get(*at)?.row.key.id(),
                    chat: awaits.chat.clone(),
                    message: awaits.message.clone(),
                    timer: awaits.timer,
                })
            })
            .collect();
        ledger::note_unread(connection, &unread).await
    }
}

fn awaits(read: &Read<'_>, context: Context<'_>) -> Option<Awaits> {
    let key = &read.row.key;
    if key.store != Store::Archive {
        return None;
    }
    let timer = policy::timer_from_reading(read.facts.as_ref()?, context.rules)?;
    let envelope = stanza::envelope(read.row.xml.as_deref()?)?;
    let chat = envelope.received_by(&address(&key.host, &key.owner))?;
    Some(Awaits { chat, message: envelope.id, timer })
}

fn address(host: &str, owner: &str) -> String {
    format!("{owner}@{host}")
}

/// What shows that its owner has read something.
#[derive(Debug, Clone)]
struct Proof {
    host: String,
    owner: String,
    chat: String,
    named: Named,
    start: Start,
    /// What was read came before this row.
    row_number: i64,
    stamp: Stamp,
}

/// How a message is named.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// By the sender's id: it was read, and everything before it in the chat.
    Upto(String),
    /// The same, by its archive id.
    UptoArchived(String),
    /// By the sender's id: it alone was read.
    Alone(String),
}

impl Proof {
    fn message(&self) -> Option<&str> {
        match &self.named {
            Named::Upto(id) | Named::Alone(id) => Some(id),
            Named::UptoArchived(_) => None,
        }
    }
}

/// Starts the timers of what was read, by what this span of a table shows.
pub(in crate::work) async fn notice_reading(
    connection: &mut PgConnection,
    table: &Table,
    hosts: &[String],
    (mut after, upto): (i64, i64),
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<()> {
    let Some(archive) = context.archive else { return Ok(()) };
    let rules = &context.rules.timers;
    if !rules.start.looks_for_readers() || !table.stores().contains(&Store::Archive) {
        return Ok(());
    }
    while after < upto {
        let (span, limits) = ((after, upto), (TRACES, rules.read_evidence));
        let traces = archive.traces(connection, table, hosts, span, limits).await?;
        let full = i64::try_from(traces.len()).is_ok_and(|n| n >= TRACES);
        after = traces.last().filter(|_| full).map_or(upto, |last| last.row_number);
        let proofs: Vec<Proof> = traces.iter().flat_map(|it| proofs(it, context.now)).collect();
        reconciled.started.extend(start(connection, archive, &proofs, context).await?);
    }
    Ok(())
}

/// What a row shows. An item may name only its owner's own archive; a message counts only from its owner.
fn proofs(trace: &Trace, now: Timestamp) -> Vec<Proof> {
    let owner = address(&trace.host, &trace.owner);
    let at = policy::archived(trace.stamp, now).at;
    let proof = |chat: &str, named, by| Proof {
        host: trace.host.clone(),
        owner: trace.owner.clone(),
        chat: chat.to_owned(),
        named,
        start: Start { at, by },
        row_number: trace.row_number,
        stamp: trace.stamp,
    };
    if let Some(chat) = &trace.item {
        let item = stanza::displayed_item(&trace.xml).filter(|it| it.by == owner);
        let named = item.map(|it| Named::UptoArchived(it.id));
        return named.map(|it| proof(chat, it, StartedBy::Mds)).into_iter().collect();
    }
    let Some(envelope) = stanza::envelope(&trace.xml).filter(|it| !it.is_error) else {
        return Vec::new();
    };
    let Some((chat, received)) = envelope.chat(&owner) else { return Vec::new() };
    let shows = envelope.shows.into_iter().filter(|_| !received && chat != owner);
    let named = shows.map(|it| match it {
        Shows::Displayed(id) => (Named::Upto(id), StartedBy::Marker),
        Shows::Answered(id) => (Named::Alone(id), StartedBy::Reply),
    });
    named.map(|(named, by)| proof(&chat, named, by)).collect()
}

async fn start(
    connection: &mut PgConnection,
    archive: &Archive,
    proofs: &[Proof],
    context: Context<'_>,
) -> Result<Vec<StartedBy>> {
    let mut started = Vec::new();
    if proofs.is_empty() {
        return Ok(started);
    }
    let seen: Vec<Seen<'_>> = proofs.iter().map(seen).collect();
    let notes = context.rules.timers.start == StartRule::Auto;
    let since = notes.then(|| context.now - READER_FOR);
    loop {
        let waiting = ledger::unread_in(connection, &seen, since, ENTRIES).await?;
        let full = i64::try_from(waiting.len()).is_ok_and(|n| n >= ENTRIES);
        let positions = positions(connection, archive, proofs, &waiting).await?;
        let mut earliest: BTreeMap<i64, Started> = BTreeMap::new();
        for entry in &waiting {
            let Some(proof) = proofs.get(entry.seen) else { continue };
            let covered = match proof.named {
                Named::Alone(_) => entry.is_named && entry.row_number <= proof.row_number,
                _ => positions.get(&entry.seen).is_some_and(|upto| entry.row_number <= *upto),
            };
            if covered {
                let starts = begins(entry, proof, context.now);
                let known = earliest.entry(entry.id).or_insert(starts);
                if starts.start.at < known.start.at {
                    *known = starts;
                }
            }
        }
        if earliest.is_empty() {
            return Ok(started);
        }
        let begun: Vec<Started> = earliest.into_values().collect();
        started.extend(ledger::start_read(connection, &begun).await?);
        if !full {
            return Ok(started);
        }
    }
}

fn seen(proof: &Proof) -> Seen<'_> {
    let Proof { host, owner, chat, .. } = proof;
    Seen { host, owner, chat, message: proof.message(), at: proof.start.at }
}

fn begins(entry: &Waiting, proof: &Proof, now: Timestamp) -> Started {
    let unread = Start { at: entry.starts_at, by: StartedBy::Unread };
    let stamp = Stamp { at: entry.stamped_at, ..proof.stamp };
    let start = policy::read(proof.start, (stamp, now), unread);
    Started { id: entry.id, start, due_at: policy::later(start.at, entry.timer) }
}

/// Up to which row each proof reaches, where that is known. Most name a row that waits itself; the others are looked up.
async fn positions(
    connection: &mut PgConnection,
    archive: &Archive,
    proofs: &[Proof],
    waiting: &[Waiting],
) -> Result<BTreeMap<usize, i64>> {
    let mut positions = BTreeMap::new();
    let mut oldest: BTreeMap<usize, Timestamp> = BTreeMap::new();
    for entry in waiting {
        let Some(proof) = proofs.get(entry.seen) else { continue };
        let is_named = match &proof.named {
            Named::Upto(_) => entry.is_named && entry.row_number <= proof.row_number,
            Named::UptoArchived(id) => *id == entry.archive_id,
            Named::Alone(_) => continue,
        };
        if is_named {
            let upto = positions.entry(entry.seen).or_insert(entry.row_number);
            *upto = entry.row_number.max(*upto);
        }
        let since = oldest.entry(entry.seen).or_insert(entry.stamped_at);
        *since = entry.stamped_at.min(*since);
    }
    oldest.retain(|at, _| !positions.contains_key(at));
    let unplaced = || oldest.iter().filter_map(|(at, since)| Some((*at, proofs.get(*at)?, *since)));
    let by_id: Vec<_> =
        unplaced().filter(|(_, proof, _)| matches!(proof.named, Named::Upto(_))).collect();
    look_up(connection, archive, &by_id, &mut positions).await?;
    let archived: Vec<_> =
        unplaced().filter(|(_, proof, _)| matches!(proof.named, Named::UptoArchived(_))).collect();
    let sought: Vec<Sought<'_>> = archived.iter().map(sought).collect();
    if !sought.is_empty() {
        let found = archive.rows_archived_as(connection, &sought).await?;
        let found =
            found.into_iter().filter_map(|(at, number)| Some((archived.get(at)?.0, number)));
        positions.extend(found);
    }
    Ok(positions)
}

fn sought<'a>((_, proof, since): &(usize, &'a Proof, Timestamp)) -> Sought<'a> {
    let (Named::Upto(id) | Named::UptoArchived(id) | Named::Alone(id)) = &proof.named;
    Sought {
        host: &proof.host,
        owner: &proof.owner,
        chat: proof.chat.split('/').next().unwrap_or_default(),
        id,
        since: Stamp { at: *since, ..proof.stamp },
        upto: proof.row_number,
    }
}

/// Rows that do not wait: without a timer, sent by the owner, or read already.
async fn look_up(
    connection: &mut PgConnection,
    archive: &Archive,
    unplaced: &[(usize, &Proof, Timestamp)],
    positions: &mut BTreeMap<usize, i64>,
) -> Result<()> {
    if unplaced.is_empty() {
        return Ok(());
    }
    let sought: Vec<Sought<'_>> = unplaced.iter().map(sought).collect();
    for (at, row_number, xml) in archive.rows_naming(connection, &sought).await? {
        let Some((position, proof, _)) = unplaced.get(at) else { continue };
        let envelope = stanza::envelope(&xml);
        let is_named = envelope.is_some_and(|it| {
            let chat = it.chat(&address(&proof.host, &proof.owner));
            it.id.as_deref() == proof.message() && chat.is_some_and(|(chat, _)| chat == proof.chat)
        });
        // The newest comes first.
        if is_named {
            positions.entry(*position).or_insert(row_number);
        }
    }
    Ok(())
}
