use sqlx::{FromRow, PgConnection};

use super::{Schema, archive, kind, spool};
use crate::{
    archive::{
        Row,
        marks::*,
        namesakes::{MOST_BYTES, MOST_FOUND, MOST_ROWS, Within, bind_within, quoted},
        position,
    },
    database::{Named, Result},
    model::{Store, bare_jid},
};

/// Rows of a look, the newest first, up to where there is too much of them.
macro_rules! looked_through {
    ($rows:expr) => {
        concat!(
            "SELECT a.*
               FROM (SELECT n.*, row_number() OVER newest > $5 OR sum(octet_length(n.xml)) OVER newest > $6 AS is_beyond
                       FROM (",
            $rows,
            " DESC LIMIT $5 + 1) AS n
                     WINDOW newest AS (ORDER BY n.number DESC ROWS UNBOUNDED PRECEDING)) AS a
              WHERE CASE WHEN a.is_beyond THEN true ELSE ",
            may_have_id!("a.xml", "k.id", "k.or_id"),
            " END
              ORDER BY a.is_beyond DESC, a.number DESC LIMIT $7"
        )
    };
}

/// Rows whose messages may have these ids, by position; `None` where there is too much to look through.
pub async fn namesakes(
    connection: &mut PgConnection,
    schema: &Schema,
    looks: &[Within<'_>],
) -> Result<Vec<(usize, Option<Row>)>> {
    let (mut in_queue, mut archived) = (Vec::new(), Vec::new());
    for (at, look) in looks.iter().enumerate() {
        if look.store == Store::Queue { &mut in_queue } else { &mut archived }.push((at, *look));
    }
    let mut rows = queued(connection, schema, &in_queue).await?;
    rows.extend(in_archive(connection, schema, &archived).await?);
    Ok(rows)
}

async fn in_archive(
    connection: &mut PgConnection,
    schema: &Schema,
    placed: &[(usize, Within<'_>)],
) -> Result<Vec<(usize, Option<Row>)>> {
    if placed.is_empty() {
        return Ok(Vec::new());
    }
    let looks: Vec<Within<'_>> = placed.iter().map(|it| it.1).collect();
    // A room's rows have its address, and the virtual host of whoever wrote them.
    let owner = |it: &Within<'_>| match it.store {
        Store::Room => bare_jid(it.owner, it.host),
        Store::Archive | Store::Queue => it.owner.to_owned(),
    };
    let select = sqlx::query_as(schema.sql(concat!(
        "-- ejabberd_namesakes
         SELECT k.position, a.is_beyond, a.server_host, a.username, a.number AS timestamp, a.kind, a.bare_peer,
                CASE WHEN NOT a.is_beyond THEN a.xml END AS xml,
                CASE WHEN NOT a.is_beyond THEN {digest} ELSE '' END AS digest
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[])
                WITH ORDINALITY AS k(host, local, id, or_id, username, kind, since, upto, position)
           JOIN {hosts} ON k.kind = 'groupchat' OR h.name = k.host
          CROSS JOIN LATERAL (",
        looked_through!(
            "SELECT {host} AS server_host, a.username, a.kind, a.bare_peer, a.xml, a.timestamp AS number
               FROM archive AS a
              WHERE {host} = h.name AND a.username = k.username AND a.kind = k.kind
                AND a.timestamp >= k.since AND a.timestamp <= k.upto
              ORDER BY a.timestamp"
        ),
        ") AS a
          ORDER BY k.position, a.number DESC",
    )));
    let found: Vec<Found<archive::StoredRow>> = bind_within!(select, looks)
        .bind(MOST_ROWS)
        .bind(MOST_BYTES)
        .bind(MOST_FOUND)
        .bind(looks.iter().map(owner).collect::<Vec<_>>())
        .bind(looks.iter().map(|it| kind(it.store)).collect::<Vec<_>>())
        .bind(looks.iter().map(|it| it.since.timestamp_micros()).collect::<Vec<_>>())
        .bind(looks.iter().map(|it| it.upto.timestamp_micros()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .named("ejabberd_namesakes")?;
    Ok(placed_at(placed, found, archive::StoredRow::read))
}

/// A queue has no more rows than servers let wait, and its stamps are not to be searched: all of it is looked through.
async fn queued(
    connection: &mut PgConnection,
    schema: &Schema,
    placed: &[(usize, Within<'_>)],
) -> Result<Vec<(usize, Option<Row>)>> {
    if placed.is_empty() {
        return Ok(Vec::new());
    }
    let looks: Vec<Within<'_>> = placed.iter().map(|it| it.1).collect();
    let select = sqlx::query_as(schema.sql(concat!(
        "-- spool_namesakes
         SELECT k.position, a.is_beyond, a.server_host, a.username, a.number AS seq, a.stamped_at,
                CASE WHEN NOT a.is_beyond THEN a.xml END AS xml,
                CASE WHEN NOT a.is_beyond THEN {digest} ELSE '' END AS digest
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
                WITH ORDINALITY AS k(host, username, id, or_id, position)
          CROSS JOIN LATERAL (",
        looked_through!(
            "SELECT {host} AS server_host, a.username, a.xml, a.created_at AT TIME ZONE 'UTC' AS stamped_at,
                    a.seq::bigint AS number
               FROM spool AS a
              WHERE {host} = k.host AND a.username = k.username
              ORDER BY a.seq"
        ),
        ") AS a
          ORDER BY k.position, a.number DESC",
    )));
    let found: Vec<Found<spool::StoredRow>> = bind_within!(select, looks)
        .bind(MOST_ROWS)
        .bind(MOST_BYTES)
        .bind(MOST_FOUND)
        .fetch_all(connection)
        .await
        .named("spool_namesakes")?;
    Ok(placed_at(placed, found, |it| Some(it.read())))
}

#[derive(FromRow)]
struct Found<T> {
    position: i64,
    is_beyond: bool,
    #[sqlx(flatten)]
    row: T,
}

/// Each row at the position of its look; `None` where there is too much to look through.
fn placed_at<T>(
    placed: &[(usize, Within<'_>)],
    found: Vec<Found<T>>,
    read: impl Fn(T) -> Option<Row>,
) -> Vec<(usize, Option<Row>)> {
    let place = |it: Found<T>| {
        let at = placed.get(position(it.position)?)?.0;
        if it.is_beyond { Some((at, None)) } else { Some((at, Some(read(it.row)?))) }
    };
    found.into_iter().filter_map(place).collect()
}
