use std::fmt::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::{FAILED, Failure, print, show};
use crate::app;
use crate::config::Config;
use crate::model::{Finding, Level};

const EXAMPLES: &str = "\
Examples:
  ephemerd check
  ephemerd check --json | jq '.findings[] | select(.level != \"good\")'";

/// Report what is wrong before it matters, and what to do about it
///
/// Looks at the configuration, the database, ephemerd's role, both schemas, the clocks, the hosts and
/// the component. Changes nothing. The exit code is 1 if anything will not work.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print JSON: {"findings": [{"level": …, "what": …, "remedy": …, "page": …}]}
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let findings = app::check(config).await;
    print(&if args.json { show::json(&for_programs(&findings)) } else { for_people(&findings) })?;
    let works = findings.iter().all(|finding| finding.level != Level::Problem);
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

const fn name(level: Level) -> &'static str {
    match level {
        Level::Good => "good",
        Level::Warning => "warning",
        Level::Problem => "problem",
    }
}

fn style(level: Level) -> Style {
    let colour = match level {
        Level::Good => AnsiColor::Green,
        Level::Warning => AnsiColor::Yellow,
        Level::Problem => AnsiColor::Red,
    };
    Style::new().fg_color(Some(colour.into()))
}

pub(super) fn for_people(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { level, what, remedy, page } in findings {
        let (style, name) = (style(*level), name(*level));
        let _ = writeln!(text, "{style}{name:<8}{style:#} {what}");
        if !remedy.is_empty() {
            let _ = writeln!(text, "         {remedy}");
        }
        if !page.is_empty() {
            let _ = writeln!(text, "         see {page}");
        }
    }
    text
}

fn for_programs(findings: &[Finding]) -> Value {
    let findings = findings
        .iter()
        .map(|it| json!({"level": name(it.level), "what": it.what, "remedy": it.remedy, "page": it.page}));
    json!({"findings": findings.collect::<Vec<_>>()})
}
