//! The import law: a module uses only lower layers. Read from the sources themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules and their layers.
const LAYERS: [(&str, u8); 17] = [
    ("model", 0),
    ("policy", 1),
    ("stanza", 1),
    ("database", 1),
    ("words", 1),
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

/// Modules that any layer may use; they may use at most the nouns.
const LEAVES: [&str; 2] = ["metrics", "task"];

/// Inside `work`: the folders, and which of them each may use. The verbs do not use each other.
const WORK: [(&str, &[&str]); 6] = [
    ("base", &[]),
    ("reconcile", &["base"]),
    ("inspect", &["base", "reconcile"]),
    ("erase", &["base"]),
    ("sweep", &["base", "reconcile"]),
    ("age", &["base"]),
];

/// No SQL in these: they are external interfaces.
const WITHOUT_SQL: [&str; 8] =
    ["model", "policy", "stanza", "words", "component", "http", "metrics", "task"];

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

fn may_use(user: &str, used: &str) -> bool {
    match (user, used) {
        _ if user == used => true,
        (leaf, _) if LEAVES.contains(&leaf) => used == "model",
        (_, leaf) if LEAVES.contains(&leaf) => true,
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

/// The modules that a text refers to by `crate::…` or `ephemerd::…`, including groups.
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

/// The full paths that a text refers to by `crate::`, `self::` or `super::`, with groups expanded; `inside`
/// is the module of the text.
fn paths(text: &str, inside: &[String]) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for (at, _) in text.match_indices("::") {
        let start = text[..at].rfind(|c: char| !is_part(c)).map_or(0, |it| it + 1);
        let first = &text[start..at];
        if matches!(first, "crate" | "self" | "super") {
            expand(&text[start..], &mut Vec::new(), &mut |path| {
                paths.insert(resolve(path, inside));
            });
        }
    }
    paths
}

/// Expands one path or group of paths. Returns what follows it.
fn expand<'a>(
    text: &'a str,
    before: &mut Vec<String>,
    found: &mut impl FnMut(&[String]),
) -> &'a str {
    let mut rest = text.trim_start();
    let depth = before.len();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            rest = group;
            while !rest.trim_start().starts_with('}') && !rest.trim_start().is_empty() {
                rest = expand(rest, before, found).trim_start().trim_start_matches(',');
            }
            rest = rest.trim_start().strip_prefix('}').unwrap_or_default();
            break;
        }
        let part = name(rest);
        rest = &rest[part.len()..];
        before.push(part);
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => {
                found(before);
                break;
            }
        }
    }
    before.truncate(depth);
    // `as name`, and anything else before the next path of a group.
    let end = rest.find([',', '}', ';']).unwrap_or(rest.len());
    &rest[end..]
}

fn resolve(path: &[String], inside: &[String]) -> Vec<String> {
    let mut full = inside.to_vec();
    for (at, part) in path.iter().enumerate() {
        match (at, part.as_str()) {
            (0, "crate") => full.clear(),
            (_, "self") => {}
            (_, "super") => drop(full.pop()),
            _ => full.push(part.clone()),
        }
    }
    full
}

/// The module of a file in `src`.
fn module_of(file: &Path) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let inside = file.strip_prefix(&root).unwrap().with_extension("");
    let mut parts: Vec<String> =
        inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn is_module(name: &str) -> bool {
    LEAVES.contains(&name) || layer(name).is_some()
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
fn the_verbs_of_work_do_not_use_each_other() {
    let mut breaches = Vec::new();
    let mut seen = BTreeSet::new();
    for (_, file, text) in sources().into_iter().filter(|(module, ..)| module == "work") {
        let module = module_of(&file);
        for path in paths(&text, &module) {
            breaches.extend(breach_in_work(&module, &path).map(|it| (file.clone(), it)));
            seen.insert(path.get(1).cloned());
        }
    }
    assert!(WORK.iter().all(|(folder, _)| seen.contains(&Some((*folder).to_owned()))), "{seen:?}");
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// What a module of a folder of `work` must not use.
fn breach_in_work(module: &[String], path: &[String]) -> Option<String> {
    let folder = |path: &[String]| {
        let is_work = path.first().is_some_and(|first| first == "work");
        path.get(1).filter(|_| is_work).and_then(|it| WORK.iter().find(|(name, _)| name == it))
    };
    let (user, may_use) = folder(module)?;
    let (used, _) = folder(path)?;
    (user != used && !may_use.contains(used)).then(|| path.join("::"))
}

#[test]
fn the_law_of_work_is_read_rightly() {
    let split = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    for (inside, text, breaks) in [
        ("work::erase::tables", "use crate::work::sweep::Sweeper;", true),
        (
            "work::erase::tables",
            "use crate::{ledger, work::{base::Changing, inspect::{self}}};",
            true,
        ),
        ("work::erase::tables::lanes", "use super::super::super::sweep::{Progress};", true),
        ("work::sweep", "fn f() { super::inspect::wake_the_tail(); }", true),
        ("work::base::wake", "use crate::work::reconcile as other;", true),
        ("work::erase::tables", "use super::pace::Next;", false),
        (
            "work::sweep::owners",
            "use crate::{work::{base::presence, reconcile::companion as c}, a};",
            false,
        ),
        ("work::gauges", "use super::sweep::Progress;", false),
    ] {
        let module = split(inside);
        let broken = paths(text, &module).iter().any(|it| breach_in_work(&module, it).is_some());
        assert_eq!(broken, breaks, "{inside}: {text}");
    }
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
        ("work", "task", true),
        ("task", "metrics", false),
    ] {
        assert_eq!(may_use(user, used), may, "{user} uses {used}");
    }
}
