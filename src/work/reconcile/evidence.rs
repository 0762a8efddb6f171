//! What shows that messages were read, and which entries start by it.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::Context;
use crate::{
    archive::{Archive, Sought},
    database::Result,
    ledger::{self, ReadBy, Seen, Started, Waiting},
    model::{Occupant, RoomStart, Stamp, Start, StartRule, StartedBy, Store, Timestamp, bare_jid},
    policy,
    stanza::{self, Envelope},
};

/// Entries that start at once.
const ENTRIES: i64 = 10_000;
/// Messages that one statement looks up: up to five rows of 64 KiB have the id of each.
const SOUGHT_AT_ONCE: usize = 50;

/// What shows that its owner, or somebody in a room, has read something.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    pub(super) host: String,
    pub(super) owner: String,
    pub(super) chat: String,
    pub(super) named: Named,
    pub(super) start: Start,
    /// What was read came before.
    pub(super) before: Before,
    /// The archive's stamps are whole seconds.
    pub(super) has_whole_seconds: bool,
    /// When the message was archived that is read up to, where a module knows.
    pub(super) upto: Option<Timestamp>,
    /// In a room, which is then the owner and the chat: who showed it.
    pub(super) reader: Option<Occupant>,
}

/// How a message is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// By the sender's id: it was read, and everything before it in the chat.
    Upto(String),
    /// The same, by its archive id.
    UptoArchived(String),
    /// By the sender's id: it alone was read.
    Alone(String),
    /// The same, by its archive id.
    AloneArchived(String),
}

/// Where evidence stands: what it shows to have been read came before.
#[derive(Debug, Clone, Copy)]
pub(super) enum Before {
    /// In the archive, at this row.
    Row(i64),
    /// Nowhere: a module announced it at this time.
    Time(Timestamp),
}

impl Proof {
    fn is_after(&self, entry: &Waiting) -> bool {
        match self.before {
            Before::Row(number) => entry.row_number <= number,
            Before::Time(at) => entry.stamped_at <= at,
        }
    }

    /// The last row that it may be about.
    fn last_row(&self, archive: &Archive) -> i64 {
        match self.before {
            Before::Row(number) => number,
            Before::Time(at) if archive.numbers_are_stamps() => at.timestamp_micros(),
            Before::Time(_) => i64::MAX,
        }
    }

    /// Whether this is the message, in the same chat of the same owner.
    fn names(&self, envelope: &Envelope) -> bool {
        let chat = envelope.chat(&bare_jid(&self.owner, &self.host));
        envelope.id.as_deref() == self.message() && chat.is_some_and(|(chat, _)| chat == self.chat)
    }

    fn message(&self) -> Option<&str> {
        match &self.named {
            Named::Upto(id) | Named::Alone(id) => Some(id),
            Named::UptoArchived(_) | Named::AloneArchived(_) => None,
        }
    }

    /// It covers what it names and nothing else.
    const fn is_alone(&self) -> bool {
        matches!(self.named, Named::Alone(_) | Named::AloneArchived(_))
    }

    /// It names this entry's message.
    fn is_about(&self, entry: &Waiting) -> bool {
        match &self.named {
            Named::Upto(_) | Named::Alone(_) => entry.is_named && self.is_after(entry),
            Named::UptoArchived(id) | Named::AloneArchived(id) => *id == entry.archive_id,
        }
    }

    const fn store(&self) -> Store {
        if self.reader.is_some() { Store::Room } else { Store::Archive }
    }
}

