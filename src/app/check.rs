//! Everything that can be wrong before the first message is erased, gathered from each module.

use sqlx::{Connection as _, PgConnection};

use super::{archive_kind, module, retention};
use crate::{
    archive::{self, Archive, Probed},
    config::{ArchiveKind, Config},
    database::{self, DatabaseSettings, Result},
    ledger::{self, Daemon},
    model::{Clock as _, Finding, RoomStart, SystemClock},
    work::base::leader,
};

/// The documentation on what the database needs, for both servers.
const DATABASE: &str = "docs/operating.md#the-database";
const UPGRADES: &str = "docs/operating.md#upgrades";
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

/// The daemons that are alive. None is no fault: this may be the first day.
fn alive(daemons: &[Daemon]) -> Vec<Finding> {
    let ours = env!("CARGO_PKG_VERSION");
    let finding = |it: &Daemon| {
        let version = &it.state.version;
        let leads = if it.state.leads { ", and leads" } else { "" };
        if version == ours {
            return Finding::good(format!("A daemon of version {version} is running{leads}."));
        }
        Finding::warning(
            format!(
                "A daemon of version {version} is running{leads}; this program is version {ours}."
            ),
            "restart the daemon once the new version is installed",
        )
    };
    daemons.iter().map(finding).collect()
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
        let daemons = ledger::daemons(&mut connection).await.unwrap_or_default();
        findings.extend(see(alive(&daemons), UPGRADES));
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
    let (archive, findings) = match archives(connection, config).await {
        Ok(found) => found,
        Err(error) => (None, vec![failed("The archive", &error)]),
    };
    let retention = retention::check(connection, config, archive.as_ref()).await;
    see(ledger, DATABASE)
        .chain(see(findings, install_page(config.archive.kind)))
        .chain(see(retention, RETENTION))
        .collect()
}

async fn archives(
    connection: &mut PgConnection,
    config: &Config,
) -> Result<(Option<Archive>, Vec<Finding>)> {
    let hosts = &config.archive.hosts;
    let Some(kind) = archive_kind(config) else { return Ok((None, Vec::new())) };
    let Probed { archive, mut findings } = archive::probe(connection, kind, hosts).await?;
    if let Some(archive) = &archive {
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
    Ok((archive, findings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::DaemonState, model::Level};

    #[test]
    fn a_daemon_of_another_version_is_named() {
        let of = |version: &str| Daemon {
            state: DaemonState {
                version: version.to_owned(),
                leads: true,
                ..DaemonState::default()
            },
            since: SystemClock.now(),
            address: None,
        };
        let found = alive(&[of(env!("CARGO_PKG_VERSION")), of("0.0.9")]);
        let levels: Vec<_> = found.iter().map(|it| it.level).collect();
        assert_eq!(levels, [Level::Good, Level::Warning]);
        assert!(found[1].what.contains("version 0.0.9 is running, and leads"), "{found:?}");
        assert!(alive(&[]).is_empty());
    }
}
