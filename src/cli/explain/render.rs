use std::fmt::Write as _;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::super::{retention, show};
use crate::config::{Config, print_limit};
use crate::ledger::{FileCounts, Pause, Phase, RecordedQuote};
use crate::model::{Address, Facts, Judgement, LATEST, StartedBy, Store};
use crate::ops::{Afterwards, Aging, Explanation, FoundMessage, Live, Recorded};
use crate::policy::Retention;

/// A given stanza.
pub(super) fn given(explanation: &Explanation) -> String {
    format!("{}\nfound: {}\n", verdict(explanation), facts(explanation))
}

/// The archive's rows and what the ledger has of them.
pub(super) fn found(found: &FoundMessage, config: &Config, (host, local): (&str, &str)) -> String {
    let (rules, mut text) = (config.retention(), String::new());
    let owner = Address { host: host.to_owned(), local: local.to_owned() };
    for live in &found.live {
        let explanation = &live.explanation;
        let _ = writeln!(
            text,
            "{}, row {}, archived {}\n  {}\n  found: {}\n  ledger: {}",
            explanation.store,
            live.row_number,
            show::time(explanation.archived_at),
            verdict(explanation),
            facts(explanation),
            ledger(live, found.pause),
        );
        if let Some(quote) = &live.quote {
            let _ = writeln!(text, "  quote: {}", cut(quote, found.pause));
        }
        if let Some(age) = &live.age {
            let _ = writeln!(text, "  age: {}", aging(age, &rules, &owner));
        }
    }
    for orphan in &found.orphans {
        let _ = match found.archive_was_read {
            true => writeln!(
                text,
                "{}, row {}: gone from the archive; the ledger forgets it at the next sweep at the latest",
                orphan.expiry.row.store, orphan.expiry.row.row_number
            ),
            false => writeln!(
                text,
                "{}, archived {}; only the companion module can read what is there\n  ledger: {}",
                orphan.expiry.row.store,
                show::time(orphan.expiry.row.stamped_at),
                entry(orphan, found.pause),
            ),
        };
    }
    text
}

/// When what it quotes is cut out of it, and what holds that up.
fn cut(RecordedQuote { quote, on_hold, .. }: &RecordedQuote, pause: Pause) -> String {
    let kept = kept(*on_hold, quote.backlog, pause);
    format!("cut out {}, with the message that it quotes{kept}", show::time(quote.due_at))
}

/// When its age is a reason to go, and by which rule.
fn aging(age: &Aging, rules: &Retention, owner: &Address) -> String {
    let limit = print_limit(age.applied.limit);
    let why = match age.by_wish {
        true => "as its owner wishes".to_owned(),
        false => retention::why(rules, owner, age.applied),
    };
    let hold = if age.may_be_on_hold { "; a hold on its owner may keep it" } else { "" };
    format!("too old from {}, after {limit}, {why}{hold}", show::time(age.from))
}

/// The verdict and its reasons, in one sentence.
fn verdict(explanation: &Explanation) -> String {
    if !explanation.listed {
        return "stays: its host is not in archive.hosts, so it is never touched".to_owned();
    }
    let judgement = match (&explanation.judgement, &explanation.facts) {
        (Some(judgement), _) => judgement,
        (None, Some(Err(unreadable))) => {
            return format!("stays: it cannot be read, so it is left alone: {unreadable}");
        }
        (None, _) => {
            return "stays: it is larger than ephemerd reads, so it is left alone".to_owned();
        }
    };
    let mut text = judgement.to_string();
    if explanation.timer_by_wish {
        text.push_str("; that timer is what its owner wishes for encrypted messages");
    }
    if explanation.once_by_wish {
        text.push_str("; that it goes once it was read is what its owner wishes");
    }
    if matches!(judgement, Judgement::Goes(_)) {
        text.push_str(&counted_from(explanation));
    }
    match explanation.afterwards {
        Afterwards::Nothing => text,
        Afterwards::Until(until) => {
            format!("{text}; kept as a placeholder until {}", show::time(until))
        }
        Afterwards::UntilTaken => {
            format!("{text}; kept as a placeholder until its owner takes the queue")
        }
    }
}

