//! A private Prometheus that scrapes one target.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::launch::{Launch, Output};
use crate::process::Process;
use crate::{LabError, PATIENCE, Result, eventually, free_address, http, scratch};

const PROGRAM: &str = "/usr/bin/prometheus";
const PROMTOOL: &str = "/usr/bin/promtool";

/// Debian's Prometheus, stopped and removed when dropped.
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

/// One series of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels, `__name__` included.
    pub labels: BTreeMap<String, String>,
    /// Its newest value.
    pub value: f64,
}

impl Prometheus {
    /// Starts it with a scrape of `target` every second, and with these rule files. The first scrape comes
    /// after about 5 s, the interval at which Prometheus updates its targets.
    pub async fn start(target: SocketAddr, rules: &[&Path]) -> Result<Self> {
        let folder = scratch::folder("prometheus")?;
        let address = free_address()?;
        let rules: Vec<_> = rules.iter().map(|it| it.display().to_string()).collect();
        let rules = serde_json::json!(rules); // JSON is YAML
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: {rules}\n\
             scrape_configs:\n- job_name: ephemerd\n  static_configs: [ {{ targets: [ '{target}' ] }} ]\n"
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config)?;
        let process = Launch::new("Prometheus", installed(PROGRAM)?, Signal::SIGTERM)
            .args([format!("--config.file={}", file.display())])
            .args([format!("--storage.tsdb.path={}", folder.path().join("data").display())])
            .args([format!("--web.listen-address={address}"), "--log.level=warn".to_owned()])
            .spawn(&folder.path().join("log"))?;
        let prometheus = Self { process, address, _folder: folder };
        let ready = async || {
            if prometheus.process.ended().is_some() {
                return Err(prometheus.process.complain("ended at its start"));
            }
            let answer = http::get(address, "/-/ready").await.ok();
            Ok(answer.filter(|it| it.status == 200).map(drop))
        };
        eventually("Prometheus' first answer", PATIENCE, ready).await?;
        Ok(prometheus)
    }

    /// Its HTTP address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Evaluates an expression now (an instant query).
    pub async fn query(&self, expression: &str) -> Result<Vec<Series>> {
        let path = format!("/api/v1/query?query={}", percent_encode(expression));
        let body = http::get(self.address, &path).await?.body;
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let malformed = || LabError::new(format!("Prometheus, asked {expression}: {body}"));
        let result = answer.pointer("/data/result").and_then(Value::as_array);
        result.ok_or_else(malformed)?.iter().map(|it| series(it).ok_or_else(malformed)).collect()
    }

    /// Repeats a query until the answer is a single series for which this holds.
    pub async fn wait_for(
        &self,
        expression: &str,
        within: Duration,
        holds: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        eventually(expression, within, async || match self.query(expression).await?.as_slice() {
            [one] if holds(one.value) => Ok(Some(one.value)),
            _ => Ok(None),
        })
        .await
    }
}

/// Runs Debian's promtool, for example `["check", "metrics"]` with a page of metrics as its input.
pub async fn promtool(args: &[&str], input: &str) -> Result<Output> {
    let launch = Launch::new("promtool", installed(PROMTOOL)?, Signal::SIGTERM).args(args);
    // It computes for seconds where it tests many rules.
    launch.output(input, 4 * PATIENCE).await
}

/// Fails with promtool's message unless it accepts this page of metrics.
pub async fn check_metrics(page: &str) -> Result<()> {
    let output = promtool(&["check", "metrics"], page).await?;
    let silent = output.stdout.trim().is_empty() && output.stderr.trim().is_empty();
    if output.code == Some(0) && silent {
        return Ok(());
    }
    Err(LabError::new(format!("promtool: {}{}", output.stdout, output.stderr)))
}

fn installed(program: &'static str) -> Result<&'static str> {
    let missing = || LabError::new("Prometheus is not installed: apt-get install prometheus");
    Path::new(program).exists().then_some(program).ok_or_else(missing)
}

fn series(value: &Value) -> Option<Series> {
    let labels = value.get("metric")?.as_object()?.iter();
    let labels = labels.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let newest = value.pointer("/value/1")?.as_str()?;
    Some(Series { labels: labels.collect::<Option<_>>()?, value: newest.parse().ok()? })
}

fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = write!(encoded, "%{byte:02X}");
        encoded
    })
}
