use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Failure, print, progress::Progress, show};
use crate::app;
use crate::config::Config;
use crate::ledger::Held;

const EXAMPLES: &str = "\
Examples:
  ephemerd backlog show
  ephemerd backlog show --json
  ephemerd backlog accept";

const SHOW_EXAMPLES: &str = "\
Examples:
  ephemerd backlog show
  ephemerd backlog show --json";

const ACCEPT_EXAMPLES: &str = "\
Examples:
  ephemerd backlog accept
  ephemerd backlog accept --json";

/// Show or accept what was archived before the first start
///
/// Messages archived before the first start are recorded and held, whatever their timers say, until you
/// accept them here or set erase.backlog = "erase".
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how many messages are held, by store and reason
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Release everything that is held: each message goes when it is due, most of them at once
    ///
    /// Asks for no confirmation, and cannot be undone. Later sweeps hold nothing either.
    #[command(after_help = ACCEPT_EXAMPLES)]
    Accept {
        /// Print JSON: {"released": …}
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Show { json } => {
            let held = app::backlog(config).await?;
            print(&if json { show::json(&for_programs(&held)) } else { for_people(&held) })?;
        }
        Command::Accept { json } => {
            let mut progress = Progress::unbounded("released");
            let released = app::accept_backlog(config, |count| progress.count(count)).await?;
            progress.finish();
            print(&if json {
                show::json(&json!({"released": released}))
            } else {
                accepted(released)
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn accepted(released: i64) -> String {
    let what = match released {
        0 => "Nothing was held.".to_owned(),
        count => format!("{} no longer held: each goes when it is due.", is_or_are(count)),
    };
    format!("{what} Later sweeps hold nothing.\n")
}

fn is_or_are(count: i64) -> String {
    format!("{} {}", show::counted(count, "message"), if count == 1 { "is" } else { "are" })
}

fn for_people(held: &[Held]) -> String {
    if held.is_empty() {
        return "Nothing is held.\n".to_owned();
    }
    let rows = held.iter().map(|it| {
        vec![
            it.store.to_string(),
            it.reason.to_string(),
            show::count(it.entries),
            show::count(it.due),
            show::time(it.oldest),
            show::time(it.newest),
        ]
    });
    let header = ["store", "reason", "held", "due", "oldest", "newest"];
    let table = show::table(&header, 2..4, rows.collect());
    let total = held.iter().map(|it| it.entries).sum();
    format!(
        "{table}\n{} held until `ephemerd backlog accept`; what is due by then goes at once.\n",
        is_or_are(total)
    )
}

fn for_programs(held: &[Held]) -> Value {
    let rows = held.iter().map(|it| {
        json!({
            "store": it.store.as_str(),
            "reason": it.reason.as_str(),
            "held": it.entries,
            "due": it.due,
            "oldest": show::json_time(it.oldest),
            "newest": show::json_time(it.newest),
        })
    });
    let total: i64 = held.iter().map(|it| it.entries).sum();
    json!({"held": total, "by_store_and_reason": rows.collect::<Vec<_>>()})
}
