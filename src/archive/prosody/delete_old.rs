//! Deleting rows by age, many in one statement.

use sqlx::{AssertSqlSafe, PgConnection};

use super::old::{bind_scopes, of_chat};
use crate::{
    archive::{Beside, Scope, TakenAll},
    database::{Named, Result},
};

/// Rows are found by owner and time, and deleted by their whole identity and their place. `k` is read in order and stops
/// where `old` has enough.
const DELETE: &str = r#"-- prosody_delete_old
    WITH k AS MATERIALIZED (
        SELECT k.*, n.newest, {is_kept} AS is_kept
          FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::text[], $9::text[])
               WITH ORDINALITY AS k(of_host, of_owner, store, kept_from, stamp, number, chat, of_store, position)
         CROSS JOIN LATERAL (
               SELECT CASE WHEN m.host = k.of_host AND m."user" = k.of_owner AND m.store = k.store
                           THEN m.sort_id END AS newest
                 FROM prosodyarchive AS m
                WHERE (m.host, m."user", m.store, m.sort_id) <= (k.of_host, k.of_owner, k.store, 9223372036854775807)
                ORDER BY m.host DESC, m."user" DESC, m.store DESC, m.sort_id DESC LIMIT 1) AS n),
    old AS MATERIALIZED (
        SELECT k.position, k.of_host, k.of_owner, k.of_store, k.store, k.is_kept, a.*, ''::bytea AS digest,
               k.store = 'offline' OR a.sort_id IS DISTINCT FROM k.newest AS goes
          FROM (SELECT * FROM k ORDER BY position) AS k
         CROSS JOIN LATERAL (
               SELECT o.tableoid AS part, o.ctid AS place, o.sort_id, o."when" AS stamped, o.key AS archive_id
                 FROM prosodyarchive AS o
                WHERE o.host = k.of_host AND o."user" = k.of_owner AND o.store = k.store
                  AND o."when" < k.kept_from AND o."when" >= k.stamp
                  AND (o."when" > k.stamp OR o.sort_id > k.number) {chat}
                ORDER BY o."when", o.sort_id LIMIT $8) AS a
         ORDER BY k.position, a.stamped, a.sort_id LIMIT $8),
    {deletes},
    gone AS (
        DELETE FROM prosodyarchive AS a USING old AS k
         WHERE {is_free} AND k.goes AND a.tableoid = k.part AND a.ctid = k.place
           AND a.sort_id = k.sort_id AND a.host = k.of_host AND a."user" = k.of_owner
           AND a.store = k.store AND a.key = k.archive_id AND a."when" = k.stamped
        RETURNING k.position)
    SELECT o.position, o.rows, coalesce(g.rows, 0), o.newest_stamp, o.newest_number - 1, l.stamped::bigint, l.sort_id
      FROM (SELECT position, count(*) FILTER (WHERE goes) AS rows,
                   max(stamped) FILTER (WHERE NOT goes)::bigint AS newest_stamp,
                   max(sort_id) FILTER (WHERE NOT goes)::bigint AS newest_number
              FROM old GROUP BY position) AS o
      LEFT JOIN (SELECT position, count(*) AS rows FROM gone GROUP BY position) AS g ON g.position = o.position
     CROSS JOIN (SELECT stamped, sort_id::bigint FROM old
                  ORDER BY position DESC, stamped DESC, sort_id DESC LIMIT 1) AS l
     ORDER BY o.position"#;

/// Deletes rows that are too old, scope by scope, by stamp and number.
pub async fn delete_old(
    connection: &mut PgConnection,
    scopes: &[Scope],
    rows: i64,
    beside: Beside,
) -> Result<TakenAll> {
    let delete = DELETE
        .replace("{chat}", &of_chat(scopes, "o"))
        .replace("{is_kept}", beside.is_kept)
        .replace("{deletes}", beside.deletes)
        .replace("{is_free}", beside.is_free);
    let delete = sqlx::query_as(AssertSqlSafe(delete));
    let found = bind_scopes!(delete, scopes)
        .bind(rows)
        .bind(scopes.iter().map(|it| it.store.to_string()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .named("prosody_delete_old")?;
    Ok(TakenAll::read(found, rows))
}
