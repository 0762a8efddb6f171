//! Holds for people and for programs.

use serde_json::{Value, json};

use super::super::show;
use crate::ledger::{Hold, HoldEvent, Kept, NewHold};
use crate::model::{HoldOn, Timestamp};

/// What a hold is on.
fn on(on: &HoldOn) -> String {
    match on {
        HoldOn::All => "everything".to_owned(),
        HoldOn::Host(host) => format!("host {host}"),
        HoldOn::User(it) => format!("user {}@{}", it.local, it.host),
        HoldOn::Conversation(it, peer) => format!("user {}@{} with {peer}", it.local, it.host),
        HoldOn::Room(it) => format!("room {}@{}", it.local, it.host),
    }
}

/// When its messages were archived.
fn span(since: Option<Timestamp>, before: Option<Timestamp>) -> String {
    match (since, before) {
        (None, None) => "at any time".to_owned(),
        (Some(since), None) => format!("from {}", show::time(since)),
        (None, Some(before)) => format!("before {}", show::time(before)),
        (Some(since), Some(before)) => {
            format!("from {} to {}", show::time(since), show::time(before))
        }
    }
}

fn until(hold: &Hold) -> String {
    match hold.what.ends_at {
        None => "released".to_owned(),
        Some(at) if hold.in_force => show::time(at),
        Some(at) => format!("{} (ended)", show::time(at)),
    }
}

/// All holds.
pub(super) fn list(holds: &[Hold]) -> String {
    if holds.is_empty() {
        return "There are no holds.\n".to_owned();
    }
    let row = |hold: &Hold| {
        let NewHold { on: what, since, before, reason, by, .. } = &hold.what;
        vec![
            hold.id.to_string(),
            on(what),
            span(*since, *before),
            until(hold),
            by.clone(),
            reason.clone(),
        ]
    };
    let header = ["hold", "on", "archived", "until", "by", "reason"];
    show::table(&header, 0..1, holds.iter().map(row).collect())
}

/// One hold.
pub(super) fn hold(hold: &Hold, kept: Kept) -> String {
    let NewHold { on: what, since, before, reason, by, .. } = &hold.what;
    let lines = [
        ("hold", hold.id.to_string()),
        ("on", on(what)),
        ("archived", span(*since, *before)),
        ("until", until(hold)),
        ("placed", format!("{} by {by}", show::time(hold.placed_at))),
        ("reason", reason.clone()),
        ("keeps", keeps(kept)),
    ];
    lines.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect()
}

fn keeps(kept: Kept) -> String {
    let (entries, due) = (show::counted(kept.entries, "row"), show::count(kept.due));
    format!("{entries} that would go by timers and hints, {due} of them by now")
}

/// A hold that was placed.
pub(super) fn placed(hold: &Hold, kept: Kept) -> String {
    let until = match hold.what.ends_at {
        None => format!("until `ephemerd hold release {}`", hold.id),
        Some(at) => format!("until {}", show::time(at)),
    };
    let what = on(&hold.what.on);
    let span = span(hold.what.since, hold.what.before);
    let keeps = keeps(kept);
    format!(
        "Hold {} is in force {until}: {what}, archived {span}.\n\
         It keeps {keeps}; what goes by its age is kept too, but not counted.\n",
        hold.id
    )
}

/// The log, a line for each event.
pub(super) fn log(log: &[HoldEvent]) -> String {
    if log.is_empty() {
        return "The log is empty.\n".to_owned();
    }
    let row = |it: &HoldEvent| {
        vec![
            show::time(it.at),
            it.hold.to_string(),
            it.event.clone(),
            it.by.clone(),
            on(&it.on),
            it.reason.clone(),
        ]
    };
    show::table(&["at", "hold", "event", "by", "on", "reason"], 1..2, log.iter().map(row).collect())
}

/// All holds, for programs.
pub(super) fn json(holds: &[Hold]) -> Value {
    json!({"holds": holds.iter().map(|it| json_hold(it, None)).collect::<Vec<_>>()})
}

/// One hold, for programs.
pub(super) fn json_hold(hold: &Hold, kept: Option<Kept>) -> Value {
    let NewHold { on, since, before, reason, by, ends_at } = &hold.what;
    let mut value = json_on(on);
    let more = json!({
        "hold": hold.id,
        "from": since.map(show::json_time),
        "to": before.map(show::json_time),
        "until": ends_at.map(show::json_time),
        "in_force": hold.in_force,
        "placed_at": show::json_time(hold.placed_at),
        "by": by,
        "reason": reason,
    });
    extend(&mut value, more);
    if let Some(kept) = kept {
        extend(&mut value, json!({"rows": kept.entries, "due": kept.due}));
    }
    value
}

fn json_on(on: &HoldOn) -> Value {
    let owner = (!on.owner().is_empty()).then(|| format!("{}@{}", on.owner(), on.host()));
    json!({
        "scope": on.scope().as_str(),
        "host": Some(on.host()).filter(|it| !it.is_empty()),
        "owner": owner,
        "with": on.peer(),
    })
}

fn extend(value: &mut Value, more: Value) {
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
}

/// The log, for programs.
pub(super) fn json_log(log: &[HoldEvent]) -> Value {
    let event = |it: &HoldEvent| {
        let mut value = json_on(&it.on);
        let more = json!({
            "at": show::json_time(it.at),
            "hold": it.hold,
            "event": it.event,
            "by": it.by,
            "role": it.role,
            "reason": it.reason,
            "from": it.since.map(show::json_time),
            "to": it.before.map(show::json_time),
            "until": it.ends_at.map(show::json_time),
        });
        extend(&mut value, more);
        value
    };
    json!({"log": log.iter().map(event).collect::<Vec<_>>()})
}
