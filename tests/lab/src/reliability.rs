//! The table of docs/reliability.md, held by the tests that saw what it says.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use crate::{LabError, Result};

/// Set to `write`, the tests fill the table; else each holds that its row is there.
const VARIABLE: &str = "RELIABILITY";

static TABLE: Mutex<()> = Mutex::new(());

fn document() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("docs/reliability.md")
}

/// Prints a row of the table, and holds that the document has this case done in this way. What was
/// seen differs from run to run, so it is only written when asked for.
pub fn note(case: &str, done: &str, seen: &str) -> Result<()> {
    let row = format!("| {case} | {done} | {seen} |");
    #[expect(clippy::print_stdout, reason = "this is what the test is run for")]
    {
        println!("{row}");
    }
    let _alone = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    let text = fs::read_to_string(document())?;
    if env::var(VARIABLE).is_ok_and(|it| it == "write") {
        return Ok(fs::write(document(), with_row(&text, case, &row)?)?);
    }
    let start = format!("| {case} | {done} | ");
    match text.lines().any(|line| line.starts_with(&start)) {
        true => Ok(()),
        false => Err(LabError::new(format!(
            "docs/reliability.md lacks this; run the tests with {VARIABLE}=write: {row}"
        ))),
    }
}

/// The cases that the table has.
pub fn cases() -> Result<Vec<String>> {
    let text = fs::read_to_string(document())?;
    let lines: Vec<&str> = text.lines().collect();
    let rows = lines.get(rows(&lines)?).unwrap_or_default();
    let case = |row: &&str| row.trim_start_matches("| ").split(" | ").next().map(str::to_owned);
    Ok(rows.iter().filter_map(case).collect())
}

/// Where the table's rows stand: the first table of the document, without its two lines of head.
fn rows(lines: &[&str]) -> Result<Range<usize>> {
    let is_row = |line: &&str| line.starts_with('|');
    let head = lines.iter().position(is_row);
    let start = head.ok_or_else(|| LabError::new("docs/reliability.md has no table"))? + 2;
    let length = lines.iter().skip(start).take_while(|line| is_row(line)).count();
    Ok(start..start + length)
}

fn with_row(text: &str, case: &str, row: &str) -> Result<String> {
    let start = format!("| {case} | ");
    let mut lines: Vec<&str> = text.lines().collect();
    let rows = rows(&lines)?;
    match lines.iter_mut().take(rows.end).find(|line| line.starts_with(&start)) {
        Some(line) => *line = row,
        None => lines.insert(rows.end, row),
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::with_row;

    #[test]
    fn a_row_is_added_once_and_then_replaced() {
        let table = "# T\n\n| case | done | seen |\n|---|---|---|\n\n| x |\n";
        let one = with_row(table, "a", "| a | b | 1 |").unwrap();
        assert_eq!(one, "# T\n\n| case | done | seen |\n|---|---|---|\n| a | b | 1 |\n\n| x |\n");
        let two = with_row(&one, "a", "| a | b | 2 |").unwrap();
        assert_eq!(two, one.replace("| 1 |", "| 2 |"));
    }
}
