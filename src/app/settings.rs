//! Each worker's settings, and the channels that carry changes to them.

use tokio::sync::watch;

use super::erase_mode;
use crate::{
    archive::companion::Wanted,
    component::{self, CommandSettings, ComponentSettings},
    config::{ArchiveKind, BacklogRule, Config},
    model::{Mode, QuoteRule, ReadEvidence, RoomStart, Store},
    policy::Retention,
    work::{
        age::AgeSettings,
        base::{presence::CompanionSettings, replace},
        erase::{EraseSettings, files::FileSettings},
        inspect::InspectSettings,
        sweep::SweepSettings,
    },
};

/// Where the workers get their settings.
pub(super) struct Updates {
    pub(super) inspect: watch::Receiver<InspectSettings>,
    pub(super) erase: watch::Receiver<EraseSettings>,
    pub(super) files: watch::Receiver<FileSettings>,
    pub(super) age: watch::Receiver<AgeSettings>,
    pub(super) sweep: watch::Receiver<SweepSettings>,
    pub(super) companion: watch::Receiver<CompanionSettings>,
    pub(super) wanted: watch::Receiver<Wanted>,
    pub(super) commands: watch::Receiver<CommandSettings>,
}

/// Where new settings are sent.
pub(super) struct UpdateSenders {
    inspect: watch::Sender<InspectSettings>,
    erase: watch::Sender<EraseSettings>,
    files: watch::Sender<FileSettings>,
    age: watch::Sender<AgeSettings>,
    sweep: watch::Sender<SweepSettings>,
    companion: watch::Sender<CompanionSettings>,
    wanted: watch::Sender<Wanted>,
    commands: watch::Sender<CommandSettings>,
}

/// Both ends; the workers begin with `config`.
pub(super) fn channels(config: &Config) -> (UpdateSenders, Updates) {
    let (inspect, inspect_updates) = watch::channel(inspect_settings(config));
    let (erase, erase_updates) = watch::channel(erase_settings(config));
    let (files, files_updates) = watch::channel(file_settings(config));
    let (age, age_updates) = watch::channel(age_settings(config));
    let (sweep, sweep_updates) = watch::channel(sweep_settings(config));
    let (companion, companion_updates) = watch::channel(companion_settings(config));
    let (wanted, wanted_updates) = watch::channel(wanted_reads(config));
    let (commands, commands_updates) = watch::channel(command_settings(config));
    let updates = Updates {
        inspect: inspect_updates,
        erase: erase_updates,
        files: files_updates,
        age: age_updates,
        sweep: sweep_updates,
        companion: companion_updates,
        wanted: wanted_updates,
        commands: commands_updates,
    };
    (UpdateSenders { inspect, erase, files, age, sweep, companion, wanted, commands }, updates)
}

impl UpdateSenders {
    /// Sends each worker its settings if they have changed; and the retention policy in any case: another daemon may have
    /// announced a different one since.
    pub(super) fn send(&self, config: &Config) {
        // First: others ask the modules again once their own have changed.
        replace(&self.wanted, wanted_reads(config));
        replace(&self.inspect, inspect_settings(config));
        replace(&self.erase, erase_settings(config));
        replace(&self.files, file_settings(config));
        self.age.send_replace(age_settings(config));
        replace(&self.sweep, sweep_settings(config));
        replace(&self.companion, companion_settings(config));
        replace(&self.commands, command_settings(config));
    }
}

/// The component's settings.
pub(super) fn component(config: &Config) -> ComponentSettings {
    ComponentSettings {
        jid: config.component.jid.clone(),
        server: config.component.server.clone(),
        secret: config.component.secret.clone(),
        timing: component::Timing::default(),
    }
}

fn erase_settings(config: &Config) -> EraseSettings {
    let erase = &config.erase;
    EraseSettings {
        hosts: config.archive.hosts.clone(),
        mode: erase_mode(config),
        placeholder_for: erase.placeholder_for,
        batch: erase.batch,
        rows_per_second: erase.rows_per_second.unwrap_or(0),
        dry_run: erase.dry_run,
        cut_quotes: config.inherit.quotes == QuoteRule::Cut,
        removes_files: config.uploads.rules.is_on(),
    }
}

fn file_settings(config: &Config) -> FileSettings {
    let uploads = &config.uploads;
    FileSettings {
        hosts: config.archive.hosts.clone(),
        modules: if uploads.rules.is_on() { uploads.hosts.clone() } else { Vec::new() },
        dry_run: config.erase.dry_run,
    }
}

pub(super) fn age_settings(config: &Config) -> AgeSettings {
    AgeSettings {
        hosts: config.archive.hosts.clone(),
        retention: config.retention(),
        wishes: config.rules().wishes,
        confirm_above: config.retention.confirm_above,
        grace: config.retention.grace,
        batch: config.erase.batch,
        rows_per_second: config.erase.rows_per_second.unwrap_or(0),
        dry_run: config.erase.dry_run,
    }
}

pub(super) fn sweep_settings(config: &Config) -> SweepSettings {
    SweepSettings {
        hosts: config.archive.hosts.clone(),
        every: config.sweep.every,
        rows_per_second: config.sweep.rows_per_second.unwrap_or(0),
        hold_backlog: config.erase.backlog == BacklogRule::Hold,
    }
}

fn companion_settings(config: &Config) -> CompanionSettings {
    CompanionSettings {
        hosts: config.archive.hosts.clone(),
        rules: config.rules(),
        every: config.sweep.every,
        hold_backlog: config.erase.backlog == BacklogRule::Hold,
    }
}

/// What users are told.
fn command_settings(config: &Config) -> CommandSettings {
    let keeps_placeholders = erase_mode(config) == Mode::Placeholder;
    CommandSettings {
        enabled: config.commands.enabled,
        // Requests are for archives in tables.
        erase: config.commands.erase && config.archive.kind != ArchiveKind::Component,
        per_minute: config.commands.per_minute,
        hosts: config.archive.hosts.clone(),
        rules: config.rules(),
        retention: match config.archive.kind {
            ArchiveKind::Prosody | ArchiveKind::Ejabberd => config.retention(),
            // Nothing goes by its age there.
            ArchiveKind::Component => Retention::default(),
        },
        placeholder_for: keeps_placeholders.then_some(config.erase.placeholder_for),
        dry_run: config.erase.dry_run,
    }
}

/// What modules shall announce of what was read: all that counts and that the tables may not show.
fn wanted_reads(config: &Config) -> Wanted {
    let (rules, ReadEvidence { mds, markers, replies }) =
        (config.rules(), config.timers.read_evidence);
    // Prosody archives every marker, but in rooms not always who sent it.
    let is_archived = config.archive.kind == ArchiveKind::Prosody;
    let is_known = |store| store == Store::Archive || rules.rooms.start != RoomStart::Everyone;
    let wanted = |store| match rules.looks_for_readers_in(store) {
        true => {
            ReadEvidence { mds, markers: markers && !(is_archived && is_known(store)), replies }
        }
        false => ReadEvidence::NONE,
    };
    Wanted { reads: wanted(Store::Archive), in_rooms: wanted(Store::Room) }
}

fn inspect_settings(config: &Config) -> InspectSettings {
    InspectSettings {
        hosts: config.archive.hosts.clone(),
        poll: config.archive.poll,
        rules: config.rules(),
    }
}
