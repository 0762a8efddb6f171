//! The table of figures: what was measured against what, the ratio, the target, the verdict.

use comfy_table::{Table, TableStyle, presets};
use serde::{Deserialize, Serialize};

/// A figure's target.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Higher is better: the minimum, and the goal.
    AtLeast(f64, f64),
    /// Lower is better: the maximum, and the goal.
    AtMost(f64, f64),
    /// For comparison only.
    None,
}

/// One comparison, or one measure on its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) against: String,
    pub(crate) unit: String,
    /// The result of each run.
    pub(crate) ours: Vec<f64>,
    /// The alternative's results; empty if the figure stands alone.
    pub(crate) theirs: Vec<f64>,
    pub(crate) target: Target,
    /// The alternative's statement and its plan.
    #[serde(skip)]
    pub(crate) sql: String,
}

/// A figure for programs, with what follows from it.
#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    figure: &'a Figure,
    value: f64,
    verdict: &'a str,
}

fn sorted(runs: &[f64]) -> Vec<f64> {
    let mut runs = runs.to_vec();
    runs.sort_by(f64::total_cmp);
    runs
}

pub(crate) fn median(runs: &[f64]) -> f64 {
    let runs = sorted(runs);
    let at = |index: usize| runs.get(index).copied().unwrap_or(f64::NAN);
    if runs.len() % 2 == 1 {
        return at(runs.len() / 2);
    }
    (at((runs.len() / 2).saturating_sub(1)) + at(runs.len() / 2)) / 2.0
}

/// From lowest to highest, as a fraction of the median.
fn spread(runs: &[f64]) -> f64 {
    let runs = sorted(runs);
    let ends = runs.first().zip(runs.last());
    ends.map_or(0.0, |(least, most)| (most - least) / median(&runs))
}

/// To three significant digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

impl Figure {
    /// One that is compared with nothing.
    pub(crate) fn alone(
        what: impl Into<String>,
        unit: &str,
        ours: Vec<f64>,
        target: Target,
    ) -> Self {
        Self {
            what: what.into(),
            against: String::new(),
            unit: unit.to_owned(),
            ours,
            theirs: Vec::new(),
            target,
            sql: String::new(),
        }
    }

    /// The ratio of the medians, or the median itself.
    pub(crate) fn value(&self) -> f64 {
        if self.theirs.is_empty() {
            return median(&self.ours);
        }
        median(&self.ours) / median(&self.theirs)
    }

    fn verdict(&self) -> &'static str {
        let value = self.value();
        let (reached, aimed) = match self.target {
            Target::AtLeast(least, aim) => (value >= least, value >= aim),
            Target::AtMost(most, aim) => (value <= most, value <= aim),
            Target::None => return "",
        };
        match (reached, aimed) {
            (true, true) => "reached, and the aim",
            (true, false) => "reached",
            (false, _) => "missed",
        }
    }

    fn side(&self, runs: &[f64]) -> String {
        if runs.is_empty() {
            return String::new();
        }
        format!("{} {} ±{:.0}%", short(median(runs)), self.unit, spread(runs) * 50.0)
    }

    fn cells(&self) -> [String; 7] {
        let target = match self.target {
            Target::AtLeast(least, aim) => format!("≥ {least} (aim {aim})"),
            Target::AtMost(most, aim) => format!("≤ {most} (aim {aim})"),
            Target::None => String::new(),
        };
        [
            self.what.clone(),
            self.against.clone(),
            self.side(&self.ours),
            self.side(&self.theirs),
            short(self.value()),
            target,
            self.verdict().to_owned(),
        ]
    }
}

const HEAD: [&str; 7] =
    ["what", "against", "ephemerd", "the other", "ratio or value", "target", "verdict"];

/// The table for people, with the alternatives' statements and plans if requested.
pub(crate) fn text(figures: &[Figure], sql: bool) -> String {
    let mut text = table(figures, presets::NOTHING);
    for figure in figures.iter().filter(|it| sql && !it.sql.is_empty()) {
        text.push_str(&format!("\n\n{}\n{}", figure.against, figure.sql));
    }
    text
}

/// The table for a page.
pub(crate) fn markdown(figures: &[Figure]) -> String {
    table(figures, presets::ASCII_MARKDOWN)
}

fn table(figures: &[Figure], style: TableStyle) -> String {
    let mut table = Table::new();
    table.load_style(style).set_header(HEAD);
    table.add_rows(figures.iter().map(Figure::cells));
    table.to_string()
}

/// The table for programs.
pub(crate) fn json(figures: &[Figure]) -> serde_json::Result<String> {
    let judged: Vec<_> = figures
        .iter()
        .map(|figure| Judged { figure, value: figure.value(), verdict: figure.verdict() })
        .collect();
    serde_json::to_string_pretty(&serde_json::json!({ "figures": judged }))
}
