//! `./dev test --quick` runs everything that needs no server.

use std::collections::BTreeSet;
use std::fs;

use crate::pages::root;

/// A file that uses one of these types of the lab starts a server.
const SERVERS: [&str; 8] = [
    "Lab",
    "Chats",
    "Site",
    "Postgres",
    "Prometheus",
    "ProsodyConfig",
    "EjabberdConfig",
    "Storage",
];

fn starts_a_server(text: &str) -> bool {
    text.split(|it: char| !it.is_alphanumeric()).any(|word| SERVERS.contains(&word))
}

/// The files in tests/it that have tests and start no server.
fn without_servers() -> BTreeSet<String> {
    let files = fs::read_dir(root().join("tests/it")).expect("the tests");
    let files = files.map(|file| file.expect("a file").path());
    let mut names = BTreeSet::new();
    for file in files.filter(|it| it.extension().is_some_and(|extension| extension == "rs")) {
        let name = file.file_stem().expect("a name").display().to_string();
        let text = fs::read_to_string(&file).expect("a source");
        let has_tests = text.contains("#[test]") || text.contains("#[tokio::test");
        // This file names the servers it looks for.
        if has_tests && (name == "quick" || !starts_a_server(&text)) {
            names.insert(name);
        }
    }
    names
}

/// Every test file that needs no server is in the list, and no other is.
#[test]
fn the_quick_set_is_what_needs_no_server() {
    let script = fs::read_to_string(root().join("dev")).expect("the script");
    let list = script.split_once("\nquick=(").expect("a list").1;
    let list = list.split_once(')').expect("its end").0;
    let listed: BTreeSet<String> = list.split_whitespace().map(str::to_owned).collect();
    assert_eq!(listed, without_servers());
}
