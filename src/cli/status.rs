use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Failure, print, show};
use crate::app;
use crate::config::Config;
use crate::ledger::{AgeStanding, CursorState, Daemon, Pause, Sweep, SweepCounts};
use crate::ops::{Status, age_waits};

const EXAMPLES: &str = "\
Examples:
  ephemerd status
  ephemerd status --json | jq .overdue";

/// Show what is going on, from the database alone
///
/// Works whether or not a daemon is running. `ephemerd preview` shows what goes when.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let status = app::status(config).await?;
    let dry_run = config.erase.dry_run;
    let text =
        if args.json { show::json(&for_programs(&status)) } else { for_people(&status, dry_run) };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn for_people(status: &Status, dry_run: bool) -> String {
    let tally = &status.tally;
    let overdue = match tally.oldest_due {
        _ if status.pause != Pause::None => {
            "not counted during a pause; `ephemerd preview` shows what waits".to_owned()
        }
        None => "nothing".to_owned(),
        Some(since) => format!(
            "{}, the oldest since {} ({})",
            show::count(tally.overdue),
            show::time(since),
            show::ago(since, status.now)
        ),
    };
    let backlog = match tally.backlog {
        0 => "nothing held".to_owned(),
        held => format!("{} held; see `ephemerd backlog show`", show::count(held)),
    };
    let holds = match (tally.holds, tally.on_hold) {
        (0, 0) => "none".to_owned(),
        (holds, kept) => format!(
            "{} in force; {} due and kept; see `ephemerd hold list`",
            show::count(holds),
            counted(kept, "row is", "rows are", "").trim_end()
        ),
    };
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<13} {value}");
    };
    line("schema", &format!("version {}, the one that this program needs", status.schema));
    if status.daemons.is_empty() {
        line("daemons", "none is running with this database and role");
    }
    for it in &status.daemons {
        line("daemons", &daemon(it, status));
    }
    // A daemon with this configuration erases nothing in either case.
    let erasing = match status.pause {
        Pause::None if dry_run => "nothing: erase.dry_run is on in this configuration".to_owned(),
        pause => show::pause(pause),
    };
    line("erasing", &erasing);
    line("pending", &counted(tally.pending, "message has", "messages have", "yet to go"));
    line("placeholders", &counted(tally.placeholders, "row has", "rows have", "yet to be deleted"));
    line("overdue", &overdue);
    line("holds", &holds);
    if let Some(standing) = &status.retention {
        line("retention", &retention(standing, status));
    }
    line("backlog", &backlog);
    if status.cursors.is_empty() {
        line("inspection", "not started; `ephemerd run` starts it");
    }
    for cursor in &status.cursors {
        line("inspection", &inspection(cursor, status));
    }
    for (archive, sweep) in &status.sweeps {
        line("sweep", &format!("{archive}: {}", swept(sweep, status)));
    }
    text
}

fn daemon(daemon: &Daemon, status: &Status) -> String {
    let Daemon { state, since, address } = daemon;
    let does = if state.leads { "leads" } else { "does not lead" };
    let component = if state.connected { "connected" } else { "not connected" };
    let modules = match state.modules {
        0 => String::new(),
        modules => {
            format!(", {}", counted(modules, "module answers", "modules answer", "").trim_end())
        }
    };
    let from = address.as_deref().map_or_else(String::new, |it| format!(", from {it}"));
    format!(
        "version {}{from}: {does}; component {component}{modules}; connected to the database {}",
        state.version,
        show::ago(*since, status.now)
    )
}

fn retention(standing: &AgeStanding, status: &Status) -> String {
    match standing {
        AgeStanding::NotAnnounced => {
            "not announced: nothing goes by its age before a daemon reads it".to_owned()
        }
        AgeStanding::Replaced(_) => {
            "another policy was announced: nothing goes by the one in this configuration".to_owned()
        }
        AgeStanding::Unaccepted(it) | AgeStanding::InGrace(it) => format!(
            "{}; see `ephemerd preview --age`",
            age_waits(it, status.now).unwrap_or_default()
        ),
        AgeStanding::InForce(it) => format!("in force since {}", show::time(it.begins_at)),
    }
}

fn counted(number: i64, one: &str, many: &str, what: &str) -> String {
    format!("{} {} {what}", show::count(number), if number == 1 { one } else { many })
}

fn inspection(cursor: &CursorState, status: &Status) -> String {
    let CursorState { archive, position, frontier, moved_at } = cursor;
    format!(
        "{archive}: up to row {position}, watching up to row {frontier}; moved {}",
        show::ago(*moved_at, status.now)
    )
}

fn swept(sweep: &Sweep, status: &Status) -> String {
    let last = match sweep.completed_at {
        None => "none has finished".to_owned(),
        Some(at) => format!("the last finished {}", show::ago(at, status.now)),
    };
    match sweep.started_at {
        _ if sweep.requested => format!("requested; {last}"),
        None => last,
        Some(at) => format!(
            "at {:.0}%, row {} of {}, begun {}; {last}",
            sweep.share() * 100.0,
            sweep.position.min(sweep.upto),
            sweep.upto,
            show::ago(at, status.now)
        ),
    }
}

fn for_programs(status: &Status) -> Value {
    let tally = &status.tally;
    let cursors = status.cursors.iter().map(|it| {
        json!({
            "archive": it.archive, "position": it.position, "frontier": it.frontier,
            "moved_at": show::json_time(it.moved_at),
        })
    });
    let sweeps = status.sweeps.iter().map(|(archive, sweep)| {
        json!({
            "archive": archive,
            "requested": sweep.requested,
            "started_at": sweep.started_at.map(show::json_time),
            "share": sweep.started_at.map(|_| sweep.share()),
            "position": sweep.position,
            "upto": sweep.upto,
            "found": json_found(sweep.found),
            "completed_at": sweep.completed_at.map(show::json_time),
        })
    });
    let daemons = status.daemons.iter().map(|it| {
        json!({
            "version": it.state.version, "leads": it.state.leads, "component_connected": it.state.connected,
            "modules": it.state.modules, "since": show::json_time(it.since), "address": it.address,
        })
    });
    json!({
        "now": show::json_time(status.now),
        "schema": status.schema,
        "daemons": daemons.collect::<Vec<_>>(),
        "erasing": show::json_pause(status.pause),
        "pending": tally.pending,
        "placeholders": tally.placeholders,
        "backlog": tally.backlog,
        "overdue": tally.overdue,
        "holds": tally.holds,
        "on_hold": tally.on_hold,
        "oldest_overdue": tally.oldest_due.map(show::json_time),
        "cursors": cursors.collect::<Vec<_>>(),
        "sweeps": sweeps.collect::<Vec<_>>(),
        "retention": status.retention.as_ref().map(json_retention),
    })
}

fn json_retention(standing: &AgeStanding) -> Value {
    let announced = standing.announced();
    json!({
        "state": standing.as_str(),
        "announced_at": announced.map(|it| show::json_time(it.announced_at)),
        "begins_at": announced.map(|it| show::json_time(it.begins_at)),
        "first_messages": announced.map(|it| it.first_rows),
    })
}

/// What a sweep did, for programs.
pub(super) fn json_found(found: SweepCounts) -> Value {
    json!({
        "rows": found.rows,
        "added": found.added,
        "changed": found.changed,
        "dropped": found.dropped,
        "adopted": found.adopted,
        "unreadable": found.unreadable,
    })
}
