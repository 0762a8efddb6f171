//! Copies that have left an offline queue.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::Inspector;
use crate::{
    archive::RowKey,
    database::Result,
    ledger::{self, Entry},
    model::Timestamp,
    work::{
        reconcile::{Backlog, Context, release},
        row_key,
    },
};

/// Entries of offline queues that one transaction looks at.
const QUEUE_ENTRIES: i64 = 1_000;

impl Inspector {
    /// When a copy has left an offline queue, somebody has the message now: its timer starts.
    pub(super) async fn notice_deliveries(
        &mut self,
        connection: &mut PgConnection,
        now: Timestamp,
    ) -> Result<()> {
        let queued = ledger::queue_entries(connection, self.queue_seen, QUEUE_ENTRIES).await?;
        self.queue_seen = match queued.last() {
            Some(last) if i64::try_from(queued.len()).is_ok_and(|n| n >= QUEUE_ENTRIES) => last.id,
            _ => 0,
        };
        if queued.is_empty() {
            return Ok(());
        }
        let keys: Vec<RowKey> = queued.iter().map(|it| row_key(&it.expiry)).collect();
        let keys: Vec<&RowKey> = keys.iter().collect();
        let standing: HashSet<usize> =
            self.archive.still_there(connection, &keys).await?.into_iter().collect();
        let gone: Vec<&Entry> = queued
            .iter()
            .enumerate()
            .filter(|(position, _)| !standing.contains(position))
            .map(|(_, entry)| entry)
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = gone.iter().map(|entry| entry.id).collect();
        ledger::forget(connection, &ids).await?;
        let copies: Vec<_> = gone
            .iter()
            .map(|entry| &entry.expiry)
            .filter_map(|it| Some((&*it.host, &*it.owner, it.copy_of.as_deref()?)))
            .collect();
        let context = Context {
            rules: &self.settings.rules,
            now,
            backlog: Backlog::default(),
            restores: false,
        };
        release(connection, &self.archive, &copies, context).await
    }
}
