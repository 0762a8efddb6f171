//! Durations for people: `250ms`, `1s`, `90d`.
//!
//! `humantime` parses them, but never sees two things: `M`, months and years, whose length varies (`15M`
//! would be fifteen months), and numbers that no setting can mean. We print them ourselves: 90 days are
//! `90d`, not `2months 29days 2h 52m 48s`.

use std::fmt::Write as _;
use std::time::Duration;

/// The units that are accepted, longest first for printing.
const UNITS: [&str; 24] = [
    "ms", "msec", "millis", "s", "sec", "secs", "second", "seconds", "m", "min", "mins", "minute",
    "minutes", "h", "hr", "hrs", "hour", "hours", "d", "day", "days", "w", "week", "weeks",
];

/// Maximum digits of a number: 100 years are 3,155,760,000,000 ms.
const MAX_DIGITS: usize = 13;

/// Why a text is not a duration. Never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// `90`, or an empty text.
    #[error("is not a number with a unit")]
    NoUnit,
    /// `1M`, `2months`, `1y`.
    #[error("counts in months or years, whose length varies")]
    MonthsOrYears,
    /// `5 fortnights`, `10us`.
    #[error("has an unknown unit")]
    UnknownUnit,
    /// Rejected by humantime for any other reason.
    #[error("cannot be read as a duration")]
    Unreadable,
}

/// Reads a duration such as `250ms`, `1s`, `1h 30m` or `90d`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let mut units = 0;
    for word in text.split(|c: char| c.is_ascii_digit() || c.is_whitespace() || c == '.') {
        match word {
            "" => continue,
            "M" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years" => {
                return Err(DurationError::MonthsOrYears);
            }
            unit if !UNITS.contains(&unit) => return Err(DurationError::UnknownUnit),
            _ => units += 1,
        }
    }
    if units == 0 {
        return Err(DurationError::NoUnit);
    }
    if text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > MAX_DIGITS) {
        return Err(DurationError::Unreadable);
    }
    let duration = humantime::parse_duration(text).map_err(|_| DurationError::Unreadable)?;
    match duration.subsec_nanos() % 1_000_000 {
        0 => Ok(duration),
        _ => Err(DurationError::Unreadable),
    }
}

/// Prints a duration so that [`parse`] reads the same one: `90d`, `1h 30m`, `250ms`, `0s`.
///
/// Days are the longest unit. Fractions of a millisecond are dropped.
pub fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ];
    let mut text = String::new();
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
        let gap = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{gap}{count}{unit}");
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("250ms", 250),
            ("1s", 1_000),
            ("0s", 0),
            (" 90d ", 7_776_000_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("2 weeks", 1_209_600_000),
            ("15m", 900_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_doubtful() {
        for (text, why) in [
            ("", DurationError::NoUnit),
            ("0", DurationError::NoUnit),
            ("90", DurationError::NoUnit),
            ("15M", DurationError::MonthsOrYears),
            ("1month", DurationError::MonthsOrYears),
            ("1d 2 months", DurationError::MonthsOrYears),
            ("1y", DurationError::MonthsOrYears),
            ("10us", DurationError::UnknownUnit),
            ("-1s", DurationError::UnknownUnit),
            ("5 fortnights", DurationError::UnknownUnit),
            ("1D", DurationError::UnknownUnit),
            ("s", DurationError::Unreadable),
            ("1s 5", DurationError::Unreadable),
            ("0.5ms", DurationError::Unreadable),
            // Would overflow inside Duration::new.
            ("18446744073709551615s 1000ms", DurationError::Unreadable),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn prints_days_as_days() {
        for (seconds, text) in
            [(90 * 86_400, "90d"), (86_400 * 365, "365d"), (5_400, "1h 30m"), (61, "1m 1s")]
        {
            assert_eq!(print(Duration::from_secs(seconds)), text);
        }
        assert_eq!(print(Duration::ZERO), "0s");
        assert_eq!(print(Duration::from_millis(1_250)), "1s 250ms");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(millis in 0_u64..=3_155_760_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&print(duration)), Ok(duration));
        }

        #[test]
        fn nothing_panics(text in "[0-9a-zA-Z .µ-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
