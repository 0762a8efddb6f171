//! Whether it works, in one sentence, and what else the operator should know.

use super::View;
use crate::ledger::Pause;
use crate::ops::{
    age_waits,
    text::{count, counted, length, time},
};

/// Erasing counts as not working if something is overdue for longer than this.
const LATE_SECONDS: i64 = 300;

/// How serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Bad,
    Attention,
    Good,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Bad => "Not working",
            Self::Attention => "Attention",
            Self::Good => "Working",
        }
    }

    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Attention => "attention",
            Self::Good => "good",
        }
    }

    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Bad => "✕",
            Self::Attention => "!",
            Self::Good => "✓",
        }
    }
}

/// Something worth knowing, in one sentence.
pub(super) struct Matter {
    pub(super) level: Level,
    pub(super) text: String,
}

/// Most serious first.
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) sentence: String,
    pub(super) others: Vec<Matter>,
}

pub(super) fn of(view: &View<'_>) -> Verdict {
    let mut matters = matters(view);
    matters.sort_by_key(|matter| matter.level);
    let mut matters = matters.into_iter();
    match matters.next() {
        Some(Matter { level, text }) => {
            Verdict { level, sentence: text, others: matters.collect() }
        }
        None => Verdict { level: Level::Good, sentence: going_well(view), others: Vec::new() },
    }
}

fn going_well(view: &View<'_>) -> String {
    match view.counted.map_or(0, |it| it.tally.overdue) {
        0 => "New messages are inspected, and everything due is gone.".to_owned(),
        1 => "1 message is due and is being erased.".to_owned(),
        due => format!("{} messages are due and are being erased.", count(due)),
    }
}

fn matters(view: &View<'_>) -> Vec<Matter> {
    let bad = view.readiness.reasons.iter().map(|reason| (Level::Bad, sentence(reason)));
    let late = late(view).map(|text| (Level::Bad, text));
    let old = age(view).map(|text| (Level::Attention, text));
    let attention = attention(view).into_iter().map(|text| (Level::Attention, text));
    let matters = bad.chain(late).chain(old).chain(attention);
    matters.map(|(level, text)| Matter { level, text }).collect()
}

fn late(view: &View<'_>) -> Option<String> {
    let tally = view.counted?.tally;
    let late = view.now - tally.oldest_due?;
    let is_late = late.num_seconds() > LATE_SECONDS && view.metrics.dry_run.get() == 0;
    is_late.then(|| {
        let overdue = counted(tally.overdue, "message");
        format!(
            "{overdue} should be gone by now; the oldest has been overdue for {}.",
            length(late)
        )
    })
}

/// While the database is unavailable, the counts get older.
fn age(view: &View<'_>) -> Option<String> {
    let as_of = view.counted.filter(|_| !view.readiness.database)?.as_of;
    let age = length(view.now - as_of);
    Some(format!("The ledger's figures are {age} old, from {}.", time(as_of)))
}

fn attention(view: &View<'_>) -> Vec<String> {
    let metrics = view.metrics;
    let pause = match view.counted.map_or(Pause::None, |it| it.pause) {
        Pause::None => None,
        Pause::Until(until) => Some(format!("Erasing is paused until {}.", time(until))),
        Pause::UntilResumed => Some("Erasing is paused until somebody resumes it.".to_owned()),
    };
    let holds = view.counted.map(|it| it.tally).filter(|it| it.on_hold > 0).map(|tally| {
        let kept = counted(tally.on_hold, "row");
        let (are, keep) =
            (if tally.on_hold == 1 { "is" } else { "are" }, counted(tally.holds, "hold"));
        format!("{kept} {are} due and on hold: {keep} in force.")
    });
    let others = [
        (
            metrics.dry_run.get() != 0,
            "This is a dry run: what is due is counted, and nothing is erased.",
        ),
        (
            metrics.leader.get() != 0 && metrics.component_connected.get() == 0,
            "The component is not connected to the XMPP server.",
        ),
        (
            metrics.config_last_reload_successful.get() == 0,
            "The changed configuration is invalid: the old one stays in force, and the log says what to do.",
        ),
    ];
    let others = others.into_iter().filter(|(is_so, _)| *is_so).map(|(_, text)| text.to_owned());
    pause.into_iter().chain(holds).chain(retention(view)).chain(others).collect()
}

/// Why nothing goes by its age, if that is so.
fn retention(view: &View<'_>) -> Option<String> {
    let age = view.counted.filter(|_| view.metrics.age_waiting.get() != 0).map(|it| &it.age)?;
    Some(match age.announced.as_ref().and_then(|it| age_waits(it, age.now)) {
        Some(waits) => format!("The retention policy {waits}."),
        None => "Nothing goes by its age: another daemon has announced another retention policy."
            .to_owned(),
    })
}

/// A reason as a sentence of its own.
fn sentence(reason: &str) -> String {
    let mut chars = reason.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}
