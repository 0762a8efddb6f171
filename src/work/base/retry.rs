//! Retries: a worker that fails logs it once, waits longer each time, and logs when it works again.

use std::time::Duration;

use tracing::{debug, info, warn};

use crate::{database::Error, metrics::Metrics};

/// How a worker retries: what it does, in the log's words, and how its pauses grow.
#[derive(Debug)]
pub(in crate::work) struct Retry {
    what: &'static str,
    step: Duration,
    most_steps: u32,
    failures: u32,
}

impl Retry {
    /// The pause grows by `step` with each consecutive failure, up to `most_steps` of them.
    pub(in crate::work) const fn new(what: &'static str, step: Duration, most_steps: u32) -> Self {
        Self { what, step, most_steps, failures: 0 }
    }

    /// The last attempt failed.
    pub(in crate::work) const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// An attempt succeeded. Returns whether the one before had failed.
    pub(in crate::work) fn succeeded(&mut self) -> bool {
        let failed = std::mem::take(&mut self.failures) > 0;
        if failed {
            info!("{} works again", self.what);
        }
        failed
    }

    /// An attempt failed. Returns how long to wait before the next one. Waiting for another session is not counted
    /// as a database error.
    pub(in crate::work) fn failed(&mut self, error: &Error, metrics: &Metrics) -> Duration {
        if !error.is_contention() {
            metrics.database_errors.inc();
        }
        self.failures = self.failures.saturating_add(1);
        let (what, failures) = (self.what, self.failures);
        if failures == 1 {
            warn!(%error, "{what} failed, trying again");
        } else {
            debug!(%error, failures, "{what} failed again");
        }
        self.step * failures.min(self.most_steps)
    }
}
