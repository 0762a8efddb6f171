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
               digest, copy_of, runs_from, started_by, due_at, reason, phase, backlog, peer
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
