//! Everything that may be wrong before the first message goes: each module's own findings.

use sqlx::{Connection as _, PgConnection};

use super::{archive_kind, settings};
use crate::{
    archive::{self, Probed},
    component,
    config::Config,
    database::{self, Result},
    ledger,
    model::{Clock as _, Finding, SystemClock},
};

/// Looks at everything. Erases and changes nothing.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::good("The configuration can be used.")];
    let settings = database::Settings::new(config.database.options());
    let probed = database::probe(&settings, || SystemClock.now()).await;
    findings.extend(probed.findings);
    if let Some(mut connection) = probed.connection {
        findings.extend(schemas(&mut connection, config).await);
        let _ = connection.close().await;
    }
    findings.extend(component::probe(&settings::component(config)).await);
    findings
}

async fn schemas(connection: &mut PgConnection, config: &Config) -> Vec<Finding> {
    let failed = |what: &str, error: &database::Error| {
        Finding::problem(format!("{what} cannot be looked at: {error}."), error.remedy())
    };
    let mut findings = match ledger::probe(connection).await {
        Ok(findings) => findings,
        Err(error) => vec![failed("Schema ephemerd", &error)],
    };
    match archives(connection, config).await {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(failed("The archive", &error)),
    }
    findings
}

async fn archives(connection: &mut PgConnection, config: &Config) -> Result<Vec<Finding>> {
    let hosts = &config.archive.hosts;
    let Probed { archive, mut findings } =
        archive::probe(connection, archive_kind(config), hosts).await?;
    if let Some(archive) = archive {
        findings.extend(archive.probe_hosts(connection, hosts).await?);
    }
    Ok(findings)
}