/// When its timer started, and why, if not when it was archived.
fn counted_from(explanation: &Explanation) -> String {
    let start = explanation.start;
    let later = start.at - explanation.archived_at;
    let at = show::time(start.at);
    let (reader, nobody) = match explanation.store {
        Store::Room if explanation.by_everyone => {
            ("every member of the room", "not every member of the room has")
        }
        Store::Room => ("somebody in the room", "nobody in the room has"),
        Store::Archive | Store::Queue => ("its owner", "its owner has not"),
    };
    let evidence = match start.by {
        StartedBy::Mds => "as MDS showed",
        StartedBy::Marker => "as a displayed marker showed",
        StartedBy::Reply => "as a reply or reaction showed",
        StartedBy::Receipt => {
            return format!("; counted from when its owner received it, {at}, as a receipt showed");
        }
        StartedBy::Members => {
            return format!("; counted from when no member was left who had not read it, {at}");
        }
        StartedBy::Unread if start.at == LATEST => {
            return format!("; it waits for {reader} to read it");
        }
        StartedBy::Unread => {
            return format!("; {nobody} read it yet; counted at the latest from {at}");
        }
        _ if later.is_zero() => return String::new(),
        _ if later == TimeDelta::seconds(1) => {
            return "; counted from the end of the second in which it was archived".to_owned();
        }
        _ => return format!("; counted from {at}"),
    };
    format!("; counted from when {reader} read it, {at}, {evidence}")
}

/// What the stanza says, in brief.
fn facts(explanation: &Explanation) -> String {
    let Some(Ok(facts)) = &explanation.facts else { return "nothing that can be read".to_owned() };
    let timers = &facts.timers;
    let counted = |count: u32, what: &str| (count > 0).then(|| show::counted(count.into(), what));
    let shortest = |seconds: u32| match timers.valid {
        ..=1 => format!("a timer of {seconds} s"),
        several => format!("{several} timers, the shortest {seconds} s"),
    };
    let words = [
        timers.shortest_seconds.map(shortest),
        counted(timers.zero, "timer of zero").map(|it| it.replace("zeros", "zero")),
        counted(timers.invalid, "unreadable timer"),
        facts.hints.no_permanent_store.then(|| "the hint no-permanent-store".to_owned()),
        facts.hints.no_store.then(|| "the hint no-store".to_owned()),
        facts.hints.store.then(|| "the hint store".to_owned()),
        facts.legacy.is_some().then(|| "an expiry".to_owned()),
        counted(facts.legacy.invalid, "unreadable expiry"),
        facts.once.then(|| "once".to_owned()),
        facts.encrypted.then(|| "encrypted words".to_owned()),
        facts.wants_out.then(|| "an opt-out".to_owned()),
        facts.is_error.then(|| "an error".to_owned()),
        facts.expired_until.map(|until| format!("a placeholder until {}", show::time(until))),
        facts.has_content.then(|| "content".to_owned()),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "nothing that matters".to_owned() } else { words.join(", ") }
}

/// The ledger's entry for the row, and what holds it up.
fn ledger(live: &Live, pause: Pause) -> String {
    let verdict = match &live.explanation.judgement {
        Some(Judgement::Goes(verdict)) if live.explanation.listed => Some(verdict),
        _ => None,
    };
    let Some(known) = &live.entry else {
        return match verdict {
            Some(_) => "nothing yet; the tail or the next sweep records it".to_owned(),
            None => "nothing, as it should be".to_owned(),
        };
    };
    let expiry = &known.expiry;
    let agrees = verdict.is_some_and(|it| it.due_at == expiry.due_at && it.reason == expiry.reason);
    let differs = expiry.phase == Phase::Pending && !agrees;
    let differs = if differs { "; that differs, and the next sweep corrects it" } else { "" };
    entry(known, pause) + differs
}

/// An entry, and what holds it up.
fn entry(entry: &Recorded, pause: Pause) -> String {
    let (expiry, kept) = (&entry.expiry, kept(entry.on_hold, entry.expiry.backlog, pause));
    let due_at = show::time(expiry.due_at);
    let files = files(entry.files);
    match expiry.phase {
        Phase::Placeholder => format!("a placeholder, whose row goes {due_at}{kept}"),
        Phase::Pending => format!("goes {due_at}, reason: {}{files}{kept}", expiry.reason),
    }
}

/// Uploaded files that it names; nothing where there are none.
fn files(FileCounts { going, kept }: FileCounts) -> String {
    let mut text = String::new();
    if going > 0 {
        let files = show::counted(going, "uploaded file");
        let _ = write!(text, "; with it, {files} unless something else names it");
    }
    if kept > 0 {
        let files = show::counted(kept, "uploaded file");
        let _ = write!(text, "; not with it, {files} that something else names");
    }
    text
}

fn kept(on_hold: bool, backlog: bool, pause: Pause) -> String {
    let mut text = String::new();
    if on_hold {
        text.push_str("; on hold: nothing is erased before that ends");
    }
    if backlog {
        text.push_str("; held as backlog until `ephemerd backlog accept`");
    }
    if pause != Pause::None {
        let _ = write!(text, "; erasing is {}", show::pause(pause));
    }
    text
}

