use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::app;
use crate::config::Config;
use crate::telemetry::Telemetry;

const EXAMPLES: &str = "\
Examples:
  ephemerd run
  ephemerd run --no-migrate
  ephemerd --config ./ephemerd.toml run";

/// Inspect archived messages and erase what is due, until stopped
///
/// Stops at SIGTERM or SIGINT; a second one stops at once. A database or XMPP server that is down only
/// delays it. SIGHUP reads the configuration anew and takes up what can change in place.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Leave our tables as they are; refuse to run if they are older than this program
    #[arg(long)]
    no_migrate: bool,
}

pub(super) async fn execute(
    args: Args,
    file: Option<PathBuf>,
    config: Config,
) -> Result<ExitCode, Failure> {
    let telemetry =
        Telemetry::init(&config.log).map_err(|error| Failure::Other(error.to_string()))?;
    let options = app::RunOptions { migrate: !args.no_migrate, file, telemetry };
    let reason = app::run(config, options).await?;
    Ok(reason.exit_code())
}
