use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Failure, print, progress::Progress, retention, show};
use crate::app;
use crate::config::{BacklogRule, Config};
use crate::ledger::{FileCounts, Outlook, Outlooks, Readings};
use crate::ops::Scan;

const EXAMPLES: &str = "\
Examples:
  ephemerd preview
  ephemerd preview --json
  ephemerd preview --age    # what is too old by [retention]
  ephemerd preview --scan   # from the archive itself: no schema, no sweep needed";

/// Show what goes when, by store and reason
///
/// Counts the ledger's entries; a message has one once it was inspected or swept. Each span counts from now
/// and includes the shorter ones; overdue messages, those held as backlog and those on hold are in no span. A
/// pause has no effect here.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Read the whole archive instead, and judge by the configuration; ephemerd's tables are not needed
    #[arg(long)]
    scan: bool,
    /// Count what is too old by [retention], in the archive itself; nothing is changed
    #[arg(long, conflicts_with = "scan")]
    age: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    if args.age {
        let (outlook, is_ours) = app::age_outlook(config).await?;
        print(&if args.json {
            show::json(&retention::json_outlook(&outlook, is_ours))
        } else {
            retention::outlook(&outlook, is_ours)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let (outlooks, readings, files, scan) = if args.scan {
        let mut progress = Progress::new("read");
        let scan = app::scan(config, |at| progress.share(at.share, at.rows)).await?;
        progress.finish();
        (scan.outlooks.clone(), Readings::default(), FileCounts::default(), Some(scan))
    } else {
        let (outlooks, readings, files) = app::preview(config).await?;
        (outlooks, readings, files, None)
    };
    print(&if args.json {
        show::json(&for_programs(&outlooks, (readings, files), scan.as_ref()))
    } else {
        for_people(&outlooks, scan.as_ref(), config) + &of_readers(readings) + &of_files(files)
    })?;
    Ok(ExitCode::SUCCESS)
}

const HEADER: [&str; 11] = [
    "store", "reason", "overdue", "held", "on hold", "in 1h", "in 24h", "in 7d", "in 30d", "all",
    "gone",
];

fn figures(outlook: &Outlook) -> [i64; 9] {
    let Outlook { overdue, held, on_hold, within_1h, within_24h, .. } = *outlook;
    let Outlook { within_7d, within_30d, total, placeholders, .. } = *outlook;
    [overdue, held, on_hold, within_1h, within_24h, within_7d, within_30d, total, placeholders]
}

fn for_people(outlooks: &Outlooks, scan: Option<&Scan>, config: &Config) -> String {
    let mut text = if outlooks.is_empty() {
        "Nothing goes.\n".to_owned()
    } else {
        let line = |names: [&str; 2], figures: [i64; 9]| -> Vec<String> {
            let names = names.into_iter().map(str::to_owned);
            names.chain(figures.into_iter().map(show::count)).collect()
        };
        let each = outlooks
            .iter()
            .map(|((store, reason), it)| line([store.as_str(), reason.as_str()], figures(it)));
        let all = outlooks.iter().fold([0; 9], |mut all, (_, it)| {
            all.iter_mut().zip(figures(it)).for_each(|(sum, figure)| *sum += figure);
            all
        });
        let rows = each.chain([line(["all", ""], all)]).collect();
        show::table(&HEADER, 2..11, rows)
    };
    if let Some(scan) = scan {
        text += &format!("\n{} read.", show::counted(scan.rows, "row"));
        if scan.unreadable > 0 {
            text += &format!(
                " {} could not be read and would be left alone.",
                show::count(scan.unreadable)
            );
        }
        if config.erase.backlog == BacklogRule::Hold {
            text += " Messages archived before the first start are held until `ephemerd backlog accept`.";
        }
        text.push('\n');
    }
    text
}

/// Timers that start at reading; nothing where there are none.
fn of_readers(readings: Readings) -> String {
    if readings == Readings::default() {
        return String::new();
    }
    let Readings { waiting, started, capped } = readings;
    let (waiting, started, capped) =
        (show::count(waiting), show::count(started), show::count(capped));
    format!(
        "\nTimers that start when the message is read: {waiting} waiting, {started} started, {capped} started unread.\n"
    )
}

/// Uploaded files; nothing where there are none.
fn of_files(files: FileCounts) -> String {
    if files == FileCounts::default() {
        return String::new();
    }
    let (going, kept) = (show::count(files.going), show::count(files.kept));
    format!(
        "\nUploaded files that these messages name: {going} go with the last of them, {kept} stay because something else names them.\n"
    )
}

fn for_programs(
    outlooks: &Outlooks,
    (readings, files): (Readings, FileCounts),
    scan: Option<&Scan>,
) -> Value {
    let rows = outlooks.iter().map(|((store, reason), it)| {
        json!({
            "store": store.as_str(),
            "reason": reason.as_str(),
            "overdue": it.overdue,
            "held": it.held,
            "on_hold": it.on_hold,
            "within_1h": it.within_1h,
            "within_24h": it.within_24h,
            "within_7d": it.within_7d,
            "within_30d": it.within_30d,
            "total": it.total,
            "placeholders": it.placeholders,
        })
    });
    json!({
        "by_store_and_reason": rows.collect::<Vec<_>>(),
        "at_reading": scan.is_none().then(|| json!({
            "waiting": readings.waiting,
            "started": readings.started,
            "capped": readings.capped,
        })),
        "files": scan.is_none().then(|| json!({"going": files.going, "kept": files.kept})),
        "scan": scan.map(|it| json!({"rows": it.rows, "unreadable": it.unreadable})),
    })
}
