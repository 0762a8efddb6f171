use sqlx::PgConnection;

use super::{Seconds, stamp};
use crate::{
    archive::naming::Step,
    database::{Named, Result},
};

/// Goes back through at most `rows` rows below the span's end, whosever they are, and counts those that contain a place:
/// in any store but that of the uploads themselves.
pub async fn look_back(
    connection: &mut PgConnection,
    place: &str,
    (above, upto): (i64, i64),
    rows: i64,
) -> Result<Step> {
    let (rows, bytes, lowest, when, found): (i64, i64, Option<i64>, Option<Seconds>, i64) =
        sqlx::query_as(
            r#"-- prosody_look_back
            SELECT count(*), coalesce(sum(octet_length(value)), 0)::bigint, min(sort_id)::bigint,
                   (array_agg("when" ORDER BY sort_id))[1],
                   count(*) FILTER (WHERE store <> 'uploads' AND strpos(value, $1) > 0)
              FROM (SELECT sort_id, store, "when", value FROM prosodyarchive
                     WHERE sort_id > $2 AND sort_id <= $3
                     ORDER BY sort_id DESC LIMIT $4) AS page"#,
        )
        .bind(place)
        .bind(above)
        .bind(upto)
        .bind(rows)
        .fetch_one(connection)
        .await
        .named("prosody_look_back")?;
    let lowest = lowest.zip(when.map(|it| stamp(it).at));
    Ok(Step { rows, bytes, lowest, found })
}
