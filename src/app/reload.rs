//! SIGHUP: reads the configuration again from where it was read at the start.
//!
//! What can change in place is sent to the workers, which apply it between two transactions. Everything else
//! stays as it was, and is named in the log. A faulty configuration changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::settings::UpdateSenders;
use crate::{
    config::{Change, Config, ConfigError},
    lifecycle::{self, Hangups},
    metrics::{Metrics, Reload},
    task,
    telemetry::Telemetry,
};

/// Reads the configuration again on request.
pub(super) struct Reloader {
    /// The file that was named at the start.
    pub(super) file: Option<PathBuf>,
    pub(super) telemetry: Telemetry,
    pub(super) in_force: Config,
    pub(super) updates: UpdateSenders,
    pub(super) metrics: Arc<Metrics>,
}

impl Reloader {
    /// Runs until stopped. Signals that arrive during a reload count as one.
    pub(super) async fn run(mut self, mut hangups: Hangups, stop: CancellationToken) {
        while stop.run_until_cancelled(hangups.next()).await.is_some() {
            lifecycle::reload_begins();
            let (file, in_force) = (self.file.clone(), self.in_force.clone());
            // Files may be on slow storage; and whatever happens here, the daemon keeps running.
            let reading = tokio::task::spawn_blocking(move || {
                task::blocking("reload", || read(file.as_deref(), &in_force))
            });
            match stop.run_until_cancelled(reading).await {
                None => return,
                Some(Ok(Ok((config, changes)))) => self.take(config, changes),
                Some(Ok(Err(fault))) => self.refuse(&fault.to_string()),
                Some(Err(_)) => self.refuse("reading it panicked\nhelp: report the panic above"),
            }
            lifecycle::reload_ends();
        }
    }

    fn take(&mut self, new: Config, changes: Vec<Change>) {
        let (in_place, needs_restart): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(Change::is_in_place);
        for remark in new.remarks().iter().filter(|it| !self.in_force.remarks().contains(it)) {
            warn!(help = remark.remedy, "{}", remark.what);
        }
        let in_force = self.in_force.clone().with_changes(new);
        let is_quieter = in_force.log.level < self.in_force.log.level;
        // Log changes at whichever of the two levels shows more.
        if is_quieter {
            say(&in_place, &needs_restart);
        }
        self.telemetry.change(&in_force.log);
        if !is_quieter {
            say(&in_place, &needs_restart);
        }
        self.updates.send(&in_force);
        self.in_force = in_force;
        self.count(Reload::Done);
    }

    fn refuse(&self, fault: &str) {
        let (what, help) = fault.split_once("\nhelp: ").unwrap_or((fault, ""));
        error!(%help, "the configuration is unchanged: {what}");
        self.count(Reload::Refused);
    }

    fn count(&self, result: Reload) {
        self.metrics.config_reloads.of(result).inc();
        self.metrics.config_last_reload_successful.set(i64::from(result == Reload::Done));
    }
}

/// The configuration as it is now, and how it differs.
fn read(file: Option<&Path>, in_force: &Config) -> Result<(Config, Vec<Change>), ConfigError> {
    let new = Config::load(file)?;
    let changes = in_force.changes(&new);
    Ok((new, changes))
}

fn say(in_place: &[Change], needs_restart: &[Change]) {
    let list =
        |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if in_place.is_empty() {
        info!("configuration reloaded: nothing changes in place");
    } else {
        info!("configuration reloaded: {}", list(in_place));
    }
    if !needs_restart.is_empty() {
        warn!("these changes take effect only after a restart: {}", list(needs_restart));
    }
}
