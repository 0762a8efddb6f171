use std::time::Duration;

use crate::model::Timestamp;

/// What the workers last knew of themselves; `/readyz` shows what follows from it.
///
/// Sent anew after each look at the archive, failed or not: what grows old counts as lag.
#[derive(Debug, Clone, PartialEq)]
pub struct Readiness {
    /// The database answered.
    pub database: bool,
    /// Our schema is there and of our version, and the server's is one that we know.
    pub schema: bool,
    /// How far inspection was behind the archive, in seconds; `None` before the first look.
    pub lag_seconds: Option<f64>,
    /// Further behind than this we are not ready: `archive.max_lag`.
    pub max_lag_seconds: f64,
    /// A sweep is going on. It does not make us unready.
    pub sweeping: bool,
    /// When this was so.
    pub as_of: Timestamp,
}

/// [`Readiness`] as of now.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadinessReport {
    /// There is no reason against it.
    pub ready: bool,
    /// The database answered.
    pub database: bool,
    /// Why we are not ready, for people.
    pub reasons: Vec<String>,
    /// How far inspection is behind, in seconds.
    pub lag_seconds: Option<f64>,
    /// A sweep is going on.
    pub sweeping: bool,
}

impl Readiness {
    /// Before anything has been looked at: not ready.
    pub fn starting(max_lag: Duration, now: Timestamp) -> Self {
        Self {
            database: false,
            schema: false,
            lag_seconds: None,
            max_lag_seconds: max_lag.as_secs_f64(),
            sweeping: false,
            as_of: now,
        }
    }

    /// What follows from it at `now`.
    pub fn report(&self, now: Timestamp) -> ReadinessReport {
        let age = (now - self.as_of).as_seconds_f64().max(0.0);
        let lag_seconds = self.lag_seconds.map(|lag| lag + age);
        let mut reasons = Vec::new();
        if !self.database {
            reasons.push("the database does not answer".to_owned());
        } else if !self.schema {
            reasons.push("the database's schema is not as it must be".to_owned());
        }
        match lag_seconds {
            None => reasons.push("the archive has not been looked at yet".to_owned()),
            Some(lag) if lag > self.max_lag_seconds => reasons.push(format!(
                "inspection is {lag:.0} s behind the archive, more than {:.0} s",
                self.max_lag_seconds
            )),
            Some(_) => {}
        }
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
