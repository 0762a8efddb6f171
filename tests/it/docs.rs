//! The documents are correct. (docs/configuration.md is checked with the configuration.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::pages::{Page, follow, pages, root};
use crate::walks::ANY_ORDER;

/// Every link leads somewhere, including sections.
#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for page in pages() {
        for target in page.links().iter().filter(|it| !it.contains("://")) {
            links += 1;
            follow(&page.name, target);
        }
    }
    assert!(links > 40, "links were read: {links}");
}

/// Pages for developers that name files.
const NAME_FILES: [&str; 5] = [
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/changing.md",
    "docs/ledger.md",
    "tests/golden/README.md",
];

/// Every file or folder named on a developer's page exists. `NAME` and `NNNN` match anything.
#[test]
fn files_that_pages_name_are_there() {
    let mut files = 0;
    for page in NAME_FILES.map(Page::read) {
        let spans = page.text.split('`').skip(1).step_by(2);
        let is_path = |it: &&str| it.contains('/') && !it.contains([' ', '$', '<', ':', '…']);
        let names_any = |it: &&str| it.contains("NAME") || it.contains("NNNN");
        for path in spans.filter(is_path).filter(|it| !it.starts_with(['/', '.']) && !names_any(it))
        {
            let there = [root().join(path), root().join("src").join(path)];
            assert!(there.iter().any(|it| it.exists()), "{} names {path}", page.name);
            files += 1;
        }
    }
    assert!(files > 60, "files were named: {files}");
}

/// Every page of docs/ is reachable from the README.
#[test]
fn every_page_is_reached_from_the_readme() {
    let readme = Page::read("README.md").links();
    for page in pages().iter().filter(|it| it.name != "README.md" && !it.name.contains("/adr/")) {
        let linked = readme.iter().any(|it| it.split('#').next() == Some(page.name.as_str()));
        assert!(linked, "README.md does not link to {}", page.name);
    }
    let index = Page::read("docs/adr/README.md").links();
    for page in pages().iter().filter(|it| it.name.contains("/adr/0")) {
        let linked = index.iter().any(|it| page.name.ends_with(&format!("/{it}")));
        assert!(linked, "docs/adr/README.md does not link to {}", page.name);
    }
}

/// Blocks that a test runs as written: page, language, how many, and the test's file. An additional block on
/// a page fails until a test runs it and it is counted here.
const RUN: &[(&str, &str, usize, &str)] = &[
    ("README.md", "sh", 3, "walks.rs"),
    ("docs/holds.md", "console", 5, "console.rs"),
    ("docs/install-package.md", "sh", 2, "walks.rs"),
    ("docs/install-ejabberd.md", "sh", 3, "install_ejabberd.rs"),
    ("docs/install-ejabberd.md", "sql", 2, "install_ejabberd.rs"),
    ("docs/install-ejabberd.md", "yaml", 2, "install_ejabberd.rs"),
    ("docs/install-prosody.md", "lua", 5, "walks.rs"),
    ("docs/install-prosody.md", "sh", 5, "walks.rs"),
    ("docs/install-prosody.md", "sql", 1, "walks.rs"),
    ("docs/metrics.md", "sh", 1, "walks.rs"),
    ("docs/operating.md", "console", 12, "console.rs"),
    ("docs/operating.md", "sql", 1, "walks.rs"),
    ("docs/privacy.md", "sql", 3, "walks.rs"),
    ("docs/requests.md", "console", 4, "console.rs"),
    ("docs/retention.md", "console", 6, "console.rs"),
    ("docs/runbook.md", "sh", 15, "walks.rs"),
];

/// trycmd runs each block of this page, however many there are.
const RUN_WHOLE: (&str, &str) = ("docs/commands.md", "console");

/// Blocks that nothing runs, by a line of theirs, and why.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("CONTRIBUTING.md", "./dev demo", "it would start these tests; the demo has tests of its own"),
    (
        "docs/install-compose.md",
        "docker compose",
        "it needs a Docker engine: `./dev test --compose` has one",
    ),
    (
        "docs/install-package.md",
        "./dev package",
        "it installs on this machine; `./dev test --deploy` does so in a bare Debian",
    ),
    ("docs/install-package.md", "LoadCredential=", "systemd reads it, which the tests do without"),
    ("README.md", "./dev demo", "it would start these tests; the demo has tests of its own"),
];

