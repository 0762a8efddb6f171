//! The bench's progress, on a terminal's standard error.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts steps.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// For this many steps.
    pub(crate) fn new(steps: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(steps as u64).with_style(style))
    }

    /// Starts the next step.
    pub(crate) fn step(&self, what: &str) {
        self.0.inc(1);
        self.0.set_message(what.to_owned());
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
