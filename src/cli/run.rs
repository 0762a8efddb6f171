use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::app;
use crate::config::{Config, LogFormat};
use crate::telemetry::Telemetry;

const EXAMPLES: &str = "\
Examples:
  ephemerd run
  ephemerd run --no-migrate
  ephemerd --config ./ephemerd.toml run";

/// Inspect archived messages and erase what is due, until stopped
///
/// Stops at SIGTERM or SIGINT; a second signal stops it at once. A database or XMPP server that is down only
/// delays it. On SIGHUP it reads the configuration again and applies what can change in place.
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
    let format = config.log.format;
    match app::run(config, options).await {
        Ok(reason) => Ok(reason.exit_code()),
        // Programs that read the log as JSON get this error as JSON too.
        Err(error) if format == LogFormat::Json => {
            let text = error.to_string();
            let (what, help) = text.split_once("\nhelp: ").unwrap_or((&text, ""));
            tracing::error!(%help, see = error.page(), "{what}");
            Ok(ExitCode::from(Failure::from(error).code()))
        }
        Err(error) => Err(error.into()),
    }
}
