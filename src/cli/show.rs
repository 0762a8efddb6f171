//! How figures, times and tables are printed, for people and for programs.

use std::ops::Range;

use chrono::SecondsFormat;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

pub(super) use crate::ops::text::{ago, count, counted, time};
use crate::{ledger::Pause, model::Timestamp};

/// A time for programs (RFC 3339).
pub(super) fn json_time(at: Timestamp) -> Value {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into()
}

/// The state of erasing, for people.
pub(super) fn pause(pause: Pause) -> String {
    match pause {
        Pause::None => "active".to_owned(),
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

/// A table without rules, whose columns `numbers` are right-aligned.
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

/// Lines with a name, a number and its meaning.
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

/// JSON for programs, with a trailing newline.
pub(super) fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_end_without_blanks() {
        let rows = vec![vec!["archive".into(), "1".into()], vec!["room".into(), "100".into()]];
        let text = table(&["store", "rows"], 1..2, rows);
        assert_eq!(text, "store    rows\narchive     1\nroom      100\n");
    }
}
