//! What shows that a message was read: markers, replies and reactions in the owner's or the room's archive. ejabberd keeps there only
//! what has a body or asks to be stored.

use sqlx::{FromRow, PgConnection};

use super::{Schema, kind, owner_of, stamp};
use crate::{
    archive::{
        Looks, Sought, Trace,
        marks::*,
        position,
        reading::{MOST_BYTES, MOST_NAMESAKES, bind_sought},
    },
    database::{Named, Result},
    model::{ReadEvidence, Store},
};

/// The rows after `after` and up to `upto` that may show that something was read, in order of `timestamp`; rows
/// of one `timestamp` come together.
pub async fn traces(
    connection: &mut PgConnection,
    schema: &Schema,
    hosts: &[String],
    (after, upto): (i64, i64),
    (rows, looks): (i64, Looks),
) -> Result<Vec<Trace>> {
    let Looks { users, rooms, evidence: ReadEvidence { markers, replies, .. } } = looks;
    let found: Vec<StoredTrace> = sqlx::query_as(schema.sql(concat!(
        "-- ejabberd_traces
         SELECT h.name AS server_host, a.username, a.timestamp, a.kind, a.bare_peer, a.xml
           FROM {hosts} JOIN archive AS a ON {host} = h.name
          WHERE a.timestamp > $1 AND a.timestamp <= $2
            AND CASE a.kind
                WHEN 'chat' THEN $8 AND h.name = ANY ($3)
                WHEN 'groupchat' THEN $9 AND split_part(a.username, '@', 2) = ANY ($3)
                END
            AND octet_length(a.xml) <= $4 AND ",
        may_show_reading!("a.xml", "$5", "$6"),
        "
          ORDER BY a.timestamp FETCH FIRST ($7) ROWS WITH TIES",
    )))
    .bind(after)
    .bind(upto)
    .bind(hosts)
    .bind(MOST_BYTES)
    .bind(markers)
    .bind(replies)
    .bind(rows)
    .bind(users)
    .bind(rooms)
    .fetch_all(connection)
    .await
    .named("ejabberd_traces")?;
    Ok(found.into_iter().filter_map(StoredTrace::read).collect())
}

/// Rows whose text contains these ids, the newest first.
pub async fn rows_naming(
    connection: &mut PgConnection,
    schema: &Schema,
    sought: &[Sought<'_>],
) -> Result<Vec<(usize, i64, String)>> {
    let select = sqlx::query_as(schema.sql(
        "-- ejabberd_rows_naming
         SELECT k.position, a.timestamp, a.xml
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
                WITH ORDINALITY AS k(host, owner, chat, id, since, upto, position)
          CROSS JOIN LATERAL (
                SELECT a.timestamp, a.xml
                  FROM archive AS a
                 WHERE {host} = k.host AND a.username = k.owner AND a.bare_peer = k.chat AND a.kind = 'chat'
                   AND a.timestamp >= k.since AND a.timestamp <= k.upto
                   AND octet_length(a.xml) <= $7 AND strpos(a.xml, k.id) > 0
                 ORDER BY a.timestamp DESC LIMIT $8) AS a
          ORDER BY k.position, a.timestamp DESC",
    ));
    let found: Vec<(i64, i64, String)> = bind_sought!(select, sought)
        .bind(sought.iter().map(|it| it.since.at.timestamp_micros()).collect::<Vec<_>>())
        .bind(sought.iter().map(|it| it.upto).collect::<Vec<_>>())
        .bind(MOST_BYTES)
        .bind(MOST_NAMESAKES)
        .fetch_all(connection)
        .await
        .named("ejabberd_rows_naming")?;
    let placed =
        found.into_iter().filter_map(|(at, number, xml)| Some((position(at)?, number, xml)));
    Ok(placed.collect())
}

/// The rows of these chats that have these ids, which are their stamps.
pub async fn rows_archived_as(
    connection: &mut PgConnection,
    schema: &Schema,
    sought: &[Sought<'_>],
) -> Result<Vec<(usize, i64)>> {
    let stamps: Vec<i64> = sought.iter().map(|it| it.id.parse().unwrap_or(-1)).collect();
    let select = sqlx::query_as(schema.sql(
        "-- ejabberd_rows_archived_as
         SELECT k.position, a.timestamp
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
                WITH ORDINALITY AS k(host, owner, chat, id, stamp, kind, position)
           JOIN {hosts} ON k.kind = 'groupchat' OR h.name = k.host
           JOIN archive AS a
             ON {host} = h.name AND a.timestamp = k.stamp AND a.kind = k.kind
            AND a.username = CASE k.kind WHEN 'chat' THEN k.owner ELSE k.chat END
            AND (k.kind = 'groupchat' OR a.bare_peer = k.chat)",
    ));
    let found: Vec<(i64, i64)> = bind_sought!(select, sought)
        .bind(stamps)
        .bind(sought.iter().map(|it| kind(it.store)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .named("ejabberd_rows_archived_as")?;
    Ok(found.into_iter().filter_map(|(at, number)| Some((position(at)?, number))).collect())
}

#[derive(FromRow)]
struct StoredTrace {
    server_host: String,
    username: String,
    timestamp: i64,
    kind: String,
    bare_peer: String,
    xml: String,
}

impl StoredTrace {
    /// `None` if it belongs to neither a user nor a room.
    fn read(self) -> Option<Trace> {
        let (store, owner, host) = owner_of(&self.kind, self.username, self.server_host)?;
        Some(Trace {
            store,
            host,
            owner,
            row_number: self.timestamp,
            stamp: stamp(self.timestamp),
            item: None,
            xml: self.xml,
            sender: (store == Store::Room).then_some(self.bare_peer),
        })
    }
}
