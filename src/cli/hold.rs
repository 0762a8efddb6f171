mod arguments;
mod render;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use self::arguments::AddArgs;
pub(super) use self::arguments::{address, by, host, reason, time};
use super::{FAILED, Failure, print, show};
use crate::app::{self, HoldWaits, Placed};
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  ephemerd hold add --user alice@example.org --reason 'case 17'
  ephemerd hold list
  ephemerd hold show 3
  ephemerd hold release 3 --reason 'case 17 is closed'
  ephemerd hold log --json";

const ADD_EXAMPLES: &str = "\
Examples:
  ephemerd hold add --user alice@example.org --reason 'case 17'
  ephemerd hold add --user alice@example.org --with bob@example.org --for 90d --reason 'case 17'
  ephemerd hold add --room den@rooms.example.org --from 2026-01-01 --to 2026-02-01 --reason report
  ephemerd hold add --host example.org --until 2027-01-01 --reason 'order of the court' --by legal
  ephemerd hold add --all --for 2h --reason 'backup before the move' --json";

const LIST_EXAMPLES: &str = "\
Examples:
  ephemerd hold list
  ephemerd hold list --json";

const SHOW_EXAMPLES: &str = "\
Examples:
  ephemerd hold show 3
  ephemerd hold show 3 --json";

const RELEASE_EXAMPLES: &str = "\
Examples:
  ephemerd hold release 3 --reason 'case 17 is closed'
  ephemerd hold release 3 --reason 'case 17 is closed' --by legal --json";

const LOG_EXAMPLES: &str = "\
Examples:
  ephemerd hold log
  ephemerd hold log --id 3
  ephemerd hold log --last 1000 --json";

/// Keep messages, whatever asks for them to go
///
/// Nothing on hold is erased by ephemerd: not by a timer or hint, and no placeholder is deleted. What falls due
/// meanwhile goes when the hold is released or ends. A hold covers messages from before and after it. It does
/// not stop the XMPP server, its own expiry or its users from deleting messages.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Place a hold
    ///
    /// Once this returns with exit code 0, nothing that the hold covers is erased any more: it waits for
    /// transactions under way, and for companion modules that were asked before.
    #[command(after_help = ADD_EXAMPLES)]
    Add(Box<AddArgs>),
    /// List the holds
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Show one hold, and how many messages it keeps
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The hold's number
        #[arg(value_name = "HOLD")]
        id: i64,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Release a hold: what fell due under it goes at once, unless another hold keeps it
    #[command(after_help = RELEASE_EXAMPLES)]
    Release {
        /// The hold's number
        #[arg(value_name = "HOLD")]
        id: i64,
        /// Why, for the log
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// Who releases it [default: the user who runs this, by SUDO_USER, LOGNAME or USER]
        #[arg(long, value_name = "NAME", value_parser = reason)]
        by: Option<String>,
        /// Print JSON: {"released": …}
        #[arg(long)]
        json: bool,
    },
    /// Show who placed and released holds, when and why
    #[command(after_help = LOG_EXAMPLES)]
    Log {
        /// Only of this hold
        #[arg(long, value_name = "HOLD")]
        id: Option<i64>,
        /// At most so many lines, the newest
        #[arg(long, value_name = "LINES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        last: u32,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Add(args) => return add(*args, config).await,
        Command::List { json } => {
            let holds = app::holds(config).await?;
            print(&if json { show::json(&render::json(&holds)) } else { render::list(&holds) })?;
        }
        Command::Show { id, json } => {
            let (hold, kept) = app::hold(config, id).await?.ok_or_else(|| unknown(id))?;
            print(&if json {
                show::json(&render::json_hold(&hold, Some(kept)))
            } else {
                render::hold(&hold, kept)
            })?;
        }
        Command::Release { id, reason, by: name, json } => {
            if !app::release_hold(config, id, &by(name)?, &reason).await? {
                return Err(unknown(id));
            }
            print(&if json {
                show::json(&json!({"released": id}))
            } else {
                format!(
                    "Hold {id} is released. What fell due under it goes now, unless another hold keeps it.\n"
                )
            })?;
        }
        Command::Log { id, last, json } => {
            let log = app::hold_log(config, id, last.into()).await?;
            print(&if json { show::json(&render::json_log(&log)) } else { render::log(&log) })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: AddArgs, config: &Config) -> Result<ExitCode, Failure> {
    let (json, patience) = (args.json, args.wait);
    let new = args.hold()?;
    let host = new.on.host();
    if !host.is_empty() && !config.archive.hosts.iter().any(|listed| listed == host) {
        note("this host is not in archive.hosts, so nothing of it is erased anyway");
    }
    let placed = app::add_hold(config, &new, patience, |waits| note(&waiting(waits))).await?;
    let Some(Placed { hold, kept, open }) = placed else {
        return Err(Failure::Other(
            "there are too many holds already\nhelp: release some, or place one on the whole host"
                .to_owned(),
        ));
    };
    print(&if json {
        let mut value = render::json_hold(&hold, Some(kept));
        if let Some(value) = value.as_object_mut() {
            let left = open.map(|it| it.left.as_secs_f64().ceil());
            value.insert("may_still_go_for_seconds".into(), left.into());
        }
        show::json(&value)
    } else {
        render::placed(&hold, kept)
    })?;
    let Some(open) = open else { return Ok(ExitCode::SUCCESS) };
    note(&format!(
        "companion modules that were asked before may still erase rows of {} for up to {} s: they have not answered",
        show::counted(open.owners, "owner"),
        open.left.as_secs_f64().ceil()
    ));
    Ok(ExitCode::from(FAILED))
}

fn waiting(waits: HoldWaits) -> String {
    match waits {
        HoldWaits::ForTransaction => {
            "waiting for a transaction that erases, for two and a half minutes at most".to_owned()
        }
        HoldWaits::ForModules(open) => format!(
            "the hold is in force; waiting for companion modules that were asked before to erase rows of {}, for {} s at most",
            show::counted(open.owners, "owner"),
            open.left.as_secs_f64().ceil()
        ),
    }
}

/// To stderr; if that is closed, nobody is listening.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {text}");
}

fn unknown(id: i64) -> Failure {
    Failure::Other(format!(
        "there is no hold {id} in force\nhelp: `ephemerd hold list` shows the holds, `ephemerd hold log --id {id}` what became of it"
    ))
}