/// Every block of a document is run or read by something, except drawings and what is listed with a reason.
#[test]
fn every_block_is_run_or_read() {
    for page in pages() {
        let mut left: BTreeMap<String, usize> = BTreeMap::new();
        for block in page.blocks() {
            let place = format!("{}, line {}", page.name, block.line);
            let excused = |it: &&(&str, &str, &str)| it.0 == page.name && block.text.contains(it.1);
            match block.language.as_str() {
                _ if NOT_RUN.iter().find(excused).is_some() => {}
                language if (page.name.as_str(), language) == RUN_WHOLE => {}
                "text" => {}
                "toml" => read_toml(&block.text, &place),
                "xml" => read_xml(&block.text, &place),
                "json" => {
                    drop(serde_json::from_str::<serde_json::Value>(&block.text).expect(&place))
                }
                "" => panic!("{place}: a block has no language"),
                language => *left.entry(language.to_owned()).or_default() += 1,
            }
        }
        let run = RUN.iter().filter(|it| it.0 == page.name);
        let run: BTreeMap<String, usize> = run.map(|it| (it.1.to_owned(), it.2)).collect();
        assert_eq!(left, run, "{}: blocks by language, and those that a test runs", page.name);
    }
    for (page, _, _, test) in RUN {
        let source = fs::read_to_string(root().join("tests/it").join(test)).expect(test);
        assert!(
            source.contains(page) || ANY_ORDER.contains(page),
            "{test} knows nothing of {page}"
        );
    }
    for (page, line, reason) in NOT_RUN {
        assert!(Page::read(page).text.contains(line) && !reason.is_empty(), "{page}: {line}");
    }
}

/// Part of a configuration, put into the sample: each key is known and accepts its value.
fn read_toml(text: &str, place: &str) {
    let mut whole: toml::Table = MINIMAL.parse().expect("the least configuration");
    let piece: toml::Table = text.parse().unwrap_or_else(|error| panic!("{place}: {error}"));
    for (section, keys) in piece {
        let keys =
            keys.as_table().unwrap_or_else(|| panic!("{place}: {section} is no section")).clone();
        let there = whole.entry(section).or_insert_with(|| toml::Table::new().into());
        let there = there.as_table_mut().expect("a section");
        for (key, value) in keys {
            // The lab has no such file, and a secret may only be given once.
            if key != "secret_file" && key != "password_file" {
                there.insert(key, value);
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ephemerd.toml");
    fs::write(&file, toml::to_string(&whole).expect("TOML")).expect("it is written");
    let output = Command::new(env!("CARGO_BIN_EXE_ephemerd"))
        .args([Path::new("--config"), &file, Path::new("config")])
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
}

const MINIMAL: &str = r#"
component = { jid = "ephemerd.example.org", server = "127.0.0.1:5347", secret = "x" }
database = { url = "postgres://ephemerd@127.0.0.1/prosody" }
archive = { kind = "prosody", hosts = ["example.org"] }
"#;

/// `…` stands for omitted attributes or elements.
fn read_xml(text: &str, place: &str) {
    let text = text.replace("<…/>", "").replace('…', " ");
    let whole = format!("<page xmlns='jabber:client'>{text}</page>");
    let read = whole.parse::<minidom::Element>();
    assert!(read.is_ok(), "{place}: {:?}", read.err());
}

/// Every page and section that the program names exists.
#[test]
fn pages_that_the_program_names_are_there() {
    let mut named = BTreeSet::new();
    let mut folders = vec![root().join("src"), root().join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for rest in text.split("docs/").skip(1) {
                let is_of_name = |it: char| it.is_ascii_alphanumeric() || "-_./#".contains(it);
                let end = rest.find(|it| !is_of_name(it)).unwrap_or(rest.len());
                let target = format!("docs/{}", rest[..end].trim_end_matches('.'));
                if target.contains(".md") {
                    follow("README.md", &target);
                    named.insert(target);
                }
            }
        }
    }
    assert!(named.len() > 4, "names were found: {named:?}");
}

/// Where software is downloaded from is up to the person who builds: no page, comment or message names a
/// registry's host. (Cargo.lock does, and the test that compares with it.)
#[test]
fn no_registry_is_named() {
    let hosts = [
        concat!("crates", ".io"),
        concat!("rust-lang", ".org/dist"),
        concat!("static.", "rust-lang"),
        concat!("pypi", ".org"),
        concat!("npmjs", "."),
        concat!("deb.", "debian.org"),
        concat!("security.", "debian.org"),
        concat!("archive.", "ubuntu.com"),
        // With a path, because a Debian package has that name.
        concat!("docker", ".io/"),
        concat!("ghcr", ".io"),
        concat!("quay", ".io"),
        concat!("luarocks", ".org"),
        concat!("hex", ".pm"),
    ];
    let mut read = 0;
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_built = name == "target" || name == ".git" || name == "third_party.rs";
            if path.is_dir() && !is_built {
                folders.push(path);
            } else if path.is_file() && !is_built && !name.ends_with(".lock") {
                let Ok(text) = fs::read_to_string(&path) else { continue };
                read += 1;
                let named = hosts.iter().find(|host| text.contains(*host));
                assert_eq!(named, None, "{}", path.display());
            }
        }
    }
    assert!(read > 300, "{read} files were read");
}
