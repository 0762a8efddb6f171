//! The ledger by owner, for archives that are listed owner by owner.

use sqlx::PgConnection;

use super::{Entry, walk::StoredEntry};
use crate::{
    database::{Named, Result},
    model::Store,
};

/// The newest entry's id; what is recorded later has a higher one. 0 in an empty ledger.
pub async fn newest_entry(connection: &mut PgConnection) -> Result<i64> {
    sqlx::query_scalar!(
        r#"-- newest_entry
        SELECT coalesce(max(id), 0) AS "id!" FROM ephemerd.expiries"#,
    )
    .fetch_one(connection)
    .await
    .named("newest_entry")
}

/// Owners with entries in this store of a host, in byte order of their JIDs: after one (the first if empty),
/// up to another (the last if `None`), at most `owners`.
pub async fn owners(
    connection: &mut PgConnection,
    (host, store): (&str, Store),
    (after, upto): (&str, Option<&str>),
    owners: i64,
) -> Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"-- owners
        SELECT owner
          FROM (SELECT DISTINCT owner FROM ephemerd.expiries WHERE host = $1 AND store = $2) AS known
         WHERE ($3 = '' OR (owner || '@') COLLATE "C" > ($3 || '@') COLLATE "C")
           AND ($4::text IS NULL OR (owner || '@') COLLATE "C" <= ($4 || '@') COLLATE "C")
         ORDER BY (owner || '@') COLLATE "C"
         LIMIT $5"#,
        host,
        store.as_str(),
        after,
        upto,
        owners,
    )
    .fetch_all(connection)
    .await
    .named("owners")
}

/// One owner's entries in this store of a host that are older than a newer one, after the entry `after`, in
/// order, at most `rows`.
pub async fn entries_of_owner(
    connection: &mut PgConnection,
    (host, owner, store): (&str, &str, Store),
    (after, upto): (i64, i64),
    rows: i64,
) -> Result<Vec<Entry>> {
    let found = sqlx::query_as!(
        StoredEntry,
        r#"-- entries_of_owner
        SELECT 0::bigint AS "position!", id, store, host, owner, archive_id, row_number, stamped_at,
               digest, copy_of, runs_from, started_by, due_at, reason, phase, backlog, peer,
               name, sender, follows, links
          FROM ephemerd.expiries
         WHERE owner = $1 AND host = $2 AND store = $3 AND id > $4 AND id <= $5
         ORDER BY id
         LIMIT $6"#,
        owner,
        host,
        store.as_str(),
        after,
        upto,
        rows,
    )
    .fetch_all(connection)
    .await
    .named("entries_of_owner")?;
    found.into_iter().map(|row| row.read("entries_of_owner")).collect()
}
