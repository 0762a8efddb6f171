mod render;

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::json;

use super::{
    FAILED, Failure,
    ask::Ask,
    hold::{address, by, host, reason, time},
    print,
    progress::Progress,
    show,
};
use crate::app::{self, Followed, RequestState};
use crate::config::{Config, parse_duration};
use crate::ledger::{NewRequest, Pause};
use crate::model::{Address, Clock as _, SystemClock, Timestamp, bare_jid};
use crate::ops::Erasable;

const EXAMPLES: &str = "\
Examples:
  ephemerd erase --owner alice@example.org
  ephemerd erase --owner alice@example.org --with bob@example.org --before 2026-11-01
  ephemerd erase --owner den@rooms.example.org --before 90d --yes --json
  ephemerd erase --list
  ephemerd erase --withdraw 3
  ephemerd erase --log --json";

/// Erase what is kept of a user or room, whatever its timers
///
/// Counts first, and asks for the owner's address as a confirmation. Then the daemons erase: the user's archive
/// and offline queue, or the room's archive, as far as it was archived before the question. Holds win: what is on
/// hold stays until they end, and then goes. Of the newest message of an archive only the text goes. Copies in
/// other archives are those owners'. What is gone cannot be brought back.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct Args {
    /// A user, or a room
    #[arg(long, value_name = "JID", value_parser = address, group = "what")]
    owner: Option<Address>,
    /// Of that user only the chat with this address
    #[arg(long, value_name = "JID", value_parser = host, requires = "owner")]
    with: Option<String>,
    /// Only what was archived before then: 2026-11-01 (UTC), 2026-11-01T12:00:00Z, or so long ago: 30d
    #[arg(long, value_name = "DATE", value_parser = before, requires = "owner")]
    before: Option<Timestamp>,
    /// Ask for no confirmation
    #[arg(long, requires = "owner")]
    yes: bool,
    /// Do not wait until it is gone
    #[arg(long, requires = "owner")]
    no_wait: bool,
    /// List the requests that stand
    #[arg(long, group = "what")]
    list: bool,
    /// Show who asked for what, and how it ended
    #[arg(long, group = "what")]
    log: bool,
    /// With --log: at most so many lines, the newest
    #[arg(long, value_name = "LINES", default_value_t = 100, conflicts_with_all = ["owner", "list", "withdraw"], value_parser = clap::value_parser!(u32).range(1..=100_000))]
    last: u32,
    /// End a request that stands; what went is gone
    #[arg(long, value_name = "REQUEST", group = "what")]
    withdraw: Option<i64>,
    /// Who asks [default: the user who runs this, by SUDO_USER, LOGNAME or USER]
    #[arg(long, value_name = "NAME", value_parser = reason)]
    by: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn before(text: &str) -> Result<Timestamp, &'static str> {
    before_from(text, SystemClock.now())
}

/// A day in UTC, a time, or how long before now.
fn before_from(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    const WRONG: &str =
        "it is neither a time nor a duration; write 2026-11-01, 2026-11-01T12:00:00Z or 30d";
    let ago = |text: &str| {
        let ago = chrono::TimeDelta::from_std(parse_duration(text).ok()?).ok()?;
        now.checked_sub_signed(ago).filter(|it| *it >= Timestamp::UNIX_EPOCH)
    };
    time(text).ok().or_else(|| ago(text)).ok_or(WRONG)
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let json = args.json;
    if let Some(owner) = args.owner.clone() {
        return erase(args, owner, config).await;
    }
    if let Some(id) = args.withdraw {
        if !app::withdraw_request(config, id, &by(args.by)?).await? {
            return Err(Failure::Other(format!(
                "no request {id} stands\nhelp: `ephemerd erase --list` shows those that do"
            )));
        }
        print(&match json {
            true => show::json(&json!({"withdrawn": id})),
            false => format!("Request {id} is withdrawn. What went by it is gone.\n"),
        })?;
    } else if args.log {
        let log = app::request_log(config, args.last.into()).await?;
        print(&if json { show::json(&render::json_log(&log)) } else { render::log(&log) })?;
    } else {
        let standing = app::requests(config).await?;
        print(&match json {
            true => show::json(&render::json(&standing)),
            false => render::list(&standing),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn erase(args: Args, owner: Address, config: &Config) -> Result<ExitCode, Failure> {
    let ask = Ask::new();
    if !args.yes && !ask.is_possible() {
        return Err(Failure::Usage(
            "nobody is there to confirm: this is no terminal\nhelp: give --yes, and what it counts goes".to_owned(),
        ));
    }
    let by = by(args.by)?;
    let counted = app::erasable(config, &owner, args.with.as_deref(), args.before).await?;
    if !args.json {
        print(&render::counted(&counted, &owner, args.with.as_deref()))?;
    }
    if counted.messages() == 0 {
        if args.json {
            print(&show::json(&render::json_erased(None, &counted, None)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        let question =
            format!("This cannot be undone. Type {} to erase", bare_jid(&owner.local, &owner.host));
        if !ask.is_confirmed(&question, &owner, |it| address(it).ok())? {
            return Err(Failure::Other(
                "that is not the owner's address; nothing is erased".to_owned(),
            ));
        }
    }
    if config.erase.dry_run {
        note("erase.dry_run is set here: nothing goes as long as it is set for the daemons");
    }
    let (before, queued_upto) = (counted.before, counted.queued_upto);
    let new = NewRequest { owner, with: args.with, before, queued_upto, by };
    let Some(id) = app::ask_to_erase(config, &new).await? else {
        return Err(Failure::Other(
            "too many requests stand already\nhelp: `ephemerd erase --list` shows them; withdraw some, or wait"
                .to_owned(),
        ));
    };
    if args.no_wait {
        print(&match args.json {
            true => show::json(&render::json_erased(Some(id), &counted, None)),
            false => format!("Request {id} is recorded. `ephemerd erase --list` shows it.\n"),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let followed = follow(config, id, &counted).await?;
    print(&match args.json {
        true => show::json(&render::json_erased(Some(id), &counted, Some(followed))),
        false => render::followed(id, followed),
    })?;
    Ok(match followed {
        Followed::Done(_) | Followed::Left { failed: 0, .. } => ExitCode::SUCCESS,
        Followed::Withdrawn(_) | Followed::Left { .. } => ExitCode::from(FAILED),
    })
}

async fn follow(config: &Config, id: i64, counted: &Erasable) -> Result<Followed, Failure> {
    let all = counted.messages().max(1);
    let (mut progress, mut is_said) = (Progress::new("erased"), false);
    let followed = app::follow_request(config, id, |state: RequestState| {
        if state.pause != Pause::None && !std::mem::replace(&mut is_said, true) {
            note("erasing is paused: what is asked for goes after `ephemerd resume`");
        }
        progress.share(state.erased as f64 / all as f64, state.erased);
    })
    .await;
    progress.finish();
    Ok(followed?)
}

/// To stderr; if that is closed, nobody is listening.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_day_a_time_or_how_long_ago() {
        let now = "2026-12-01T12:00:00Z".parse().unwrap();
        let day = before_from("2026-11-01", now);
        for same in ["2026-11-01T00:00:00Z", "2026-11-01T01:00:00+01:00", "30d 12h"] {
            assert_eq!(before_from(same, now), day, "{same}");
        }
        for wrong in ["", "soon", "2026-13-01", "-1d", "999999999d"] {
            assert!(before_from(wrong, now).is_err(), "{wrong}");
        }
    }
}