/// A given stanza, for programs.
pub(super) fn json(explanation: &Explanation) -> Value {
    let (verdict, due_at, reason) = match &explanation.judgement {
        None => ("unreadable", None, None),
        Some(_) if !explanation.listed => ("stays", None, None),
        Some(Judgement::Waits(_) | Judgement::Stays(_)) => ("stays", None, None),
        Some(Judgement::Goes(it)) => ("goes", Some(it.due_at), Some(it.reason.as_str())),
    };
    let placeholder_until = match explanation.afterwards {
        Afterwards::Until(until) => Some(until),
        Afterwards::Nothing | Afterwards::UntilTaken => None,
    };
    let because: Vec<String> = explanation
        .judgement
        .iter()
        .flat_map(|it| it.because().iter().map(ToString::to_string))
        .collect();
    let (facts, unreadable) = match &explanation.facts {
        Some(Ok(facts)) => (Some(json_facts(facts)), None),
        Some(Err(unreadable)) => (None, Some(unreadable.to_string())),
        None => (None, Some("it is larger than ephemerd reads".to_owned())),
    };
    json!({
        "store": explanation.store.as_str(),
        "archived_at": show::json_time(explanation.archived_at),
        "runs_from": show::json_time(explanation.start.at),
        "started_by": explanation.start.by.as_str(),
        "listed": explanation.listed,
        "verdict": verdict,
        "due_at": due_at.map(show::json_time),
        "reason": reason,
        "because": because,
        "once_by_wish": explanation.once_by_wish,
        "timer_by_wish": explanation.timer_by_wish,
        "placeholder_until": placeholder_until.map(show::json_time),
        "found": facts,
        "unreadable": unreadable,
    })
}

fn json_facts(facts: &Facts) -> Value {
    json!({
        "timers": facts.timers.valid,
        "shortest_timer_seconds": facts.timers.shortest_seconds,
        "timers_of_zero": facts.timers.zero,
        "invalid_timers": facts.timers.invalid,
        "expires_after_seconds": facts.legacy.shortest_seconds,
        "expires_at": facts.legacy.earliest.map(show::json_time),
        "invalid_expiries": facts.legacy.invalid,
        "once": facts.once,
        "encrypted": facts.encrypted,
        "no_permanent_store": facts.hints.no_permanent_store,
        "no_store": facts.hints.no_store,
        "store": facts.hints.store,
        "opt_out": facts.wants_out,
        "error": facts.is_error,
        "content": facts.has_content,
        "placeholder_until": facts.expired_until.map(show::json_time),
    })
}

/// The archive's rows and what the ledger has of them, for programs.
pub(super) fn json_found(found: &FoundMessage) -> Value {
    let rows = found.live.iter().map(|live| {
        let mut row = json(&live.explanation);
        if let Some(row) = row.as_object_mut() {
            row.insert("row".into(), live.row_number.into());
            row.insert("ledger".into(), live.entry.as_ref().map_or(Value::Null, json_entry));
            row.insert("age".into(), live.age.as_ref().map_or(Value::Null, json_aging));
            row.insert("quote".into(), live.quote.as_ref().map_or(Value::Null, json_quote));
        }
        row
    });
    let orphans: Vec<Value> = found.orphans.iter().map(json_entry).collect();
    let (gone, out_of_reach) = match found.archive_was_read {
        true => (orphans, vec![]),
        false => (vec![], orphans),
    };
    json!({
        "erasing": show::json_pause(found.pause),
        "rows": rows.collect::<Vec<_>>(),
        "gone": gone,
        "out_of_reach": out_of_reach,
    })
}

fn json_quote(RecordedQuote { quote, on_hold, .. }: &RecordedQuote) -> Value {
    json!({
        "due_at": show::json_time(quote.due_at),
        "backlog": quote.backlog,
        "on_hold": on_hold,
    })
}

fn json_aging(age: &Aging) -> Value {
    json!({
        "too_old_from": show::json_time(age.from),
        "kept_for": print_limit(age.applied.limit),
        "rule": age.applied.rule.map(|at| at + 1).filter(|_| !age.by_wish),
        "by_wish": age.by_wish,
        "may_be_on_hold": age.may_be_on_hold,
    })
}

fn json_entry(entry: &Recorded) -> Value {
    let Recorded { expiry: entry, on_hold, by_everyone, files } = entry;
    json!({
        "store": entry.row.store.as_str(),
        "phase": entry.phase.as_str(),
        "due_at": show::json_time(entry.due_at),
        "reason": entry.reason.as_str(),
        "backlog": entry.backlog,
        "on_hold": on_hold,
        "runs_from": show::json_time(entry.start.at),
        "started_by": entry.start.by.as_str(),
        "by_every_member": by_everyone,
        "files": files.going,
        "files_kept": files.kept,
    })
}
