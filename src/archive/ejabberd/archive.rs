use sqlx::{FromRow, PgConnection};

use super::{
    Schema,
    identity::{Identities, bind_identities},
    owner_of, stamp,
};
use crate::{
    archive::{Horizon, MAX_STANZA_BYTES, Row, Search, filenode, marks::*, position},
    database::{Named, Result},
    model::{RowKey, Store, bare_jid},
};

/// The archive's current horizon.
pub async fn horizon(connection: &mut PgConnection, schema: &Schema) -> Result<Horizon> {
    let (xmin, xmax, newest, now, server_started, filenode) = sqlx::query_as(schema.sql(concat!(
        "-- ejabberd_horizon
         SELECT pg_snapshot_xmin(snapshot)::text::bigint, pg_snapshot_xmax(snapshot)::text::bigint,
                coalesce((SELECT max(newest.stamp) FROM {hosts} CROSS JOIN LATERAL
                    (SELECT max(a.timestamp) AS stamp FROM archive AS a WHERE {host} = h.name) AS newest), 0),
                clock_timestamp(), pg_postmaster_start_time(), ",
        filenode!("archive"),
        " FROM pg_current_snapshot() AS snapshot",
    )))
    .fetch_one(connection)
    .await
    .named("ejabberd_horizon")?;
    Ok(Horizon { xmin, xmax, newest, sequence: 0, now, server_started, filenode })
}

/// The `timestamp` at which a span of the next `rows` rows after `after` ends, not beyond `upto`, and how
/// many rows it has; `None` at the end.
pub async fn span_end(
    connection: &mut PgConnection,
    schema: &Schema,
    (after, upto): (i64, i64),
    rows: i64,
) -> Result<Option<(i64, i64)>> {
    let (end, count): (Option<i64>, i64) = sqlx::query_as(schema.sql(
        "-- ejabberd_span_end
         SELECT max(timestamp), count(*)
           FROM (SELECT page.timestamp FROM {hosts} CROSS JOIN LATERAL
                    (SELECT a.timestamp FROM archive AS a
                      WHERE {host} = h.name AND a.timestamp > $1 AND a.timestamp <= $2
                      ORDER BY a.timestamp LIMIT $3) AS page
                  ORDER BY page.timestamp LIMIT $3) AS span",
    ))
    .bind(after)
    .bind(upto)
    .bind(rows)
    .fetch_one(connection)
    .await
    .named("ejabberd_span_end")?;
    Ok(end.map(|end| (end, count)))
}

