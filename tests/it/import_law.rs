//! The import law: a module uses only lower layers. Read from the sources themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules and their layers; `metrics` is a leaf that any layer may use.
const LAYERS: [(&str, u8); 16] = [
    ("model", 0),
    ("policy", 1),
    ("stanza", 1),
    ("database", 1),
    ("archive", 2),
    ("ledger", 2),
    ("work", 3),
    ("ops", 3),
    ("component", 4),
    ("http", 4),
    ("app", 5),
    ("cli", 5),
    ("config", 5),
    ("lifecycle", 5),
    ("telemetry", 5),
    ("main", 5),
];

/// No SQL here: these speak to others.
const WITHOUT_SQL: [&str; 6] = ["model", "policy", "stanza", "component", "http", "metrics"];

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

fn may_use(user: &str, used: &str) -> bool {
    match (user, used) {
        _ if user == used => true,
        ("metrics", _) => used == "model",
        (_, "metrics") => true,
        _ => match (layer(user), layer(used)) {
            (Some(5), Some(_)) => true,
            (Some(user), Some(used)) => used < user,
            _ => false,
        },
    }
}

/// The sources of each module of `src`, without comments.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let modules = files.into_iter().map(|file| {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let text = without_comments(&fs::read_to_string(&file).unwrap());
        (module.trim_end_matches(".rs").to_owned(), file, text)
    });
    modules.filter(|(module, ..)| module != "lib").collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn without_comments(text: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// The modules that a text names by `crate::…` or `ephemerd::…`, groups included.
fn used(text: &str) -> BTreeSet<String> {
    let starts = ["crate::", "ephemerd::"];
    let rests = starts.iter().flat_map(|start| text.split(start).skip(1));
    rests.flat_map(first_names).filter(|name| !name.is_empty()).collect()
}

fn first_names(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let mut depth = 0;
    let mut names = vec![name(group.trim_start())];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn is_module(name: &str) -> bool {
    name == "metrics" || layer(name).is_some()
}

#[test]
fn every_module_has_a_layer() {
    let unknown: BTreeSet<_> =
        sources().into_iter().map(|(module, ..)| module).filter(|name| !is_module(name)).collect();
    assert!(unknown.is_empty(), "give these a layer: {unknown:?}");
}

#[test]
fn a_module_uses_only_lower_layers() {
    let mut breaches = Vec::new();
    let mut seen = 0;
    for (module, file, text) in sources() {
        for used in used(&text).into_iter().filter(|name| is_module(name)) {
            seen += 1;
            if !may_use(&module, &used) {
                breaches.push(format!("{} uses {used}", file.display()));
            }
        }
    }
    assert!(seen > 0, "nothing was read");
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn what_speaks_to_others_speaks_no_sql() {
    for (module, file, text) in sources() {
        let forbidden = WITHOUT_SQL.contains(&module.as_str());
        assert!(!(forbidden && text.contains("sqlx")), "{} uses sqlx", file.display());
    }
}

#[test]
fn the_law_is_read_rightly() {
    let text = "use crate::model::{Facts, Rules};\nuse crate::{\n    work::{a, b},\n    metrics,\n};\n\
                fn f() { ephemerd::app::run(); }";
    let found = used(&without_comments(text));
    assert_eq!(found, ["app", "metrics", "model", "work"].map(str::to_owned).into());
    assert!(used(&without_comments("//! see [`crate::app`]")).is_empty());
    for (user, used, may) in [
        ("work", "ledger", true),
        ("ledger", "work", false),
        ("ledger", "archive", false),
        ("http", "config", false),
        ("http", "ops", true),
        ("cli", "app", true),
        ("stanza", "metrics", true),
        ("metrics", "model", true),
        ("metrics", "work", false),
    ] {
        assert_eq!(may_use(user, used), may, "{user} uses {used}");
    }
}
