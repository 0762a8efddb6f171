use sqlx::PgConnection;

use crate::database::{Named, Result};

/// Listed hosts that the archive has no row of.
pub async fn absent_hosts(connection: &mut PgConnection, hosts: &[String]) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "-- prosody_absent_hosts
         SELECT listed FROM unnest($1::text[]) AS listed
          WHERE NOT EXISTS (SELECT FROM prosodyarchive AS a WHERE a.host = listed)
          ORDER BY listed",
    )
    .bind(hosts)
    .fetch_all(connection)
    .await
    .named("prosody_absent_hosts")
}

/// Whether this role sees the table.
pub async fn is_there(connection: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar("-- prosody_is_there\nSELECT to_regclass('prosodyarchive') IS NOT NULL")
        .fetch_one(connection)
        .await
        .named("prosody_is_there")
}
