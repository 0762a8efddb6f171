//! docs/supported.md: which versions were seen, and the fates of the conformance suite's messages on each. It is drawn from
//! docs/supported.json, which `SUPPORTED=write ./dev test --versions` writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use ephemerd_lab::{Release, Result};
use serde::{Deserialize, Serialize};

use crate::conformance::{Column, judge};
use crate::conformance_cases::{CASES, Case, EXCEPTIONS, is_usual};
use crate::pages::root;

/// Set to `write`, a run on another Debian's servers writes what it saw.
const VARIABLE: &str = "SUPPORTED";
const BEGIN: &str = "<!-- drawn by ./dev test --versions: begin -->\n";
const END: &str = "<!-- drawn by ./dev test --versions: end -->\n";

/// The suites, as people call them.
const SUITES: [(&str, &str); 3] =
    [("bookworm", "Debian 12"), ("trixie", "Debian 13"), ("unstable", "Debian unstable")];
const PACKAGES: [(&str, &str); 5] = [
    ("prosody", "Prosody"),
    ("lua5.4", "Lua"),
    ("ejabberd", "ejabberd"),
    ("erlang-base", "Erlang/OTP"),
    ("postgresql", "PostgreSQL"),
];
/// The kinds in the columns' names, each with two modes.
const KINDS: [(&str, &str); 6] = [
    ("prosody", "Prosody, SQL"),
    ("prosody files", "Prosody, files"),
    ("prosody sqlite", "Prosody, SQLite"),
    ("classic", "ejabberd, classic"),
    ("multihost", "ejabberd, multi-host"),
    ("mnesia", "ejabberd, Mnesia"),
];
const MODES: [&str; 2] = ["placeholder", "delete"];

/// What was seen on one Debian.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    versions: BTreeMap<String, String>,
    /// By kind and mode, then by case: how many rows at first, and at last.
    rows: BTreeMap<String, BTreeMap<String, String>>,
}

type All = BTreeMap<String, Seen>;

fn file(name: &str) -> PathBuf {
    root().join("docs").join(name)
}

fn read() -> All {
    serde_json::from_str(&fs::read_to_string(file("supported.json")).unwrap()).unwrap()
}

/// The versions of the servers that this process runs.
fn versions(release: &Release) -> Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    for (package, _) in PACKAGES {
        let mut version = release.version(package)?;
        // This one is empty, and needs the one with the programs.
        if let ("postgresql", Some(major)) = (package, &version) {
            version = release.version(&format!("{package}-{major}"))?;
        }
        versions.extend(version.map(|it| (package.to_owned(), it)));
    }
    Ok(versions)
}

/// What the matrix was seen with.
pub(crate) fn heading() -> Result<String> {
    let release = Release::default();
    let suite = release.suite().unwrap_or("this machine");
    let versions: Vec<_> =
        versions(&release)?.iter().map(|(name, it)| format!("{name} {it}")).collect();
    Ok(format!("{suite}: {}", versions.join(", ")))
}

/// Keeps what was seen, where that is asked for, and draws the page anew.
pub(crate) fn record(columns: &[Column]) -> Result<()> {
    let release = Release::default();
    let Some(suite) = release.suite().filter(|_| env::var(VARIABLE).is_ok_and(|it| it == "write"))
    else {
        return Ok(());
    };
    let shown = |(first, last): &(i64, i64)| format!("{first} → {last}");
    let column = |(kind, rows, _): &Column| {
        let rows = rows.iter().map(|(case, rows)| ((*case).to_owned(), shown(rows)));
        ((*kind).to_owned(), rows.collect())
    };
    let rows = columns.iter().map(column).collect();
    let mut all = if file("supported.json").exists() { read() } else { All::new() };
    all.insert(suite.to_owned(), Seen { versions: versions(&release)?, rows });
    let mut json = serde_json::to_string_pretty(&all).unwrap();
    json.push('\n');
    fs::write(file("supported.json"), json)?;
    let page = fs::read_to_string(file("supported.md"))?;
    Ok(fs::write(file("supported.md"), with(&page, &draw(&all)))?)
}

/// The page with this between its marks.
fn with(page: &str, drawn: &str) -> String {
    let (before, rest) = page.split_once(BEGIN).expect("where it begins");
    let (_, after) = rest.split_once(END).expect("where it ends");
    format!("{before}{BEGIN}{drawn}{END}{after}")
}

