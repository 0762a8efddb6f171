//! Everything that can be wrong before the first message is erased, gathered from each module.

use sqlx::{Connection as _, PgConnection};

use super::{archive_kind, module, retention};
use crate::{
    archive::{self, Probed},
    config::{ArchiveKind, Config},
    database::{self, DatabaseSettings, Result},
    ledger,
    model::{Clock as _, Finding, RoomStart, SystemClock},
    work::base::leader,
};

/// The documentation on what the database needs, for both servers.
const DATABASE: &str = "docs/operating.md#the-database";
const RETENTION: &str = "docs/retention.md#before-anything-goes";
const CONFIGURATION: &str = "docs/configuration.md#secrets";
pub(super) const COMPONENT: &str = "docs/runbook.md#ephemerdcomponentaway";

const fn install_page(kind: ArchiveKind) -> &'static str {
    match kind {
        ArchiveKind::Prosody => "docs/install-prosody.md",
        ArchiveKind::Ejabberd => "docs/install-ejabberd.md",
        ArchiveKind::Component => "docs/install-prosody.md",
    }
}

pub(super) fn see(findings: Vec<Finding>, page: &'static str) -> impl Iterator<Item = Finding> {
    findings.into_iter().map(move |finding| finding.see(page))
}

/// Checks everything. Erases and changes nothing.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::good("The configuration can be used.")];
    findings.extend(see(config.remarks().to_vec(), CONFIGURATION));
    let settings = DatabaseSettings::new(config.database.options());
    let probed = database::probe(&settings, || SystemClock.now()).await;
    findings.extend(see(probed.findings, DATABASE));
    let mut is_led = false;
    if let Some(mut connection) = probed.connection {
        findings.extend(schemas(&mut connection, config).await);
        let key = leader::key(&config.component.jid, &config.component.server.to_string());
        is_led = leader::somebody_leads(&mut connection, key).await.unwrap_or(false);
        let _ = connection.close().await;
    }
    findings.extend(module::check(config, is_led).await);
    findings
}

async fn schemas(connection: &mut PgConnection, config: &Config) -> Vec<Finding> {
    let failed = |what: &str, error: &database::Error| {
        Finding::problem(format!("{what} cannot be examined: {error}."), error.remedy())
    };
    let ledger = match ledger::probe(connection).await {
        Ok(findings) => findings,
        Err(error) => vec![failed("Schema ephemerd", &error)],
    };
    let archive = match archives(connection, config).await {
        Ok(findings) => findings,
        Err(error) => vec![failed("The archive", &error)],
    };
    let retention = retention::check(connection, config).await;
    see(ledger, DATABASE)
        .chain(see(archive, install_page(config.archive.kind)))
        .chain(see(retention.into_iter().collect(), RETENTION))
        .collect()
}

async fn archives(connection: &mut PgConnection, config: &Config) -> Result<Vec<Finding>> {
    let hosts = &config.archive.hosts;
    let Some(kind) = archive_kind(config) else { return Ok(Vec::new()) };
    let Probed { archive, mut findings } = archive::probe(connection, kind, hosts).await?;
    if let Some(archive) = archive {
        findings.extend(archive.probe_hosts(connection, hosts).await?);
        if config.timers.start.looks_for_readers() {
            let rules = (config.timers.start, config.timers.read_evidence);
            findings.push(archive.probe_reading(connection, rules).await?);
        }
        if config.rooms.start.looks_for_readers() {
            findings.push(archive.reading_in_rooms());
        }
        if config.rooms.start == RoomStart::Everyone {
            findings.push(Finding::good(
                "Messages in rooms wait for every member, or for timers.unread_for where no companion module lists the members.",
            ));
        }
    }
    Ok(findings)
}
