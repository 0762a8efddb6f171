//! Figures as ratios: the program compared with a named alternative, on the same data, in the same run.
//!
//! Both sides use the same PostgreSQL with the same fsync and synchronous_commit; their runs are interleaved;
//! the median counts, and the spread is shown. Only ratios carry over to other machines.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod age;
mod belonging;
mod data;
mod delay;
mod ejabberd;
mod erase;
mod flat;
mod growth;
mod instead;
mod machine;
mod meter;
mod options;
mod pages;
mod plot;
mod progress;
mod reader;
mod reading;
mod report;
mod rooms;
#[path = "../stanzas.rs"]
mod stanzas;
mod sweep;
mod traffic;

use std::process::ExitCode;

use ephemerd_lab::{Context as _, Result};

use crate::{
    data::{Scale, Template},
    growth::Point,
    options::{HELP, Options, Part},
    progress::Progress,
    report::Figure,
};

/// In the archive that erasing is measured on: a large backlog.
const BACKLOG_EVERY: i64 = 10;

/// In an ordinary archive.
pub(crate) const MARKED_EVERY: i64 = 100;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
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
    let folder = options.pages.as_deref();
    if options.draw {
        return folder.map_or(Ok(()), pages::draw);
    }
    let (mut figures, mut growth) = (Vec::new(), Vec::new());
    if let Some(most) = options.growth {
        growth = measure_growth(most).await?;
        println!("{}", serde_json::to_string_pretty(&growth).context("writing the results")?);
    }
    if options.growth.is_none() || options.all {
        figures = measure(options).await?;
        println!("{}", report::text(&figures, options.sql));
    }
    if let Some(file) = &options.json {
        std::fs::write(file, report::json(&figures).context("writing the results")?)?;
    }
    folder.map_or(Ok(()), |folder| pages::keep(folder, figures, growth))
}

async fn measure_growth(most: i64) -> Result<Vec<Point>> {
    let progress = Progress::new(growth::steps(most));
    let points = growth::measure(&data::postgres().await?, most, &progress).await;
    progress.end();
    points
}

async fn measure(options: &Options) -> Result<Vec<Figure>> {
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    let wants = |part| options.only.is_empty() || options.only.contains(&part);
    let steps: usize =
        Part::ALL.into_iter().filter(|it| wants(*it)).map(|it| it.steps(scale)).sum();
    let progress = Progress::new(steps + 2);
    let postgres = data::postgres().await?;
    let mut figures = Vec::new();
    if wants(Part::Erase) || wants(Part::Flat) {
        progress.step("filling an archive with a backlog");
        let template = Template::make(&postgres, scale.rows, BACKLOG_EVERY).await?;
        if wants(Part::Erase) {
            erase::measure(&template, scale, &mut figures, &progress).await?;
        }
        if wants(Part::Flat) {
            flat::measure(&template, scale, &mut figures, &progress).await?;
        }
        template.end().await?;
    }
    if wants(Part::Delay) {
        delay::measure(&postgres, scale, &mut figures, &progress).await?;
    }
    if wants(Part::Sweep) || wants(Part::Age) || wants(Part::Instead) {
        progress.step("filling an archive");
        let template = Template::make(&postgres, scale.rows, MARKED_EVERY).await?;
        if wants(Part::Sweep) {
            sweep::measure(&template, scale, &mut figures, &progress).await?;
        }
        if wants(Part::Age) {
            age::measure(&template, scale, &mut figures, &progress).await?;
        }
        if wants(Part::Instead) {
            instead::measure(&template, scale, &mut figures, &progress).await?;
        }
        template.end().await?;
    }
    if wants(Part::Ejabberd) {
        ejabberd::measure(&postgres, scale, &mut figures, &progress).await?;
    }
    if wants(Part::Reader) {
        reader::measure(scale, &mut figures, &progress)?;
    }
    if wants(Part::Reading) {
        reading::measure(&postgres, scale, &mut figures, &progress).await?;
    }
    if wants(Part::Belonging) {
        belonging::measure(&postgres, scale, &mut figures, &progress).await?;
    }
    if wants(Part::Rooms) {
        rooms::measure(&postgres, scale, &mut figures, &progress).await?;
    }
    if wants(Part::Traffic) {
        traffic::measure(&postgres, scale, &mut figures, &progress).await?;
    }
    progress.end();
    Ok(figures)
}
