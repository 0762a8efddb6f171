use sqlx::PgConnection;

use super::{read::StoredRow, store_name};
use crate::{
    archive::{MAX_STANZA_BYTES, Row, Scope},
    database::{Named, Result},
};

/// See [`crate::archive::Table::page`].
pub async fn page(
    connection: &mut PgConnection,
    scope: &Scope,
    (rows, bytes): (i64, i64),
) -> Result<Vec<Row>> {
    const NAME: &str = "prosody_page";
    let found: Vec<StoredRow> = sqlx::query_as(
        r#"-- prosody_page
        SELECT sort_id, host, "user", store, key, "when", CASE WHEN size <= $8 THEN value END AS value
          FROM (SELECT *, sum(least(size, $8)) OVER (ORDER BY "when", sort_id) - least(size, $8) AS before
                  FROM (SELECT a.sort_id::bigint AS sort_id, a.host, a."user", a.store, a.key, a."when", a.value,
                               octet_length(a.value) AS size
                          FROM prosodyarchive AS a
                         WHERE a.host = $1 AND a."user" = $2 AND a.store = $3
                           AND a."when" >= $4 AND (a."when" > $4 OR a.sort_id > $5)
                         ORDER BY a."when", a.sort_id LIMIT $6) AS page) AS sized
         WHERE before < $7
         ORDER BY "when", sort_id"#,
    )
    .bind(&scope.holder.host)
    .bind(&scope.holder.owner)
    .bind(store_name(scope.store))
    .bind(scope.after.0)
    .bind(scope.after.1)
    .bind(rows)
    .bind(bytes)
    .bind(MAX_STANZA_BYTES)
    .fetch_all(connection)
    .await
    .named(NAME)?;
    found.into_iter().map(|row| row.read(NAME)).collect()
}
