//! Copies that have left an offline queue, and the timers that start then.

use sqlx::PgConnection;

use super::{Context, Read, drop_gone, read::Waits};
use crate::{
    archive::{ARCHIVE_ROWS_AT_ONCE, Archive, Row},
    database::Result,
    ledger::{self, Entry},
    model::{Reason, RowId, Start},
    policy,
    work::base::count,
};

/// Queue entries that one transaction checks.
const QUEUE_ENTRIES: i64 = 1_000;

/// When a copy has left an offline queue, someone has received the message, and its timer starts. Queue entries are
/// checked in rounds: `seen` is the last one of the current round so far. Returns the new one.
pub(in crate::work) async fn notice_deliveries(
    connection: &mut PgConnection,
    archive: &Archive,
    seen: i64,
    context: Context<'_>,
) -> Result<i64> {
    let mut queued = ledger::queue_entries(connection, seen, QUEUE_ENTRIES).await?;
    let is_full = count(queued.len()) >= QUEUE_ENTRIES;
    let seen = queued.last().filter(|_| is_full).map_or(0, |last| last.id);
    let gone = drop_gone(connection, archive, &mut queued).await?;
    let originals = originals(&gone);
    release(connection, archive, &originals, context).await?;
    // Whoever took the queue also received what was waiting in a session.
    ledger::end_undelivered(connection, &originals).await?;
    Ok(seen)
}

/// The archive rows that these are copies of: host, owner, archive id.
pub(super) fn originals(copies: &[Entry]) -> Vec<(&str, &str, &str)> {
    copies
        .iter()
        .map(|entry| &entry.expiry)
        .filter_map(|it| Some((&*it.row.host, &*it.row.owner, it.copy_of.as_deref()?)))
        .collect()
}

/// Starts the timers of these archive rows (host, owner, archive id), which someone has received: at `context.now`.
pub(in crate::work) async fn release(
    connection: &mut PgConnection,
    archive: &Archive,
    ids: &[(&str, &str, &str)],
    context: Context<'_>,
) -> Result<()> {
    for ids in ids.chunks(ARCHIVE_ROWS_AT_ONCE) {
        let rows = archive.archive_rows(connection, ids).await?;
        let received = rows.into_iter().map(|row| (row, policy::delivered(context.now)));
        start(connection, &received.collect::<Vec<_>>(), context).await?;
    }
    Ok(())
}

/// Starts the timers of those of these archive rows that wait because nobody has received them, each so.
pub(super) async fn start(
    connection: &mut PgConnection,
    received: &[(Row, Start)],
    context: Context<'_>,
) -> Result<()> {
    let names: Vec<RowId<'_>> = received.iter().map(|it| it.0.key.id()).collect();
    let mut changes = Vec::new();
    for (position, mut entry) in ledger::entries_of(connection, &names).await? {
        let waits = entry.expiry.reason == Reason::Undelivered;
        let Some((row, start)) = received.get(position).filter(|_| waits) else { continue };
        entry.expiry.start = *start;
        if let Some(expiry) = Read::of(row).expiry(Some(&entry), Waits::default(), context) {
            changes.push(Entry { id: entry.id, expiry });
        }
    }
    ledger::change(connection, &changes).await
}
