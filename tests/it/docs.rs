//! The documents say what is true. (docs/configuration.md is checked beside the configuration.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use ephemerd::metrics::Metrics;
use ephemerd_lab::{DaemonConfig, Lab, Result};

use crate::pages::{Page, follow, pages, root};
use crate::support::start;
use crate::walks::ANY_ORDER;

/// A metric as docs/metrics.md has it.
struct Documented {
    name: String,
    kind: String,
    labels: Vec<String>,
    meaning: String,
}

fn documented(text: &str) -> Vec<Documented> {
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| `ephemerd_") && line.matches(" | ").count() == 3);
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split(" | ").map(|it| it.trim().to_owned()).collect()
    };
    let names = |list: &str| -> Vec<String> {
        let names = list.split(", ").filter(|it| *it != "–");
        names.map(|it| it.trim_matches('`').to_owned()).collect()
    };
    rows.map(cells)
        .map(|row| Documented {
            name: row[0].trim_matches('`').to_owned(),
            kind: row[1].clone(),
            labels: names(&row[2]),
            meaning: row[3].clone(),
        })
        .collect()
}

/// The labels of a sample, by name: `{store="archive",mode="delete"} 0`.
fn labels(sample: &str) -> BTreeMap<&str, &str> {
    let Some((_, rest)) = sample.split_once('{') else { return BTreeMap::new() };
    let inside = rest.split_once('}').expect("the labels end").0;
    let pairs = inside.split(',').filter_map(|it| it.split_once('='));
    pairs.map(|(name, value)| (name, value.trim_matches('"'))).collect()
}

/// docs/metrics.md has each metric that a daemon shows, in order, with its HELP text, type and labels, and each value
/// that a label of ours can have.
#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented() -> Result<()> {
    let lab = Lab::database_only().await?;
    let daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    let live = daemon.get("/metrics").await?.body;
    let text = Page::read("docs/metrics.md").text;
    let rows = documented(&text);
    let meanings: Vec<_> = rows.iter().map(|it| (it.name.as_str(), it.meaning.as_str())).collect();
    assert_eq!(meanings, Metrics::NAMES);
    let of_ours = |it: &&str| it.starts_with("# HELP ephemerd_");
    assert_eq!(live.lines().filter(of_ours).count(), rows.len(), "the page has them all");
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Documented { name, kind, labels: names, meaning } in &rows {
        assert!(live.contains(&format!("# HELP {name} {meaning}\n")), "{name}: {meaning}");
        assert!(live.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}");
        let is_sample = |line: &&str| {
            let rest = line.strip_prefix(name.as_str()).unwrap_or("x");
            rest.starts_with(['{', ' ']) || rest.starts_with("_sum")
        };
        let samples: Vec<_> = live.lines().filter(is_sample).collect();
        assert!(!samples.is_empty(), "{name} has no sample");
        for sample in samples {
            let found = labels(sample);
            let expected: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), expected, "{sample}");
            for (label, value) in found {
                values.entry(label).or_default().insert(value);
            }
        }
    }
    values.remove("version");
    let is_label = |line: &&str| line.starts_with("| `") && line.matches(" | ").count() == 1;
    let shown: BTreeMap<&str, BTreeSet<&str>> = text
        .lines()
        .filter(is_label)
        .filter_map(|line| line.trim_matches('|').trim().split_once(" | "))
        .map(|(label, list)| {
            (label.trim_matches('`'), list.split('`').skip(1).step_by(2).collect())
        })
        .collect();
    assert_eq!(shown, values, "the values of labels");
    Ok(())
}

/// What a document points to is there, sections too.
#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for page in pages() {
        for target in page.links().iter().filter(|it| !it.contains("://")) {
            links += 1;
            follow(&page.name, target);
        }
    }
    assert!(links > 40, "links were read: {links}");
}

/// Each page of docs/ can be found from the README.
#[test]
fn every_page_is_reached_from_the_readme() {
    let readme = Page::read("README.md").links();
    for page in pages().iter().filter(|it| it.name != "README.md" && !it.name.contains("/adr/")) {
        let linked = readme.iter().any(|it| it.split('#').next() == Some(page.name.as_str()));
        assert!(linked, "README.md does not link to {}", page.name);
    }
    let index = Page::read("docs/adr/README.md").links();
    for page in pages().iter().filter(|it| it.name.contains("/adr/0")) {
        let linked = index.iter().any(|it| page.name.ends_with(&format!("/{it}")));
        assert!(linked, "docs/adr/README.md does not link to {}", page.name);
    }
}

/// Blocks that a test runs as written: page, language, how many, and the test's file. One more block on a page is one
/// that nobody runs, until a test does and is named here.
const RUN: &[(&str, &str, usize, &str)] = &[
    ("README.md", "sh", 3, "walks.rs"),
    ("docs/commands.md", "console", 22, "commands.rs"),
    ("docs/install-package.md", "sh", 2, "walks.rs"),
    ("docs/install-ejabberd.md", "sh", 3, "install_ejabberd.rs"),
    ("docs/install-ejabberd.md", "sql", 2, "install_ejabberd.rs"),
    ("docs/install-ejabberd.md", "yaml", 2, "install_ejabberd.rs"),
    ("docs/install-prosody.md", "lua", 4, "walks.rs"),
    ("docs/install-prosody.md", "sh", 5, "walks.rs"),
    ("docs/install-prosody.md", "sql", 1, "walks.rs"),
    ("docs/metrics.md", "sh", 1, "walks.rs"),
    ("docs/operating.md", "console", 11, "console.rs"),
    ("docs/operating.md", "sql", 1, "walks.rs"),
    ("docs/privacy.md", "sql", 2, "walks.rs"),
    ("docs/runbook.md", "sh", 12, "walks.rs"),
];

