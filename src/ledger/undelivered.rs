//! Which messages nobody has received: a copy is in the offline queue, or the companion module reported it.

use sqlx::PgConnection;

use super::{Entry, record::position, walk::StoredEntry};
use crate::{
    database::{Named, Result},
    model::RowId,
};

/// Which of these archive rows nobody has received, by position: the offline queue still has a copy, or the
/// companion module reported it.
pub async fn undelivered(connection: &mut PgConnection, rows: &[RowId<'_>]) -> Result<Vec<usize>> {
    let column = |of: fn(&RowId<'_>) -> String| rows.iter().map(of).collect::<Vec<String>>();
    let found = sqlx::query_scalar!(
        r#"-- undelivered
        WITH k AS (
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
                          WITH ORDINALITY AS k(store, host, owner, archive_id, position))
        SELECT k.position AS "position!"
          FROM k JOIN ephemerd.expiries AS q
            ON q.owner = k.owner AND q.copy_of = k.archive_id AND q.host = k.host
         WHERE q.store = 'queue' AND q.phase = 'pending'
        UNION
        SELECT k.position
          FROM k JOIN ephemerd.undelivered AS u
            ON u.owner = k.owner AND u.archive_id = k.archive_id AND u.host = k.host
         WHERE k.store = 'archive'"#,
        &column(|it| it.store.to_string()),
        &column(|it| it.host.to_owned()),
        &column(|it| it.owner.to_owned()),
        &column(|it| it.archive_id.to_owned()),
    )
    .fetch_all(connection)
    .await
    .named("undelivered")?;
    Ok(found.into_iter().filter_map(position).collect())
}

/// Local parts of users, on any host, with messages that nobody has received: at most this many for each reason, the first by
/// name.
pub async fn undelivered_users(connection: &mut PgConnection, users: usize) -> Result<Vec<String>> {
    // Loose scans over the indexes: one probe a user, however much waits.
    sqlx::query_scalar!(
        r#"-- undelivered_users
        WITH RECURSIVE queued(owner, number) AS (
            SELECT min(owner), 1 FROM ephemerd.expiries WHERE store = 'queue'
            UNION ALL
            SELECT (SELECT min(q.owner) FROM ephemerd.expiries AS q WHERE q.store = 'queue' AND q.owner > queued.owner),
                   number + 1
              FROM queued WHERE owner IS NOT NULL AND number < $1),
        reported(owner, number) AS (
            SELECT min(owner), 1 FROM ephemerd.undelivered
            UNION ALL
            SELECT (SELECT min(u.owner) FROM ephemerd.undelivered AS u WHERE u.owner > reported.owner), number + 1
              FROM reported WHERE owner IS NOT NULL AND number < $1)
        SELECT owner AS "owner!" FROM queued WHERE owner IS NOT NULL
        UNION
        SELECT owner FROM reported WHERE owner IS NOT NULL"#,
        i32::try_from(users).unwrap_or(i32::MAX),
    )
    .fetch_all(connection)
    .await
    .named("undelivered_users")
}

/// The rows of these owners' archives (host, local part) that wait because nobody has received them: host, owner, archive id,
/// the newest first, at most `rows`.
pub async fn undelivered_rows(
    connection: &mut PgConnection,
    owners: &[(&str, &str)],
    rows: i64,
) -> Result<Vec<(String, String, String)>> {
    let found = sqlx::query!(
        r#"-- undelivered_rows
        WITH k AS (SELECT * FROM unnest($1::text[], $2::text[]) AS k(host, owner)),
        waits AS (
            SELECT q.host, q.owner, q.copy_of AS archive_id
              FROM k JOIN ephemerd.expiries AS q ON q.owner = k.owner AND q.host = k.host
             WHERE q.store = 'queue' AND q.phase = 'pending'
            UNION
            SELECT u.host, u.owner, u.archive_id
              FROM k JOIN ephemerd.undelivered AS u ON u.owner = k.owner AND u.host = k.host)
        SELECT e.host, e.owner, e.archive_id
          FROM waits JOIN ephemerd.expiries AS e
            ON e.owner = waits.owner AND e.archive_id = waits.archive_id AND e.host = waits.host
         WHERE e.store = 'archive' AND e.phase = 'pending' AND e.reason = 'undelivered'
         ORDER BY e.row_number DESC, e.id
         LIMIT $3"#,
        &owners.iter().map(|it| it.0.to_owned()).collect::<Vec<_>>(),
        &owners.iter().map(|it| it.1.to_owned()).collect::<Vec<_>>(),
        rows,
    )
    .fetch_all(connection)
    .await
    .named("undelivered_rows")?;
    Ok(found.into_iter().map(|it| (it.host, it.owner, it.archive_id)).collect())
}

/// The entries of these rows of an owner's archive that are not erased yet.
pub async fn archived_under(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    archive_ids: &[String],
) -> Result<Vec<Entry>> {
    let found = sqlx::query_as!(
        StoredEntry,
        r#"-- archived_under
        SELECT 0::bigint AS "position!", id, store, host, owner, archive_id, row_number, stamped_at,
               digest, copy_of, runs_from, started_by, due_at, reason, phase, backlog, peer,
               name, sender, follows, links
          FROM ephemerd.expiries
         WHERE owner = $1 AND archive_id = ANY ($2) AND host = $3 AND store = 'archive' AND phase = 'pending'
         ORDER BY id"#,
        owner,
        archive_ids,
        host,
    )
    .fetch_all(connection)
    .await
    .named("archived_under")?;
    found.into_iter().map(|row| row.read("archived_under")).collect()
}

/// Records that nobody has received these rows of an owner's archive. In the lock order, entries come first.
pub async fn note_undelivered(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    archive_ids: &[String],
) -> Result<()> {
    sqlx::query!(
        "-- note_undelivered
         INSERT INTO ephemerd.undelivered (host, owner, archive_id)
         SELECT $1, $2, id FROM unnest($3::text[]) AS k(id) ORDER BY id
         ON CONFLICT DO NOTHING",
        host,
        owner,
        archive_ids,
    )
    .execute(connection)
    .await
    .named("note_undelivered")?;
    Ok(())
}

/// Records that these archive rows were received, or that their text is gone: (host, owner, archive id).
pub async fn end_undelivered(
    connection: &mut PgConnection,
    ids: &[(&str, &str, &str)],
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&(&str, &str, &str)) -> String| ids.iter().map(of).collect::<Vec<_>>();
    sqlx::query!(
        "-- end_undelivered
         DELETE FROM ephemerd.undelivered AS u
          USING unnest($1::text[], $2::text[], $3::text[]) AS k(host, owner, archive_id)
          WHERE u.owner = k.owner AND u.archive_id = k.archive_id AND u.host = k.host",
        &column(|it| it.0.to_owned()),
        &column(|it| it.1.to_owned()),
        &column(|it| it.2.to_owned()),
    )
    .execute(connection)
    .await
    .named("end_undelivered")?;
    Ok(())
}

/// Deletes what is known of rows that a sweep found no entry for: they are gone or no longer marked.
pub(super) async fn forget_undelivered(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "-- forget_undelivered
         DELETE FROM ephemerd.undelivered AS u
          WHERE u.since < clock_timestamp() - interval '1 day'
            AND NOT EXISTS (
                SELECT FROM ephemerd.expiries AS e
                 WHERE e.owner = u.owner AND e.archive_id = u.archive_id AND e.host = u.host
                   AND e.store = 'archive' AND e.phase = 'pending')",
    )
    .execute(connection)
    .await
    .named("forget_undelivered")?;
    Ok(())
}
