//! What the configuration says to each worker, and how the workers hear when it changes.

use tokio::sync::watch;

use super::{erase_mode, sweep::sweep_settings};
use crate::{
    component,
    config::{BacklogRule, Config},
    work::{erase, inspect, remote, sweep},
};

/// What the workers listen to.
pub(super) struct Told {
    pub(super) inspect: watch::Receiver<inspect::Settings>,
    pub(super) erase: watch::Receiver<erase::Settings>,
    pub(super) sweep: watch::Receiver<sweep::Settings>,
    pub(super) remote: watch::Receiver<remote::Settings>,
}

/// Where they are told.
pub(super) struct Tell {
    inspect: watch::Sender<inspect::Settings>,
    erase: watch::Sender<erase::Settings>,
    sweep: watch::Sender<sweep::Settings>,
    remote: watch::Sender<remote::Settings>,
}

/// Both ends; the workers begin with `config`.
pub(super) fn channels(config: &Config) -> (Tell, Told) {
    let (inspect, inspect_told) = watch::channel(inspect_settings(config));
    let (erase, erase_told) = watch::channel(erase_settings(config));
    let (sweep, sweep_told) = watch::channel(sweep_settings(config));
    let (remote, remote_told) = watch::channel(remote_settings(config));
    let told =
        Told { inspect: inspect_told, erase: erase_told, sweep: sweep_told, remote: remote_told };
    (Tell { inspect, erase, sweep, remote }, told)
}

impl Tell {
    /// Tells each worker for which something is new.
    pub(super) fn all(&self, config: &Config) {
        tell(&self.inspect, inspect_settings(config));
        tell(&self.erase, erase_settings(config));
        tell(&self.sweep, sweep_settings(config));
        tell(&self.remote, remote_settings(config));
    }
}

fn tell<T: PartialEq>(to: &watch::Sender<T>, settings: T) {
    to.send_if_modified(|told| {
        let is_new = *told != settings;
        *told = settings;
        is_new
    });
}

/// What the configuration says to the component.
pub(super) fn component(config: &Config) -> component::Settings {
    component::Settings {
        jid: config.component.jid.clone(),
        server: config.component.server.clone(),
        secret: config.component.secret.clone(),
        timing: component::Timing::default(),
    }
}

fn erase_settings(config: &Config) -> erase::Settings {
    let erase = &config.erase;
    erase::Settings {
        hosts: config.archive.hosts.clone(),
        mode: erase_mode(config),
        placeholder_for: erase.placeholder_for,
        batch: erase.batch,
        rows_per_second: erase.rows_per_second.unwrap_or(0),
        dry_run: erase.dry_run,
    }
}

fn remote_settings(config: &Config) -> remote::Settings {
    remote::Settings {
        hosts: config.archive.hosts.clone(),
        rules: config.rules(),
        every: config.sweep.every,
        hold_backlog: config.erase.backlog == BacklogRule::Hold,
    }
}

fn inspect_settings(config: &Config) -> inspect::Settings {
    inspect::Settings {
        hosts: config.archive.hosts.clone(),
        poll: config.archive.poll,
        rules: config.rules(),
    }
}
