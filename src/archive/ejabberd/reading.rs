//! What shows that a message was read: markers, replies and reactions in the owner's or the room's archive. ejabberd keeps
//! there only what has a body or asks to be stored.

use sqlx::{FromRow, PgConnection};

use super::{Schema, kind, owner_of, stamp};
use crate::{
    archive::{
        Looks, Sought, Trace,
        marks::*,
        position,
        reading::{
            MOST_BYTES, MOST_NAMESAKES, MOST_RECENT, MOST_RECENT_BYTES, NEWEST, bind_sought,
        },
    },
    database::{Named, Result},
    model::{ReadEvidence, Store, Timestamp},
};

macro_rules! traces {
    ($from:literal, $whose:literal) => {
        concat!(
            "SELECT h.name AS server_host, a.username, a.timestamp, a.kind, a.bare_peer, a.xml
               FROM ",
            $from,
            "
              WHERE ",
            $whose,
            " AND a.timestamp > $1 AND a.timestamp <= $2 AND octet_length(a.xml) <= $4 AND ",
            may_show_reading!("a.xml", "$5", "$6")
        )
    };
}

const TRACES: &str = concat!(
    "-- ejabberd_traces\n",
    traces!(
        "{hosts} JOIN archive AS a ON {host} = h.name",
        "CASE a.kind
         WHEN 'chat' THEN $8 AND h.name = ANY ($3)
         WHEN 'groupchat' THEN $9 AND split_part(a.username, '@', 2) = ANY ($3)
          END"
    ),
    " ORDER BY a.timestamp FETCH FIRST ($7) ROWS WITH TIES"
);

/// The planner takes searching in texts to be cheap, and must not do so for all users before it picks these.
const TRACES_OF: &str = concat!(
    "-- ejabberd_traces
     SELECT a.* FROM {hosts} CROSS JOIN unnest($8::text[]) AS k(owner) CROSS JOIN LATERAL (",
    traces!("archive AS a", "{host} = h.name AND a.username = k.owner AND a.kind = 'chat'"),
    " OFFSET 0) AS a
      WHERE h.name = ANY ($3)
      ORDER BY a.timestamp FETCH FIRST ($7) ROWS WITH TIES"
);

/// The rows after `after` and up to `upto` that may show that something was read, in order of `timestamp`; rows
/// of one `timestamp` come together. Of all users and rooms, or of these users.
pub async fn traces(
    connection: &mut PgConnection,
    schema: &Schema,
    (hosts, users): (&[String], Option<&[String]>),
    (after, upto): (i64, i64),
    (rows, looks): (i64, Looks),
) -> Result<Vec<Trace>> {
    let ReadEvidence { markers, replies, .. } = looks.evidence;
    let sql = if users.is_some() { TRACES_OF } else { TRACES };
    let query = sqlx::query_as(schema.sql(sql))
        .bind(after)
        .bind(upto)
        .bind(hosts)
        .bind(MOST_BYTES)
        .bind(markers)
        .bind(replies)
        .bind(rows);
    let query = match users {
        Some(users) => query.bind(users),
        None => query.bind(looks.users).bind(looks.rooms),
    };
    let found: Vec<StoredTrace> = query.fetch_all(connection).await.named("ejabberd_traces")?;
    Ok(found.into_iter().filter_map(StoredTrace::read).collect())
}

/// The rows after `after` and up to `upto` in which these users may have shown that they received something, in order of
/// `timestamp`; rows of one `timestamp` come together.
pub async fn receipts(
    connection: &mut PgConnection,
    schema: &Schema,
    (hosts, users): (&[String], &[String]),
    (after, upto): (i64, i64),
    rows: i64,
) -> Result<Vec<Trace>> {
    // Texts are searched only where the user counts.
    let found: Vec<StoredTrace> = sqlx::query_as(schema.sql(concat!(
        "-- ejabberd_receipts
         SELECT h.name AS server_host, a.username, a.timestamp, a.kind, a.bare_peer, a.xml
           FROM {hosts} JOIN archive AS a ON {host} = h.name
          WHERE h.name = ANY ($3) AND a.kind = 'chat' AND a.timestamp > $1 AND a.timestamp <= $2
            AND CASE WHEN a.username = ANY ($4) AND octet_length(a.xml) <= $5 THEN ",
        may_be_receipt!("a.xml"),
        " END
          ORDER BY a.timestamp FETCH FIRST ($6) ROWS WITH TIES"
    )))
    .bind(after)
    .bind(upto)
    .bind(hosts)
    .bind(users)
    .bind(MOST_BYTES)
    .bind(rows)
    .fetch_all(connection)
    .await
    .named("ejabberd_receipts")?;
    Ok(found.into_iter().filter_map(StoredTrace::read).collect())
}

/// Of each account, what of its newest rows may show that something was read since then.
pub async fn recent_traces(
    connection: &mut PgConnection,
    schema: &Schema,
    owners: &[(&str, &str)],
    since: Timestamp,
    evidence: ReadEvidence,
) -> Result<Vec<(usize, Trace)>> {
    let ReadEvidence { markers, replies, .. } = evidence;
    let found: Vec<RecentTrace> = sqlx::query_as(schema.sql(concat!(
        "-- ejabberd_recent_traces
         SELECT k.position, k.host AS server_host, k.owner AS username, n.timestamp, n.kind, n.bare_peer, n.xml
           FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(host, owner, position)
          CROSS JOIN LATERAL (
                SELECT a.*
                  FROM (SELECT a.timestamp, a.kind, a.bare_peer, a.xml FROM archive AS a
                         WHERE {host} = k.host AND a.username = k.owner AND a.timestamp >= $3
                         ORDER BY a.timestamp DESC LIMIT $7) AS a
                 WHERE a.kind = 'chat' AND octet_length(a.xml) <= $6 AND ",
        may_show_reading!("a.xml", "$4", "$5"),
        "
                 ORDER BY a.timestamp DESC LIMIT $8) AS n
          ORDER BY k.position, n.timestamp DESC",
    )))
    .bind(owners.iter().map(|it| it.0.to_owned()).collect::<Vec<_>>())
    .bind(owners.iter().map(|it| it.1.to_owned()).collect::<Vec<_>>())
    .bind(since.timestamp_micros())
    .bind(markers)
    .bind(replies)
    .bind(MOST_RECENT_BYTES)
    .bind(NEWEST)
    .bind(MOST_RECENT)
    .fetch_all(connection)
    .await
    .named("ejabberd_recent_traces")?;
    let placed =
        found.into_iter().filter_map(|it| Some((position(it.position)?, it.trace.read()?)));
    Ok(placed.collect())
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

#[derive(FromRow)]
struct RecentTrace {
    position: i64,
    #[sqlx(flatten)]
    trace: StoredTrace,
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
