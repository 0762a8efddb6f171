//! A real Prometheus with our alert rules, sped up.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ephemerd_lab::{Daemon, DaemonConfig, PATIENCE, Prometheus, Result, eventually};
use tempfile::TempDir;

/// The daemon counts its ledger every 15 s, or less often on a busy machine; Prometheus' first scrape comes
/// after five.
const WITHIN: Duration = Duration::from_secs(150);

/// A daemon, and a Prometheus that scrapes it and evaluates our rules every second.
pub(crate) struct Watched {
    pub(crate) daemon: Daemon,
    pub(crate) prometheus: Prometheus,
    _rules: TempDir,
}

/// The program, as cargo built it for these tests.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ephemerd"))
}

/// A file of the repository.
pub(crate) fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// The rules with every `for:` reduced to two seconds; promtool tests the real durations.
fn impatient(rules: &str) -> String {
    let lines = rules.lines().map(|line| match line.split_once("for: ") {
        Some((indent, wait)) if indent.trim().is_empty() => {
            assert!(wait.ends_with(['s', 'm', 'h', 'd']), "{line}");
            format!("{indent}for: 2s\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

impl Watched {
    /// Waits until the daemon is ready.
    pub(crate) async fn start(config: &DaemonConfig) -> Result<Self> {
        let watched = Self::spawn(config).await?;
        watched.daemon.wait_ready(PATIENCE).await?;
        Ok(watched)
    }

    /// Waits until Prometheus has scraped the daemon, ready or not.
    pub(crate) async fn spawn(config: &DaemonConfig) -> Result<Self> {
        let daemon = Daemon::spawn(program(), config)?;
        let folder = TempDir::new()?;
        let file = folder.path().join("ephemerd.rules.yml");
        let rules = fs::read_to_string(repository("deploy/prometheus/ephemerd.rules.yml"))?;
        fs::write(&file, impatient(&rules))?;
        let prometheus = Prometheus::start(daemon.http(), &[&file]).await?;
        prometheus.wait_for("up{job=\"ephemerd\"}", PATIENCE, |up| up == 1.0).await?;
        Ok(Self { daemon, prometheus, _rules: folder })
    }

    /// The names of the alerts that Prometheus reports in this state.
    pub(crate) async fn alerts(&self, state: &str) -> Result<Vec<String>> {
        let query = format!("ALERTS{{alertstate=\"{state}\"}}");
        let series = self.prometheus.query(&query).await?;
        Ok(series.iter().map(|it| it.labels["alertname"].clone()).collect())
    }

    /// Waits until this alert fires.
    pub(crate) async fn fires(&self, alert: &str) -> Result<()> {
        self.wait(alert, true).await
    }

    /// Waits until this alert does not fire.
    pub(crate) async fn ends(&self, alert: &str) -> Result<()> {
        self.wait(alert, false).await
    }

    async fn wait(&self, alert: &str, fires: bool) -> Result<()> {
        let what = format!("{alert} to {}", if fires { "fire" } else { "end" });
        eventually(&what, WITHIN, async || {
            let firing = self.alerts("firing").await?.iter().any(|it| it == alert);
            Ok((firing == fires).then_some(()))
        })
        .await
    }
}
