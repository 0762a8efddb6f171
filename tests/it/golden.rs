//! The cases in `tests/golden`: what a stanza says, and when and why it goes.
//! `tests/golden/README.md` tells how to add one.
//!
//! `GOLDEN=print cargo test --test it golden` prints what each case really gives, in the form of its file.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, time::Duration};

use ephemerd::{
    model::{Conflict, Placement, Rules, Stamp, Store, Timestamp, Verdict},
    policy, stanza,
};
use serde::Deserialize;

/// What a case may say that it shows; each must have a case.
const RULES: [&str; 17] = [
    "blanking",
    "children",
    "clamps",
    "earlier counts",
    "errors",
    "hint conflict",
    "hints",
    "namespaces",
    "negotiation",
    "offline",
    "opt-out",
    "real clients",
    "runs from",
    "shortest timer",
    "timer values",
    "unreadable",
    "wrapper",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    rule: String,
    case: String,
    stanza: String,
    #[serde(default)]
    settings: Settings,
    #[serde(default)]
    row: Row,
    expected: Expected,
}

/// The operator's settings by their names in the configuration; `none` is "without".
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(rename = "timers.min")]
    min: Option<String>,
    #[serde(rename = "timers.max")]
    max: Option<String>,
    #[serde(rename = "timers.negotiation_for")]
    negotiation_for: Option<String>,
    #[serde(rename = "hints.keep_for")]
    keep_for: Option<String>,
    #[serde(rename = "hints.conflict")]
    conflict: Option<String>,
    #[serde(rename = "offline.undelivered_for")]
    undelivered_for: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Row {
    store: String,
    archived_at: String,
    whole_seconds: bool,
    inspected_at: String,
    undelivered: bool,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            store: "archive".to_owned(),
            archived_at: "2026-11-22T04:14:00Z".to_owned(),
            whole_seconds: false,
            inspected_at: "2026-11-22T04:14:01Z".to_owned(),
            undelivered: false,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    outcome: String,
    due_at: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    because: Vec<String>,
    flaw: Option<String>,
}

/// `expected` as a file has it.
fn written(expected: &Expected) -> String {
    let mut out = format!("[expected]\noutcome = \"{}\"\n", expected.outcome);
    let texts =
        [("due_at", &expected.due_at), ("reason", &expected.reason), ("flaw", &expected.flaw)];
    for (name, text) in texts {
        if let Some(text) = text {
            writeln!(out, "{name} = \"{text}\"").unwrap();
        }
    }
    if !expected.because.is_empty() {
        out.push_str("because = [\n");
        for clause in &expected.because {
            writeln!(out, "    \"{clause}\",").unwrap();
        }
        out.push_str("]\n");
    }
    out
}

fn span(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Settings {
    fn rules(&self) -> Rules {
        let mut rules = Rules::default();
        let set = |to: &mut Duration, text: &Option<String>| {
            *to = text.as_deref().map_or(*to, span);
        };
        set(&mut rules.timers.min, &self.min);
        set(&mut rules.timers.negotiation_for, &self.negotiation_for);
        set(&mut rules.hints.keep_for, &self.keep_for);
        rules.timers.max = self.max.as_deref().map(span);
        rules.hints.conflict = match self.conflict.as_deref() {
            None | Some("store") => Conflict::Store,
            Some("no-permanent-store") => Conflict::NoPermanentStore,
            Some(other) => panic!("hints.conflict = {other}?"),
        };
        match self.undelivered_for.as_deref() {
            None => {}
            Some("never") => rules.offline.undelivered_for = None,
            Some(text) => rules.offline.undelivered_for = Some(span(text)),
        }
        rules
    }
}

impl Case {
    /// What really comes of the stanza.
    fn actual(&self) -> Expected {
        let nothing = Expected {
            outcome: String::new(),
            due_at: None,
            reason: None,
            because: Vec::new(),
            flaw: None,
        };
        let facts = match stanza::read(&self.stanza) {
            Ok(facts) => facts,
            Err(unreadable) => {
                let flaw = Some(unreadable.flaw.to_string());
                return Expected { outcome: "unreadable".to_owned(), flaw, ..nothing };
            }
        };
        let stamp =
            Stamp { at: time(&self.row.archived_at), whole_seconds: self.row.whole_seconds };
        let placement = Placement {
            store: self.row.store.parse::<Store>().unwrap(),
            runs_from: policy::runs_from(stamp, time(&self.row.inspected_at)),
            undelivered: self.row.undelivered,
        };
        let judgement = policy::judge(&facts, &placement, &self.settings.rules());
        let because = judgement.because().iter().map(ToString::to_string).collect();
        match judgement.verdict() {
            Some(Verdict { due_at, reason, .. }) => Expected {
                outcome: "goes".to_owned(),
                due_at: Some(due_at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
                reason: Some(reason.to_string()),
                because,
                flaw: None,
            },
            None => Expected { outcome: "stays".to_owned(), because, ..nothing },
        }
    }
}

fn cases() -> BTreeMap<PathBuf, Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|it| it == "toml"));
    let case = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let case =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (file, case)
    };
    files.map(case).collect()
}

/// What was expected and what came, line by line.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let mut out = String::new();
    for line in &old {
        let sign = if new.contains(line) { ' ' } else { '-' };
        writeln!(out, "  {sign} {line}").unwrap();
    }
    for line in new.iter().filter(|line| !old.contains(line)) {
        writeln!(out, "  + {line}").unwrap();
    }
    out
}

#[test]
#[expect(clippy::print_stderr, reason = "asked for by GOLDEN=print")]
fn each_case_goes_when_and_why_its_file_says() {
    let print = std::env::var("GOLDEN").is_ok_and(|it| it == "print");
    let mut failures = String::new();
    for (file, case) in cases() {
        let (expected, actual) = (written(&case.expected), written(&case.actual()));
        if print {
            eprintln!("# {}\n{actual}", file.display());
        }
        if expected != actual {
            let difference = difference(&expected, &actual);
            writeln!(failures, "{} ({}):\n{difference}", file.display(), case.case).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn each_rule_has_a_case() {
    let cases = cases();
    for (file, Case { rule, .. }) in &cases {
        assert!(RULES.contains(&rule.as_str()), "{}: no rule is named {rule:?}", file.display());
    }
    for rule in RULES {
        assert!(cases.values().any(|it| it.rule == rule), "no case shows {rule:?}");
    }
}
