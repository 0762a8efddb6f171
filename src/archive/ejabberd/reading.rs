//! What shows that a message was read: markers, replies and reactions in the owner's archive. ejabberd keeps there only
//! what has a body or asks to be stored.

use sqlx::{FromRow, PgConnection};

use super::{Schema, stamp};
use crate::{
    archive::{
        Sought, Trace,
        marks::*,
        position,
        reading::{MOST_BYTES, MOST_NAMESAKES, bind_sought},
    },
    database::{Named, Result},
    model::ReadEvidence,
};

/// The rows of users after `after` and up to `upto` that may show that something was read, in order of `timestamp`; rows
/// of one `timestamp` come together.
pub async fn traces(
    connection: &mut PgConnection,
    schema: &Schema,
    hosts: &[String],
    (after, upto): (i64, i64),
    (rows, evidence): (i64, ReadEvidence),
) -> Result<Vec<Trace>> {
    let ReadEvidence { markers, replies, .. } = evidence;
    let found: Vec<StoredTrace> = sqlx::query_as(schema.sql(concat!(
        "-- ejabberd_traces
         SELECT h.name AS server_host, a.username, a.timestamp, a.xml
           FROM {hosts} JOIN archive AS a ON {host} = h.name
          WHERE h.name = ANY ($3) AND a.timestamp > $1 AND a.timestamp <= $2 AND a.kind = 'chat'
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
    .fetch_all(connection)
    .await
    .named("ejabberd_traces")?;
    Ok(found.into_iter().map(StoredTrace::read).collect())
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

#[derive(FromRow)]
struct StoredTrace {
    server_host: String,
    username: String,
    timestamp: i64,
    xml: String,
}

impl StoredTrace {
    fn read(self) -> Trace {
        Trace {
            host: self.server_host,
            owner: self.username,
            row_number: self.timestamp,
            stamp: stamp(self.timestamp),
            item: None,
            xml: self.xml,
        }
    }
}
