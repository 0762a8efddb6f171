//! Owners whose rows may be gone, because their account or room was removed.

use sqlx::PgConnection;

use super::{Entry, walk::StoredEntry};
use crate::{
    database::{Error, Named, Result},
    model::RowKey,
};

/// Of each of the next `owners` local parts after `after`, in order, one row for each of its hosts and stores, as far as its
/// first and last entries and first quotes tell them; and the last of these local parts, if there may be more. Rows of
/// queues are not among them: whoever notices deliveries looks at these all the time.
pub async fn sampled_rows(
    connection: &mut PgConnection,
    after: &str,
    owners: i32,
) -> Result<(Vec<RowKey>, Option<String>)> {
    const NAME: &str = "sampled_rows";
    // Loose scans over the indexes by identity: a few probes for each owner, however much it has.
    let found = sqlx::query!(
        r#"-- sampled_rows
        WITH RECURSIVE local(part, number) AS (
            SELECT least((SELECT min(owner) FROM ephemerd.expiries WHERE owner > $1),
                         (SELECT min(owner) FROM ephemerd.quotes WHERE owner > $1)), 1
            UNION ALL
            SELECT least((SELECT min(e.owner) FROM ephemerd.expiries AS e WHERE e.owner > local.part),
                         (SELECT min(q.owner) FROM ephemerd.quotes AS q WHERE q.owner > local.part)), number + 1
              FROM local WHERE part IS NOT NULL AND number < $2)
        SELECT local.part AS "owner!", local.number AS "number!", s.store AS "store?", s.host AS "host?",
               s.archive_id AS "archive_id?", s.row_number, s.stamped_at AS "stamped_at?", s.digest AS "digest?"
          FROM local LEFT JOIN LATERAL (
               SELECT DISTINCT ON (host, store) *
                 FROM ((SELECT store, host, archive_id, row_number, stamped_at, digest
                          FROM ephemerd.expiries AS e WHERE e.owner = local.part
                         ORDER BY e.owner, e.archive_id LIMIT 4)
                       UNION ALL
                       (SELECT store, host, archive_id, row_number, stamped_at, digest
                          FROM ephemerd.expiries AS e WHERE e.owner = local.part
                         ORDER BY e.owner DESC, e.archive_id DESC LIMIT 4)
                       UNION ALL
                       (SELECT store, host, archive_id, row_number, stamped_at, digest
                          FROM ephemerd.quotes AS q WHERE q.owner = local.part
                         ORDER BY q.owner, q.archive_id LIMIT 4)) AS named
                WHERE store <> 'queue'
                ORDER BY host, store, archive_id) AS s ON true
         WHERE local.part IS NOT NULL
         ORDER BY local.number, s.host, s.store"#,
        after,
        owners,
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    let last = found.last().filter(|it| it.number >= owners).map(|it| it.owner.clone());
    let mut rows = Vec::new();
    for row in found {
        let (Some(store), Some(host), Some(archive_id), Some(stamped_at), Some(digest)) =
            (row.store, row.host, row.archive_id, row.stamped_at, row.digest)
        else {
            continue;
        };
        let unknown = |_| Error::unexpected(NAME, "the ledger contains an unknown name");
        rows.push(RowKey {
            store: store.parse().map_err(unknown)?,
            host,
            owner: row.owner,
            archive_id,
            row_number: row.row_number.unwrap_or_default(),
            stamped_at,
            digest,
        });
    }
    Ok((rows, last))
}

/// Locks the next entries of one owner (host and local part) after the entry `after`, in order, at most `rows`; not those in
/// queues, nor those that another session has locked. What they say then stays so.
pub async fn lock_entries_of_owner(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    after: i64,
    rows: i64,
) -> Result<Vec<Entry>> {
    let found = sqlx::query_as!(
        StoredEntry,
        r#"-- lock_entries_of_owner
        SELECT 0::bigint AS "position!", id, store, host, owner, archive_id, row_number, stamped_at,
               digest, copy_of, runs_from, started_by, due_at, reason, phase, backlog, peer,
               name, sender, follows, links
          FROM ephemerd.expiries
         WHERE owner = $1 AND host = $2 AND store <> 'queue' AND id > $3
         ORDER BY id
         LIMIT $4
           FOR UPDATE SKIP LOCKED"#,
        owner,
        host,
        after,
        rows,
    )
    .fetch_all(connection)
    .await
    .named("lock_entries_of_owner")?;
    found.into_iter().map(|row| row.read("lock_entries_of_owner")).collect()
}

/// The next quotes of one owner (host and local part) after the quote `after`, in order, at most `rows`: their ids and rows.
pub async fn quotes_of_owner(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    after: i64,
    rows: i64,
) -> Result<Vec<(i64, RowKey)>> {
    const NAME: &str = "quotes_of_owner";
    let found = sqlx::query!(
        "-- quotes_of_owner
         SELECT id, store, host, owner, archive_id, row_number, stamped_at, digest
           FROM ephemerd.quotes
          WHERE owner = $1 AND host = $2 AND id > $3
          ORDER BY id
          LIMIT $4",
        owner,
        host,
        after,
        rows,
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    let mut quotes = Vec::new();
    for row in found {
        let unknown = |_| Error::unexpected(NAME, "the ledger contains an unknown name");
        let key = RowKey {
            store: row.store.parse().map_err(unknown)?,
            host: row.host,
            owner: row.owner,
            archive_id: row.archive_id,
            row_number: row.row_number,
            stamped_at: row.stamped_at,
            digest: row.digest,
        };
        quotes.push((row.id, key));
    }
    Ok(quotes)
}

/// Forgets what is known of an owner (host and local part) of whom the archive has no row left, apart from entries and
/// quotes: the date of what its client last showed as read, and which messages nobody has received.
pub async fn forget_owner(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
) -> Result<()> {
    sqlx::query!(
        "-- forget_owner
         WITH reader AS (DELETE FROM ephemerd.readers WHERE owner = $1 AND host = $2)
         DELETE FROM ephemerd.undelivered WHERE owner = $1 AND host = $2",
        owner,
        host,
    )
    .execute(connection)
    .await
    .named("forget_owner")?;
    Ok(())
}
