//! Times and durations in words.

use std::time::Duration;

use super::{Language, Message, say};
use crate::model::Timestamp;

/// A moment that nobody can mistake, in any language: `2026-11-29 23:17:05 UTC`.
pub fn moment(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A duration in all its units from days to seconds; a fraction of a second counts as a whole one.
pub fn duration(language: Language, duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let parts = [
        (seconds / 86_400, Message::Days),
        (seconds / 3_600 % 24, Message::Hours),
        (seconds / 60 % 60, Message::Minutes),
        (seconds % 60, Message::Seconds),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> =
        parts.map(|(count, unit)| say(language, unit, &[("count", count.into())])).collect();
    match words.is_empty() {
        true => say(language, Message::NoTime, &[]),
        false => words.join(" "),
    }
}
