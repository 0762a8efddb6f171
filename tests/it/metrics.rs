//! docs/metrics.md lists what a daemon exports.

use std::collections::{BTreeMap, BTreeSet};

use ephemerd::metrics::Metrics;

use crate::pages::{Page, check_table};

/// A metric as documented in docs/metrics.md.
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

/// docs/metrics.md has each metric that a daemon exports, in order, with its HELP text, type and labels, and
/// each possible value of our labels: all of them exist from the start.
#[test]
fn every_metric_is_documented() {
    let live = Metrics::new().render().expect("it is text");
    write_rows(&live);
    let text = Page::read("docs/metrics.md").text;
    let rows = documented(&text);
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
    write_labels(&text, values);
}

/// A row for each metric, in order.
fn write_rows(live: &str) {
    let known = documented(&Page::read("docs/metrics.md").text);
    let row = |(name, help): &(&str, &str)| {
        let prefix = format!("# TYPE {name} ");
        let kind = live.lines().find_map(|it| it.strip_prefix(&prefix)).expect(name);
        let sample = live.lines().find(|it| it.starts_with(name)).expect(name);
        let mut names: Vec<&str> = labels(sample).into_keys().filter(|it| *it != "le").collect();
        // The order that a person gave them.
        let order = known.iter().find(|it| it.name == *name).map(|it| it.labels.as_slice());
        names.sort_by_key(|it| order.unwrap_or_default().iter().position(|known| known == it));
        let names = names.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { "–" } else { &names };
        format!("| `{name}` | {kind} | {names} | {help} |")
    };
    let rows: Vec<String> = Metrics::NAMES.iter().map(row).collect();
    check_table("docs/metrics.md", "| metric | type | labels | meaning |", &rows);
}

/// A row for each label: what a person wrote of its values, and those that are new.
fn write_labels(text: &str, mut values: BTreeMap<&str, BTreeSet<&str>>) {
    let is_label = |line: &&str| line.starts_with("| `") && line.matches(" | ").count() == 1;
    let lines = text.lines().filter(is_label);
    let mut rows = Vec::new();
    let known = lines.filter_map(|line| line.trim_matches('|').trim().split_once(" | "));
    for (label, list) in known {
        let Some(mut left) = values.remove(label.trim_matches('`')) else { continue };
        let mut items: Vec<String> = Vec::new();
        for item in list.split(", `").map(|it| it.trim_start_matches('`')) {
            let value = item.split('`').next().expect("a value");
            items.extend(left.remove(value).then(|| format!("`{item}")));
        }
        items.extend(left.into_iter().map(|value| format!("`{value}`")));
        rows.push(format!("| {label} | {} |", items.join(", ")));
    }
    for (label, values) in values {
        let values: Vec<String> = values.into_iter().map(|value| format!("`{value}`")).collect();
        rows.push(format!("| `{label}` | {} |", values.join(", ")));
    }
    check_table("docs/metrics.md", "| label | values |", &rows);
}
