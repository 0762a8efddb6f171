//! Reading the ledger's entries: of given rows, of a span of rows, of the queue.

use sqlx::PgConnection;

use super::{Entry, Expiry, Follows, Name, record::position};
use crate::{
    database::{Error, Named, Result},
    model::{Reason, RowId, RowKey, Start, StartedBy, Store, Timestamp},
};

/// The entries of these rows, by the rows' position.
pub async fn entries_of(
    connection: &mut PgConnection,
    keys: &[RowId<'_>],
) -> Result<Vec<(usize, Entry)>> {
    let column = |of: fn(&RowId<'_>) -> String| keys.iter().map(of).collect::<Vec<String>>();
    let rows = sqlx::query_as!(
        StoredEntry,
        r#"-- entries_of
        SELECT k.position AS "position!", e.id, e.store, e.host, e.owner, e.archive_id,
               e.row_number, e.stamped_at, e.digest, e.copy_of, e.runs_from, e.started_by, e.due_at, e.reason, e.phase,
               e.backlog, e.peer, e.name, e.sender, e.follows, e.links
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[])
               WITH ORDINALITY AS k(store, host, owner, archive_id, digest, position)
          JOIN ephemerd.expiries AS e USING (store, host, owner, archive_id, digest)"#,
        &column(|it| it.store.to_string()),
        &column(|it| it.host.to_owned()),
        &column(|it| it.owner.to_owned()),
        &column(|it| it.archive_id.to_owned()),
        &keys.iter().map(|it| it.digest.to_vec()).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
    .named("entries_of")?;
    rows.into_iter()
        .map(|row| Ok((position(row.position).unwrap_or(usize::MAX), row.read("entries_of")?)))
        .collect()
}

/// The entries with this archive id of this owner, in any store.
pub async fn entries_under(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    archive_id: &str,
) -> Result<Vec<Entry>> {
    let found = sqlx::query_as!(
        StoredEntry,
        r#"-- entries_under
        SELECT 0::bigint AS "position!", id, store, host, owner, archive_id, row_number, stamped_at,
               digest, copy_of, runs_from, started_by, due_at, reason, phase, backlog, peer,
               name, sender, follows, links
          FROM ephemerd.expiries
         WHERE owner = $1 AND archive_id = $2 AND host = $3
         ORDER BY id"#,
        owner,
        archive_id,
        host,
    )
    .fetch_all(connection)
    .await
    .named("entries_under")?;
    found.into_iter().map(|row| row.read("entries_under")).collect()
}

/// The entries of rows in these stores, numbered after `after` and up to `upto`, in order, at most `rows`.
pub async fn entries_between(
    connection: &mut PgConnection,
    stores: &[Store],
    (after, upto): (i64, i64),
    rows: i64,
) -> Result<Vec<Entry>> {
    let stores: Vec<String> = stores.iter().map(Store::to_string).collect();
    let found = sqlx::query_as!(
        StoredEntry,
        r#"-- entries_between
        SELECT 0::bigint AS "position!", id, store, host, owner, archive_id, row_number, stamped_at,
               digest, copy_of, runs_from, started_by, due_at, reason, phase, backlog, peer,
               name, sender, follows, links
          FROM ephemerd.expiries
         WHERE row_number > $1 AND row_number <= $2 AND store = ANY ($4)
         ORDER BY row_number, id
         LIMIT $3"#,
        after,
        upto,
        rows,
        &stores,
    )
    .fetch_all(connection)
    .await
    .named("entries_between")?;
    found.into_iter().map(|row| row.read("entries_between")).collect()
}

/// Entries of offline queues after the entry `after`, in order, at most `rows`.
pub async fn queue_entries(
    connection: &mut PgConnection,
    after: i64,
    rows: i64,
) -> Result<Vec<Entry>> {
    let found = sqlx::query_as!(
        StoredEntry,
        r#"-- queue_entries
        SELECT 0::bigint AS "position!", id, store, host, owner, archive_id, row_number, stamped_at,
               digest, copy_of, runs_from, started_by, due_at, reason, phase, backlog, peer,
               name, sender, follows, links
          FROM ephemerd.expiries
         WHERE store = 'queue' AND id > $1
         ORDER BY id
         LIMIT $2"#,
        after,
        rows,
    )
    .fetch_all(connection)
    .await
    .named("queue_entries")?;
    found.into_iter().map(|row| row.read("queue_entries")).collect()
}

/// An entry as stored.
pub(super) struct StoredEntry {
    pub(super) position: i64,
    pub(super) id: i64,
    pub(super) store: String,
    pub(super) host: String,
    pub(super) owner: String,
    pub(super) archive_id: String,
    pub(super) row_number: Option<i64>,
    pub(super) stamped_at: Timestamp,
    pub(super) digest: Vec<u8>,
    pub(super) copy_of: Option<String>,
    pub(super) runs_from: Timestamp,
    pub(super) started_by: String,
    pub(super) due_at: Timestamp,
    pub(super) reason: String,
    pub(super) phase: String,
    pub(super) backlog: bool,
    pub(super) peer: Option<Vec<u8>>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) sender: Option<Vec<u8>>,
    pub(super) follows: Option<i64>,
    pub(super) links: Option<i16>,
}

impl StoredEntry {
    pub(super) fn read(self, statement: &'static str) -> Result<Entry> {
        let unknown = || Error::unexpected(statement, "the ledger contains an unknown name");
        let reason: Option<Reason> = self.reason.parse().ok();
        // What only a newer version knows may fall due all the same.
        let by = match (reason, self.started_by.parse()) {
            (Some(_), Ok(by)) => by,
            _ => StartedBy::Newer,
        };
        Ok(Entry {
            id: self.id,
            expiry: Expiry {
                row: RowKey {
                    store: self.store.parse().map_err(|_| unknown())?,
                    host: self.host,
                    owner: self.owner,
                    archive_id: self.archive_id,
                    row_number: self.row_number.unwrap_or_default(),
                    stamped_at: self.stamped_at,
                    digest: self.digest,
                },
                copy_of: self.copy_of,
                start: Start { at: self.runs_from, by },
                due_at: self.due_at,
                reason: reason.unwrap_or(Reason::Timer),
                phase: self.phase.parse().map_err(|_| unknown())?,
                backlog: self.backlog,
                peer: self.peer,
                name: self.name.zip(self.sender).map(|(name, sender)| Name { name, sender }),
                follows: self
                    .follows
                    .zip(self.links)
                    .map(|(entry, links)| Follows { entry, links }),
            },
        })
    }
}
