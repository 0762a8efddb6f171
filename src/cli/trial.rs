use std::process::ExitCode;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;

use super::hold::address;
use super::{Failure, print, show};
use crate::app::{self, TrialEnd, TrialStep};
use crate::config::{Config, parse_duration, print_duration};
use crate::model::Address;

const EXAMPLES: &str = "\
Examples:
  ephemerd try --to alice@example.org
  ephemerd try --to alice@example.org --timer 1m --wait 10m
  ephemerd try --to alice@example.org --json";

/// Send a message that vanishes, and watch it vanish
///
/// A running daemon sends it to an account of yours, from the component's address. The account should be
/// online: what nobody has received or read waits. This ends when the text is gone from the archive and the
/// queue, or says what stands in the way.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The account that gets it
    #[arg(long, value_name = "JID", value_parser = address)]
    to: Address,
    /// The message's timer, from 1s to 1d
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = timer)]
    timer: u32,
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = wait)]
    wait: Duration,
    /// Print JSON: {"gone": …, "late_seconds": …, "in_the_way": …}
    #[arg(long)]
    json: bool,
}

fn timer(text: &str) -> Result<u32, String> {
    let length = parse_duration(text).map_err(|error| format!("it {error}; write 10s or 2m"))?;
    let seconds = u32::try_from(length.as_secs()).ok().filter(|it| (1..=86_400).contains(it));
    let whole = seconds.filter(|it| Duration::from_secs(u64::from(*it)) == length);
    whole.ok_or_else(|| "it is not between 1s and 1d in whole seconds".to_owned())
}

fn wait(text: &str) -> Result<Duration, String> {
    let length = parse_duration(text).map_err(|error| format!("it {error}; write 2m or 1h"))?;
    let day = Duration::from_secs(86_400);
    if length <= day { Ok(length) } else { Err("it is longer than a day".to_owned()) }
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    if !config.archive.hosts.contains(&args.to.host) {
        return Err(Failure::Usage(
            "--to: the account is on none of archive.hosts\n\
             help: name an account of one of them; `ephemerd config` shows them"
                .to_owned(),
        ));
    }
    let timer = Duration::from_secs(u64::from(args.timer));
    let report = |step| {
        if !args.json {
            let _ = print(&format!("{}\n", told(step, timer)));
        }
    };
    let end = app::try_out(config, &args.to, args.timer, args.wait, report).await?;
    let in_the_way = in_the_way(end);
    if args.json {
        let late = if let TrialEnd::Gone(late) = end { Some(seconds(late)) } else { None };
        print(&show::json(&json!({
            "gone": in_the_way.is_none(),
            "late_seconds": late,
            "in_the_way": in_the_way.map(|_| end.as_str()),
        })))?;
    }
    match (in_the_way, end) {
        (Some((what, help)), _) => Err(Failure::Other(format!("{what}\nhelp: {help}"))),
        (None, TrialEnd::Gone(late)) if !args.json => {
            print(&format!("gone: {:.1} s after it was due\n", seconds(late)))?;
            Ok(ExitCode::SUCCESS)
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn seconds(late: TimeDelta) -> f64 {
    (late.num_milliseconds().max(0) as f64) / 1_000.0
}

fn told(step: TrialStep, timer: Duration) -> String {
    match step {
        TrialStep::Sent => {
            format!("sent: a message with a timer of {}", print_duration(timer))
        }
        TrialStep::Recorded(due_at) => format!("recorded: it goes at {}", show::time(due_at)),
        TrialStep::Undelivered => {
            "waiting: nobody has received it; log in as this user, and its timer starts".to_owned()
        }
        TrialStep::Unread => {
            "waiting: it is unread; open the chat as this user, and its timer starts".to_owned()
        }
    }
}

/// What it is, and what to do; `None` if it is gone.
const fn in_the_way(end: TrialEnd) -> Option<(&'static str, &'static str)> {
    Some(match end {
        TrialEnd::Gone(_) => return None,
        TrialEnd::NoDaemon => (
            "no daemon of this version answers in this database",
            "start one (`ephemerd run`, or its service), with the same database.url",
        ),
        TrialEnd::Disconnected => (
            "a daemon runs, but its component is not connected to the XMPP server",
            "`ephemerd check` on its machine, or its log, says why",
        ),
        TrialEnd::NotArchived => (
            "the server archived nothing for this account",
            "is there such an account, and does it archive messages from strangers (mod_mam, and the account's own preferences)?",
        ),
        TrialEnd::NotRecorded => (
            "nothing was recorded that must go",
            "`ephemerd status` says whether inspection keeps up; with a companion module, `ephemerd check` asks it; \
             the server may also have archived nothing",
        ),
        TrialEnd::Waits(TrialStep::Undelivered) => (
            "nobody has received it, so its timer does not run",
            "log in as this user, and try again",
        ),
        TrialEnd::Waits(TrialStep::Unread) => (
            "it is unread, so its timer does not run",
            "open the chat as this user; timers.start decides this",
        ),
        TrialEnd::Waits(_) => {
            ("it is not due yet", "wait longer: --wait; timers.min may be longer than --timer")
        }
        TrialEnd::Paused => ("erasing is paused", "`ephemerd resume` ends the pause"),
        TrialEnd::DryRun => {
            ("erase.dry_run is set: nothing is erased", "unset it, and reload the daemon")
        }
        TrialEnd::OnHold => ("a hold keeps it", "`ephemerd hold list` shows the holds"),
        TrialEnd::Overdue => (
            "it is overdue, and still there",
            "`ephemerd status` says what is going on; docs/runbook.md has more",
        ),
        TrialEnd::StillThere => (
            "it is recorded as gone, but the archive still has its text",
            "look at `ephemerd explain`; please report this",
        ),
    })
}
