use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Failure, hold::address, print, retention, show};
use crate::app;
use crate::config::{Config, print_limit};
use crate::ledger::{AgeStanding, StandingWish};
use crate::model::{Address, Limit, Span, bare_jid};
use crate::ops::{About, AboutStore};

const EXAMPLES: &str = "\
Examples:
  ephemerd about --owner alice@example.org
  ephemerd about --owner den@rooms.example.org --json";

/// Show what is kept of a user or room, until when and why
///
/// Counts the owner's archive and offline queue, or the room's archive, and what the ledger has of them. Copies
/// in other archives are those owners'. Changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A user, or a room
    #[arg(long, value_name = "JID", value_parser = address)]
    owner: Address,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let about = app::about(config, &args.owner).await?;
    print(&match args.json {
        true => show::json(&for_programs(&about, &args.owner)),
        false => for_people(&about, &args.owner, config),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn time(at: Option<crate::model::Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), show::time)
}

fn for_people(about: &About, owner: &Address, config: &Config) -> String {
    let mut text = match (about.stores.is_empty(), about.archive_was_read) {
        (true, true) => "Nothing is kept of this owner.\n".to_owned(),
        (true, false) => "The ledger has nothing of this owner.\n".to_owned(),
        (false, _) => tables(about, owner, config),
    };
    if !about.archive_was_read {
        text += "\nOnly the companion module reaches the archive: messages without a timer or hint are not counted.\n";
    }
    if about.files.pending > 0 {
        let files = show::counted(about.files.pending, "uploaded file");
        let next = time(about.files.next);
        text += &format!(
            "\nWith messages that name them, unless others do: {files}, the first at {next}.\n"
        );
    }
    text += match about.retention {
        None | Some(AgeStanding::InForce(_)) => "",
        Some(_) => "\nThe retention policy is not in force: `ephemerd preview --age` says why.\n",
    };
    text += &wishes(about, config);
    if about.holds.in_force > 0 {
        let holds = match about.holds.in_force {
            1 => "1 hold in force concerns this owner.".to_owned(),
            many => format!("{} holds in force concern this owner.", show::count(many)),
        };
        let kept = show::counted(about.holds.messages, "message");
        text += &format!(
            "\n{holds} What is on hold stays until they end; of what has a timer or hint, that is {kept}.\n"
        );
    }
    text
}

/// What the owner wishes for the own archive.
fn wishes(about: &About, config: &Config) -> String {
    if about.wishes.is_empty() {
        return String::new();
    }
    let line = |it: &StandingWish| {
        let archive_for = it.wish.archive_for.map_or("-".to_owned(), |it| Span(it).to_string());
        let encrypted = it.wish.encrypted_for.map_or("-".to_owned(), |it| Span(it).to_string());
        let once = if it.wish.once { "yes" } else { "-" };
        let with = it.with.clone().unwrap_or_else(|| "all".to_owned());
        vec![with, archive_for, encrypted, once.to_owned(), show::time(it.wished_at)]
    };
    let header = ["chat", "kept at most", "encrypted", "once read", "since"];
    let mut text = "\nThe owner has set for the own archive:\n".to_owned();
    text += &show::table(&header, 0..0, about.wishes.iter().map(line).collect());
    if !config.rules().wishes.followed {
        text += "\nNone of it is followed: commands.settings is off.\n";
    }
    text
}

fn tables(about: &About, owner: &Address, config: &Config) -> String {
    let mut text = String::new();
    if about.archive_was_read {
        let line = |it: &AboutStore| {
            let messages = it.messages.unwrap_or_default();
            let (oldest, newest) = messages.span.unzip();
            let (rows, bytes) = (show::count(messages.rows), show::count(messages.bytes));
            vec![it.store.to_string(), rows, bytes, time(oldest), time(newest)]
        };
        let lines = about.stores.iter().map(line).collect();
        text += &show::table(&["store", "messages", "bytes", "oldest", "newest"], 1..3, lines);
        text += "\n";
    }
    let line = |it: &AboutStore| {
        let counts = [it.recorded.pending, it.recorded.unread, it.recorded.undelivered];
        let mut line = vec![it.store.to_string()];
        line.extend(counts.map(show::count));
        line.extend([it.recorded.backlog, it.recorded.placeholders].map(show::count));
        line.push(time(it.recorded.next.map(|it| it.0)));
        line.push(it.recorded.next.map(|it| it.1.to_string()).unwrap_or_default());
        line
    };
    let header = [
        "store",
        "timer or hint",
        "unread",
        "undelivered",
        "backlog",
        "placeholders",
        "next",
        "why",
    ];
    text += &show::table(&header, 1..6, about.stores.iter().map(line).collect());
    let retention = config.retention();
    let line = |it: &AboutStore| {
        let kept_for = match it.applied.limit {
            Limit::Never => "for ever".to_owned(),
            limit => print_limit(limit),
        };
        let why = retention::why(&retention, owner, it.applied);
        vec![it.store.to_string(), kept_for, time(it.too_old_from), why]
    };
    text += "\n";
    let header = ["store", "kept by age", "first too old", "why"];
    text + &show::table(&header, 0..0, about.stores.iter().map(line).collect())
}

fn for_programs(about: &About, owner: &Address) -> Value {
    let store = |it: &AboutStore| {
        let span = it.messages.and_then(|it| it.span);
        let recorded = &it.recorded;
        json!({
            "store": it.store.as_str(),
            "messages": it.messages.map(|it| it.rows),
            "bytes": it.messages.map(|it| it.bytes),
            "oldest": span.map(|it| show::json_time(it.0)),
            "newest": span.map(|it| show::json_time(it.1)),
            "with_timer_or_hint": recorded.pending,
            "unread": recorded.unread,
            "undelivered": recorded.undelivered,
            "backlog": recorded.backlog,
            "placeholders": recorded.placeholders,
            "next": recorded.next.map(|it| show::json_time(it.0)),
            "next_reason": recorded.next.map(|it| it.1.as_str()),
            "kept_for": print_limit(it.applied.limit),
            "rule": it.applied.rule.map(|at| at + 1),
            "first_too_old": it.too_old_from.map(show::json_time),
        })
    };
    let wish = |it: &StandingWish| {
        json!({
            "with": it.with,
            "archive_for": it.wish.archive_for.map(|it| Span(it).to_string()),
            "encrypted_for": it.wish.encrypted_for.map(|it| Span(it).to_string()),
            "once": it.wish.once,
            "wished_at": show::json_time(it.wished_at),
        })
    };
    json!({
        "owner": bare_jid(&owner.local, &owner.host),
        "archive_was_read": about.archive_was_read,
        "stores": about.stores.iter().map(store).collect::<Vec<_>>(),
        "files": {"pending": about.files.pending, "next": about.files.next.map(show::json_time)},
        "retention": about.retention.as_ref().map(AgeStanding::as_str),
        "wishes": about.wishes.iter().map(wish).collect::<Vec<_>>(),
        "holds": {"in_force": about.holds.in_force, "messages": about.holds.messages},
    })
}
