//! Figures as ratios: the program against a named alternative, on the same data, in the same run.
//!
//! Both sides see the same PostgreSQL under the same fsync and synchronous_commit; runs of the two are
//! interleaved; the median counts, and the spread is shown. Only ratios travel to other machines.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod data;
mod erase;
mod report;

use std::process::ExitCode;

use ephemerd_lab::Result;

use crate::{data::Scale, report::Report};

const HELP: &str = "\
./dev bench [--json FILE] [--quick] [--sql]

  --json FILE  writes the table as JSON, too
  --quick      a tenth of the rows, one run: to see that it works, not to judge by
  --sql        prints the alternatives' SQL";

struct Options {
    json: Option<String>,
    quick: bool,
    sql: bool,
}

fn options() -> std::result::Result<Option<Options>, String> {
    let mut options = Options { json: None, quick: false, sql: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => options.json = Some(args.next().ok_or("--json needs a file")?),
            "--quick" => options.quick = true,
            "--sql" => options.sql = true,
            "--help" | "-h" => return Ok(None),
            "--bench" => {} // what cargo bench adds
            other => return Err(format!("{other} is no option")),
        }
    }
    Ok(Some(options))
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            println!("error: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    let mut report = Report::default();
    erase::measure(scale, &mut report).await?;
    println!("{}", report.table(options.sql));
    if let Some(file) = &options.json {
        std::fs::write(file, report.json())?;
    }
    Ok(())
}
