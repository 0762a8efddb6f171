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
  EPHEMERD__SWEEP__ROWS_PER_SECOND=0 ephemerd sweep   # at full speed";

/// Go through the whole archive once, and bring the ledger in line with it
///
/// Records what is missing, recalculates what the configuration now judges differently, and drops what is
/// gone. Erases nothing. Shares the work with running daemons. An interrupted sweep is continued by a
/// daemon or by the next `ephemerd sweep`, unless hosts, timers or hints have changed by then.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print JSON
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

/// The current step is finished: a sweep is consistent between any two steps.
fn stop_at_signals(stop: &CancellationToken) -> Result<(), Failure> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind)
            .map_err(|error| Failure::Other(format!("cannot listen for signals: {error}")))?;
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
        Some(share) => format!(", resumed at {:.0}%", share * 100.0),
        None => String::new(),
    };
    let end = if swept.completed {
        format!("Sweep finished{resumed}.")
    } else {
        format!(
            "Sweep stopped at {:.0}%{resumed}; a daemon or the next `ephemerd sweep` continues it.",
            swept.share * 100.0
        )
    };
    let lines = [
        ("rows", found.rows, "read"),
        ("added", found.added, "expiries that were missing"),
        ("changed", found.changed, "expiries that were recalculated"),
        ("dropped", found.dropped, "expiries whose message is gone"),
        ("adopted", found.adopted, "placeholders that were not in the ledger"),
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
