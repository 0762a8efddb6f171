use std::process::ExitCode;
use std::time::Duration;

use super::{Failure, print, show};
use crate::app;
use crate::config::{Config, parse_duration};
use crate::ledger::Pause;

const PAUSE_EXAMPLES: &str = "\
Examples:
  ephemerd pause              # until `ephemerd resume`
  ephemerd pause --for 2h
  ephemerd pause --for '1d 12h' --json";

const RESUME_EXAMPLES: &str = "\
Examples:
  ephemerd resume
  ephemerd resume --json";

/// The longest pause that has an end: 100 years.
const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);

/// Stop erasing, for all daemons of this database
///
/// The pause is kept in the database: it survives restarts and needs no daemon. Inspection continues, so
/// nothing is missed; what falls due meanwhile goes when the pause ends. A transaction that has already
/// begun is finished.
#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE_EXAMPLES)]
pub(super) struct PauseArgs {
    /// End the pause after this long, such as 30m, 2h or 3d
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    length: Option<Duration>,
    /// Print JSON: {"paused": true, "until": …}
    #[arg(long)]
    json: bool,
}

/// Erase again, for all daemons of this database
///
/// What fell due during the pause goes at once, the oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = RESUME_EXAMPLES)]
pub(super) struct ResumeArgs {
    /// Print JSON: {"paused": false, "was_paused": …}
    #[arg(long)]
    json: bool,
}

fn length(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Err(error) => Err(format!("it {error}; write 30m, 2h or 3d")),
        Ok(Duration::ZERO) => Err("a pause of zero length has no effect".to_owned()),
        Ok(length) if length > LONGEST => {
            Err("it is longer than 100 years; without --for a pause has no end".to_owned())
        }
        Ok(length) => Ok(length),
    }
}

pub(super) async fn pause(args: PauseArgs, config: &Config) -> Result<ExitCode, Failure> {
    let pause = app::pause(config, args.length).await?;
    let ends = match pause {
        Pause::Until(_) => "`ephemerd resume` ends the pause earlier.",
        Pause::None | Pause::UntilResumed => {
            "Only `ephemerd resume` ends the pause; a restart does not."
        }
    };
    print(&if args.json {
        show::json(&show::json_pause(pause))
    } else {
        format!(
            "Erasing is {}, for all daemons of this database. Inspection continues.\n{ends}\n",
            show::pause(pause)
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(args: ResumeArgs, config: &Config) -> Result<ExitCode, Failure> {
    let before = app::resume(config).await?;
    let was_paused = before != Pause::None;
    print(&if args.json {
        show::json(&serde_json::json!({"paused": false, "was_paused": was_paused}))
    } else if was_paused {
        format!("Erasing has resumed, in all daemons. It was {}.\n", show::pause(before))
    } else {
        "Erasing was not paused; nothing to resume.\n".to_owned()
    })?;
    Ok(ExitCode::SUCCESS)
}
