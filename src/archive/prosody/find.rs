use sqlx::PgConnection;

use super::read::StoredRow;
use crate::{
    archive::{MAX_COPIES, MAX_STANZA_BYTES, Row},
    database::{Named, Result},
};

/// The rows with this id in this owner's archives and queue.
pub async fn find(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    archive_id: &str,
) -> Result<Vec<Row>> {
    const NAME: &str = "prosody_find";
    let found: Vec<StoredRow> = sqlx::query_as(
        r#"-- prosody_find
        SELECT sort_id::bigint, host, "user", store, key, "when",
               CASE WHEN octet_length(value) <= $4 THEN value END AS value
          FROM prosodyarchive
         WHERE host = $1 AND "user" = $2 AND store IN ('archive', 'muc_log', 'offline') AND key = $3
         ORDER BY sort_id"#,
    )
    .bind(host)
    .bind(owner)
    .bind(archive_id)
    .bind(MAX_STANZA_BYTES)
    .fetch_all(connection)
    .await
    .named(NAME)?;
    found.into_iter().map(|row| row.read(NAME)).collect()
}

/// Rows in this owner's queue whose text contains this archive id, oldest first.
pub async fn queued_under(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    archive_id: &str,
) -> Result<Vec<Row>> {
    const NAME: &str = "prosody_queued_under";
    let found: Vec<StoredRow> = sqlx::query_as(
        r#"-- prosody_queued_under
        SELECT sort_id::bigint, host, "user", store, key, "when", value
          FROM prosodyarchive
         WHERE host = $1 AND "user" = $2 AND store = 'offline'
           AND octet_length(value) <= $4 AND strpos(value, $3) > 0
         ORDER BY sort_id LIMIT $5"#,
    )
    .bind(host)
    .bind(owner)
    .bind(archive_id)
    .bind(MAX_STANZA_BYTES)
    .bind(MAX_COPIES)
    .fetch_all(connection)
    .await
    .named(NAME)?;
    found.into_iter().map(|row| row.read(NAME)).collect()
}
