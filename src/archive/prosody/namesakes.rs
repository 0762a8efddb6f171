use sqlx::{FromRow, PgConnection};

use super::{read::StoredRow, store_name};
use crate::{
    archive::{
        Row,
        marks::*,
        namesakes::{MOST_BYTES, MOST_FOUND, MOST_ROWS, Within, bind_within, quoted},
        position,
    },
    database::{Named, Result},
    model::Timestamp,
};

/// Rows whose messages may have these ids, by position, in the order of an index: however many a room has, no more are read
/// than are looked through. `None` where that is not all.
pub async fn namesakes(
    connection: &mut PgConnection,
    looks: &[Within<'_>],
) -> Result<Vec<(usize, Option<Row>)>> {
    const NAME: &str = "prosody_namesakes";
    let second = |at: Timestamp| i32::try_from(at.timestamp()).unwrap_or(i32::MAX);
    let select = sqlx::query_as(concat!(
        r#"-- prosody_namesakes
        SELECT k.position, a.is_beyond, a.sort_id, a.host, a."user", a.store, a.key, a."when",
               CASE WHEN NOT a.is_beyond THEN a.value END AS value
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[])
               WITH ORDINALITY AS k(host, owner, id, or_id, store, since, upto, position)
         CROSS JOIN LATERAL (
               SELECT a.*
                 FROM (SELECT n.*, row_number() OVER newest > $8 OR sum(octet_length(n.value)) OVER newest > $9
                                   AS is_beyond
                         FROM (SELECT r.sort_id::bigint, r.host, r."user", r.store, r.key, r."when", r.value
                                 FROM prosodyarchive AS r
                                WHERE r.host = k.host AND r."user" = k.owner AND r.store = k.store
                                  AND r."when" >= k.since AND r."when" <= k.upto
                                ORDER BY r."when" DESC LIMIT $8 + 1) AS n
                       WINDOW newest AS (ORDER BY n."when" DESC ROWS UNBOUNDED PRECEDING)) AS a
                WHERE CASE WHEN a.is_beyond THEN true ELSE "#,
        may_have_id!("a.value", "k.id", "k.or_id"),
        r#" END
                ORDER BY a.is_beyond DESC, a."when" DESC, a.sort_id DESC LIMIT $10) AS a
         ORDER BY k.position, a."when" DESC, a.sort_id DESC"#,
    ));
    let found: Vec<Found> = bind_within!(select, looks)
        .bind(looks.iter().map(|it| store_name(it.store)).collect::<Vec<_>>())
        .bind(looks.iter().map(|it| second(it.since)).collect::<Vec<_>>())
        .bind(looks.iter().map(|it| second(it.upto)).collect::<Vec<_>>())
        .bind(MOST_ROWS)
        .bind(MOST_BYTES)
        .bind(MOST_FOUND)
        .fetch_all(connection)
        .await
        .named(NAME)?;
    let mut rows = Vec::with_capacity(found.len());
    for Found { position: at, is_beyond, row } in found {
        let Some(at) = position(at) else { continue };
        rows.push((at, if is_beyond { None } else { Some(row.read(NAME)?) }));
    }
    Ok(rows)
}

#[derive(FromRow)]
struct Found {
    position: i64,
    is_beyond: bool,
    #[sqlx(flatten)]
    row: StoredRow,
}
