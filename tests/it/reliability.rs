//! The cases of docs/evidence.md and the tests that produce them, here and in tests/faults.

use std::fs;
use std::path::Path;

use ephemerd_lab::reliability::{cases, note};

/// Prints a case, and checks that the page has it, done in this way.
pub(crate) fn saw(case: &str, done: &str, seen: &str) {
    note(case, done, seen).unwrap();
}

/// No case outlives its test.
#[test]
fn every_row_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: String = ["tests/it", "tests/faults"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for case in cases().unwrap() {
        assert!(sources.contains(&format!("\"{case}\"")), "no test sees: {case}");
    }
}
