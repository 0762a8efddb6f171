//! The documents' layout: one sentence per line, with lines and table cells that fit a diff and a terminal.

use crate::pages::{Page, pages};

/// Maximum characters in a line of prose.
const LINE: usize = 120;

/// Maximum characters in a table cell as a reader sees it, without link targets.
const CELL: usize = 160;

/// Lists of changes and licences, which have their own layout.
const OTHER_LAYOUT: [&str; 2] = ["CHANGELOG.md", "THIRD-PARTY.md"];

/// A page's faults, each with its line.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut in_block = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block && let Some(fault) = fault(line) {
            faults.push(format!("line {}: {fault}", at + 1));
        }
    }
    faults
}

fn fault(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    if line.starts_with('|') {
        if line.chars().all(|it| "|-: ".contains(it)) {
            return None;
        }
        let cells = line.trim_matches('|').split(" | ").map(seen);
        let longest = cells.map(|cell| cell.trim().chars().count()).max().unwrap_or(0);
        return (longest > CELL).then(|| format!("a cell of {longest} characters"));
    }
    let length = line.chars().count();
    if length > LINE {
        return Some(format!("{length} characters"));
    }
    let next = second_sentence(line)?;
    Some(format!("a second sentence: {next}"))
}

/// Text without link targets.
fn seen(text: &str) -> String {
    let mut parts = text.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |seen, part| seen + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// Text with each piece of code replaced by a single letter, so that nothing in it ends a sentence.
fn without_code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 0 { part } else { "C" }).collect()
}

/// The sentence that begins in the middle of a line: after a full stop and a blank, not with a small letter.
fn second_sentence(line: &str) -> Option<String> {
    let line = without_code(&seen(line));
    let body = line.trim_start().trim_start_matches(|it: char| it.is_ascii_digit() || it == '.');
    let words: Vec<&str> = body.split_whitespace().collect();
    let ends =
        |word: &str| word.trim_end_matches(['*', ')', ']', '"', '_']).ends_with(['.', '?', '!']);
    let begins = |word: &str| {
        let first = word.trim_start_matches(['*', '(', '[', '"', '_']).chars().next();
        first.is_some_and(|it| it.is_uppercase() || it.is_ascii_digit())
    };
    let at = words.windows(2).position(|pair| ends(pair[0]) && begins(pair[1]))?;
    Some(words[at + 1..].join(" "))
}

/// Prose has one sentence per line, of at most 120 characters, and table cells at most 160.
#[test]
fn pages_are_laid_out_for_diffs() {
    let mut wrong = Vec::new();
    for Page { name, text } in pages() {
        if OTHER_LAYOUT.contains(&name.as_str()) {
            continue;
        }
        let faults = faults(&text);
        wrong.extend(faults.iter().map(|fault| format!("{name}, {fault}")));
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn faults_are_found_and_nothing_else_is() {
    let line = |length| "x".repeat(length);
    let good = [
        line(LINE),
        "A sentence, e.g. this one (see `a. B`).".into(),
        "1. A step.".into(),
        "Versions 0.12.3 and 13.0.".into(),
        format!("| {} | [b](https://example.org/{}) |", line(CELL), line(CELL)),
        format!("|{}|", "-".repeat(CELL + 1)),
        format!("```text\n{}\nOne. Two.\n```", line(LINE + 1)),
    ];
    for text in good {
        assert_eq!(faults(&text), Vec::<String>::new(), "{text}");
    }
    let bad = [
        line(LINE + 1),
        "One. Two.".into(),
        "**One.** Two.".into(),
        "Is it? `C` is.".into(),
        "(One.) [Two](x) follows.".into(),
        format!("| a | {} |", line(CELL + 1)),
    ];
    for text in bad {
        assert_eq!(faults(&text).len(), 1, "{text}");
    }
}
