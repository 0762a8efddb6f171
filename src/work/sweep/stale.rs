//! The other half of a step: entries whose rows are gone.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::{Progress, Sweeper, entries, number};
use crate::{
    archive::{RowKey, Table},
    database::Result,
    ledger::{self, Entry, Found, Sweep},
    work::row_key,
};

impl Sweeper {
    /// Entries beyond the archive's end: of rows that a restore took away, or that are new.
    pub(super) async fn sweep_ledger(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        sweep: &Sweep,
    ) -> Result<Progress> {
        let span = (sweep.position, i64::MAX);
        let (entries, full) = entries(connection, table, span).await?;
        let position = entries.last().map_or(sweep.position, |it| it.expiry.row_number);
        let dropped = self.drop_gone(connection, entries).await?;
        let found = Found { dropped: number(dropped), ..Found::default() };
        Ok(Progress { completed: !full, position, upto: sweep.upto, found })
    }

    /// Drops entries of a span whose rows no text search found: they are gone, or say nothing any more.
    /// Of a host that is not listed the search knows nothing.
    pub(super) async fn drop_stale(
        &self,
        connection: &mut PgConnection,
        entries: Vec<Entry>,
    ) -> Result<usize> {
        let is_listed = |it: &Entry| self.settings.hosts.contains(&it.expiry.host);
        let (listed, unlisted): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_listed);
        let ids: Vec<i64> = listed.iter().map(|entry| entry.id).collect();
        if !ids.is_empty() {
            ledger::forget(connection, &ids).await?;
        }
        Ok(ids.len() + self.drop_gone(connection, unlisted).await?)
    }

    async fn drop_gone(&self, connection: &mut PgConnection, entries: Vec<Entry>) -> Result<usize> {
        if entries.is_empty() {
            return Ok(0);
        }
        let keys: Vec<RowKey> = entries.iter().map(|it| row_key(&it.expiry)).collect();
        let keys: Vec<&RowKey> = keys.iter().collect();
        let standing: HashSet<usize> =
            self.archive.still_there(connection, &keys).await?.into_iter().collect();
        let gone = entries.iter().enumerate().filter(|(at, _)| !standing.contains(at));
        let ids: Vec<i64> = gone.map(|(_, entry)| entry.id).collect();
        if !ids.is_empty() {
            ledger::forget(connection, &ids).await?;
        }
        Ok(ids.len())
    }
}
