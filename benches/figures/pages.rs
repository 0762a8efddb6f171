//! The performance page: its tables and charts, drawn from the JSON file beside it.

use std::fs;
use std::path::Path;

use ephemerd_lab::{Context as _, LabError, Result};
use serde::{Deserialize, Serialize};

use crate::growth::{Costs, Point};
use crate::machine::Machine;
use crate::plot::{Chart, Series, bytes, plain};
use crate::report::{self, Figure};

/// Everything on the page.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) figures: Vec<Figure>,
    pub(crate) growth: Vec<Point>,
}

const JSON: &str = "performance.json";
const PAGE: &str = "performance.md";
const BEGIN: &str = "<!-- drawn by ./dev bench: begin -->";
const END: &str = "<!-- drawn by ./dev bench: end -->";

/// Writes new results to the directory's JSON and keeps the others.
pub(crate) fn keep(folder: &Path, figures: Vec<Figure>, growth: Vec<Point>) -> Result<()> {
    let mut results = read(folder).unwrap_or_else(|_| Results {
        machine: Machine::this(),
        figures: vec![],
        growth: vec![],
    });
    results.machine = Machine::this();
    for figure in figures {
        let is_it = |it: &&mut Figure| (&it.what, &it.against) == (&figure.what, &figure.against);
        match results.figures.iter_mut().find(is_it) {
            Some(old) => *old = figure,
            None => results.figures.push(figure),
        }
    }
    if !growth.is_empty() {
        results.growth = growth;
    }
    let json = serde_json::to_string_pretty(&results).context("writing the results")?;
    fs::write(folder.join(JSON), json + "\n")?;
    draw(folder)
}

fn read(folder: &Path) -> Result<Results> {
    let text = fs::read_to_string(folder.join(JSON))?;
    serde_json::from_str(&text).context("reading the results")
}

/// Draws the page's tables and charts.
pub(crate) fn draw(folder: &Path) -> Result<()> {
    let results = read(folder)?;
    let images = folder.join("images");
    fs::create_dir_all(&images)?;
    for (name, chart) in charts(&results.growth) {
        fs::write(images.join(name), chart.svg())?;
    }
    let page = fs::read_to_string(folder.join(PAGE))?;
    let parts = page.split_once(BEGIN).zip(page.split_once(END));
    let missing = || LabError::new(format!("{PAGE} has no place for the tables"));
    let ((before, _), (_, after)) = parts.ok_or_else(missing)?;
    let table = report::markdown(&results.figures);
    let growth = growth_table(&results.growth);
    let drawn = format!("{BEGIN}\n{}\n\n{table}\n\n{growth}\n{END}", results.machine.sentence());
    Ok(fs::write(folder.join(PAGE), format!("{before}{drawn}{after}"))?)
}

fn charts(points: &[Point]) -> [(&'static str, Chart); 4] {
    let both = |of: fn(&Costs) -> f64| {
        vec![
            series("no snapshot", points, |it| of(&it.plain)),
            series("an old snapshot open", points, |it| of(&it.under_snapshot)),
        ]
    };
    let erased = Chart {
        title: "Erasing one row",
        measure: "µs on the clock",
        write: plain,
        series: both(|it| it.erased_row_micros),
    };
    let idle = Chart {
        title: "A minute with nothing to do",
        measure: "ms of processor time",
        write: plain,
        series: both(|it| it.idle_minute_cpu_millis),
    };
    let memory = Chart {
        title: "The daemon's memory",
        measure: "the most it ever used",
        write: bytes,
        series: both(|it| it.peak_bytes as f64),
    };
    let mut ledger = both(|it| it.ledger_bytes_after as f64);
    ledger.insert(0, series("before", points, |it| it.plain.ledger_bytes_before as f64));
    let ledger = Chart {
        title: "The ledger, before all that is due is erased and after",
        measure: "with its indexes",
        write: bytes,
        series: ledger,
    };
    [("erasing.svg", erased), ("idle.svg", idle), ("memory.svg", memory), ("ledger.svg", ledger)]
}

fn series(name: &'static str, points: &[Point], of: impl Fn(&Point) -> f64) -> Series {
    Series { name, points: points.iter().map(|it| (it.rows as f64, of(it))).collect() }
}

fn growth_table(points: &[Point]) -> String {
    let mut table = String::from(
        "| archive rows | due | old snapshot | µs a row | µs of CPU a row | idle minute: ms of CPU | idle minute: pages \
         | memory, MB | ledger before, kB | ledger after, kB |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for point in points {
        for (snapshot, it) in [("", &point.plain), ("open", &point.under_snapshot)] {
            table.push_str(&format!(
                "| {} | {} | {snapshot} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {} | {} |\n",
                point.rows,
                point.due,
                it.erased_row_micros,
                it.erased_row_cpu_micros,
                it.idle_minute_cpu_millis,
                it.idle_minute_buffers,
                it.peak_bytes as f64 / 1e6,
                it.ledger_bytes_before / 1000,
                it.ledger_bytes_after / 1000,
            ));
        }
    }
    table
}
