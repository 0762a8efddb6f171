//! Deleting rows of `archive` by age, many in one statement.

use sqlx::PgConnection;

use super::{
    Schema,
    old::{bind_scopes, entries, of_chat},
};
use crate::{
    archive::{Beside, Scope, TakenAll},
    database::{Named, Result},
};

/// Rows are found by owner and time, and deleted by their identity and their place. Their digests are computed only where
/// something is kept of their owner.
const DELETE: &str = "-- ejabberd_delete_old
    WITH k AS MATERIALIZED (
        SELECT k.*, f.timestamp AS first, n.newest, {is_kept} AS is_kept
          FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],
                      $8::text[], $9::text[], $10::text[])
               WITH ORDINALITY AS k(host, username, kind, upto, stamp, chat, of_host, of_owner, of_store, position)
         CROSS JOIN {first} AS f
         CROSS JOIN {newest} AS n
         WHERE f.is_old),
    old AS MATERIALIZED (
        SELECT k.position, k.of_host, k.of_owner, k.of_store, k.host, k.username, k.kind, k.is_kept, a.*,
               a.number IS DISTINCT FROM k.newest AS goes
          FROM (SELECT * FROM k ORDER BY position) AS k
         CROSS JOIN LATERAL (
               SELECT a.tableoid AS part, a.ctid AS place, a.timestamp AS number,
                      CASE WHEN k.is_kept THEN a.timestamp::text END AS archive_id,
                      CASE WHEN k.is_kept THEN {digest} END AS digest
                 FROM archive AS a
                WHERE {host} = k.host AND a.username = k.username AND a.kind = k.kind
                  AND a.timestamp >= k.first AND a.timestamp <= k.upto {chat}
                ORDER BY a.timestamp FETCH FIRST ($7) ROWS WITH TIES) AS a
         ORDER BY k.position, a.number FETCH FIRST ($7) ROWS WITH TIES),
    {deletes},
    gone AS (
        DELETE FROM archive AS a USING old AS k
         WHERE {is_free} AND k.goes AND a.tableoid = k.part AND a.ctid = k.place
           AND {host} = k.host AND a.username = k.username AND a.timestamp = k.number AND a.kind = k.kind
        RETURNING k.position)
    SELECT o.position, o.rows, coalesce(g.rows, 0), o.newest - 1, CASE WHEN o.newest IS NOT NULL THEN 0::bigint END,
           l.number, 0::bigint
      FROM (SELECT position, count(*) FILTER (WHERE goes) AS rows, max(number) FILTER (WHERE NOT goes) AS newest
              FROM old GROUP BY position) AS o
      LEFT JOIN (SELECT position, count(*) AS rows FROM gone GROUP BY position) AS g ON g.position = o.position
     CROSS JOIN (SELECT number FROM old ORDER BY position DESC, number DESC LIMIT 1) AS l
     ORDER BY o.position";

/// Deletes rows that are too old, scope by scope, by stamp. Rows of an owner with the same stamp go together.
pub async fn delete_old(
    connection: &mut PgConnection,
    schema: &Schema,
    scopes: &[Scope],
    (rows, beside): (i64, Beside),
) -> Result<TakenAll> {
    let delete = entries(schema, DELETE)
        .replace("{chat}", of_chat(scopes))
        .replace("{is_kept}", beside.is_kept)
        .replace("{deletes}", beside.deletes)
        .replace("{is_free}", beside.is_free);
    let delete = sqlx::query_as(schema.sql(&delete));
    let column = |of: fn(&Scope) -> String| scopes.iter().map(of).collect::<Vec<_>>();
    let found = bind_scopes!(delete, scopes)
        .bind(rows)
        .bind(column(|it| it.host.clone()))
        .bind(column(|it| it.owner.clone()))
        .bind(column(|it| it.store.to_string()))
        .fetch_all(connection)
        .await
        .named("ejabberd_delete_old")?;
    Ok(TakenAll::read(found, rows))
}
