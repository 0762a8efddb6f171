//! SIGHUP: the configuration is read anew from where it was read at the start.
//!
//! What can change in place is told to the workers, which take it between two transactions. What a daemon
//! is built on stays as it was, and is named. A faulty configuration changes nothing.

use std::{path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::settings::Tell;
use crate::{
    config::{Change, Config, ConfigError},
    lifecycle::{self, Hangups},
    metrics::{Metrics, Reload},
    telemetry::Telemetry,
};

/// Reads the configuration anew when it is asked to.
pub(super) struct Reloader {
    /// The file that was named at the start.
    pub(super) file: Option<PathBuf>,
    pub(super) telemetry: Telemetry,
    pub(super) in_force: Config,
    pub(super) tell: Tell,
    pub(super) metrics: Arc<Metrics>,
}

impl Reloader {
    /// Until stopped. Hang-ups that come while one is heard are heard as one.
    pub(super) async fn run(mut self, mut hangups: Hangups, stop: CancellationToken) {
        while stop.run_until_cancelled(hangups.next()).await.is_some() {
            lifecycle::reload_begins();
            let file = self.file.clone();
            // Files may lie where reading takes long.
            let reading = tokio::task::spawn_blocking(move || Config::load(file.as_deref()));
            match stop.run_until_cancelled(reading).await {
                None => return,
                Some(Ok(Ok(config))) => self.take(config),
                Some(Ok(Err(fault))) => self.refuse(&fault),
                // A panic, which is in the log: no word more is known.
                Some(Err(_)) => self.count(Reload::Refused),
            }
            lifecycle::reload_ends();
        }
    }

    fn take(&mut self, new: Config) {
        let (in_place, needs_restart): (Vec<_>, Vec<_>) =
            self.in_force.changes(&new).into_iter().partition(Change::is_in_place);
        let in_force = self.in_force.clone().with_changes(new);
        let is_quieter = in_force.log.level < self.in_force.log.level;
        // What changed is told by the level that shows more.
        if is_quieter {
            say(&in_place, &needs_restart);
        }
        self.telemetry.change(&in_force.log);
        if !is_quieter {
            say(&in_place, &needs_restart);
        }
        self.tell.all(&in_force);
        self.in_force = in_force;
        self.count(Reload::Done);
    }

    fn refuse(&self, fault: &ConfigError) {
        let text = fault.to_string();
        let (what, help) = text.split_once("\nhelp: ").unwrap_or((&text, ""));
        error!(%help, "the configuration stays as it was: {what}");
        self.count(Reload::Refused);
    }

    fn count(&self, result: Reload) {
        self.metrics.config_reloads.of(result).inc();
        self.metrics.config_last_reload_successful.set(i64::from(result == Reload::Done));
    }
}

fn say(in_place: &[Change], needs_restart: &[Change]) {
    let list =
        |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if in_place.is_empty() {
        info!("the configuration was read anew: nothing changes in place");
    } else {
        info!("the configuration was read anew: {}", list(in_place));
    }
    if !needs_restart.is_empty() {
        warn!("these changes need a restart, until then all is as it was: {}", list(needs_restart));
    }
}
