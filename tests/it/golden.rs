//! The cases in `tests/golden`: what a stanza says, and when and why it goes. `tests/golden/README.md` says
//! how to add one.
//!
//! `GOLDEN=print cargo test --test it golden` prints what each case really gives, in the form of its file.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use ephemerd::{
    config::{Config, Sources},
    model::{
        Facts, Inheritance, Judgement, Placement, Rules, Stamp, Start, StartedBy, Store, Timestamp,
        Verdict,
    },
    policy, stanza,
};
use serde::Deserialize;

use crate::reliability::saw;
use crate::support::MINIMAL;

/// What a case may claim to show; each must have a case.
const RULES: [&str; 21] = [
    "belonging",
    "blanking",
    "children",
    "clamps",
    "earlier counts",
    "errors",
    "hint conflict",
    "hints",
    "legacy expiry",
    "namespaces",
    "negotiation",
    "offline",
    "once",
    "opt-out",
    "reading",
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
    settings: BTreeMap<String, String>,
    #[serde(default)]
    row: Row,
    expected: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Row {
    store: String,
    archived_at: String,
    whole_seconds: bool,
    inspected_at: String,
    undelivered: bool,
    sent_by_owner: bool,
    awaits_reader: bool,
    read_at: Option<String>,
    message_goes_at: Option<String>,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            store: "archive".to_owned(),
            archived_at: "2026-11-22T04:14:00Z".to_owned(),
            whole_seconds: false,
            inspected_at: "2026-11-22T04:14:01Z".to_owned(),
            undelivered: false,
            sent_by_owner: false,
            awaits_reader: false,
            read_at: None,
            message_goes_at: None,
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

/// `expected` as in a file.
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

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The operator's rules, by their names in the configuration.
fn rules(settings: &BTreeMap<String, String>) -> Rules {
    let environment = settings.iter().map(|(key, value)| {
        (format!("EPHEMERD__{}", key.replace('.', "__").to_uppercase()), value.clone())
    });
    Config::from_sources(&Sources::of_text("golden", MINIMAL, environment)).unwrap().rules()
}

impl Row {
    /// Where the timer stands.
    fn placement(&self, facts: &Facts, rules: &Rules) -> Placement {
        let stamp = Stamp { at: time(&self.archived_at), whole_seconds: self.whole_seconds };
        let times = (stamp, time(&self.inspected_at));
        let waits = self.awaits_reader && policy::timer_from_reading(facts, rules).is_some();
        let unread = waits.then(|| policy::unread(times.0, times.1, rules.timers.unread_for));
        let mut start = policy::start(None, false, times, unread);
        if let Some((read_at, unread)) = self.read_at.as_deref().zip(unread) {
            let seen = Start { at: time(read_at), by: StartedBy::Marker };
            start = policy::read(seen, times, unread);
        }
        let archived_at = policy::archived(times.0, times.1).at;
        let store = self.store.parse::<Store>().unwrap();
        Placement::of(store, archived_at, start, self.undelivered).not_received(self.sent_by_owner)
    }
}

impl Row {
    /// What becomes of it by the message that it belongs to.
    fn inherit(&self, own: Judgement, facts: &Facts, placement: &Placement) -> Judgement {
        let Some((goes_at, to)) = self.message_goes_at.as_deref().zip(facts.belongs_to.as_ref())
        else {
            return own;
        };
        let (due_at, runs_from) = (time(goes_at), placement.runs_from);
        let inherited = Inheritance { bond: to.bond, runs_from, due_at };
        policy::inherit(own, facts, inherited, time(&self.archived_at))
    }
}

impl Case {
    /// The actual result.
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
        let rules = rules(&self.settings);
        let placement = self.row.placement(&facts, &rules);
        let own = policy::judge(&facts, &placement, &rules);
        let judgement = self.row.inherit(own, &facts, &placement);
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

/// The expected and the actual result, line by line.
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
    saw(
        "words in an invitation",
        "invitations and refusals with a reason, passwords and nicks, each with a timer (`tests/golden`)",
        "they are content and go by their own timer; only those without words are negotiations",
    );
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
