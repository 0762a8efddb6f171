//! Third-party code that we ship: licences, sources and bans by deny.toml, and THIRD-PARTY.md, which lists it
//! all. `cargo deny` (`./dev deny`) checks the same and more; this needs only cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;
use spdx::{Expression, Licensee};

/// Set to `write`, the test fills THIRD-PARTY.md.
const VARIABLE: &str = "THIRD_PARTY";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo says about all packages on this platform, by id.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .arg("--filter-platform=x86_64-unknown-linux-gnu")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages(metadata: &Value) -> BTreeMap<&str, &Value> {
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (text(&package["id"]), package)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What is linked into the program or runs to build it: not what only tests use.
fn shipped(metadata: &Value) -> BTreeSet<String> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let nodes: BTreeMap<&str, &Value> =
        nodes.iter().map(|node| (text(&node["id"]), node)).collect();
    let mut found = BTreeSet::new();
    let mut next = vec![text(&metadata["resolve"]["root"])];
    while let Some(id) = next.pop() {
        if !found.insert(id.to_owned()) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| text(&kind["kind"]) != "dev") {
                next.push(text(&dependency["pkg"]));
            }
        }
    }
    found
}

fn rules() -> toml::Value {
    toml::from_str(&fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

fn strings(value: &toml::Value) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().filter_map(toml::Value::as_str).collect()
}

/// deny.toml, for what is shipped and for what tests use.
#[test]
fn licences_sources_and_bans_are_as_deny_toml_has_them() {
    let rules = rules();
    let allowed: Vec<Licensee> = strings(&rules["licenses"]["allow"])
        .iter()
        .map(|it| Licensee::parse(it).unwrap())
        .collect();
    let banned: BTreeSet<&str> = rules["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["crate"].as_str())
        .collect();
    assert!(!allowed.is_empty() && !banned.is_empty());
    let mut seen = 0;
    let metadata = metadata();
    for package in packages(&metadata).values() {
        let (name, licence) = (text(&package["name"]), text(&package["license"]));
        if package["source"].is_null() {
            assert!(Path::new(text(&package["manifest_path"])).starts_with(root()), "{name}");
            continue;
        }
        seen += 1;
        let source = text(&package["source"]);
        assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{name}");
        assert!(!banned.contains(name), "{name} is banned in deny.toml");
        let expression = Expression::parse_mode(licence, spdx::ParseMode::LAX);
        let expression = expression.unwrap_or_else(|_| panic!("{name}: {licence:?}"));
        let fits = expression.evaluate(|wanted| allowed.iter().any(|it| it.satisfies(wanted)));
        assert!(fits, "{name}: {licence} is not among deny.toml's licences");
    }
    assert!(seen > 200, "{seen} packages were read");
}

/// THIRD-PARTY.md names each crate that is shipped.
#[test]
fn third_parties_are_named() {
    let metadata = metadata();
    let packages = packages(&metadata);
    let mut rows: Vec<String> = shipped(&metadata)
        .iter()
        .map(|id| packages[id.as_str()])
        .filter(|package| !package["source"].is_null())
        .map(|package| {
            let [name, version, licence] =
                ["name", "version", "license"].map(|it| text(&package[it]));
            let from = text(&package["repository"]);
            format!("| {name} | {version} | {licence} | {from} |\n")
        })
        .collect();
    rows.sort_unstable();
    let document = format!(
        "# What others wrote\n\n\
         The program is built from these crates, unchanged, each under its own licence; its text is in the\n\
         crate's source. Those under MPL-2.0 can be had there in source form, as that licence asks.\n\
         A test holds this list (`THIRD_PARTY=write cargo test --test it third_part` fills it in); deny.toml says which\n\
         licences are taken.\n\n\
         | crate | version | licence | source |\n|---|---|---|---|\n{}",
        rows.concat()
    );
    let file = root().join("THIRD-PARTY.md");
    if env::var(VARIABLE).is_ok_and(|it| it == "write") {
        fs::write(&file, &document).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap();
    assert_eq!(there, document, "run with {VARIABLE}=write");
}
