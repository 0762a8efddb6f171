//! Timers that start at reading: which rows wait for their owner, and what in the archive shows that they were read.
//!
//! Evidence counts only from the owner's own archive or items, because there the owner's server stamped who sent it. It
//! comes after what it names, so rows are recorded first. What names a row that is not recorded yet counts when the tail
//! reads the same span again: until all earlier transactions have ended on Prosody, for ten minutes on ejabberd.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sqlx::PgConnection;

use super::{
    Context, Read, Reconciled,
    evidence::{Before, Named, Proof, start},
};
use crate::{
    archive::{Evidence, Table, Trace, companion::Reading},
    database::Result,
    ledger::{self, Unread},
    model::{Start, StartRule, StartedBy, Store, Timestamp},
    policy,
    stanza::{self, Shows},
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
            let readers = readers(connection, &owners, context).await?;
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
    if key.store != Store::Archive {
        return None;
    }
    let timer = policy::timer_from_reading(read.facts.as_ref()?, context.rules)?;
    let envelope = stanza::envelope(read.row.xml.as_deref()?)?;
    let chat = envelope.received_by(&address(&key.host, &key.owner))?;
    Some(Awaits { chat, message: envelope.id, timer })
}

pub(super) fn address(host: &str, owner: &str) -> String {
    format!("{owner}@{host}")
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
    let waiting = ledger::waiting_users(connection, USERS).await?;
    let users = (waiting.len() < USERS).then_some(waiting.as_slice());
    while after < upto && !waiting.is_empty() {
        let (span, limits) = ((after, upto), (TRACES, rules.read_evidence));
        let traces = archive.traces(connection, table, (hosts, users), span, limits).await?;
        let full = i64::try_from(traces.len()).is_ok_and(|n| n >= TRACES);
        after = traces.last().filter(|_| full).map_or(upto, |last| last.row_number);
        let proofs: Vec<Proof> = traces.iter().flat_map(|it| proofs(it, context.now)).collect();
        reconciled.started.extend(start(connection, &proofs, context, true).await?);
    }
    Ok(())
}

/// What a row shows. An item may name only its owner's own archive; a message counts only from its owner.
fn proofs(trace: &Trace, now: Timestamp) -> Vec<Proof> {
    let Some((chat, shown)) = trace.evidence() else { return Vec::new() };
    let owner = address(&trace.host, &trace.owner);
    let named = shown.into_iter().filter_map(|it| match it {
        Evidence::Item(id) => {
            (id.by == owner).then_some((Named::UptoArchived(id.id), StartedBy::Mds))
        }
        Evidence::Message(Shows::Displayed(id)) => Some((Named::Upto(id), StartedBy::Marker)),
        Evidence::Message(Shows::Answered(id)) => Some((Named::Alone(id), StartedBy::Reply)),
    });
    let at = policy::archived(trace.stamp, now).at;
    let proof = |(named, by)| Proof {
        host: trace.host.clone(),
        owner: trace.owner.clone(),
        chat: chat.clone(),
        named,
        start: Start { at, by },
        before: Before::Row(trace.row_number),
        has_whole_seconds: trace.stamp.whole_seconds,
        upto: None,
    };
    named.map(proof).collect()
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
    if !context.rules.timers.start.looks_for_readers() {
        return Ok(Vec::new());
    }
    let proofs: Vec<Proof> =
        announced.iter().filter_map(|it| announced_proof(it, context)).collect();
    start(connection, &proofs, context, is_new).await
}

/// What a module announced, if it counts.
fn announced_proof(announced: &Announced, context: Context<'_>) -> Option<Proof> {
    let Announced { host, owner, reading } = announced;
    let Reading { by, chat, id, stamp, upto } = reading;
    let evidence = context.rules.timers.read_evidence;
    let (counts, named) = match by {
        StartedBy::Mds => (evidence.mds, Named::UptoArchived(id.clone())),
        StartedBy::Marker => (evidence.markers, Named::Upto(id.clone())),
        _ => (evidence.replies, Named::Alone(id.clone())),
    };
    // An occupant's nickname is as it is.
    let chat = if chat.contains('/') { chat.clone() } else { chat.to_lowercase() };
    let at = policy::archived(*stamp, context.now).at;
    let is_own = chat == address(host, owner);
    (counts && !is_own).then(|| Proof {
        host: host.clone(),
        owner: owner.clone(),
        chat,
        named,
        start: Start { at, by: *by },
        before: Before::Time(at),
        has_whole_seconds: match context.archive {
            Some(archive) => !archive.numbers_are_stamps(),
            None => stamp.whole_seconds,
        },
        upto: *upto,
    })
}
