//! Progress of a long command: a bar on a terminal, otherwise an occasional line. On stderr, so that stdout
//! has only the result.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::show;

/// Interval between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The bar's resolution.
const PARTS: u64 = 1_000;

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    started: Instant,
    printed: Instant,
}

impl Progress {
    /// For a known total. `what` is the verb: `swept`, `read`.
    pub(super) fn new(what: &'static str) -> Self {
        Self::with("{bar:30} {percent:>3}% {wide_msg}", what, Some(PARTS))
    }

    /// For an unknown total.
    pub(super) fn unbounded(what: &'static str) -> Self {
        Self::with("{spinner} {wide_msg}", what, None)
    }

    fn with(template: &str, what: &'static str, length: Option<u64>) -> Self {
        let style = ProgressStyle::with_template(template).ok();
        let bar = style.filter(|_| io::stderr().is_terminal()).map(|style| {
            let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            bar.with_style(style)
        });
        let now = Instant::now();
        Self { bar, what, started: now, printed: now }
    }

    /// Shows the number of rows done, their share of the whole, and `rate` rows a second.
    pub(super) fn share(&mut self, share: f64, rows: i64) {
        let rate = rows as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let text = format!(
            "{} rows {}, {} rows/s",
            show::count(rows),
            self.what,
            show::count(rate as i64)
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position((share.clamp(0.0, 1.0) * PARTS as f64) as u64);
                bar.set_message(text);
            }
            None => self.line(&format!("{:.0}%, {text}", share * 100.0)),
        }
    }

    /// Shows the number of rows done.
    pub(super) fn count(&mut self, rows: i64) {
        let text = format!("{} rows {}", show::count(rows), self.what);
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => self.line(&text),
        }
    }

    fn line(&mut self, text: &str) {
        if self.printed.elapsed() >= LINE_EVERY {
            self.printed = Instant::now();
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Removes the bar.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
