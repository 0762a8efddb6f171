//! Everything that may be wrong before the first message goes: each module's own findings.

use sqlx::{Connection as _, PgConnection};

use super::{archive_kind, settings};
use crate::{
    archive::{self, Probed},
    component,
    config::{ArchiveKind, Config},
    database::{self, Result},
    ledger,
    model::{Clock as _, Finding, SystemClock},
};

/// What the database's side needs, on both servers.
const DATABASE: &str = "docs/operating.md#the-database";
const COMPONENT: &str = "docs/runbook.md#ephemerdcomponentaway";

const fn install_page(kind: ArchiveKind) -> &'static str {
    match kind {
        ArchiveKind::Prosody => "docs/install-prosody.md",
        ArchiveKind::Ejabberd => "docs/install-ejabberd.md",
    }
}

fn see(findings: Vec<Finding>, page: &'static str) -> impl Iterator<Item = Finding> {
    findings.into_iter().map(move |finding| finding.see(page))
}

/// Looks at everything. Erases and changes nothing.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::good("The configuration can be used.")];
    let settings = database::Settings::new(config.database.options());
    let probed = database::probe(&settings, || SystemClock.now()).await;
    findings.extend(see(probed.findings, DATABASE));
    if let Some(mut connection) = probed.connection {
        findings.extend(schemas(&mut connection, config).await);
        let _ = connection.close().await;
    }
    findings.extend(see(component::probe(&settings::component(config)).await, COMPONENT));
    findings
}

async fn schemas(connection: &mut PgConnection, config: &Config) -> Vec<Finding> {
    let failed = |what: &str, error: &database::Error| {
        Finding::problem(format!("{what} cannot be looked at: {error}."), error.remedy())
    };
    let ledger = match ledger::probe(connection).await {
        Ok(findings) => findings,
        Err(error) => vec![failed("Schema ephemerd", &error)],
    };
    let archive = match archives(connection, config).await {
        Ok(findings) => findings,
        Err(error) => vec![failed("The archive", &error)],
    };
    see(ledger, DATABASE).chain(see(archive, install_page(config.archive.kind))).collect()
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
