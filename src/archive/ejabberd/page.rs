use sqlx::PgConnection;

use super::{Schema, archive, kind, old::entries, spool};
use crate::{
    archive::{MAX_STANZA_BYTES, Row, Scope},
    database::{Named, Result},
};

/// Rows of `archive`: see [`crate::archive::Table::page`]. Rows with the same stamp come together.
pub async fn page(
    connection: &mut PgConnection,
    schema: &Schema,
    scope: &Scope,
    (rows, bytes): (i64, i64),
) -> Result<Vec<Row>> {
    // Asked for one owner's rows by time alone, PostgreSQL may read the index that has no owner: see `old`.
    let select = entries(
        schema,
        "-- ejabberd_page
         SELECT a.server_host, a.username, a.timestamp, a.kind, a.bare_peer,
                CASE WHEN a.size <= $7 THEN a.xml END AS xml, ''::bytea AS digest
           FROM (SELECT *, sum(least(size, $7)) OVER (ORDER BY timestamp
                               RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                   FROM (SELECT {host} AS server_host, a.username, a.timestamp, a.kind, a.bare_peer, a.xml,
                                octet_length(a.xml) AS size
                           FROM (SELECT $1::text AS host, $2::text AS username, $4::bigint AS stamp) AS k
                           JOIN archive AS a ON {host} = k.host AND a.username = k.username
                          WHERE ({entry}) > ({key}, k.stamp) AND a.kind = $3
                          ORDER BY {entry} FETCH FIRST ($5) ROWS WITH TIES) AS page) AS a
          WHERE coalesce(a.before, 0) < $6
          ORDER BY a.timestamp",
    );
    let found: Vec<archive::StoredRow> = sqlx::query_as(schema.sql(&select))
        .bind(&scope.holder.host)
        .bind(&scope.holder.owner)
        .bind(kind(scope.store))
        .bind(scope.after.0)
        .bind(rows)
        .bind(bytes)
        .bind(MAX_STANZA_BYTES)
        .fetch_all(connection)
        .await
        .named("ejabberd_page")?;
    Ok(found.into_iter().filter_map(archive::StoredRow::read).collect())
}

/// The same of `spool`, in the order of `seq`.
pub async fn queue_page(
    connection: &mut PgConnection,
    schema: &Schema,
    scope: &Scope,
    (rows, bytes): (i64, i64),
) -> Result<Vec<Row>> {
    let found: Vec<spool::StoredRow> = sqlx::query_as(schema.sql(
        "-- spool_page
         SELECT server_host, username, seq, stamped_at, CASE WHEN size <= $6 THEN xml END AS xml, ''::bytea AS digest
           FROM (SELECT *, sum(least(size, $6)) OVER (ORDER BY seq) - least(size, $6) AS before
                   FROM (SELECT {host} AS server_host, a.username, a.seq::bigint AS seq, a.xml,
                                a.created_at AT TIME ZONE 'UTC' AS stamped_at, octet_length(a.xml) AS size
                           FROM spool AS a
                          WHERE {host} = $1 AND a.username = $2 AND a.seq > $3
                          ORDER BY a.seq LIMIT $4) AS page) AS sized
          WHERE before < $5
          ORDER BY seq",
    ))
    .bind(&scope.holder.host)
    .bind(&scope.holder.owner)
    .bind(scope.after.1)
    .bind(rows)
    .bind(bytes)
    .bind(MAX_STANZA_BYTES)
    .fetch_all(connection)
    .await
    .named("spool_page")?;
    Ok(found.into_iter().map(spool::StoredRow::read).collect())
}
