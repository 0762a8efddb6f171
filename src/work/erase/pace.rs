//! When an eraser continues: at once, when something may be due, or after a rest.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::EraseSettings;
use crate::{
    database::{Named as _, Result, in_time},
    ledger::{self, Bound},
    metrics::Metrics,
    model::Timestamp,
    work::{
        TRANSACTION_LIMIT,
        base::{Changing, Retry, count, rest, wake::Wake},
        holds,
    },
};

/// A claim from here misses nothing.
pub(super) const EVERYTHING: Bound = (Timestamp::UNIX_EPOCH, 0);

/// Maximum sleep: a lost wake-up costs at most a minute.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What becomes due within this time goes in one batch.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

/// Pause while somebody places or ends a hold.
pub(super) const HOLD_REST: Duration = Duration::from_millis(20);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Start the next batch.
    Batch,
    /// Nothing known is due before this.
    Sleep(Duration),
    /// Whatever becomes due has to wait: the rate is limited, or something is broken.
    Rest(Duration),
}

impl Next {
    /// After a batch of this many rows, which began at `began`.
    pub(super) fn at_rate(settings: &EraseSettings, rows: usize, began: Instant) -> Self {
        match rest(count(rows), settings.rows_per_second, began.elapsed()) {
            Duration::ZERO => Self::Batch,
            rest => Self::Rest(rest),
        }
    }

    /// When the next entry from `from` on is due, or a quote if `cuts`, or a hold ends, but at most `longest`. What ended holds kept is let go, and
    /// what was remembered for long enough is forgotten.
    pub(super) async fn when_due(
        pool: &PgPool,
        hosts: &[String],
        (from, cuts): (Bound, bool),
        longest: Duration,
    ) -> Result<Self> {
        let next = in_time("next_due", TRANSACTION_LIMIT, async {
            let mut connection = pool.acquire().await.named("next_due_connect")?;
            ledger::forget_names(&mut connection).await?;
            let next = ledger::next_due(&mut connection, hosts, from, cuts).await?;
            if next.hold_end.is_some_and(|seconds| seconds <= 0.0) {
                holds::let_go(&mut connection).await?;
                return Ok(None);
            }
            Ok(Some(next))
        });
        let Some(next) = next.await? else { return Ok(Self::Batch) };
        let seconds = next.entry.into_iter().chain(next.hold_end).fold(f64::MAX, f64::min);
        Ok(Self::Sleep(Duration::from_secs_f64(seconds.clamp(0.0, longest.as_secs_f64()))))
    }
}

/// What sets the pace of both erasers: settings, metrics, the bell and retries.
pub struct Pace {
    pub(super) settings: Changing<EraseSettings>,
    pub(super) metrics: Arc<Metrics>,
    wake: Arc<Wake>,
    retry: Retry,
}

impl Pace {
    /// The pace by these settings; `wake` rings when something may be due.
    pub fn new(settings: Changing<EraseSettings>, metrics: Arc<Metrics>, wake: Arc<Wake>) -> Self {
        metrics.dry_run.set(i64::from(settings.dry_run));
        let retry = Retry::new("erasing", Duration::from_millis(500), 10);
        Self { settings, metrics, wake, retry }
    }

    /// At the start: what an ended hold kept may have been overlooked, for example where the clock was set back.
    pub(super) async fn let_go(&self, pool: &PgPool) {
        let letting = in_time("let_go", TRANSACTION_LIMIT, async {
            let mut connection = pool.acquire().await.named("let_go_connect")?;
            holds::let_go(&mut connection).await
        });
        if let Err(error) = letting.await {
            debug!(%error, "what ended holds kept was not looked for");
        }
    }

    /// Takes the latest settings. Returns whether they are new.
    pub(super) fn take_settings(&mut self) -> bool {
        let is_new = self.settings.take();
        self.metrics.dry_run.set(i64::from(self.settings.dry_run));
        is_new
    }

    /// The earliest due time that was recorded meanwhile.
    pub(super) fn take_note(&self) -> Option<Timestamp> {
        self.wake.take()
    }

    /// Waits as this round says. New settings and the stop signal end any wait; the bell ends only a sleep.
    pub(super) async fn wait_after(&mut self, round: Result<Next>, stop: &CancellationToken) {
        let (pause, is_sleep) = match round {
            Err(error) => (self.retry.failed(&error, &self.metrics), false),
            Ok(next) => {
                self.retry.succeeded();
                match next {
                    Next::Batch => return,
                    Next::Sleep(pause) => (pause, true),
                    Next::Rest(pause) => (pause, false),
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)) => {}
            () = self.wake.rung(), if is_sleep => {}
            () = self.settings.changed() => {}
            () = stop.cancelled() => {}
        }
    }
}
