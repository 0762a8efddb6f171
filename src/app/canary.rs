//! The canary: again and again the leader sends a message to an account that nobody uses, and sees whether it vanishes on
//! time. Metrics say so.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Error,
    daemon::{Modules, Workers, begin},
    trial::{TrialEnd, Watched},
};
use crate::{
    archive::companion::Requests as _,
    component::{Link, Trial},
    config::Config,
    metrics::Metrics,
    model::{Address, Clock},
    work::inspect::{InspectSettings, Inspection},
};

/// The message's timer, in seconds.
const SECONDS: u32 = 10;
/// It has not vanished on time when it is so late.
const LATE: TimeDelta = TimeDelta::seconds(30);
/// Beyond its timer, it exists no longer than this before we call that a failure, whatever it waits for.
const PATIENCE: Duration = Duration::from_secs(50);
/// After the start the component has so long to connect, and the tail to reach the end of the archive.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);

/// The coarsest stamps that servers make.
const ONE_STAMP: Duration = Duration::from_secs(1);

impl Workers {
    pub(super) fn spawn_canary(
        &self,
        tasks: &mut JoinSet<&'static str>,
        modules: &Modules,
        inspected: watch::Receiver<Inspection>,
    ) {
        let Some(to) = self.config.canary.account.clone() else { return };
        let canary = Canary {
            config: self.config.clone(),
            to,
            link: modules.link.clone(),
            inspected,
            judging: self.updates.inspect.clone(),
            leading: modules.leading.clone(),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
        };
        begin(tasks, "canary", canary.run(self.stop.clone()));
    }
}

/// What the canary needs.
struct Canary {
    config: Config,
    to: Address,
    link: Link,
    inspected: watch::Receiver<Inspection>,
    judging: watch::Receiver<InspectSettings>,
    leading: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Canary {
    /// Sends a message every `canary.every` while this daemon leads, until stopped.
    async fn run(mut self, stop: CancellationToken) {
        let mut known: Option<Option<&'static str>> = None;
        loop {
            let leads = stop.run_until_cancelled(self.leading.wait_for(|leads| *leads)).await;
            if !matches!(leads, Some(Ok(_))) {
                return;
            }
            drop(leads);
            let _ = stop.run_until_cancelled(timeout(BEGIN_WITHIN, self.begin())).await;
            let began = Instant::now();
            let Some(end) = stop.run_until_cancelled(self.try_once()).await else { return };
            let why = self.count(&end, began.elapsed());
            if known != Some(why) {
                tell(why);
            }
            known = Some(why);
            tokio::select! {
                () = sleep_until(began + self.config.canary.every) => continue,
                _ = self.leading.wait_for(|leads| !*leads) => {}
                () = stop.cancelled() => return,
            }
            self.forget();
        }
    }

    /// Waits for the connection, and for the tail: what is archived before the first start is history, and held, and so is
    /// what has the same stamp, which may be a whole second.
    async fn begin(&mut self) {
        let mut connection = self.link.connection();
        let _ = connection.wait_for(Option::is_some).await;
        let _ = self.inspected.wait_for(|it| it.caught_up.is_some()).await;
        sleep(ONE_STAMP).await;
    }

    /// One message.
    async fn try_once(&self) -> Result<TrialEnd, Error> {
        let mut watched = Watched::new(&self.config, &self.to, LATE).await?;
        let Address { host, local } = &self.to;
        let trial =
            Trial { to: format!("{local}@{host}"), id: watched.id.clone(), seconds: SECONDS };
        let end = if self.link.try_out(trial) {
            let timer = self.timer();
            watched.until_gone(timer + PATIENCE, Some(timer), &mut |_| {}).await
        } else {
            Ok(TrialEnd::Disconnected)
        };
        watched.close().await;
        end
    }

    /// The message's timer by the rules in force.
    fn timer(&self) -> Duration {
        let timers = &self.judging.borrow().rules.timers;
        let timer = Duration::from_secs(u64::from(SECONDS)).max(timers.min);
        timers.max.map_or(timer, |most| timer.min(most))
    }

    /// Why it did not vanish on time; `None` if it did.
    fn count(&self, end: &Result<TrialEnd, Error>, took: Duration) -> Option<&'static str> {
        let why = match end {
            Ok(TrialEnd::Gone(_)) => None,
            Ok(end) => Some(end.as_str()),
            Err(_) => Some("database"),
        };
        if why.is_none() {
            self.metrics.canary_seconds.set(took.as_secs_f64());
        }
        self.metrics.canary_success.set(i64::from(why.is_none()));
        let now = self.clock.now().timestamp_micros() as f64 / 1e6;
        self.metrics.canary_last_timestamp_seconds.set(now);
        why
    }

    /// Another daemon leads now, and its canary counts.
    fn forget(&self) {
        self.metrics.canary_success.set(0);
        self.metrics.canary_last_timestamp_seconds.set(0.0);
    }
}

fn tell(why: Option<&'static str>) {
    match why {
        None => info!("the canary's message vanishes on time"),
        Some(why) => warn!(
            why,
            help = "`ephemerd try` with the canary's account shows more",
            "the canary's message did not vanish on time"
        ),
    }
}
