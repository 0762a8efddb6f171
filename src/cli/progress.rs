//! How far a long command has come: a bar on a terminal, now and then a plain line elsewhere. On stderr,
//! so that stdout holds the result alone.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::show;

/// The time from one plain line to the next.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The bar counts in these parts of the whole.
const PARTS: u64 = 1_000;

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    started: Instant,
    told: Instant,
}

impl Progress {
    /// Of a known whole. `what` is done to rows: `swept`, `read`.
    pub(super) fn new(what: &'static str) -> Self {
        Self::with("{bar:30} {percent:>3} % {wide_msg}", what, Some(PARTS))
    }

    /// Of a whole that nobody has counted.
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
        Self { bar, what, started: now, told: now }
    }

    /// So many rows are done, this share of the whole, by `rate` rows a second.
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
            None => self.line(&format!("{:.0} %, {text}", share * 100.0)),
        }
    }

    /// So many rows are done.
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
        if self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
