//! What Prometheus is shown. A doc comment is the HELP text; every label value exists from the start.
//!
//! A leaf: any layer may count here, nothing here knows who does.

use std::sync::{Mutex, PoisonError};

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use tokio::time::Instant;

use crate::model::{Mode, Outcome, Reason, Store};

macro_rules! metrics {
    ($(#[doc = $help:literal] $field:ident: $type:ident = $name:literal;)+) => {
        /// All metrics of one daemon.
        pub struct Metrics {
            registry: Registry,
            oldest_overdue: Mutex<Option<(std::time::Duration, Instant)>>,
            $(#[doc = $help] pub $field: $type,)+
        }

        impl Metrics {
            /// The names and HELP texts, for the documentation's check.
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
    /// Archived stanzas that the database's text search found and that were read.
    stanzas_inspected: ByStoreOutcome = "ephemerd_stanzas_inspected_total";
    /// Expiries recorded in the ledger.
    expiries_recorded: ByReason = "ephemerd_expiries_recorded_total";
    /// Ephemeral timers that could not be read as a number of seconds.
    invalid_timers: IntCounter = "ephemerd_invalid_timers_total";
    /// Archived stanzas that could not be read and were left alone.
    unreadable_stanzas: IntCounter = "ephemerd_unreadable_stanzas_total";
    /// Archived rows erased.
    erased: ByStoreReasonMode = "ephemerd_erased_total";
    /// Placeholders whose time was over and whose rows were deleted.
    placeholders_deleted: IntCounter = "ephemerd_placeholders_deleted_total";
    /// Rows that had to go and that somebody else had already taken.
    already_gone: IntCounter = "ephemerd_already_gone_total";
    /// Rows that could not be erased and were put off, by cause.
    erase_failures: ByCause = "ephemerd_erase_failures_total";
    /// Rows whose words still have to go.
    pending_expiries: IntGauge = "ephemerd_pending_expiries";
    /// Placeholders that still have to be deleted.
    pending_placeholders: IntGauge = "ephemerd_pending_placeholders";
    /// Expiries of before the first start, held until the operator accepts them.
    backlog_expiries: IntGauge = "ephemerd_backlog_expiries";
    /// Rows whose time is over and that still stand.
    overdue_expiries: IntGauge = "ephemerd_overdue_expiries";
    /// Age of the oldest overdue expiry; it grows while the database is away.
    oldest_overdue_seconds: Gauge = "ephemerd_oldest_overdue_seconds";
    /// From the due time to the committed erasure.
    erase_delay_seconds: Delay = "ephemerd_erase_delay_seconds";
    /// Time that one erasing transaction took.
    erase_batch_seconds: Duration = "ephemerd_erase_batch_seconds";
    /// How far inspection is behind the archive.
    inspection_lag_seconds: Gauge = "ephemerd_inspection_lag_seconds";
    /// When inspection last reached the archive's end, as a Unix time.
    last_inspection_timestamp_seconds: Gauge = "ephemerd_last_inspection_timestamp_seconds";
    /// When a sweep of the whole archive last ended, as a Unix time.
    sweep_last_completion_timestamp_seconds: Gauge = "ephemerd_sweep_last_completion_timestamp_seconds";
    /// Ledger entries that a sweep had to repair.
    sweep_repaired: ByAction = "ephemerd_sweep_repaired_total";
    /// 1 while erasing is paused.
    paused: IntGauge = "ephemerd_paused";
    /// 1 in a dry run: nothing is erased.
    dry_run: IntGauge = "ephemerd_dry_run";
    /// 1 while this daemon owns the component connection.
    leader: IntGauge = "ephemerd_leader";
    /// Hosts that the archive has and that archive.hosts does not list; counted every six hours.
    unlisted_hosts: IntGauge = "ephemerd_unlisted_hosts";
    /// 1 while the component is connected to the XMPP server.
    component_connected: IntGauge = "ephemerd_component_connected";
    /// Connections of the component that ended and were tried again.
    component_reconnects: IntCounter = "ephemerd_component_reconnects_total";
    /// Notices that came from somebody who may not tell us, and were refused.
    notices_refused: IntCounter = "ephemerd_notices_refused_total";
    /// Notices of companion modules that did not come, or that there was no room for; what they told of is listed again.
    notices_lost: IntCounter = "ephemerd_notices_lost_total";
    /// Lists of what was archived while notices may have been lost.
    catch_ups: IntCounter = "ephemerd_catch_ups_total";
    /// Hosts whose companion module answers this daemon.
    companions: IntGauge = "ephemerd_companions";
    /// Statements or connections that failed.
    database_errors: IntCounter = "ephemerd_database_errors_total";
    /// 1 when the configuration was last read without a fault.
    config_last_reload_successful: IntGauge = "ephemerd_config_last_reload_successful";
    /// Times that a running daemon read its configuration anew.
    config_reloads: ByResult = "ephemerd_config_reloads_total";
    /// Always 1; the labels tell what is running.
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

    /// Remembers for how long the oldest overdue expiry has been so, by the database's clock; from now on it
    /// grows by itself, whatever our own clock says, even when nothing is refreshed.
    pub fn set_oldest_overdue(&self, age: Option<std::time::Duration>) {
        *self.oldest_overdue.lock().unwrap_or_else(PoisonError::into_inner) =
            age.map(|age| (age, Instant::now()));
    }

    /// The text exposition format 0.0.4.
    pub fn render(&self) -> prometheus::Result<String> {
        let oldest = *self.oldest_overdue.lock().unwrap_or_else(PoisonError::into_inner);
        let age = oldest.map_or(0.0, |(age, told)| (age + told.elapsed()).as_secs_f64());
        self.oldest_overdue_seconds.set(age);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a row could not be erased. The label `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCause {
    /// Another session holds the row.
    Locked,
    /// The database refused the row, or the companion module could not erase it.
    Refused,
    /// The companion module did not answer.
    Unanswered,
}

impl FailureCause {
    /// All causes.
    pub const ALL: [Self; 3] = [Self::Locked, Self::Refused, Self::Unanswered];

    /// The name in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

/// How a reading of the configuration ended. The label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reload {
    /// It was taken up.
    Done,
    /// It has a fault, and nothing changed.
    Refused,
}

impl Reload {
    /// All results.
    pub const ALL: [Self; 2] = [Self::Done, Self::Refused];

    /// The name in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// What a sweep repaired. The label `action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repair {
    /// A missing expiry was added.
    Added,
    /// A due time was recomputed.
    Changed,
    /// An expiry whose row is gone was dropped.
    Dropped,
    /// A placeholder that nobody remembered was found.
    Adopted,
}

impl Repair {
    /// All repairs.
    pub const ALL: [Self; 4] = [Self::Added, Self::Changed, Self::Dropped, Self::Adopted];

    /// The name in labels and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Dropped => "dropped",
            Self::Adopted => "adopted",
        }
    }
}

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
            /// The counter of these label values.
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
    ByStoreOutcome { store: Store, outcome: Outcome }
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
    /// A counter by cause.
    ByCause { cause: FailureCause }
);
labelled!(
    /// A counter by action.
    ByAction { action: Repair }
);
labelled!(
    /// A counter by result.
    ByResult { result: Reload }
);

impl ByStoreOutcome {
    fn touch_all(&self) {
        for store in Store::ALL {
            for outcome in Outcome::ALL {
                self.of(store, outcome);
            }
        }
    }
}

impl ByReason {
    fn touch_all(&self) {
        for reason in Reason::ALL {
            self.of(reason);
        }
    }
}

impl ByStoreReasonMode {
    fn touch_all(&self) {
        for store in Store::ALL {
            for reason in Reason::ALL {
                for mode in Mode::ALL {
                    self.of(store, reason, mode);
                }
            }
        }
    }
}

impl ByCause {
    fn touch_all(&self) {
        for cause in FailureCause::ALL {
            self.of(cause);
        }
    }
}

impl ByResult {
    fn touch_all(&self) {
        for result in Reload::ALL {
            self.of(result);
        }
    }
}

impl ByAction {
    fn touch_all(&self) {
        for action in Repair::ALL {
            self.of(action);
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