/// Starts the timers of everything that these show to have been read. In rooms that wait for everyone it is only noted who
/// has read it. `is_new`: they were not looked at before, so they say as well who shows that they read.
pub(super) async fn start(
    connection: &mut PgConnection,
    proofs: &[Proof],
    context: Context<'_>,
    is_new: bool,
) -> Result<Vec<StartedBy>> {
    let mut started = Vec::new();
    let notes = is_new && context.rules.timers.start == StartRule::Auto;
    let since = notes.then(|| context.now - policy::READER_FOR);
    let mut proofs = proofs;
    while !proofs.is_empty() {
        let seen: Vec<Seen<'_>> = proofs.iter().map(seen).collect();
        let waiting = ledger::unread_in(connection, &seen, since, ENTRIES).await?;
        let positions = positions(connection, context.archive, proofs, &waiting).await?;
        let covered = covered(proofs, &waiting, &positions);
        let waits_for_all = |it: &&(&Waiting, &Proof)| waits_for_everyone(it.1, context);
        let noted: Vec<_> = covered.iter().filter(waits_for_all).collect();
        let noted = ledger::note_room_readers(connection, &read_by(&noted, context.now)).await? > 0;
        let covered = earliest(covered.iter().filter(|it| !waits_for_all(it)), context.now);
        if i64::try_from(waiting.len()).is_ok_and(|n| n < ENTRIES) {
            started.extend(ledger::start_read(connection, &covered).await?);
            break;
        }
        if covered.is_empty() && !noted {
            // What nothing covers must not hide what other proofs cover.
            let done = waiting.last().map_or(1, |last| last.seen.max(1));
            proofs = proofs.get(done..).unwrap_or_default();
        }
        started.extend(ledger::start_read(connection, &covered).await?);
    }
    Ok(started)
}

/// The timer does not start when somebody has read the message.
fn waits_for_everyone(proof: &Proof, context: Context<'_>) -> bool {
    proof.reader.is_some() && context.rules.rooms.start == RoomStart::Everyone
}

/// Which of these entries the proofs cover.
fn covered<'a>(
    proofs: &'a [Proof],
    waiting: &'a [Waiting],
    positions: &BTreeMap<usize, i64>,
) -> Vec<(&'a Waiting, &'a Proof)> {
    let is_covered = |(entry, proof): &(&Waiting, &Proof)| match proof.is_alone() {
        true => proof.is_about(entry),
        false => positions.get(&entry.seen).is_some_and(|upto| entry.row_number <= *upto),
    };
    let pairs = waiting.iter().filter_map(|entry| Some((entry, proofs.get(entry.seen)?)));
    pairs.filter(is_covered).collect()
}

/// Each of these entries starts by the earliest of its proofs.
fn earliest<'a>(
    covered: impl Iterator<Item = &'a (&'a Waiting, &'a Proof)>,
    now: Timestamp,
) -> Vec<Started> {
    let mut earliest: BTreeMap<i64, Started> = BTreeMap::new();
    for (entry, proof) in covered {
        let starts = begins(entry, proof, now);
        let known = earliest.entry(entry.id).or_insert(starts);
        if starts.start.at < known.start.at {
            *known = starts;
        }
    }
    earliest.into_values().collect()
}

/// Who has read these. What came after the entry's timer starts anyway says nothing more.
fn read_by(covered: &[&(&Waiting, &Proof)], now: Timestamp) -> Vec<ReadBy> {
    let read = covered.iter().flat_map(|(entry, proof)| {
        let Start { at, by } = begins(entry, proof, now).start;
        let counts = entry.reader.iter().filter(move |_| by.is_evidence());
        counts.map(move |reader| ReadBy { id: entry.id, reader: reader.clone(), at, by })
    });
    read.collect()
}

fn seen(proof: &Proof) -> Seen<'_> {
    let Proof { host, owner, chat, reader, .. } = proof;
    let (message, at, reader) = (proof.message(), proof.start.at, reader.as_ref());
    Seen { host, owner, chat, message, at, reader }
}

fn begins(entry: &Waiting, proof: &Proof, now: Timestamp) -> Started {
    let unread = Start { at: entry.starts_at, by: StartedBy::Unread };
    let stamp = Stamp { at: entry.stamped_at, whole_seconds: proof.has_whole_seconds };
    let start = policy::read(proof.start, (stamp, now), unread);
    // What is read after its timer has started anyway goes by that, or soon after if it is to go once it was read: the
    // ledger keeps the earlier time.
    let read_at =
        if start.by == StartedBy::Unread { start.at.max(proof.start.at) } else { start.at };
    let due_at = policy::later(read_at, entry.timer);
    Started { id: entry.id, start, due_at, by_everyone: false }
}

