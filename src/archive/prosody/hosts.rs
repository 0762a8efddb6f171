use sqlx::PgConnection;

use super::unlisted_hosts;
use crate::{
    database::{Named, Result},
    model::Finding,
};

/// So many hosts are named; of more, the count.
const NAMED: usize = 20;

/// Compares the hosts that are listed with those that the archive has. Hosts are the operator's own:
/// they may be named.
pub async fn probe_hosts(connection: &mut PgConnection, hosts: &[String]) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = Vec::new();
    let unlisted = unlisted_hosts(connection, hosts).await?;
    for (host, rows) in unlisted.iter().take(NAMED) {
        findings.push(Finding::warning(
            format!("archive.hosts does not list {host}, of which the archive has rows: {rows}."),
            "add it to archive.hosts if its messages may be erased; otherwise leave it",
        ));
    }
    if unlisted.len() > NAMED {
        findings.push(Finding::warning(
            format!("The archive has {} more hosts that are not listed.", unlisted.len() - NAMED),
            "add those to archive.hosts whose messages may be erased",
        ));
    }
    let absent: Vec<String> = sqlx::query_scalar(
        "-- prosody_absent_hosts
         SELECT listed FROM unnest($1::text[]) AS listed
          WHERE NOT EXISTS (SELECT FROM prosodyarchive AS a WHERE a.host = listed)
          ORDER BY listed",
    )
    .bind(hosts)
    .fetch_all(connection)
    .await
    .named("prosody_absent_hosts")?;
    for host in absent.iter().take(NAMED) {
        findings.push(Finding::warning(
            format!("archive.hosts lists {host}, of which the archive has no row."),
            "check its spelling; nothing to do if nothing was archived there yet",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::good("archive.hosts lists the hosts that the archive has."));
    }
    Ok(findings)
}