/// These hosts' rows after `after` and up to `upto` that may be what is searched for, in order of `timestamp`: at most
/// `rows`, and at most `bytes` bytes of stanzas (but at least one row). Rows with the same `timestamp` come
/// together.
///
/// What is too large to be read is not searched either, which would take several times its size in the server's memory:
/// it may be marked. Compressed rows (`compress_xml`) contain the namespaces unchanged, so they are found, and count as
/// unreadable.
pub async fn candidates(
    connection: &mut PgConnection,
    schema: &Schema,
    (hosts, search): (&[String], Search<'_>),
    (after, upto): (i64, i64),
    (rows, bytes): (i64, i64),
) -> Result<Vec<Row>> {
    let found: Vec<StoredRow> = sqlx::query_as(schema.sql(concat!(
        "-- ejabberd_candidates
         SELECT a.server_host, a.username, a.timestamp, a.kind, a.bare_peer,
                CASE WHEN a.size <= $6 THEN a.xml END AS xml,
                CASE WHEN a.size <= $6 THEN a.digest ELSE '' END AS digest
           FROM (SELECT *, sum(least(size, $6)) OVER (ORDER BY timestamp
                               RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                   FROM (SELECT found.* FROM {hosts} CROSS JOIN LATERAL
                            (SELECT h.name AS server_host, a.username, a.timestamp, a.kind, a.bare_peer, a.xml,
                                    octet_length(a.xml) AS size,
                                    CASE WHEN octet_length(a.xml) <= $6 THEN {digest} END AS digest
                               FROM archive AS a
                              WHERE {host} = h.name AND a.timestamp > $1 AND a.timestamp <= $2
                                AND CASE a.kind
                                    WHEN 'chat' THEN h.name = ANY ($3)
                                    WHEN 'groupchat' THEN split_part(a.username, '@', 2) = ANY ($3)
                                    END
                                AND CASE WHEN octet_length(a.xml) > $6 THEN $7 ELSE $7 AND ",
        may_be_marked!("a.xml"),
        " OR $9 AND ",
        may_expire!("a.xml"),
        " OR ",
        may_belong!("a.xml", "split_part(a.username, '@', 1)", "$8::bytea"),
        " OR ",
        may_be_encrypted!("a.xml", "a.username", "$11::bytea"),
        " OR a.xml LIKE ANY ($10) END
                              ORDER BY a.timestamp FETCH FIRST ($4) ROWS WITH TIES) AS found
                          ORDER BY found.timestamp FETCH FIRST ($4) ROWS WITH TIES) AS page) AS a
          WHERE coalesce(a.before, 0) < $5
          ORDER BY a.timestamp",
    )))
    .bind(after)
    .bind(upto)
    .bind(hosts)
    .bind(rows)
    .bind(bytes)
    .bind(MAX_STANZA_BYTES)
    .bind(search.marked)
    .bind(search.belonging.bits())
    .bind(search.expiring)
    .bind(search.naming)
    .bind(search.encrypted.bits())
    .fetch_all(connection)
    .await
    .named("ejabberd_candidates")?;
    Ok(found.into_iter().filter_map(StoredRow::read).collect())
}

/// The rows with these (host, owner, archive id) in users' archives.
pub async fn archive_rows(
    connection: &mut PgConnection,
    schema: &Schema,
    ids: &[(&str, &str, &str)],
) -> Result<Vec<Row>> {
    // ejabberd's ids are numbers; anything else matches nothing.
    let stamps: Vec<i64> = ids.iter().map(|id| id.2.parse().unwrap_or(-1)).collect();
    let found: Vec<StoredRow> = sqlx::query_as(schema.sql(
        "-- ejabberd_archive_rows
         SELECT k.host AS server_host, a.username, a.timestamp, a.kind, a.bare_peer,
                CASE WHEN octet_length(a.xml) <= $4 THEN a.xml END AS xml,
                CASE WHEN octet_length(a.xml) <= $4 THEN {digest} ELSE '' END AS digest
           FROM unnest($1::text[], $2::text[], $3::bigint[]) AS k(host, owner, stamp)
           JOIN archive AS a
             ON {host} = k.host AND a.username = k.owner AND a.timestamp = k.stamp
          WHERE a.kind = 'chat'",
    ))
    .bind(ids.iter().map(|id| id.0.to_owned()).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.1.to_owned()).collect::<Vec<_>>())
    .bind(stamps)
    .bind(MAX_STANZA_BYTES)
    .fetch_all(connection)
    .await
    .named("ejabberd_archive_rows")?;
    Ok(found.into_iter().filter_map(StoredRow::read).collect())
}

/// This user's or room's rows with this id.
pub async fn find(
    connection: &mut PgConnection,
    schema: &Schema,
    (host, owner): (&str, &str),
    archive_id: &str,
) -> Result<Vec<Row>> {
    let mut rows = archive_rows(connection, schema, &[(host, owner, archive_id)]).await?;
    let found: Vec<StoredRow> = sqlx::query_as(schema.sql(
        "-- ejabberd_find_in_room
         SELECT h.name AS server_host, a.username, a.timestamp, a.kind, a.bare_peer,
                CASE WHEN octet_length(a.xml) <= $3 THEN a.xml END AS xml,
                CASE WHEN octet_length(a.xml) <= $3 THEN {digest} ELSE '' END AS digest
           FROM {hosts}
           JOIN archive AS a
             ON {host} = h.name AND a.username = $1 AND a.timestamp = $2
          WHERE a.kind = 'groupchat'",
    ))
    .bind(bare_jid(owner, host))
    .bind(archive_id.parse().unwrap_or(-1_i64))
    .bind(MAX_STANZA_BYTES)
    .fetch_all(connection)
    .await
    .named("ejabberd_find_in_room")?;
    rows.extend(found.into_iter().filter_map(StoredRow::read));
    Ok(rows)
}

/// Which of these rows still exist, by position.
pub(super) async fn still_there(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
) -> Result<Vec<usize>> {
    let select = sqlx::query_scalar(schema.sql(
        "-- ejabberd_still_there
         SELECT DISTINCT k.position FROM {archived}",
    ));
    let found: Vec<i64> = bind_identities!(select, Identities::of(keys.iter().copied()))
        .fetch_all(connection)
        .await
        .named("ejabberd_still_there")?;
    Ok(found.into_iter().filter_map(position).collect())
}

#[derive(FromRow)]
pub(super) struct StoredRow {
    server_host: String,
    username: String,
    timestamp: i64,
    kind: String,
    bare_peer: String,
    xml: Option<String>,
    digest: Vec<u8>,
}

impl StoredRow {
    /// `None` if it belongs to neither a user nor a room.
    pub(super) fn read(self) -> Option<Row> {
        let (store, owner, host) = owner_of(&self.kind, self.username, self.server_host)?;
        let stamp = stamp(self.timestamp);
        let key = RowKey {
            store,
            host,
            owner,
            archive_id: self.timestamp.to_string(),
            row_number: self.timestamp,
            stamped_at: stamp.at,
            digest: self.digest,
        };
        let sender = (store == Store::Room).then_some(self.bare_peer);
        Some(Row { key, stamp, xml: self.xml, sender })
    }
}
