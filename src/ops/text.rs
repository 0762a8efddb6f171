//! How figures and times are printed.

use std::time::Duration;

use crate::model::{Span, Timestamp};

/// A time, to the second.
pub fn time(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long ago that was, to the second; never negative.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", length(now - at))
}

/// A duration in its two largest units, to the second.
pub fn length(length: chrono::TimeDelta) -> String {
    let seconds = length.num_seconds().max(0).unsigned_abs();
    let smallest = match seconds {
        ..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    Span(Duration::from_secs(seconds / smallest * smallest)).to_string()
}

/// A count with thousands separators: 1,234,567.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun, in the plural if needed: `1 row`, `2 rows`.
pub fn counted(number: i64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn thousands_stand_apart() {
        let counts = [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")];
        for (number, text) in counts {
            assert_eq!(count(number), text);
        }
        assert_eq!((counted(1, "row"), counted(0, "row")), ("1 row".into(), "0 rows".into()));
    }

    #[test]
    fn lengths_lose_what_nobody_reads() {
        let lengths = [(-5, "0s"), (59, "59s"), (3_661, "1h 1m"), (90_061, "1d 1h")];
        for (seconds, text) in lengths {
            assert_eq!(length(TimeDelta::seconds(seconds)), text);
        }
    }
}