fn draw(all: &All) -> String {
    format!("{}\n{}\n{}", versions_table(all), fates_table(all), reasons())
}

fn versions_table(all: &All) -> String {
    let mut text = String::from("|");
    for (_, name) in SUITES {
        let _ = write!(text, " | {name}");
    }
    let _ = writeln!(text, " |\n|{}", "---|".repeat(SUITES.len() + 1));
    for (package, name) in PACKAGES {
        let _ = write!(text, "| {name}");
        for (suite, _) in SUITES {
            let version = all.get(suite).and_then(|it| it.versions.get(package));
            let _ = write!(text, " | {}", version.map_or("–", String::as_str));
        }
        text.push_str(" |\n");
    }
    text
}

/// One cell for both modes and all suites where they agree, as they should.
fn cell(all: &All, kind: &str, case: &Case) -> String {
    let mut seen = BTreeSet::new();
    for (suite, _) in SUITES {
        for mode in MODES {
            let rows = all
                .get(suite)
                .and_then(|it| it.rows.get(&format!("{kind}, {mode}"))?.get(case.name));
            seen.insert(rows.map_or("?", String::as_str));
        }
    }
    let seen: Vec<_> = seen.into_iter().collect();
    let mark = if is_usual(case, kind) { "" } else { " \\*" };
    format!("{}{mark}", seen.join(" or "))
}

fn fates_table(all: &All) -> String {
    let mut text = String::from("| message");
    for (_, name) in KINDS {
        let _ = write!(text, " | {name}");
    }
    let _ = writeln!(text, " |\n|{}", "---|".repeat(KINDS.len() + 1));
    for case in CASES {
        let _ = write!(text, "| {}", case.name);
        for (kind, _) in KINDS {
            let _ = write!(text, " | {}", cell(all, kind, case));
        }
        text.push_str(" |\n");
    }
    text
}

/// A reason a line, for the numbers that it explains.
fn reasons() -> String {
    let mut reasons: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for exception in EXCEPTIONS {
        reasons.entry(exception.reason).or_default().insert(exception.case);
    }
    let mut text = String::new();
    for (reason, cases) in reasons {
        let cases: Vec<_> = cases.into_iter().map(|it| format!("*{it}*")).collect();
        // Two names fit into a line.
        let lines: Vec<_> = cases.chunks(2).map(|it| it.join(", ")).collect();
        let _ = writeln!(text, "- \\* {}:\n  {reason}.", lines.join(",\n  "));
    }
    text
}

/// Every message was sent on every version, to every kind, in both modes, and had the fate that the suite expects.
#[test]
fn what_was_seen_is_all_that_the_suite_has_and_what_it_expects() {
    let all = read();
    for (suite, _) in SUITES {
        let seen = all.get(suite).unwrap_or_else(|| panic!("{suite} was not run"));
        for (package, _) in PACKAGES {
            assert!(seen.versions.contains_key(package), "{suite} says nothing of {package}");
        }
        let mut columns: Vec<Column> = Vec::new();
        for (kind, _) in KINDS {
            for mode in MODES {
                let name: &'static str = format!("{kind}, {mode}").leak();
                let rows = seen.rows.get(name).unwrap_or_else(|| panic!("{suite} has no {name}"));
                let read = |case: &str| {
                    let (first, last) = rows.get(case)?.split_once(" → ")?;
                    Some((first.parse().ok()?, last.parse().ok()?))
                };
                let rows = CASES.iter().filter_map(|it| Some((it.name, read(it.name)?)));
                columns.push((name, rows.collect(), Vec::new()));
            }
        }
        assert!(
            columns.iter().all(|it| it.1.len() == CASES.len()),
            "{suite} lacks cases: run {VARIABLE}=write ./dev test --versions"
        );
        let (_, faults) = judge(&columns);
        assert!(faults.is_empty(), "{suite}: {}", faults.join("\n"));
    }
}

/// The page is what is drawn from that.
#[test]
fn the_page_is_drawn_from_what_was_seen() {
    let page = fs::read_to_string(file("supported.md")).unwrap();
    assert_eq!(page, with(&page, &draw(&read())), "run {VARIABLE}=write ./dev test --versions");
}
