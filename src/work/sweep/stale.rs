//! The second half of a step: entries whose rows are gone.

use sqlx::PgConnection;

use super::tables::{Part, Sweeper};
use crate::{
    archive::Table,
    database::Result,
    ledger::{self, Entry, Sweep},
    work::{
        base::count,
        reconcile::{Reconciled, drop_gone, ids},
    },
};

/// Entries that one statement reads.
const ENTRIES: i64 = 1_000;

impl Sweeper {
    /// Entries beyond the archive's end: their rows are new, or a restore removed them.
    pub(super) async fn sweep_ledger(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        sweep: &Sweep,
    ) -> Result<Part> {
        let (mut entries, full) = entries(connection, table, (sweep.position, i64::MAX)).await?;
        let position = entries.last().map_or(sweep.position, |it| it.expiry.row.row_number);
        let dropped = drop_gone(connection, &self.archive, &mut entries).await?.len();
        let reconciled = Reconciled { dropped, ..Reconciled::default() };
        Ok(Part { completed: !full, position, rows: 0, reconciled })
    }

    /// Drops the entries of a span for which the text search found no row: it is gone, or no longer asks for anything.
    /// The search skips hosts that are not listed.
    pub(super) async fn drop_stale(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        (mut after, upto): (i64, i64),
        reconciled: &mut Reconciled,
    ) -> Result<()> {
        loop {
            let (mut entries, full) = entries(connection, table, (after, upto)).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            after = last.expiry.row.row_number;
            entries.retain(|it| !reconciled.knows(it));
            let is_listed = |it: &mut Entry| self.settings.hosts.contains(&it.expiry.row.host);
            let listed: Vec<Entry> = entries.extract_if(.., is_listed).collect();
            ledger::forget(connection, &ids(&listed)).await?;
            let gone = drop_gone(connection, &self.archive, &mut entries).await?;
            reconciled.dropped += listed.len() + gone.len();
            if !full {
                return Ok(());
            }
        }
    }
}

/// The next entries of a span, and whether there are more. After a restore several may have the same number: the end of
/// a page never separates them.
async fn entries(
    connection: &mut PgConnection,
    table: &Table,
    span: (i64, i64),
) -> Result<(Vec<Entry>, bool)> {
    let mut entries = ledger::entries_between(connection, table.stores(), span, ENTRIES).await?;
    let full = count(entries.len()) >= ENTRIES;
    if let Some(last) = entries.last().map(|it| it.expiry.row.row_number).filter(|_| full) {
        let before = entries.partition_point(|it| it.expiry.row.row_number < last);
        if before > 0 {
            entries.truncate(before);
        }
    }
    Ok((entries, full))
}
