use std::time::Duration;

/// What the operator decided about retention. Parsed from the configuration, validated there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// `[timers]`
    pub timers: TimerRules,
    /// `[hints]`
    pub hints: HintRules,
    /// `[offline]`
    pub offline: OfflineRules,
}

/// How long a timer may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerRules {
    /// No timer runs shorter.
    pub min: Duration,
    /// No timer runs longer.
    pub max: Option<Duration>,
    /// A timer negotiation stays at least so long, for devices that were away.
    pub negotiation_for: Duration,
}

/// What becomes of archived copies that carry a hint not to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintRules {
    /// Such a copy goes so long after archiving.
    pub keep_for: Duration,
    /// What wins where a stanza asks for both.
    pub conflict: Conflict,
}

/// What wins when `<store/>` stands beside `<no-permanent-store/>` (XEP-0334 does not say).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// `<store/>` wins: the hint not to keep counts for nothing.
    #[default]
    Store,
    /// `<no-permanent-store/>` wins.
    NoPermanentStore,
}

/// What becomes of messages that nobody has received yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineRules {
    /// How long an undelivered message waits before its timer runs; `None` is "never".
    pub undelivered_for: Option<Duration>,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for TimerRules {
    fn default() -> Self {
        Self { min: Duration::ZERO, max: None, negotiation_for: DAY * 90 }
    }
}

impl Default for HintRules {
    fn default() -> Self {
        Self { keep_for: Duration::ZERO, conflict: Conflict::Store }
    }
}

impl Default for OfflineRules {
    fn default() -> Self {
        Self { undelivered_for: Some(DAY * 14) }
    }
}
