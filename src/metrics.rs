//! The Prometheus metrics. A doc comment is the HELP text; every label value exists from the start.
//!
//! A leaf: any layer may count here, and nothing here depends on the caller.

use std::sync::{Mutex, PoisonError};

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use tokio::time::Instant;

use crate::model::{Inspected, Mode, Reason, StartedBy, Store};

macro_rules! metrics {
    ($(#[doc = $help:literal] $field:ident: $type:ident = $name:literal;)+) => {
        /// All metrics of one daemon.
        pub struct Metrics {
            registry: Registry,
            oldest_overdue: Mutex<Option<(std::time::Duration, Instant)>>,
            $(#[doc = $help] pub $field: $type,)+
        }

        impl Metrics {
            /// The names and HELP texts, which a test compares with the documentation.
            pub const NAMES: &'static [(&'static str, &'static str)] =
                &[$(($name, $help.trim_ascii())),+];

            fn build() -> prometheus::Result<Self> {
                let registry = Registry::new();
                $(let $field = $type::register(&registry, $name, $help.trim_ascii())?;)+
                Ok(Self { registry, oldest_overdue: Mutex::new(None), $($field),+ })
            }
        }
    };
}

metrics! {
    /// Archived stanzas that the database search selected and that were parsed.
    stanzas_inspected: ByStoreInspected = "ephemerd_stanzas_inspected_total";
    /// Expiries recorded in the ledger.
    expiries_recorded: ByReason = "ephemerd_expiries_recorded_total";
    /// Timers that started because something showed that the message was read.
    started: ByEvidence = "ephemerd_started_total";
    /// Rows erased because timers.unread_for had run out, without any sign that whoever they waited for had read them.
    unread_capped: IntCounter = "ephemerd_unread_capped_total";
    /// Ephemeral timers that are not a number of seconds; with `timers.legacy_expiry`, times of expiry too.
    invalid_timers: IntCounter = "ephemerd_invalid_timers_total";
    /// Corrections, reactions and attachments left alone: too much lies between them and the message that they may belong to.
    belonging_unclear: IntCounter = "ephemerd_belonging_unclear_total";
    /// Quotes that were cut out of replies, because the message that they quote went.
    quotes_cut: IntCounter = "ephemerd_quotes_cut_total";
    /// Quotes of a message that goes which were left alone, because what is quoted cannot be told for certain.
    quotes_left: IntCounter = "ephemerd_quotes_left_total";
    /// Quotes that are still to be cut out.
    pending_quotes: IntGauge = "ephemerd_pending_quotes";
    /// Archived stanzas that could not be parsed, or are larger than 4 MiB, and were left alone.
    unreadable_stanzas: IntCounter = "ephemerd_unreadable_stanzas_total";
    /// Archived rows erased.
    erased: ByStoreReasonMode = "ephemerd_erased_total";
    /// Placeholders that expired and whose rows were deleted.
    placeholders_deleted: IntCounter = "ephemerd_placeholders_deleted_total";
    /// Rows that were due but had already been removed by someone else.
    already_gone: IntCounter = "ephemerd_already_gone_total";
    /// Rows that were due but had been rewritten by someone else: no longer marked, and left alone.
    taken_over: IntCounter = "ephemerd_taken_over_total";
    /// Rows that could not be erased and will be retried, by cause.
    erase_failures: ByCause = "ephemerd_erase_failures_total";
    /// Rows whose text is still to be erased.
    pending_expiries: IntGauge = "ephemerd_pending_expiries";
    /// Rows whose timer waits for their owner, or for anybody else in the room, to read them.
    unread_expiries: IntGauge = "ephemerd_unread_expiries";
    /// Placeholders that are still to be deleted.
    pending_placeholders: IntGauge = "ephemerd_pending_placeholders";
    /// Expiries from before the first start, held until the operator accepts them.
    backlog_expiries: IntGauge = "ephemerd_backlog_expiries";
    /// Rows that are due but kept by a hold; they do not count as overdue.
    held_expiries: IntGauge = "ephemerd_held_expiries";
    /// Rows that should have been erased by now but still exist.
    overdue_expiries: IntGauge = "ephemerd_overdue_expiries";
    /// Age of the oldest overdue expiry; it keeps growing while the database is unavailable.
    oldest_overdue_seconds: Gauge = "ephemerd_oldest_overdue_seconds";
    /// Time from due to committed erasure.
    erase_delay_seconds: Delay = "ephemerd_erase_delay_seconds";
    /// Rows erased because they were older than the retention policy allows, or their owners wish.
    age_erased: ByStoreMode = "ephemerd_age_erased_total";
    /// Rows that a retention policy would erase and that wait for the operator to accept it; counted no further than one above retention.confirm_above.
    age_unaccepted: IntGauge = "ephemerd_age_unaccepted";
    /// 1 while this daemon erases nothing by age although it has a retention policy: the policy waits to be accepted or for its grace, or another one was announced.
    age_waiting: IntGauge = "ephemerd_age_waiting";
    /// Rows erased because somebody asked for it, with ephemerd erase for example.
    request_erased: ByStoreMode = "ephemerd_request_erased_total";
    /// Requests to erase that stand: not all of what they name is gone.
    requests: IntGauge = "ephemerd_requests";
    /// Uploaded files that messages named which have gone, by what became of the files.
    files: ByFileOutcome = "ephemerd_files_total";
    /// Uploaded files that are to go with the last message that names them.
    pending_files: IntGauge = "ephemerd_pending_files";
    /// Duration of one erasing transaction.
    erase_batch_seconds: Duration = "ephemerd_erase_batch_seconds";
    /// How far inspection is behind the archive.
    inspection_lag_seconds: Gauge = "ephemerd_inspection_lag_seconds";
    /// When inspection last reached the end of the archive, as a Unix time.
    last_inspection_timestamp_seconds: Gauge = "ephemerd_last_inspection_timestamp_seconds";
    /// When a sweep of the whole archive last finished, as a Unix time.
    sweep_last_completion_timestamp_seconds: Gauge = "ephemerd_sweep_last_completion_timestamp_seconds";
    /// Ledger entries that a sweep had to repair.
    sweep_repaired: ByAction = "ephemerd_sweep_repaired_total";
    /// Ledger entries forgotten because their rows were removed or renamed with their account or room.
    removed_entries: IntCounter = "ephemerd_removed_entries_total";
    /// 1 while erasing is paused.
    paused: IntGauge = "ephemerd_paused";
    /// 1 in a dry run: nothing is erased.
    dry_run: IntGauge = "ephemerd_dry_run";
    /// 1 while this daemon owns the component connection.
    leader: IntGauge = "ephemerd_leader";
    /// Hosts found in the archive but not listed in archive.hosts; counted every six hours.
    unlisted_hosts: IntGauge = "ephemerd_unlisted_hosts";
    /// 1 while the component is connected to the XMPP server.
    component_connected: IntGauge = "ephemerd_component_connected";
    /// Component connections that ended and were retried.
    component_reconnects: IntCounter = "ephemerd_component_reconnects_total";
    /// Notices refused because their sender is not allowed to send them.
    notices_refused: IntCounter = "ephemerd_notices_refused_total";
    /// Notices from companion modules that did not arrive or found the queue full; what they announced is listed again.
    notices_lost: IntCounter = "ephemerd_notices_lost_total";
    /// Lists of what was archived while notices may have been lost.
    catch_ups: IntCounter = "ephemerd_catch_ups_total";
    /// Hosts whose companion module answers this daemon.
    companions: IntGauge = "ephemerd_companions";
    /// 1 if the last canary message vanished on time; 0 if not, or if this daemon has sent none.
    canary_success: IntGauge = "ephemerd_canary_success";
    /// How long the last canary message that vanished had existed.
    canary_seconds: Gauge = "ephemerd_canary_seconds";
    /// When the last canary message had vanished or failed to, as a Unix time; 0 if this daemon has sent none.
    canary_last_timestamp_seconds: Gauge = "ephemerd_canary_last_timestamp_seconds";
    /// Users' ad-hoc commands, by node and by what became of them.
    commands: ByNodeOutcome = "ephemerd_commands_total";
    /// Statements or connections that failed.
    database_errors: IntCounter = "ephemerd_database_errors_total";
    /// 1 if the configuration was valid when last read.
    config_last_reload_successful: IntGauge = "ephemerd_config_last_reload_successful";
    /// Configuration reloads of a running daemon, by result.
    config_reloads: ByResult = "ephemerd_config_reloads_total";
    /// Always 1; the labels identify the running program.
    build_info: BuildInfo = "ephemerd_build_info";
}

impl Metrics {
    /// All metrics, at zero.
    #[expect(clippy::expect_used, reason = "names are constants: a test builds them all")]
    pub fn new() -> Self {
        let metrics = Self::build().expect("metric names are valid and distinct");
        #[cfg(target_os = "linux")]
        metrics
            .registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("the process collector's names are its own");
        metrics
    }

    /// Records how long the oldest overdue expiry has been overdue, by the database's clock. From then on the
    /// value grows by itself, whatever our own clock says and even if nothing is refreshed.
    pub fn set_oldest_overdue(&self, age: Option<std::time::Duration>) {
        *self.oldest_overdue.lock().unwrap_or_else(PoisonError::into_inner) =
            age.map(|age| (age, Instant::now()));
    }

    /// The text exposition format 0.0.4.
    pub fn render(&self) -> prometheus::Result<String> {
        let oldest = *self.oldest_overdue.lock().unwrap_or_else(PoisonError::into_inner);
        let age = oldest.map_or(0.0, |(age, measured)| (age + measured.elapsed()).as_secs_f64());
        self.oldest_overdue_seconds.set(age);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! label {
    ($(#[doc = $doc:literal])+ $type:ident { $(#[doc = $help:literal] $variant:ident = $name:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type {
            $(#[doc = $help] $variant,)+
        }

        impl $type {
            /// All values.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name in labels and output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

label!(
    /// Why a row could not be erased: the label `cause`.
    FailureCause {
        /// Another session holds the row.
        Locked = "locked",
        /// The database refused the row, or the companion module could not erase it.
        Refused = "refused",
        /// The companion module did not answer.
        Unanswered = "unanswered",
        /// The database reported success, but a trigger or rule kept the row as it was.
        Unchanged = "unchanged",
    }
);
label!(
    /// What became of an uploaded file when the last message that was to go and named it had gone: the label `fate`.
    FileOutcome {
        /// It was removed.
        Erased = "erased",
        /// It stays: something that nothing asks to go names it, too.
        Kept = "kept",
        /// It stays: too much came between the upload and the message to tell.
        Unclear = "unclear",
        /// There is no such file, or its uploader did not send the message.
        Unknown = "unknown",
        /// The companion module did not answer or could not remove it; it will be tried again.
        Failed = "failed",
    }
);
label!(
    /// How a reload ended: the label `result`.
    Reload {
        /// The new configuration is in force.
        Done = "done",
        /// The configuration is invalid, and nothing changed.
        Refused = "refused",
    }
);
label!(
    /// What a sweep repaired: the label `action`.
    Repair {
        /// A missing expiry was added.
        Added = "added",
        /// A due time was recomputed.
        Changed = "changed",
        /// An expiry whose row is gone was dropped.
        Dropped = "dropped",
        /// A placeholder that was not in the ledger was found.
        Adopted = "adopted",
    }
);

label!(
    /// Which ad-hoc command: the label `node`.
    CommandNode {
        /// `urn:ephemerd:policy`.
        Policy = "policy",
        /// `urn:ephemerd:kept`.
        Kept = "kept",
        /// `urn:ephemerd:erase`.
        Erase = "erase",
        /// `urn:xmpp:mam#configure`.
        Configure = "configure",
        /// `urn:ephemerd:contact`.
        Contact = "contact",
        /// One that does not exist.
        Unknown = "unknown",
    }
);
label!(
    /// What became of a request for an ad-hoc command: the label `outcome`.
    CommandOutcome {
        /// It was answered, and goes on.
        Asked = "asked",
        /// It was answered, and is complete.
        Completed = "completed",
        /// The user canceled it.
        Canceled = "canceled",
        /// Whoever asked is no user of a listed host.
        Forbidden = "forbidden",
        /// It is not a valid request, or its session is over.
        Invalid = "invalid",
        /// The user asked too often.
        Limited = "limited",
        /// Too much was asked at once.
        Busy = "busy",
        /// The answer could not be looked up in time.
        Failed = "failed",
    }
);

trait Register: Sized {
    fn register(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self>;
}

macro_rules! plain {
    ($($type:ident),+) => {$(
        impl Register for $type {
            fn register(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self> {
                let metric = $type::new(name, help)?;
                registry.register(Box::new(metric.clone()))?;
                Ok(metric)
            }
        }
    )+};
}
plain!(IntCounter, IntGauge, Gauge);

macro_rules! labelled {
    ($(#[doc = $doc:literal])+ $type:ident { $($label:ident: $of:ty),+ }) => {
        $(#[doc = $doc])+
        pub struct $type(IntCounterVec);

        impl $type {
            /// The counter for these label values.
            pub fn of(&self, $($label: $of),+) -> IntCounter {
                self.0.with_label_values(&[$($label.as_str()),+])
            }
        }

        impl Register for $type {
            fn register(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self> {
                let labels = [$(stringify!($label)),+];
                let metric = Self(IntCounterVec::new(Opts::new(name, help), &labels)?);
                registry.register(Box::new(metric.0.clone()))?;
                metric.touch_all();
                Ok(metric)
            }
        }
    };
}

labelled!(
    /// A counter by store and outcome.
    ByStoreInspected { store: Store, outcome: Inspected }
);
labelled!(
    /// A counter by reason.
    ByReason { reason: Reason }
);
labelled!(
    /// A counter by store, reason and mode.
    ByStoreReasonMode { store: Store, reason: Reason, mode: Mode }
);
labelled!(
    /// A counter by store and mode.
    ByStoreMode { store: Store, mode: Mode }
);
labelled!(
    /// A counter by what showed that a message was read.
    ByEvidence { by: StartedBy }
);
labelled!(
    /// A counter by command and outcome.
    ByNodeOutcome { node: CommandNode, outcome: CommandOutcome }
);
labelled!(
    /// A counter by cause.
    ByCause { cause: FailureCause }
);
labelled!(
    /// A counter by action.
    ByAction { action: Repair }
);
labelled!(
    /// A counter by what became of a file.
    ByFileOutcome { fate: FileOutcome }
);
labelled!(
    /// A counter by result.
    ByResult { result: Reload }
);

impl ByStoreInspected {
    fn touch_all(&self) {
        for store in Store::ALL {
            for outcome in Inspected::ALL {
                self.of(store, outcome);
            }
        }
    }
}

impl ByStoreMode {
    fn touch_all(&self) {
        for store in Store::ALL {
            for mode in [Mode::Placeholder, Mode::Delete] {
                self.of(store, mode);
            }
        }
    }
}

impl ByNodeOutcome {
    fn touch_all(&self) {
        for node in CommandNode::ALL {
            for outcome in CommandOutcome::ALL {
                self.of(node, outcome);
            }
        }
    }
}

impl ByStoreReasonMode {
    fn touch_all(&self) {
        for store in Store::ALL {
            for reason in Reason::OF_ROWS {
                for mode in Mode::ALL {
                    self.of(store, reason, mode);
                }
            }
        }
    }
}

macro_rules! touch {
    ($($type:ident: $of:ty),+) => {$(
        impl $type {
            fn touch_all(&self) {
                for value in <$of>::ALL {
                    self.of(value);
                }
            }
        }
    )+};
}
touch!(ByReason: Reason, ByCause: FailureCause, ByResult: Reload, ByAction: Repair, ByFileOutcome: FileOutcome);

impl ByEvidence {
    fn touch_all(&self) {
        for by in StartedBy::ALL.into_iter().filter(|it| it.is_read()) {
            self.of(by);
        }
    }
}

macro_rules! histogram {
    ($(#[doc = $doc:literal])+ $type:ident [$($bucket:literal),+]) => {
        $(#[doc = $doc])+
        pub struct $type(Histogram);

        impl $type {
            /// Counts one observation, in seconds.
            pub fn observe(&self, seconds: f64) {
                self.0.observe(seconds);
            }
        }

        impl Register for $type {
            fn register(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self> {
                let buckets = vec![$($bucket),+];
                let options = HistogramOpts::new(name, help).buckets(buckets);
                let metric = Histogram::with_opts(options)?;
                registry.register(Box::new(metric.clone()))?;
                Ok(Self(metric))
            }
        }
    };
}

histogram!(
    /// A histogram from 5 ms to 7 days.
    Delay [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
        1800.0, 7200.0, 86400.0, 604800.0]
);
histogram!(
    /// A histogram from 1 ms to 10 s.
    Duration [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
);

/// A gauge that is always 1 and carries the version.
pub struct BuildInfo;

impl Register for BuildInfo {
    fn register(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self> {
        let options = Opts::new(name, help).const_label("version", env!("CARGO_PKG_VERSION"));
        let metric = IntGauge::with_opts(options)?;
        metric.set(1);
        registry.register(Box::new(metric))?;
        Ok(Self)
    }
}
