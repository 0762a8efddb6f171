//! What watches the daemon: alert rules, their runbook and the dashboard refer to what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use ephemerd::cli::Cli;
use ephemerd::metrics::Metrics;
use ephemerd_lab::{DaemonConfig, Lab, Result, prometheus};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::support::printed;

const RULES: &str = "deploy/prometheus/ephemerd.rules.yml";
const RULE_TESTS: &str = "deploy/prometheus/ephemerd.rules.test.yml";
const RUNBOOK: &str = "docs/runbook.md";
const DASHBOARD: &str = "deploy/grafana/dashboards/ephemerd.json";

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap()
}

/// Each alert's name and the lines of its rule.
fn alerts(rules: &str) -> BTreeMap<&str, &str> {
    let blocks = rules.split("- alert: ").skip(1);
    blocks.map(|block| block.split_once('\n').unwrap()).collect()
}

/// The value of the only line of a rule that begins with this key.
fn field<'a>(rule: &'a str, key: &str) -> &'a str {
    let mut values = rule.lines().filter_map(|line| line.trim().strip_prefix(key));
    let value = values.next().unwrap_or_else(|| panic!("{key} is missing: {rule}"));
    assert_eq!(values.next(), None, "{rule}");
    value.trim()
}

/// The sections of the runbook: heading and text.
fn sections(runbook: &str) -> BTreeMap<&str, &str> {
    runbook.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

/// Words that look like names of ours or of the client library.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|it| it.starts_with("ephemerd_") || it.starts_with("process_")).collect()
}

async fn promtool(args: &[&str]) -> Result<()> {
    let output = prometheus::promtool(args, "").await?;
    assert_eq!(output.code, Some(0), "{args:?}: {}{}", output.stdout, output.stderr);
    Ok(())
}

/// The rules and the sample configuration are valid, and each alert fires and resolves as its test says, to
/// the minute.
#[tokio::test(flavor = "multi_thread")]
async fn promtool_accepts_the_rules_and_their_tests() -> Result<()> {
    let [rules, tests, config] = [RULES, RULE_TESTS, "deploy/prometheus/prometheus.yml"]
        .map(|it| path(it).display().to_string());
    promtool(&["check", "rules", &rules]).await?;
    promtool(&["check", "config", &config]).await?;
    promtool(&["test", "rules", &tests]).await
}

/// Every alert is explained in the runbook, and has been tested.
#[test]
fn each_alert_has_its_section_and_its_test() {
    let (rules, tests, runbook) = (read(RULES), read(RULE_TESTS), read(RUNBOOK));
    let (alerts, sections) = (alerts(&rules), sections(&runbook));
    let names =
        |it: &BTreeMap<&str, &str>| it.keys().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        names(&alerts),
        names(&sections),
        "an alert without a section, or the other way round"
    );
    assert!(alerts.len() >= 11, "the rules were found");
    for (name, rule) in &alerts {
        let url = format!("file:///usr/share/doc/ephemerd/docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(field(rule, "runbook_url:"), url);
        let severity = field(rule, "severity:");
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        assert!(!field(rule, "for:").is_empty() && !field(rule, "summary:").is_empty());
        let section = sections[name].to_lowercase();
        assert!(section.trim().starts_with(&format!("*{severity}.*")), "{name} is {severity}");
        assert!(section.contains("```sh\n"), "{name}: no commands");
        let fires = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels:");
        assert!(tests.contains(&fires), "no test sees {name} fire");
        let silent = format!("alertname: {name} }}");
        assert!(tests.contains(&silent), "no test sees {name} stay away");
    }
}

/// A renamed metric would leave an alert silent and a panel empty for ever.
#[test]
fn rules_and_dashboard_name_only_what_is_exported() {
    let page = Metrics::new().render().unwrap();
    let exported = metric_names(&page);
    let (rules, dashboard, runbook) = (read(RULES), read(DASHBOARD), read(RUNBOOK));
    for (file, text) in [(RULES, &rules), (DASHBOARD, &dashboard), (RUNBOOK, &runbook)] {
        let named = metric_names(text);
        assert!(!named.is_empty(), "{file} names no metric");
        let unknown: Vec<_> = named.difference(&exported).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Panels have descriptions, do not overlap, and query the chosen Prometheus.
#[test]
fn the_dashboard_is_laid_out() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(number(&panel["id"])), "{title}: its id is another's");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| number(&panel["gridPos"][key]));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is outside");
        let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        for cell in cells {
            assert!(taken.insert(cell), "{title} covers another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|it| !it.is_empty()), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(target["expr"].as_str().is_some_and(|it| !it.is_empty()), "{title}");
        }
    }
    let rows = panels(&dashboard).into_iter().filter(|it| it["type"] == "row");
    let rows: Vec<_> = rows.map(|it| it["title"].as_str().unwrap()).collect();
    let questions = ["Is it working?", "What went?", "What is coming?", "Is anything late?"];
    assert_eq!(rows[..4], questions);
}

/// All daemons of a database report the same ledger: a sum would count everything twice.
#[test]
fn gauges_are_never_summed() {
    let page = Metrics::new().render().unwrap();
    let gauges = page.lines().filter_map(|it| it.strip_prefix("# TYPE ")?.strip_suffix(" gauge"));
    let gauges: BTreeSet<_> = gauges.collect();
    assert!(gauges.contains("ephemerd_pending_expiries"));
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let targets =
        panels(&dashboard).into_iter().filter_map(|it| it["targets"].as_array()).flatten();
    let mut expressions: Vec<String> =
        targets.map(|it| it["expr"].as_str().unwrap().to_owned()).collect();
    expressions.push(read(RULES));
    for text in &expressions {
        for gauge in &gauges {
            for aggregate in ["sum(", "avg(", "sum without (instance) (", "sum by (job) ("] {
                assert!(!text.contains(&format!("{aggregate}{gauge}")), "{text}");
            }
        }
    }
}

/// Commands and statements of the runbook, by program.
fn runbook_lines(program: &str) -> Vec<String> {
    let text = read(RUNBOOK);
    let blocks = text.split("```sh\n").skip(1).map(|it| it.split("```").next().unwrap());
    let lines = blocks.flat_map(str::lines).map(|it| it.split("  #").next().unwrap().trim());
    let lines = lines.filter(|it| it.split(' ').any(|word| word == program));
    lines.map(str::to_owned).collect()
}

/// Nobody who is on call has time for a command that does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn the_runbook_can_be_followed() -> Result<()> {
    let commands = runbook_lines("ephemerd");
    let ours = commands.iter().filter_map(|it| {
        let words: Vec<&str> =
            it.split(' ').skip_while(|it| it.starts_with("EPHEMERD__")).collect();
        (words[0] == "ephemerd").then_some(words)
    });
    let ours: Vec<_> = ours.collect();
    assert!(ours.len() > 10);
    for words in ours {
        assert!(Cli::try_parse_from(&words).is_ok(), "{words:?}");
    }

    let lab = Lab::database_only().await?;
    printed(&DaemonConfig::for_database(&lab.database)?, &["migrate"]).await?;
    let statements = runbook_lines("psql");
    let statements: Vec<_> =
        statements.iter().filter_map(|it| it.split_once(" -c \"")?.1.strip_suffix('"')).collect();
    assert!(statements.len() > 3);
    for statement in statements {
        let run = sqlx::raw_sql(AssertSqlSafe(statement.replace('…', "1")));
        if let Err(error) = run.execute(lab.database.superuser()).await {
            panic!("{statement}: {error}");
        }
    }
    Ok(())
}
