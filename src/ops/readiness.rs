use std::time::Duration;

use crate::model::Timestamp;

/// The workers' last known state; `/readyz` is derived from it.
///
/// Sent again after each poll, whether or not it succeeded: its age counts as lag.
#[derive(Debug, Clone, PartialEq)]
pub struct Readiness {
    /// The database answered.
    pub database: bool,
    /// Our schema is there and at our version, and the server's schema is a known one.
    pub schema: bool,
    /// How far inspection was behind the archive, in seconds; `None` before the first poll.
    pub lag_seconds: Option<f64>,
    /// Above this lag we are not ready: `archive.max_lag`.
    pub max_lag_seconds: f64,
    /// A sweep is in progress. That does not make us unready.
    pub sweeping: bool,
    /// Why nothing can be erased from a table, as a sentence.
    pub blocked: Option<String>,
    /// When this was the state.
    pub as_of: Timestamp,
}

/// [`Readiness`] at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadinessReport {
    /// Whether the daemon is ready.
    pub ready: bool,
    /// The database answered.
    pub database: bool,
    /// Why we are not ready, as clauses.
    pub reasons: Vec<String>,
    /// How far inspection is behind, in seconds.
    pub lag_seconds: Option<f64>,
    /// A sweep is in progress.
    pub sweeping: bool,
}

impl Readiness {
    /// The state before the first poll: not ready.
    pub fn starting(max_lag: Duration, now: Timestamp) -> Self {
        Self {
            database: false,
            schema: false,
            lag_seconds: None,
            max_lag_seconds: max_lag.as_secs_f64(),
            sweeping: false,
            blocked: None,
            as_of: now,
        }
    }

    /// The report at `now`.
    pub fn report(&self, now: Timestamp) -> ReadinessReport {
        let age = (now - self.as_of).as_seconds_f64().max(0.0);
        let lag_seconds = self.lag_seconds.map(|lag| lag + age);
        let mut reasons = Vec::new();
        if !self.database {
            reasons.push("the database does not answer".to_owned());
        } else if !self.schema {
            reasons.push("the database's schema is not the expected one".to_owned());
        }
        match lag_seconds {
            None => reasons.push("the archive has not been inspected yet".to_owned()),
            Some(lag) if lag > self.max_lag_seconds => reasons.push(format!(
                "inspection is {lag:.0} s behind the archive, more than {:.0} s",
                self.max_lag_seconds
            )),
            Some(_) => {}
        }
        reasons.extend(self.blocked.clone());
        ReadinessReport {
            ready: reasons.is_empty(),
            database: self.database,
            reasons,
            lag_seconds,
            sweeping: self.sweeping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn good() -> Readiness {
        Readiness {
            database: true,
            schema: true,
            lag_seconds: Some(1.0),
            sweeping: true,
            ..Readiness::starting(Duration::from_secs(30), NOW)
        }
    }

    #[test]
    fn ready_while_all_is_well_sweep_or_not() {
        let report = good().report(NOW);
        assert!(report.ready && report.sweeping && report.reasons.is_empty());
    }

    #[test]
    fn not_ready_before_the_first_look() {
        let report = Readiness::starting(Duration::from_secs(30), NOW).report(NOW);
        assert!(!report.ready);
        assert_eq!(report.reasons.len(), 2, "{:?}", report.reasons);
        assert_eq!(report.lag_seconds, None);
    }

    #[test]
    fn each_fault_is_a_reason() {
        for fault in [
            Readiness { database: false, ..good() },
            Readiness { schema: false, ..good() },
            Readiness { lag_seconds: Some(30.1), ..good() },
            Readiness { blocked: Some("nothing can be erased".to_owned()), ..good() },
        ] {
            let report = fault.report(NOW);
            assert!(!report.ready);
            assert_eq!(report.reasons.len(), 1, "{:?}", report.reasons);
        }
    }

    #[test]
    fn what_grows_old_is_lag() {
        assert!(good().report(NOW + TimeDelta::seconds(29)).ready);
        let report = good().report(NOW + TimeDelta::seconds(30));
        assert!(!report.ready);
        assert_eq!(report.lag_seconds, Some(31.0));
        assert!(good().report(NOW - TimeDelta::seconds(30)).ready, "a clock set back");
    }
}
