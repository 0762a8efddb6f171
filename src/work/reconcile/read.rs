//! Timers that start at reading: which rows wait for their owner, or for anybody in a room, and what in the archive shows
//! that they were read.
//!
//! Evidence counts only from the owner's own archive or items, and of rooms only from the room's archive or a user's items,
//! because there the server stamped who sent it. It comes after what it names, so rows are recorded first. What names a
//! row that is not recorded yet counts when the tail reads the same span again: until all earlier transactions have ended
//! on Prosody, for ten minutes on ejabberd.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sqlx::PgConnection;

use super::{
    Context, Read, Reconciled,
    evidence::{Before, Named, Proof, start},
};
use crate::{
    archive::{Looks, Table, Trace, companion::Reading},
    database::Result,
    ledger::{self, Unread},
    model::{Occupant, RoomStart, Start, StartRule, StartedBy, Store, bare_jid},
    policy,
    stanza::{self, Envelope, Shows},
};

/// Rows that one statement returns, each up to 64 KiB long.
const TRACES: i64 = 200;
/// If so many users wait, a span is searched for what any user shows, else for what these show.
const USERS: usize = 100;

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
    /// In a room: who sent it.
    sender: Occupant,
}

impl Awaited {
    /// The rows among these that somebody received, with words and a timer, and whose timers start at reading.
    pub(super) async fn among(
        connection: &mut PgConnection,
        reads: &[Read<'_>],
        context: Context<'_>,
    ) -> Result<Self> {
        let rules = &context.rules.timers;
        if !context.rules.looks_for_readers() {
            return Ok(Self::default());
        }
        let rows = reads.iter().enumerate();
        let mut awaited: BTreeMap<usize, Awaits> =
            rows.filter_map(|(at, read)| Some((at, awaits(read, context)?))).collect();
        if rules.start == StartRule::Auto && !awaited.is_empty() {
            let in_archive =
                |at: &usize| reads.get(*at).is_some_and(|it| it.row.key.store == Store::Archive);
            let positions: Vec<usize> = awaited.keys().copied().filter(in_archive).collect();
            let keys = positions.iter().filter_map(|at| reads.get(*at)).map(|it| &it.row.key);
            let owners: Vec<_> = keys.map(|it| (it.host.as_str(), it.owner.as_str())).collect();
            let readers = readers(connection, &owners, context).await?;
            let readers: HashSet<usize> =
                readers.iter().filter_map(|at| positions.get(*at).copied()).collect();
            awaited.retain(|at, _| !in_archive(at) || readers.contains(at));
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
        // What is to go once it was read goes by its timer until then, so its entry does not change with `timers.once_for`.
        let may_differ = |at: &usize| reads.get(*at).is_some_and(Read::goes_once);
        let new = self.0.iter().filter(|(at, _)| recorded.contains(at) || may_differ(at));
        let unread: Vec<Unread<'_>> = new
            .filter_map(|(at, awaits)| {
                Some(Unread {
                    is_new: recorded.contains(at),
                    row: reads.get(*at)?.row.key.id(),
                    chat: awaits.chat.clone(),
                    message: awaits.message.clone(),
                    timer: awaits.timer,
                    sender: awaits.sender.clone(),
                })
            })
            .collect();
        ledger::note_unread(connection, &unread).await
    }
}

/// Which of these owners, by position, show what they read: the ledger knows, or their own archives tell, where the ledger
/// notes it. Modules announce it themselves.
async fn readers(
    connection: &mut PgConnection,
    owners: &[(&str, &str)],
    context: Context<'_>,
) -> Result<HashSet<usize>> {
    let known = ledger::readers(connection, owners).await?;
    let mut readers: HashSet<usize> = known.into_iter().collect();
    let Some(archive) = context.archive else { return Ok(readers) };
    let mut others: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (at, owner) in owners.iter().enumerate().filter(|(at, _)| !readers.contains(at)) {
        others.entry(*owner).or_default().push(at);
    }
    let unknown: Vec<(&str, &str)> = others.keys().copied().collect();
    let since = context.now - policy::READER_FOR;
    let evidence = context.rules.timers.read_evidence;
    let found = archive.readers(connection, &unknown, since, evidence).await?;
    let found: Vec<_> =
        found.into_iter().filter_map(|(at, shown)| Some((*unknown.get(at)?, shown))).collect();
    ledger::note_readers(connection, &found).await?;
    readers.extend(found.iter().filter_map(|(owner, _)| others.get(owner)).flatten());
    Ok(readers)
}

fn awaits(read: &Read<'_>, context: Context<'_>) -> Option<Awaits> {
    let key = &read.row.key;
    if !context.rules.looks_for_readers_in(key.store) {
        return None;
    }
    let timer = policy::timer_from_reading(read.facts.as_ref()?, context.rules)?;
    let envelope = stanza::envelope(read.row.xml.as_deref()?)?;
    let owner = bare_jid(&key.owner, &key.host);
    if key.store == Store::Room {
        let sender = known_in(&envelope, &owner, read.row.sender.as_deref(), context);
        return Some(Awaits { chat: owner, message: None, timer, sender });
    }
    let chat = envelope.received_by(&owner)?;
    Some(Awaits { chat, message: envelope.id, timer, sender: Occupant::default() })
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
    if !context.rules.looks_for_readers() || !table.stores().contains(&Store::Archive) {
        return Ok(());
    }
    let looks = Looks::of(context.rules);
    let waiting = ledger::waiting_users(connection, USERS).await?;
    let users = (!looks.rooms && waiting.len() < USERS).then_some(waiting.as_slice());
    while after < upto && !waiting.is_empty() {
        let (span, limits) = ((after, upto), (TRACES, looks));
        let traces = archive.traces(connection, table, (hosts, users), span, limits).await?;
        let full = i64::try_from(traces.len()).is_ok_and(|n| n >= TRACES);
        after = traces.last().filter(|_| full).map_or(upto, |last| last.row_number);
        let proofs: Vec<Proof> = traces.iter().flat_map(|it| proofs(it, hosts, context)).collect();
        reconciled.started.extend(start(connection, &proofs, context, true).await?);
    }
    Ok(())
}

/// What a row shows. An item may name only its owner's own archive, or a room's that it is about; a message counts only
/// from its owner, or of anybody in its room.
fn proofs(trace: &Trace, hosts: &[String], context: Context<'_>) -> Vec<Proof> {
    let owner = bare_jid(&trace.owner, &trace.host);
    let at = policy::archived(trace.stamp, context.now).at;
    let proof = |chat: &str, named, by| Proof {
        host: trace.host.clone(),
        owner: trace.owner.clone(),
        chat: chat.to_owned(),
        named,
        start: Start { at, by },
        before: Before::Row(trace.row_number),
        has_whole_seconds: trace.stamp.whole_seconds,
        upto: None,
        reader: None,
    };
    if let Some(chat) = &trace.item {
        let counts = stanza::displayed_item(&trace.xml).and_then(|item| {
            let found = proof(chat, Named::UptoArchived(item.id), StartedBy::Mds);
            if item.by == *chat {
                return published_of_room(found, hosts, context);
            }
            let looks = context.rules.looks_for_readers_in(Store::Archive);
            (looks && item.by == owner).then_some(found)
        });
        return counts.into_iter().collect();
    }
    let Some(envelope) = stanza::envelope(&trace.xml) else { return Vec::new() };
    if trace.store == Store::Room {
        return proofs_in_room(&envelope, trace, context, |named, by| proof(&owner, named, by));
    }
    let Some((chat, shows)) = envelope.shown_by(&owner) else { return Vec::new() };
    let named = shows.into_iter().map(|it| match it {
        Shows::Displayed(id) => (Named::Upto(id), StartedBy::Marker),
        Shows::Answered(id) => (Named::Alone(id), StartedBy::Reply),
    });
    named.map(|(named, by)| proof(&chat, named, by)).collect()
}

/// By what the sender of a message in a room's archive is known. Where it matters who it is, and not only who it is not, a
/// real address counts only if it is `beside` the message: inside, Prosody archives what occupants wrote themselves where
/// the room hides addresses.
fn known_in(
    envelope: &Envelope,
    room: &str,
    beside: Option<&str>,
    context: Context<'_>,
) -> Occupant {
    let known = envelope.sender_in(room, beside);
    match context.rules.rooms.start {
        RoomStart::Everyone if beside.is_none() => Occupant { jid: None, ..known },
        _ => known,
    }
}

/// What somebody's message in a room shows. It names others by their ids in the room's archive.
fn proofs_in_room(
    envelope: &Envelope,
    trace: &Trace,
    context: Context<'_>,
    proof: impl Fn(Named, StartedBy) -> Proof,
) -> Vec<Proof> {
    let room = bare_jid(&trace.owner, &trace.host);
    let reader = known_in(envelope, &room, trace.sender.as_deref(), context);
    if envelope.is_error || context.rules.rooms.ignores(&reader) {
        return Vec::new();
    }
    let named = envelope.shows.iter().map(|it| match it.clone() {
        Shows::Displayed(id) => (Named::UptoArchived(id), StartedBy::Marker),
        Shows::Answered(id) => (Named::AloneArchived(id), StartedBy::Reply),
    });
    let with_reader = |it| Proof { reader: Some(reader.clone()), ..it };
    named.map(|(named, by)| with_reader(proof(named, by))).collect()
}

/// What a user published of a room, if it counts: the room's archive is the one that is meant.
fn published_of_room(proof: Proof, hosts: &[String], context: Context<'_>) -> Option<Proof> {
    let reader = Occupant { jid: Some(bare_jid(&proof.owner, &proof.host)), ..Occupant::default() };
    let (owner, host) = proof.chat.split_once('@')?;
    let (owner, host) = (owner.to_owned(), host.to_owned());
    let rules = context.rules;
    let counts = rules.looks_for_readers_in(Store::Room)
        && hosts.contains(&host)
        && !rules.rooms.ignores(&reader);
    counts.then_some(Proof { host, owner, reader: Some(reader), ..proof })
}

/// What a module announced: whose host and name, and what that owner has read.
#[derive(Debug, Clone)]
pub(in crate::work) struct Announced {
    pub(in crate::work) host: String,
    pub(in crate::work) owner: String,
    pub(in crate::work) reading: Reading,
}

/// Starts the timers of what modules announced as read. `is_new`: it was not looked at before.
pub(in crate::work) async fn notice_announced(
    connection: &mut PgConnection,
    announced: &[Announced],
    context: Context<'_>,
    is_new: bool,
) -> Result<Vec<StartedBy>> {
    if !context.rules.looks_for_readers() {
        return Ok(Vec::new());
    }
    let proofs: Vec<Proof> =
        announced.iter().filter_map(|it| announced_proof(it, context)).collect();
    start(connection, &proofs, context, is_new).await
}

/// What a module announced, if it counts.
fn announced_proof(announced: &Announced, context: Context<'_>) -> Option<Proof> {
    let Announced { host, owner, reading } = announced;
    let Reading { by, chat, id, stamp, upto, in_room } = reading;
    let evidence = context.rules.timers.read_evidence;
    let (counts, named) = match (by, in_room) {
        (StartedBy::Mds, _) => (evidence.mds, Named::UptoArchived(id.clone())),
        (StartedBy::Marker, None) => (evidence.markers, Named::Upto(id.clone())),
        (StartedBy::Marker, Some(_)) => (evidence.markers, Named::UptoArchived(id.clone())),
        (_, None) => (evidence.replies, Named::Alone(id.clone())),
        (_, Some(_)) => (evidence.replies, Named::AloneArchived(id.clone())),
    };
    // An occupant's nickname is as it is.
    let chat = if chat.contains('/') { chat.clone() } else { chat.to_lowercase() };
    let at = policy::archived(*stamp, context.now).at;
    let is_own = chat == bare_jid(owner, host);
    let (archive, reader) = match in_room {
        Some(known) => {
            let reader = announced_reader(known, announced, &chat)?;
            let counts = context.rules.looks_for_readers_in(Store::Room)
                && !context.rules.rooms.ignores(&reader);
            (chat.split_once('@').filter(|_| counts)?, Some(reader))
        }
        None if is_own || !context.rules.looks_for_readers_in(Store::Archive) => return None,
        None => ((owner.as_str(), host.as_str()), None),
    };
    counts.then(|| Proof {
        host: archive.1.to_owned(),
        owner: archive.0.to_owned(),
        chat: chat.clone(),
        named,
        start: Start { at, by: *by },
        before: Before::Time(at),
        has_whole_seconds: match context.archive {
            Some(archive) => !archive.numbers_are_stamps(),
            None => stamp.whole_seconds,
        },
        upto: *upto,
        reader,
    })
}

/// Who read something in a room. Of markers and replies the room's own host says who sent them; the host of a user says
/// only what this user published.
fn announced_reader(known: &Occupant, announced: &Announced, chat: &str) -> Option<Occupant> {
    let own = bare_jid(&announced.owner, &announced.host);
    if chat == own {
        return Some(known.clone());
    }
    let published = announced.reading.by == StartedBy::Mds;
    published.then(|| Occupant { jid: Some(own), ..known.clone() })
}