/// Blocks that nothing runs, by a line of theirs, and why.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("CONTRIBUTING.md", "./dev demo", "it would start these tests; the demo has tests of its own"),
    (
        "docs/install-compose.md",
        "docker compose",
        "it needs a Docker engine; `./dev test --deploy` reads the files",
    ),
    (
        "docs/install-package.md",
        "./dev package",
        "it installs on this machine; `./dev test --deploy` does so in a bare Debian",
    ),
    ("docs/install-package.md", "LoadCredential=", "systemd reads it, which the tests do without"),
    ("README.md", "./dev demo", "it would start these tests; the demo has tests of its own"),
];

/// No block of a document is there for the eye alone, but for pictures and what is listed with a reason.
#[test]
fn every_block_is_run_or_read() {
    for page in pages() {
        let mut left: BTreeMap<String, usize> = BTreeMap::new();
        for block in page.blocks() {
            let place = format!("{}, line {}", page.name, block.line);
            let excused = |it: &&(&str, &str, &str)| it.0 == page.name && block.text.contains(it.1);
            match block.language.as_str() {
                _ if NOT_RUN.iter().find(excused).is_some() => {}
                "text" => {}
                "toml" => read_toml(&block.text, &place),
                "xml" => read_xml(&block.text, &place),
                "json" => {
                    drop(serde_json::from_str::<serde_json::Value>(&block.text).expect(&place))
                }
                "" => panic!("{place}: a block has no language"),
                language => *left.entry(language.to_owned()).or_default() += 1,
            }
        }
        let run = RUN.iter().filter(|it| it.0 == page.name);
        let run: BTreeMap<String, usize> = run.map(|it| (it.1.to_owned(), it.2)).collect();
        assert_eq!(left, run, "{}: blocks by language, and those that a test runs", page.name);
    }
    for (page, _, _, test) in RUN {
        let source = fs::read_to_string(root().join("tests/it").join(test)).expect(test);
        assert!(
            source.contains(page) || ANY_ORDER.contains(page),
            "{test} knows nothing of {page}"
        );
    }
    for (page, line, reason) in NOT_RUN {
        assert!(Page::read(page).text.contains(line) && !reason.is_empty(), "{page}: {line}");
    }
}

/// A piece of a configuration, put into the sample's place: each key is known and takes its value.
fn read_toml(text: &str, place: &str) {
    let mut whole: toml::Table = MINIMAL.parse().expect("the least configuration");
    let piece: toml::Table = text.parse().unwrap_or_else(|error| panic!("{place}: {error}"));
    for (section, keys) in piece {
        let keys =
            keys.as_table().unwrap_or_else(|| panic!("{place}: {section} is no section")).clone();
        let there = whole.entry(section).or_insert_with(|| toml::Table::new().into());
        let there = there.as_table_mut().expect("a section");
        for (key, value) in keys {
            // The lab has no such file, and one secret may not stand in two places.
            if key != "secret_file" && key != "password_file" {
                there.insert(key, value);
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ephemerd.toml");
    fs::write(&file, toml::to_string(&whole).expect("TOML")).expect("it is written");
    let output = Command::new(env!("CARGO_BIN_EXE_ephemerd"))
        .args([Path::new("--config"), &file, Path::new("config")])
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
}

const MINIMAL: &str = r#"
component = { jid = "ephemerd.example.org", server = "127.0.0.1:5347", secret = "x" }
database = { url = "postgres://ephemerd@127.0.0.1/prosody" }
archive = { kind = "prosody", hosts = ["example.org"] }
"#;

/// `…` stands for what is left out, attributes or elements.
fn read_xml(text: &str, place: &str) {
    let text = text.replace("<…/>", "").replace('…', " ");
    let whole = format!("<page xmlns='jabber:client'>{text}</page>");
    let read = whole.parse::<minidom::Element>();
    assert!(read.is_ok(), "{place}: {:?}", read.err());
}

/// Every page that the program names is there, section too.
#[test]
fn pages_that_the_program_names_are_there() {
    let mut named = BTreeSet::new();
    let mut folders = vec![root().join("src"), root().join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for rest in text.split("docs/").skip(1) {
                let is_of_name = |it: char| it.is_ascii_alphanumeric() || "-_./#".contains(it);
                let end = rest.find(|it| !is_of_name(it)).unwrap_or(rest.len());
                let target = format!("docs/{}", rest[..end].trim_end_matches('.'));
                if target.contains(".md") {
                    follow("README.md", &target);
                    named.insert(target);
                }
            }
        }
    }
    assert!(named.len() > 4, "names were found: {named:?}");
}
