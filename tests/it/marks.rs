//! What may be marked has one definition, and everything that quotes it agrees.

use ephemerd::archive::marks::{LEGACY_NAMESPACES, NAMESPACES, QUEUE_INDEX, SEARCHED};

use crate::pages::Page;

/// The elements of XEP-0334 that are marks, legacy names included.
const HINTS: [&str; 4] = ["no-permanent-store", "no-permanent-storage", "no-store", "no-storage"];

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn readers_and_modules_know_the_same_marks() {
    let sources = [
        "src/stanza/element.rs",
        "deploy/ejabberd/mod_ephemerd_xml.erl",
        "deploy/prosody/mod_ephemerd/stanzas.lib.lua",
    ];
    for source in sources {
        let text = Page::read(source).text;
        for namespace in NAMESPACES.into_iter().chain(LEGACY_NAMESPACES) {
            assert!(text.contains(&format!("\"{namespace}\"")), "{source} lacks {namespace}");
        }
        for hint in HINTS {
            assert!(text.contains(&format!("\"{hint}\"")), "{source} lacks {hint}");
        }
    }
    let protocol = Page::read("docs/protocol.md").text;
    for mark in NAMESPACES.into_iter().chain(LEGACY_NAMESPACES).chain(HINTS) {
        assert!(protocol.contains(&format!("`{mark}`")), "docs/protocol.md lacks {mark}");
    }
}

#[test]
fn the_search_finds_each_mark() {
    for namespace in NAMESPACES {
        assert!(SEARCHED.contains(&format!("strpos(value, '{namespace}') > 0")), "{namespace}");
    }
    let words: Vec<&str> =
        SEARCHED.split(", '").skip(1).filter_map(|it| it.split('\'').next()).collect();
    for hint in HINTS {
        assert!(words.iter().any(|it| hint.contains(it)), "nothing finds {hint}");
    }
}

#[test]
fn pages_quote_the_conditions_as_they_are() {
    let runbook = words(&Page::read("docs/runbook.md").text);
    assert!(runbook.contains(&words(SEARCHED)), "docs/runbook.md does not have {SEARCHED}");
    let installing = words(&Page::read("docs/install-ejabberd.md").text);
    assert!(installing.contains(&words(QUEUE_INDEX)), "docs/install-ejabberd.md: {QUEUE_INDEX}");
}
