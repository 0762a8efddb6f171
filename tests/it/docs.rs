//! The documents say what is true. (docs/configuration.md is checked beside the configuration.)

use std::fs;
use std::path::{Path, PathBuf};

use ephemerd::metrics::Metrics;
use ephemerd::model::Timestamp;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let folders = [root().to_path_buf(), root().join("docs"), root().join("docs/adr")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "md")).collect()
}

/// docs/metrics.md has a row for each metric, in order, with its HELP text, type and labels.
#[test]
fn every_metric_is_documented() {
    let text = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows: Vec<Vec<String>> = text
        .lines()
        .filter(|line| line.starts_with("| `ephemerd_") && line.matches(" | ").count() == 3)
        .map(|line| line.trim_matches('|').split(" | ").map(|it| it.trim().to_owned()).collect())
        .collect();
    let documented: Vec<_> =
        rows.iter().map(|row| (row[0].trim_matches('`'), row[3].as_str())).collect();
    assert_eq!(documented, Metrics::NAMES);
    let rendered = Metrics::new().render(Timestamp::UNIX_EPOCH).unwrap();
    for row in &rows {
        let (name, kind) = (row[0].trim_matches('`'), &row[1]);
        assert!(rendered.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}");
        let labels: Vec<_> = row[2].split(", ").filter(|it| *it != "–").collect();
        let sample = rendered
            .lines()
            .find(|line| {
                let rest = line.strip_prefix(name).unwrap_or("x");
                rest.starts_with(['{', ' ']) || rest.starts_with("_sum")
            })
            .unwrap_or_else(|| panic!("{name} has no sample"));
        for label in &labels {
            let label = label.trim_matches('`');
            assert!(sample.contains(&format!("{label}=\"")), "{name} lacks {label}: {sample}");
        }
        assert_eq!(sample.matches("=\"").count(), labels.len(), "{sample}");
    }
}

/// What a document points to is there.
#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            links += 1;
            let path = target.split('#').next().unwrap();
            let there = document.parent().unwrap().join(path).exists();
            assert!(there, "{} points to {target}", document.display());
        }
    }
    assert!(links > 5, "nothing was read");
}
