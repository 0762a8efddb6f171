use sqlx::PgConnection;

use super::{Schema, stamp};
use crate::{
    archive::naming::Step,
    database::{Named, Result},
};

/// Goes back through at most `rows` rows below the span's end, whosever they are, and counts those that contain a place.
/// Of rows that are compressed, the text of the message is searched, which is not.
pub async fn look_back(
    connection: &mut PgConnection,
    schema: &Schema,
    place: &str,
    (above, upto): (i64, i64),
    rows: i64,
) -> Result<Step> {
    // Rows with the same stamp come together.
    let (rows, bytes, lowest, found): (i64, i64, Option<i64>, i64) = sqlx::query_as(schema.sql(
        "-- ejabberd_look_back
             SELECT count(*), coalesce(sum(octet_length(xml)), 0)::bigint, min(timestamp),
                    count(*) FILTER (WHERE strpos(xml, $1) > 0 OR strpos(txt, $1) > 0)
               FROM (SELECT page.* FROM {hosts} CROSS JOIN LATERAL
                        (SELECT a.timestamp, a.xml, a.txt FROM archive AS a
                          WHERE {host} = h.name AND a.timestamp > $2 AND a.timestamp <= $3
                          ORDER BY a.timestamp DESC FETCH FIRST ($4) ROWS WITH TIES) AS page
                      ORDER BY page.timestamp DESC FETCH FIRST ($4) ROWS WITH TIES) AS page",
    ))
    .bind(place)
    .bind(above)
    .bind(upto)
    .bind(rows)
    .fetch_one(connection)
    .await
    .named("ejabberd_look_back")?;
    Ok(Step { rows, bytes, lowest: lowest.map(|it| (it, stamp(it).at)), found })
}
