//! The command line, one file per command. It parses and renders, and decides nothing.

mod about;
mod ask;
mod backlog;
mod check;
mod config;
mod erase;
mod explain;
mod export;
mod hold;
mod init;
mod migrate;
mod pause;
mod preview;
mod progress;
mod retention;
mod run;
mod show;
mod status;
mod sweep;
mod trial;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::{self, init::InitError};
use crate::config::{Config, ConfigError};

/// It failed; a retry may succeed.
const FAILED: u8 = 1;
/// A flag is missing or wrong, as clap has it.
const WRONG_USAGE: u8 = 2;
/// The configuration or schema is at fault: retrying is pointless until somebody fixes it.
const REFUSED: u8 = 3;

const AFTER_HELP: &str = "\
The documentation is in docs/ in the source, and in /usr/share/doc/ephemerd if a package
installed it: README.md first, runbook.md when something is wrong.

Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  configuration or schema at fault: retrying is pointless

Examples:
  ephemerd init            # write the first configuration
  ephemerd config          # what is in force, and where it came from
  ephemerd check           # what is wrong, and what to do
  ephemerd migrate         # create or update our own tables
  ephemerd sweep           # go through the whole archive once
  ephemerd preview         # what goes when
  ephemerd run             # inspect and erase until stopped
  ephemerd try --to alice@example.org   # send a message that vanishes, and watch it
  ephemerd status          # what is going on
  ephemerd pause --for 2h  # erase nothing for two hours";

/// Erases messages from an XMPP server's archives when their ephemeral timers run out
#[derive(Debug, Parser)]
#[command(name = "ephemerd", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// The configuration file [default: /etc/ephemerd/ephemerd.toml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "EPHEMERD_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Run(run::Args),
    Check(check::Args),
    Migrate(migrate::Args),
    Config(config::Args),
    Sweep(sweep::Args),
    Preview(preview::Args),
    Explain(explain::Args),
    About(about::Args),
    Backlog(backlog::Args),
    Erase(erase::Args),
    Export(export::Args),
    Hold(hold::Args),
    Retention(retention::Args),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Status(status::Args),
    Try(trial::Args),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    App(#[from] app::Error),
    #[error(transparent)]
    Init(#[from] InitError),
    /// A flag is missing or wrong.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Other(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) => REFUSED,
            Self::App(error) if error.is_final() => REFUSED,
            Self::Init(error) if error.is_final() => REFUSED,
            Self::Usage(_) => WRONG_USAGE,
            Self::App(_) | Self::Init(_) | Self::Other(_) => FAILED,
        }
    }

    /// The documentation page with more details.
    const fn page(&self) -> &'static str {
        match self {
            Self::Config(_) => "docs/configuration.md",
            Self::App(error) => error.page(),
            Self::Init(_) => "docs/commands.md#ephemerd-init",
            Self::Usage(_) | Self::Other(_) => "docs/commands.md",
        }
    }
}

impl Cli {
    /// Runs the command. Errors go to stderr as `error: …`, `help: …`, `see: …`.
    pub async fn execute(self) -> ExitCode {
        match self.dispatch().await {
            Ok(code) => code,
            Err(failure) => {
                // If stderr is closed, nobody is listening.
                let _ = writeln!(io::stderr(), "error: {failure}\nsee: {}", failure.page());
                ExitCode::from(failure.code())
            }
        }
    }

    async fn dispatch(self) -> Result<ExitCode, Failure> {
        // `init` is for when there is none.
        let load = || Config::load(self.config.as_deref());
        match self.command {
            Command::Init(args) => init::execute(args, self.config.as_deref()).await,
            Command::Run(args) => run::execute(args, self.config.clone(), load()?).await,
            Command::Check(args) => check::execute(args, &load()?).await,
            Command::Migrate(args) => migrate::execute(args, load()?).await,
            Command::Config(args) => config::execute(&args, &load()?),
            Command::Sweep(args) => sweep::execute(args, &load()?).await,
            Command::Preview(args) => preview::execute(args, &load()?).await,
            Command::Explain(args) => explain::execute(args, &load()?).await,
            Command::About(args) => about::execute(args, &load()?).await,
            Command::Backlog(args) => backlog::execute(args, &load()?).await,
            Command::Erase(args) => erase::execute(args, &load()?).await,
            Command::Export(args) => export::execute(args, &load()?).await,
            Command::Retention(args) => retention::execute(args, &load()?).await,
            Command::Hold(args) => hold::execute(args, &load()?).await,
            Command::Pause(args) => pause::pause(args, &load()?).await,
            Command::Resume(args) => pause::resume(args, &load()?).await,
            Command::Status(args) => status::execute(args, &load()?).await,
            Command::Try(args) => trial::execute(args, &load()?).await,
        }
    }
}

/// Prints to stdout. A reader that closes the pipe, such as `head`, is not an error. Colours go to terminals
/// only.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("\nExamples:\n  ephemerd "), "{}: {help}", command.get_name());
        }
    }

    #[test]
    fn the_file_may_be_named_on_either_side_of_the_command() {
        for args in [["ephemerd", "--config", "/x", "run"], ["ephemerd", "run", "--config", "/x"]] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert_eq!(cli.config, Some(PathBuf::from("/x")));
        }
    }
}
