use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::hold::address;
use super::{Failure, print, show};
use crate::app::{self, Accepted};
use crate::config::{Config, print_limit};
use crate::ledger::Announced;
use crate::model::{Address, Limit, Limits, RetentionRule, Store};
use crate::ops::AgeOutlook;
use crate::policy::{Applied, Retention};

const EXAMPLES: &str = "\
Examples:
  ephemerd retention show
  ephemerd retention show --owner peter@example.org
  ephemerd retention accept";

const SHOW_EXAMPLES: &str = "\
Examples:
  ephemerd retention show
  ephemerd retention show --owner peter@example.org --json";

const ACCEPT_EXAMPLES: &str = "\
Examples:
  ephemerd preview --age      # what goes first
  ephemerd retention accept";

/// Show how long messages are kept, or accept a policy
///
/// By [retention] in the configuration, messages go when they are too old, whatever their senders asked for.
/// A policy by which more than retention.confirm_above messages would go at first waits to be accepted.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the rules of this configuration, or which of them win for one user or room
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Only this user or room
        #[arg(long, value_name = "JID", value_parser = address)]
        owner: Option<Address>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Accept the policy of this configuration, after a daemon has announced it
    ///
    /// Asks for no confirmation. Messages go once retention.grace is over, and cannot be brought back.
    #[command(after_help = ACCEPT_EXAMPLES)]
    Accept {
        /// Print JSON: {"accepted": …}
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Show { owner, json } => {
            let retention = config.retention();
            print(&match (owner, json) {
                (None, false) => all(&retention),
                (None, true) => show::json(&json_all(&retention)),
                (Some(owner), false) => of(&retention, &owner, config),
                (Some(owner), true) => show::json(&json_of(&retention, &owner, config)),
            })?;
        }
        Command::Accept { json } => {
            let (announced, is_new) = match app::accept_policy(config).await? {
                Accepted::Now(announced) => (announced, true),
                Accepted::Before(announced) => (announced, false),
                Accepted::NotAnnounced => return Err(not_announced()),
            };
            print(&if json {
                let begins = show::json_time(announced.begins_at);
                show::json(&json!({"accepted": is_new, "begins_at": begins}))
            } else {
                accepted(&announced, is_new)
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn not_announced() -> Failure {
    Failure::Other(
        "no daemon has announced the retention policy of this configuration\n\
         help: start or reload a daemon with this configuration first, then look at `ephemerd preview --age`"
            .to_owned(),
    )
}

fn accepted(announced: &Announced, is_new: bool) -> String {
    let begins = show::time(announced.begins_at);
    match is_new {
        true => format!("The retention policy is accepted. Nothing goes by it before {begins}.\n"),
        false => format!(
            "The retention policy does not wait to be accepted. It is in force from {begins}.\n"
        ),
    }
}

const HEADER: [&str; 5] = ["for", "archive", "room", "queue", "reason"];

fn all(retention: &Retention) -> String {
    let line = |name: String, limits: &Limits, reason: Option<&str>| {
        let limit = |store| limits.of(store).map_or_else(|| "-".to_owned(), print_limit);
        let [archive, room, queue] = Store::ALL.map(limit);
        vec![name, archive, room, queue, reason.unwrap_or_default().to_owned()]
    };
    let rules = retention.rules();
    let mut lines = vec![line("everybody".to_owned(), &rules.everyone, None)];
    for rule in &rules.rules {
        for name in &rule.names {
            lines.push(line(name.clone(), &rule.limits, rule.reason.as_deref()));
        }
    }
    show::table(&HEADER, 0..0, lines)
}

/// The stores that an address may have: as a user, or as a room. Which it is, only the server knows.
fn applied(retention: &Retention, owner: &Address) -> [(Store, Applied); 3] {
    Store::ALL.map(|store| (store, retention.applied(store, &owner.host, &owner.local)))
}

fn is_listed(owner: &Address, config: &Config) -> bool {
    config.archive.hosts.contains(&owner.host)
}

pub(super) fn why(retention: &Retention, owner: &Address, applied: Applied) -> String {
    let rule = applied.rule.and_then(|at| Some((at, retention.rules().rules.get(at)?)));
    let Some((at, RetentionRule { names, whose, reason, .. })) = rule else {
        return "by what applies to everybody".to_owned();
    };
    let is_host = names.contains(&owner.host);
    let name = if is_host { "its host" } else { "this address" };
    let reason = reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
    format!("by rule {} ({}), which names {name}{reason}", at + 1, whose.as_str())
}

fn of(retention: &Retention, owner: &Address, config: &Config) -> String {
    if !is_listed(owner, config) {
        return "This host is not in archive.hosts: nothing of it is ever erased.\n".to_owned();
    }
    let line = |(store, applied): (Store, Applied)| {
        let limit = match applied.limit {
            Limit::Never => "never goes by its age".to_owned(),
            limit => format!("goes after {}", print_limit(limit)),
        };
        vec![store.to_string(), limit, why(retention, owner, applied)]
    };
    let lines = applied(retention, owner).into_iter().map(line).collect();
    show::table(&["store", "what is in it", "why"], 0..0, lines)
}

fn json_limits(limits: &Limits) -> Value {
    let limit = |store| limits.of(store).map(print_limit);
    let [archive, room, queue] = Store::ALL.map(limit);
    json!({"archive": archive, "room": room, "queue": queue})
}

fn json_all(retention: &Retention) -> Value {
    let rules = retention.rules();
    let rule = |it: &RetentionRule| {
        json!({
            "whose": it.whose.as_str(),
            "names": it.names,
            "limits": json_limits(&it.limits),
            "reason": it.reason,
        })
    };
    let written: Vec<Value> = rules.rules.iter().map(rule).collect();
    json!({"everybody": json_limits(&rules.everyone), "rules": written})
}

fn json_of(retention: &Retention, owner: &Address, config: &Config) -> Value {
    let store = |(store, applied): (Store, Applied)| {
        json!({
            "store": store.as_str(),
            "kept_for": print_limit(applied.limit),
            "rule": applied.rule.map(|at| at + 1),
        })
    };
    let stores: Vec<Value> = applied(retention, owner).into_iter().map(store).collect();
    json!({"listed": is_listed(owner, config), "stores": stores})
}

/// `preview --age` for people.
pub(super) fn outlook(outlook: &AgeOutlook, is_ours: bool) -> String {
    let Some(first) = outlook.first else { return "Nothing goes by its age.\n".to_owned() };
    let mut text = if outlook.stores.is_empty() {
        format!("Nothing is too old yet. The first message will be at {}.\n", show::time(first))
    } else {
        let lines = outlook.stores.iter().map(|(store, it)| {
            let oldest = it.oldest.map(show::time).unwrap_or_default();
            vec![store.to_string(), show::count(it.rows), show::count(it.bytes), oldest]
        });
        let mut lines: Vec<_> = lines.collect();
        let sum = |of: fn(&crate::ops::Aged) -> i64| outlook.stores.values().map(of).sum::<i64>();
        let (rows, bytes) = (show::count(sum(|it| it.rows)), show::count(sum(|it| it.bytes)));
        lines.push(vec!["all".to_owned(), rows, bytes, String::new()]);
        show::table(&["store", "too old", "bytes", "oldest"], 1..3, lines)
            + "\nThat includes what is on hold, which stays, and the newest of each archive, which only loses its text.\n"
    };
    text += &match &outlook.announced {
        Some(it) if is_ours && it.waits() => format!(
            "Nothing goes by its age before `ephemerd retention accept`, and not before {}.\n",
            show::time(it.begins_at)
        ),
        Some(it) if is_ours && it.begins_at > outlook.now => {
            format!("Nothing goes by its age before {}.\n", show::time(it.begins_at))
        }
        Some(_) if is_ours => "The policy is in force.\n".to_owned(),
        _ => "No daemon has announced this policy: nothing goes by it yet.\n".to_owned(),
    };
    text
}

/// `preview --age` for programs.
pub(super) fn json_outlook(outlook: &AgeOutlook, is_ours: bool) -> Value {
    let stores = outlook.stores.iter().map(|(store, it)| {
        let oldest = it.oldest.map(show::json_time);
        json!({"store": store.as_str(), "too_old": it.rows, "bytes": it.bytes, "oldest": oldest})
    });
    let stores: Vec<Value> = stores.collect();
    let announced = outlook.announced.as_ref().filter(|_| is_ours);
    json!({
        "by_store": stores,
        "first": outlook.first.map(show::json_time),
        "announced": announced.map(|it| json!({
            "announced_at": show::json_time(it.announced_at),
            "begins_at": show::json_time(it.begins_at),
            "must_be_accepted": it.waits(),
        })),
    })
}
