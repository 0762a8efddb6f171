//! The table of docs/reliability.md, held by the tests that saw what it says.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, fs};

/// Set to `write`, the tests fill the table; else each holds that its row is there.
const VARIABLE: &str = "RELIABILITY";

static TABLE: Mutex<()> = Mutex::new(());

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md")
}

/// Prints a row of the table, and holds that the document has this case done in this way. What was
/// seen differs from run to run, so it is only written when asked for.
pub(crate) fn saw(case: &str, done: &str, seen: &str) {
    let row = format!("| {case} | {done} | {seen} |");
    #[expect(clippy::print_stdout, reason = "this is what the test is run for")]
    {
        println!("{row}");
    }
    let _alone = TABLE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = fs::read_to_string(document()).unwrap();
    if env::var(VARIABLE).is_ok_and(|it| it == "write") {
        fs::write(document(), with_row(&text, case, &row)).unwrap();
    } else {
        let start = format!("| {case} | {done} | ");
        let is_there = text.lines().any(|line| line.starts_with(&start));
        assert!(
            is_there,
            "docs/reliability.md lacks this; run the tests with {VARIABLE}=write: {row}"
        );
    }
}

/// Where the table's rows stand: the first table of the document, without its two lines of head.
fn rows(lines: &[&str]) -> Range<usize> {
    let head = lines.iter().position(|line| line.starts_with('|'));
    let start = head.expect("the document has a table") + 2;
    let length = lines[start..].iter().take_while(|line| line.starts_with('|')).count();
    start..start + length
}

fn with_row(text: &str, case: &str, row: &str) -> String {
    let start = format!("| {case} | ");
    let mut lines: Vec<&str> = text.lines().collect();
    let rows = rows(&lines);
    match rows.clone().find(|at| lines[*at].starts_with(&start)) {
        Some(at) => lines[at] = row,
        None => lines.insert(rows.end, row),
    }
    lines.join("\n") + "\n"
}

/// No row of the table outlives its test.
#[test]
fn every_row_has_its_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let sources: String = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let text = fs::read_to_string(document()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[rows(&lines)] {
        let case = line.split(" | ").next().unwrap().trim_start_matches("| ");
        assert!(sources.contains(&format!("\"{case}\"")), "no test sees: {case}");
    }
}

#[test]
fn a_row_is_added_once_and_then_replaced() {
    let table = "# T\n\n| case | done | seen |\n|---|---|---|\n\n| x |\n";
    let one = with_row(table, "a", "| a | b | 1 |");
    assert_eq!(one, "# T\n\n| case | done | seen |\n|---|---|---|\n| a | b | 1 |\n\n| x |\n");
    let two = with_row(&one, "a", "| a | b | 2 |");
    assert_eq!(two, one.replace("| 1 |", "| 2 |"));
}
