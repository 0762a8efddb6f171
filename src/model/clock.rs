use super::Timestamp;

/// Where the time comes from, so that tests can pass their own.
///
/// What is due is decided by the database's clock; this one serves reports and `explain`.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }
}