/// Up to which row each proof reaches, where that is known. Most name a row that waits itself; the others are looked up.
async fn positions(
    connection: &mut PgConnection,
    archive: Option<&Archive>,
    proofs: &[Proof],
    waiting: &[Waiting],
) -> Result<BTreeMap<usize, i64>> {
    let mut positions = BTreeMap::new();
    let mut oldest: BTreeMap<usize, Timestamp> = BTreeMap::new();
    for entry in waiting {
        let Some(proof) = proofs.get(entry.seen) else { continue };
        if proof.is_alone() {
            continue;
        }
        if proof.is_about(entry) {
            let upto = positions.entry(entry.seen).or_insert(entry.row_number);
            *upto = entry.row_number.max(*upto);
        }
        let since = oldest.entry(entry.seen).or_insert(entry.stamped_at);
        *since = entry.stamped_at.min(*since);
    }
    oldest.retain(|at, _| !positions.contains_key(at));
    let Some(archive) = archive else {
        // Rows without a mark are known to the module alone.
        let upto = |at: &usize| proofs.get(*at).and_then(|it| it.upto);
        let known = oldest.keys().filter_map(|at| Some((*at, upto(at)?.timestamp_micros())));
        positions.extend(known);
        return Ok(positions);
    };
    let unplaced = || oldest.iter().filter_map(|(at, since)| Some((*at, proofs.get(*at)?, *since)));
    let by_id: Vec<_> =
        unplaced().filter(|(_, proof, _)| matches!(proof.named, Named::Upto(_))).collect();
    look_up(connection, archive, &by_id, &mut positions).await?;
    let archived: Vec<_> =
        unplaced().filter(|(_, proof, _)| matches!(proof.named, Named::UptoArchived(_))).collect();
    let sought: Vec<Sought<'_>> = archived.iter().map(|it| sought(archive, it)).collect();
    if !sought.is_empty() {
        let found = archive.rows_archived_as(connection, &sought).await?;
        let found =
            found.into_iter().filter_map(|(at, number)| Some((archived.get(at)?.0, number)));
        positions.extend(found);
    }
    Ok(positions)
}

fn sought<'a>(archive: &Archive, (_, proof, since): &(usize, &'a Proof, Timestamp)) -> Sought<'a> {
    let (Named::Upto(id) | Named::UptoArchived(id) | Named::Alone(id) | Named::AloneArchived(id)) =
        &proof.named;
    Sought {
        store: proof.store(),
        host: &proof.host,
        owner: &proof.owner,
        chat: proof.chat.split('/').next().unwrap_or_default(),
        id,
        since: Stamp { at: *since, whole_seconds: proof.has_whole_seconds },
        upto: proof.last_row(archive),
    }
}

/// Rows that do not wait: without a timer, sent by the owner, or read already.
async fn look_up(
    connection: &mut PgConnection,
    archive: &Archive,
    unplaced: &[(usize, &Proof, Timestamp)],
    positions: &mut BTreeMap<usize, i64>,
) -> Result<()> {
    let sought: Vec<Sought<'_>> = unplaced.iter().map(|it| sought(archive, it)).collect();
    let is_meant =
        |at: usize, it: &Envelope| unplaced.get(at).is_some_and(|(_, proof, _)| proof.names(it));
    let found = newest_named(connection, archive, &sought, is_meant).await?;
    let placed = found.into_iter().filter_map(|(at, number)| Some((unplaced.get(at)?.0, number)));
    positions.extend(placed);
    Ok(())
}

/// The newest row that is meant of those that have each id, by position.
pub(super) async fn newest_named(
    connection: &mut PgConnection,
    archive: &Archive,
    sought: &[Sought<'_>],
    is_meant: impl Fn(usize, &Envelope) -> bool,
) -> Result<BTreeMap<usize, i64>> {
    let mut newest = BTreeMap::new();
    for (part, sought) in sought.chunks(SOUGHT_AT_ONCE).enumerate() {
        for (at, row_number, xml) in archive.rows_naming(connection, sought).await? {
            let at = part * SOUGHT_AT_ONCE + at;
            // The newest comes first.
            if stanza::envelope(&xml).is_some_and(|it| is_meant(at, &it)) {
                newest.entry(at).or_insert(row_number);
            }
        }
    }
    Ok(newest)
}
