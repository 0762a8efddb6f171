//! How figures, times and tables look, for people and for programs.

use std::ops::Range;
use std::time::Duration;

use chrono::SecondsFormat;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::{
    ledger::Pause,
    model::{Span, Timestamp},
};

/// A time for people, to the second.
pub(super) fn time(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A time for programs (RFC 3339).
pub(super) fn json_time(at: Timestamp) -> Value {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into()
}

/// How long ago that was, to the second and never in the future.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", length(now - at))
}

/// A length of time in its two largest units, to the second.
pub(super) fn length(length: chrono::TimeDelta) -> String {
    let seconds = length.num_seconds().max(0).unsigned_abs();
    let smallest = match seconds {
        ..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    Span(Duration::from_secs(seconds / smallest * smallest)).to_string()
}

/// A count with its thousands apart: 1,234,567.
pub(super) fn count(number: i64) -> String {
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

/// So many of a thing, in the plural where it needs one: `1 row`, `2 rows`.
pub(super) fn counted(number: i64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A pause for people, as what erasing is.
pub(super) fn pause(pause: Pause) -> String {
    match pause {
        Pause::None => "going on".to_owned(),
        Pause::Until(until) => format!("paused until {}", time(until)),
        Pause::UntilResumed => "paused until `ephemerd resume`".to_owned(),
    }
}

/// A pause for programs.
pub(super) fn json_pause(pause: Pause) -> Value {
    let until = match pause {
        Pause::Until(until) => json_time(until),
        Pause::None | Pause::UntilResumed => Value::Null,
    };
    serde_json::json!({"paused": pause != Pause::None, "until": until})
}

/// A table whose columns `numbers` are numbers, without rules around it.
pub(super) fn table(header: &[&str], numbers: Range<usize>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied()).add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

/// Lines of a name, a number and what it means.
pub(super) fn list(lines: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).add_rows(lines.to_vec());
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if at == 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

fn trimmed(table: &Table) -> String {
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// JSON for programs, with its line end.
pub(super) fn json(value: &Value) -> String {
    format!("{value:#}\n")
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

    #[test]
    fn tables_are_aligned_and_end_without_blanks() {
        let rows = vec![vec!["archive".into(), "1".into()], vec!["room".into(), "100".into()]];
        let text = table(&["store", "rows"], 1..2, rows);
        assert_eq!(text, "store    rows\narchive     1\nroom      100\n");
    }
}
