//! What one page makes of the ledger.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::{Context, Reconciled, drop_gone};
use crate::{
    database::Result,
    ledger::{self, Entry, Expiry, Phase},
    model::RowKey,
};

/// What one page makes of the ledger.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// To be recorded.
    pub(super) missing: Vec<Expiry>,
    changes: Vec<Entry>,
    /// Entries to be forgotten, by id.
    pub(super) outdated: Vec<i64>,
    /// Those of them that nothing asks for any more.
    pub(super) unasked: Vec<i64>,
    /// Entries of placeholders whose rows have text, perhaps from a backup, with what they would become.
    restored: Vec<Entry>,
}

impl Plan {
    /// This entry stands for a row that now asks for this.
    pub(super) fn align(&mut self, entry: &Entry, expiry: Expiry, context: Context<'_>) {
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
    pub(super) async fn carry_out(
        mut self,
        connection: &mut PgConnection,
        context: Context<'_>,
        reconciled: &mut Reconciled,
    ) -> Result<Vec<(String, String, String)>> {
        for Entry { id, expiry } in still_with_text(connection, self.restored, context).await? {
            self.outdated.push(id);
            self.missing.push(expiry);
        }
        // What has a timer of its own has got its own times before it is parted from what stays.
        ledger::change(connection, &self.changes).await?;
        ledger::forget(connection, &self.outdated).await?;
        ledger::part(connection, &self.unasked).await?;
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
