//! When a worker goes on: at once, when something may be due, or not before its time.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Settings;
use crate::{
    database::{Error, Result},
    metrics::Metrics,
    work::{Changing, wake::Wake},
};

/// No sleep is longer: a wake-up that was lost costs a minute at the most.
pub(in crate::work) const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What becomes due within this time goes together.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::work) enum Next {
    /// Go on.
    Batch,
    /// Nothing is due so soon, as far as is known.
    Sleep(Duration),
    /// Whatever becomes due has to wait: the rate is limited, or something is broken.
    Rest(Duration),
}

impl Next {
    /// After a batch of so many rows, which began then.
    pub(in crate::work) fn at_rate(settings: &Settings, rows: usize, began: Instant) -> Self {
        if settings.rows_per_second == 0 {
            return Self::Batch;
        }
        let seconds = rows as f64 / f64::from(settings.rows_per_second);
        Self::Rest(Duration::from_secs_f64(seconds).saturating_sub(began.elapsed()))
    }

    /// Waits as long as this says; other settings and the stop end it at once, the bell only a sleep.
    pub(in crate::work) async fn wait(
        self,
        wake: &Wake,
        settings: &Changing<Settings>,
        stop: &CancellationToken,
    ) {
        let (pause, is_sleep) = match self {
            Self::Batch => return,
            Self::Sleep(pause) => (pause, true),
            Self::Rest(pause) => (pause, false),
        };
        tokio::select! {
            () = tokio::time::sleep(pause.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)) => {}
            () = wake.rung(), if is_sleep => {}
            () = settings.told() => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Failures of one worker, one after the other: told once, with longer and longer rests.
#[derive(Debug, Default)]
pub(in crate::work) struct Failures(u32);

impl Failures {
    /// What to do after a round that came out so.
    pub(in crate::work) fn after(&mut self, round: Result<Next>, metrics: &Metrics) -> Next {
        match round {
            Ok(next) => {
                if std::mem::take(&mut self.0) > 0 {
                    info!("erasing again");
                }
                next
            }
            Err(error) => Next::Rest(self.failed(&error, metrics)),
        }
    }

    fn failed(&mut self, error: &Error, metrics: &Metrics) -> Duration {
        if !error.is_contention() {
            metrics.database_errors.inc();
        }
        self.0 = self.0.saturating_add(1);
        if self.0 == 1 {
            warn!(%error, "erasing failed, trying again");
        } else {
            debug!(%error, failures = self.0, "erasing failed again");
        }
        Duration::from_millis(500) * self.0.min(10)
    }
}
