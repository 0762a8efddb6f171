use std::process::ExitCode;

use super::{Failure, print};
use crate::app;
use crate::config::Config;
use crate::telemetry::Telemetry;

const EXAMPLES: &str = "\
Examples:
  ephemerd migrate
  ephemerd --config ./ephemerd.toml migrate";

/// Create or update ephemerd's own tables, in the schema ephemerd
///
/// The XMPP server's tables are never changed. Running it again does no harm.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {}

pub(super) async fn execute(_args: Args, config: Config) -> Result<ExitCode, Failure> {
    let _telemetry =
        Telemetry::init(&config.log).map_err(|error| Failure::Other(error.to_string()))?;
    let changed = app::migrate(&config).await?;
    print(if changed {
        "schema ephemerd is up to date now\n"
    } else {
        "schema ephemerd is up to date\n"
    })?;
    Ok(ExitCode::SUCCESS)
}
