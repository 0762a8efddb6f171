//! The table of figures: what was measured against what, the ratio, the target, the verdict.

use std::fmt::Write as _;

/// One comparison.
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) against: &'static str,
    /// What the alternative runs.
    pub(crate) sql: &'static str,
    /// Rows per second of each run.
    pub(crate) ours: Vec<f64>,
    pub(crate) theirs: Vec<f64>,
    /// Ours over theirs, at least.
    pub(crate) target: f64,
}

/// All comparisons of a run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) figures: Vec<Figure>,
}

fn sorted(runs: &[f64]) -> Vec<f64> {
    let mut runs = runs.to_vec();
    runs.sort_by(f64::total_cmp);
    runs
}

fn median(runs: &[f64]) -> f64 {
    sorted(runs).get(runs.len() / 2).copied().unwrap_or(f64::NAN)
}

/// From the slowest to the fastest, as a share of the median.
fn spread(runs: &[f64]) -> f64 {
    let runs = sorted(runs);
    let ends = runs.first().zip(runs.last());
    ends.map_or(0.0, |(least, most)| (most - least) / median(&runs))
}

impl Figure {
    fn ratio(&self) -> f64 {
        median(&self.ours) / median(&self.theirs)
    }

    fn verdict(&self) -> &'static str {
        if self.ratio() >= self.target { "reached" } else { "missed" }
    }
}

impl Report {
    pub(crate) fn table(&self, sql: bool) -> String {
        let mut table = String::new();
        for figure in &self.figures {
            let _ = writeln!(
                table,
                "{}\n  against {}\n  ours    {:>10.0} rows/s (spread {:.0}%)\n  theirs  {:>10.0} rows/s (spread {:.0}%)\n  ratio   {:.2}, target {:.2}: {}",
                figure.what,
                figure.against,
                median(&figure.ours),
                spread(&figure.ours) * 100.0,
                median(&figure.theirs),
                spread(&figure.theirs) * 100.0,
                figure.ratio(),
                figure.target,
                figure.verdict(),
            );
            if sql {
                let _ = writeln!(table, "  {}", figure.sql);
            }
        }
        table
    }

    pub(crate) fn json(&self) -> String {
        let figures: Vec<_> = self
            .figures
            .iter()
            .map(|figure| {
                serde_json::json!({
                    "what": figure.what,
                    "against": figure.against,
                    "ours_rows_per_second": figure.ours,
                    "theirs_rows_per_second": figure.theirs,
                    "ratio": figure.ratio(),
                    "target": figure.target,
                    "verdict": figure.verdict(),
                })
            })
            .collect();
        serde_json::json!({ "figures": figures }).to_string()
    }
}
