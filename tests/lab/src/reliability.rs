//! The cases of docs/evidence.md, each written by the test that observed it.
//!
//! A case is a section: `### case`, `Done:` and what was done, `Seen:` and what was seen.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use crate::{LabError, Result};

/// If set to `write`, the tests fill in the page; otherwise each checks that its case is there.
const VARIABLE: &str = "RELIABILITY";

/// Maximum characters per line.
const LINE: usize = 120;

static PAGE: Mutex<()> = Mutex::new(());

fn page() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("docs/evidence.md")
}

/// Prints a case, and checks that the page has this case done in this way. What was seen differs from run to
/// run, so it is only written on request.
pub fn note(case: &str, done: &str, seen: &str) -> Result<()> {
    let section = section(case, done, seen);
    #[expect(clippy::print_stdout, reason = "this is what the test is run for")]
    {
        println!("{section}");
    }
    let _alone = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let text = fs::read_to_string(page())?;
    if env::var(VARIABLE).is_ok_and(|it| it == "write") {
        return Ok(fs::write(page(), with_section(&text, case, &section))?);
    }
    match has(&text, case, done) {
        true => Ok(()),
        false => Err(LabError::new(format!(
            "docs/evidence.md lacks this; run the tests with {VARIABLE}=write:\n{section}"
        ))),
    }
}

/// The cases that the page has.
pub fn cases() -> Result<Vec<String>> {
    let text = fs::read_to_string(page())?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect())
}

fn section(case: &str, done: &str, seen: &str) -> String {
    let (done, seen) = (lines(&format!("Done: {done}")), lines(&format!("Seen: {seen}")));
    format!("### {case}\n\n{done}\n\n{seen}\n")
}

/// The section with this heading, up to the next heading.
fn find<'a>(text: &'a str, case: &str) -> Option<&'a str> {
    let from = text.find(&format!("### {case}\n"))?;
    let section = text.get(from..)?;
    let end = section.find("\n#").map_or(section.len(), |at| at + 1);
    section.get(..end)
}

/// Whether the page says that this was done, however its lines are broken.
fn has(text: &str, case: &str, done: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let start = format!("### {} Done: {} Seen: ", words(case), words(done));
    find(text, case).is_some_and(|section| words(section).starts_with(&start))
}

/// The page with this section in its old place, or at the end.
fn with_section(text: &str, case: &str, section: &str) -> String {
    match find(text, case) {
        Some(old) if old.ends_with("\n\n") => text.replace(old, &format!("{section}\n")),
        Some(old) => text.replace(old, section),
        None => format!("{}\n\n{section}", text.trim_end()),
    }
}

/// One sentence per line; a long one is broken, if possible at the end of a clause.
fn lines(text: &str) -> String {
    let mut lines = String::new();
    let mut left = text;
    while !left.is_empty() {
        let (line, rest) = left.split_at(line_end(left));
        lines += if lines.is_empty() { "" } else { "\n" };
        lines += line.trim_end();
        left = rest.trim_start();
    }
    lines
}

fn line_end(text: &str) -> usize {
    let limit = text.char_indices().nth(LINE + 1).map_or(text.len(), |(at, _)| at);
    let within = text.get(..limit).unwrap_or(text);
    let begins = |at: usize| text.get(at..).is_some_and(|it| it.starts_with(char::is_uppercase));
    let sentence = within.match_indices(". ").map(|(at, it)| at + it.len()).find(|at| begins(*at));
    if let Some(end) = sentence {
        return end;
    }
    if text.chars().count() <= LINE {
        return text.len();
    }
    let clause = ["; ", ": ", ", "].iter().find_map(|it| within.rfind(it).map(|at| at + it.len()));
    clause.filter(|at| *at > LINE / 3).or(within.rfind(' ')).unwrap_or(limit).max(1)
}

#[cfg(test)]
mod tests {
    use super::{LINE, has, lines, with_section};

    const PAGE: &str = "# T\n\n### a\n\nDone: b\n\nSeen: 1\n\n### a b\n\nDone: c\n\nSeen: 2\n";

    #[test]
    fn a_case_is_added_once_and_then_replaced() {
        let one = with_section(PAGE, "a", "### a\n\nDone: b\n\nSeen: 3\n");
        assert_eq!(one, PAGE.replace("Seen: 1", "Seen: 3"));
        let last = with_section(PAGE, "a b", "### a b\n\nDone: c\n\nSeen: 3\n");
        assert_eq!(last, PAGE.replace("Seen: 2", "Seen: 3"));
        let new = with_section(PAGE, "z", "### z\n\nd\n\nSeen: 3\n");
        assert_eq!(new, format!("{PAGE}\n### z\n\nd\n\nSeen: 3\n"));
    }

    #[test]
    fn a_case_must_be_done_in_the_same_way() {
        assert!(has(&PAGE.replace("Done: c\n", "Done: c\nd\n"), "a b", "c d"));
        assert!(!has(PAGE, "a b", "c d") && !has(PAGE, "a", "c") && !has(PAGE, "z", "c"));
    }

    #[test]
    fn lines_are_sentences_and_not_long() {
        assert_eq!(lines("One, two. Three 1. 5 four"), "One, two.\nThree 1. 5 four");
        let clause = "x".repeat(LINE - 10);
        assert_eq!(lines(&format!("{clause}, yy {clause}")), format!("{clause},\nyy {clause}"));
        let exact = "x ".repeat(LINE / 2) + "y";
        assert!(lines(&exact).lines().all(|line| line.len() <= LINE));
        let word = "x".repeat(LINE + 50);
        assert_eq!(lines(&format!("{word} x")).split_whitespace().collect::<String>(), word + "x");
    }
}
