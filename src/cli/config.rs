use std::io::{self, Write as _};
use std::process::ExitCode;

use super::{Failure, print};
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  ephemerd config
  ephemerd config --json
  EPHEMERD__ARCHIVE__POLL=5s ephemerd config";

/// Show the configuration in force, secrets hidden, and where each value came from
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print JSON: {"section": {"key": {"value": …, "origin": …}}}
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args, config: &Config) -> Result<ExitCode, Failure> {
    let text = if args.json { format!("{:#}\n", config.to_json()) } else { config.render() };
    print(&text)?;
    for remark in config.remarks() {
        // If stderr is closed, nobody is listening.
        let _ = writeln!(io::stderr(), "warning: {}\nhelp: {}", remark.what, remark.remedy);
    }
    Ok(ExitCode::SUCCESS)
}
