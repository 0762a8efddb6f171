use std::process::ExitCode;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{FAILED, Failure, print, progress::Progress, show, status};
use crate::app::{self, Swept};
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  ephemerd sweep
  ephemerd sweep --json
  EPHEMERD__SWEEP__ROWS_PER_SECOND=0 ephemerd sweep   # as fast as it goes";

/// Go through the whole archive once, and bring the ledger in line with it
///
/// Records what is missing, corrects what the configuration now judges otherwise, and drops what is
/// gone. Erases nothing. Shares the work with daemons that run; one that was interrupted is gone on
/// with, by a daemon or by the next `ephemerd sweep`, unless hosts, timers or hints differ by then.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// For programs
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let stop = CancellationToken::new();
    stop_at_signals(&stop)?;
    let mut progress = Progress::new("swept");
    let swept = app::sweep(config, stop, |share, found| progress.share(share, found.rows));
    let swept = swept.await?;
    progress.finish();
    print(&if args.json { for_programs(swept) } else { for_people(swept) })?;
    Ok(if swept.completed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The step that has begun is finished: a sweep is consistent between any two.
fn stop_at_signals(stop: &CancellationToken) -> Result<(), Failure> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind)
            .map_err(|error| Failure::Other(format!("cannot listen to signals: {error}")))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(())
}

fn for_people(swept: Swept) -> String {
    let found = swept.found;
    let resumed = match swept.resumed_at {
        Some(share) => format!(", going on at {:.0} % of one that had begun", share * 100.0),
        None => String::new(),
    };
    let end = if swept.completed {
        format!("The sweep has come to its end{resumed}.")
    } else {
        format!(
            "The sweep was stopped at {:.0} %{resumed}; a daemon or the next `ephemerd sweep` goes on with it.",
            swept.share * 100.0
        )
    };
    let lines = [
        ("rows", found.rows, "gone through"),
        ("added", found.added, "expiries that were missing"),
        ("changed", found.changed, "expiries that said something else"),
        ("dropped", found.dropped, "expiries whose message is gone"),
        ("adopted", found.adopted, "placeholders that the ledger did not know"),
        ("unreadable", found.unreadable, "messages that were left alone"),
    ];
    let lines = lines
        .map(|(name, number, what)| vec![name.to_owned(), show::count(number), what.to_owned()]);
    format!("{end}\n{}", show::list(&lines))
}

fn for_programs(swept: Swept) -> String {
    show::json(&json!({
        "completed": swept.completed,
        "resumed_at": swept.resumed_at,
        "share": swept.share,
        "found": status::json_found(swept.found),
    }))
}
