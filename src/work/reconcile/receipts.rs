//! Receipts (XEP-0184): the owner has received a message although a copy waits in the offline queue, or a session hangs. A
//! client that reads the archive first sends them. They show nothing about reading.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::{Context, deliveries::start, evidence::newest_named};
use crate::{
    archive::{ARCHIVE_ROWS_AT_ONCE, Archive, Row, Sought, Table, Trace},
    database::Result,
    ledger,
    model::{Start, StartRule, StartedBy, Store, bare_jid},
    policy,
    stanza::{self, Envelope},
};

/// Users whose receipts count, the first by name: of the others, messages wait for the queue.
const USERS: usize = 500;
/// Receipts that one statement returns, each up to 64 KiB long.
const RECEIPTS: i64 = 200;
/// Messages that these may be about, the newest.
const ROWS: i64 = 5_000;

/// Receipts by what they name: host, owner, chat, and the sender's id.
type Named = BTreeMap<(String, String, String, String), Vec<Trace>>;

/// Starts the timers of messages that nobody had received, by the receipts in this span of a table.
pub(in crate::work) async fn notice_receipts(
    connection: &mut PgConnection,
    table: &Table,
    hosts: &[String],
    (mut after, upto): (i64, i64),
    context: Context<'_>,
) -> Result<()> {
    let Some(archive) = context.archive else { return Ok(()) };
    let waits = context.rules.timers.start != StartRule::Archived;
    if !waits || after >= upto || !table.stores().contains(&Store::Archive) {
        return Ok(());
    }
    let users = ledger::undelivered_users(connection, USERS).await?;
    while after < upto && !users.is_empty() {
        let (whose, span) = ((hosts, users.as_slice()), (after, upto));
        let traces = archive.receipts(connection, table, whose, span, RECEIPTS).await?;
        let full = i64::try_from(traces.len()).is_ok_and(|n| n >= RECEIPTS);
        after = traces.last().filter(|_| full).map_or(upto, |last| last.row_number);
        end(connection, named(traces), context).await?;
    }
    Ok(())
}

fn named(traces: Vec<Trace>) -> Named {
    let mut named = Named::new();
    for trace in traces {
        let owner = bare_jid(&trace.owner, &trace.host);
        let received = stanza::envelope(&trace.xml).and_then(|it| it.received_as(&owner));
        let Some((chat, id)) = received else { continue };
        let key = (trace.host.clone(), trace.owner.clone(), chat, id);
        named.entry(key).or_default().push(trace);
    }
    named
}

/// What these name is undelivered no more, and copies in the queue go with their archive rows.
async fn end(connection: &mut PgConnection, named: Named, context: Context<'_>) -> Result<()> {
    let Some(archive) = context.archive.filter(|_| !named.is_empty()) else { return Ok(()) };
    let owners: BTreeSet<(&str, &str)> = named.keys().map(|it| (&*it.0, &*it.1)).collect();
    let owners: Vec<_> = owners.into_iter().collect();
    let found = ledger::undelivered_rows(connection, &owners, ROWS).await?;
    let ids: Vec<_> = found.iter().map(|it| (&*it.0, &*it.1, &*it.2)).collect();
    let mut received: BTreeMap<_, (Row, Start)> = BTreeMap::new();
    for ids in ids.chunks(ARCHIVE_ROWS_AT_ONCE) {
        for row in archive.archive_rows(connection, ids).await? {
            for (receipt, start) in starts(&row, &named, context) {
                let known = received.get(&receipt).map(|it| it.0.key.row_number);
                if known.is_none_or(|known| known < row.key.row_number) {
                    received.insert(receipt, (row.clone(), start));
                }
            }
        }
    }
    let mut received = meant(connection, archive, received).await?;
    // The earliest receipt counts.
    received.sort_by(|one, other| {
        one.0.key.row_number.cmp(&other.0.key.row_number).then(one.1.at.cmp(&other.1.at))
    });
    received.dedup_by(|later, earlier| later.0.key == earlier.0.key);
    start(connection, &received, context).await?;
    let ids: Vec<_> = received
        .iter()
        .map(|(row, _)| (&*row.key.host, &*row.key.owner, &*row.key.archive_id))
        .collect();
    ledger::align_copies(connection, &ids).await?;
    ledger::end_undelivered(connection, &ids).await
}

/// Of one id twice, the newest message before the receipt is meant, also if it waits no longer: the tail may read the
/// receipt again.
async fn meant(
    connection: &mut PgConnection,
    archive: &Archive,
    received: BTreeMap<(String, i64), (Row, Start)>,
) -> Result<Vec<(Row, Start)>> {
    let named = received.into_iter().filter_map(|((_, receipt), (row, start))| {
        let name = names(&row)?;
        Some((receipt, row, start, name))
    });
    let named: Vec<_> = named.collect();
    let sought = named.iter().map(|(receipt, row, _, (chat, id))| Sought {
        store: Store::Archive,
        host: &row.key.host,
        owner: &row.key.owner,
        chat: chat.split('/').next().unwrap_or_default(),
        id,
        since: row.stamp,
        upto: *receipt,
    });
    let sought: Vec<Sought<'_>> = sought.collect();
    let is_meant = |at: usize, it: &Envelope| {
        named.get(at).is_some_and(|(_, row, _, name)| name_in(it, row).as_ref() == Some(name))
    };
    let newest = newest_named(connection, archive, &sought, is_meant).await?;
    let meant = named.into_iter().enumerate().filter_map(|(at, (_, row, start, _))| {
        let is_newest = newest.get(&at) == Some(&row.key.row_number);
        is_newest.then_some((row, start))
    });
    Ok(meant.collect())
}

/// The chat and the id of a message that its owner received.
fn names(row: &Row) -> Option<(String, String)> {
    name_in(&stanza::envelope(row.xml.as_deref()?)?, row)
}

/// The same of a message of the same owner as this row's.
fn name_in(envelope: &Envelope, row: &Row) -> Option<(String, String)> {
    let owner = bare_jid(&row.key.owner, &row.key.host);
    Some((envelope.received_by(&owner)?, envelope.id.clone()?))
}

/// The receipts that may be about this row, each by its own row, and how its timer starts by it. What comes later than the
/// timer would start anyway starts nothing.
fn starts(row: &Row, named: &Named, context: Context<'_>) -> Vec<((String, i64), Start)> {
    let key = &row.key;
    let Some((chat, id)) = names(row) else { return Vec::new() };
    let receipts = named.get(&(key.host.clone(), key.owner.clone(), chat, id));
    let after = receipts.into_iter().flatten().filter(|it| key.row_number < it.row_number);
    let unread = policy::unread(row.stamp, context.now, context.rules.timers.unread_for);
    let starts = after.map(|receipt| {
        let at = policy::archived(receipt.stamp, context.now).at;
        let seen = Start { at, by: StartedBy::Receipt };
        let start = policy::read(seen, (row.stamp, context.now), unread);
        ((format!("{}@{}", receipt.owner, receipt.host), receipt.row_number), start)
    });
    starts.filter(|(_, start)| start.by == StartedBy::Receipt).collect()
}
