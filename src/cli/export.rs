mod file;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use self::file::Interrupted;
use super::{Failure, hold::address, print, progress::Progress, show};
use crate::app;
use crate::config::Config;
use crate::model::{Address, bare_jid};
use crate::ops::{ExportCounts, ExportPlace};

const EXAMPLES: &str = "\
Examples:
  ephemerd export --owner alice@example.org --output alice.xml
  ephemerd export --owner alice@example.org --output alice.xml --resume
  ephemerd export --owner den@rooms.example.org | xz > den.xml.xz";

/// Write what is archived of a user or room as a file for them, or for another server
///
/// The document is XML as XEP-0227 describes it: the user's offline queue and archive, or the room's archive, each
/// message with its archive id and time. Copies in other archives are those owners'. What was erased is left out,
/// and so is what cannot be read; both are counted. Without --output it goes to stdout. Changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A user, or a room
    #[arg(long, value_name = "JID", value_parser = address)]
    owner: Address,
    /// A new file, which only you can read. Until all is written its name ends with .part
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on where an export to this file was interrupted
    #[arg(long, requires = "output")]
    resume: bool,
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let Some(path) = &args.output else {
        let written =
            run(config, &args.owner, ExportPlace::default(), |text, _| stdout(text)).await;
        return match written {
            Ok(counts) => {
                // If stderr is closed, nobody is listening.
                let _ = io::stderr().write_all(summary(&args.owner, counts).as_bytes());
                Ok(ExitCode::SUCCESS)
            }
            Err(Stopped::Closed) => Ok(ExitCode::SUCCESS),
            Err(Stopped::Failed(failure)) => Err(failure),
        };
    };
    let mut file = match args.resume {
        true => Interrupted::resume(path, &args.owner)?,
        false => Interrupted::create(path, &args.owner)?,
    };
    let begin = file.place();
    if args.resume {
        let done = show::counted(begin.counts.rows(), "row");
        let _ = writeln!(io::stderr(), "Going on after {done}.");
    }
    let written = run(config, &args.owner, begin, |text, place| Ok(file.write(text, place)?)).await;
    match written {
        Ok(counts) => {
            file.finish()?;
            print(&summary(&args.owner, counts))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(Stopped::Failed(failure)) => Err(failure),
        Err(Stopped::Closed) => Ok(ExitCode::SUCCESS),
    }
}

/// Why an export ended before its end.
enum Stopped {
    Failed(Failure),
    /// The reader has closed the pipe, such as `head`.
    Closed,
}

impl<E: Into<Failure>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

async fn run(
    config: &Config,
    owner: &Address,
    place: ExportPlace,
    mut write: impl FnMut(&str, ExportPlace) -> Result<(), Stopped>,
) -> Result<ExportCounts, Stopped> {
    let mut progress = Progress::unbounded("exported");
    let exported = app::export(config, owner, place, |text, place| {
        write(text, place)?;
        progress.count(place.counts.rows());
        Ok(())
    });
    let exported = exported.await;
    progress.finish();
    exported
}

fn stdout(text: &str) -> Result<(), Stopped> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Stopped::Closed),
        Err(error) => {
            Err(Stopped::Failed(Failure::Other(format!("cannot write to stdout: {error}"))))
        }
    }
}

fn summary(owner: &Address, counts: ExportCounts) -> String {
    let messages = show::counted(counts.messages, "message");
    let mut text = format!("{messages} of {} exported.\n", bare_jid(&owner.local, &owner.host));
    if counts.erased > 0 {
        let erased = show::counted(counts.erased, "placeholder");
        text += &format!("Left out: {erased}, whose text is gone.\n");
    }
    if counts.unreadable > 0 {
        let unreadable = show::counted(counts.unreadable, "row");
        text += &format!("Left out: {unreadable} that could not be read.\n");
    }
    text
}
