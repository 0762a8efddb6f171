//! The configuration: what is accepted, what is refused and how, and what the documents say about it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ephemerd::component::ServerAddress;
use ephemerd::config::{ArchiveKind, Config, KEY_INFOS, KEYS, Origin, Sources, changes_in_place};
use secrecy::ExposeSecret as _;

use crate::pages::check_table;
use crate::support::MINIMAL;

pub(crate) const FILE: &str = "/etc/ephemerd/ephemerd.toml";

pub(crate) fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Config::from_sources(&Sources::of_text(FILE, text, environment))
        .map_err(|error| error.to_string())
}

pub(crate) fn minimal() -> Config {
    read(MINIMAL, &[]).unwrap()
}

/// `MINIMAL` with `[section] key = value` inserted.
fn with(section: &str, line: &str) -> Result<Config, String> {
    let header = format!("[{section}]");
    let key = line.split(' ').next().unwrap();
    let mut text = String::new();
    let mut inside = false;
    for old in MINIMAL.lines() {
        inside = if old.starts_with('[') { old == header } else { inside };
        if !(inside && old.starts_with(&format!("{key} "))) {
            text += old;
            text += "\n";
        }
        if old == header {
            text += &format!("{line}\n");
        }
    }
    if !MINIMAL.contains(&header) {
        text += &format!("{header}\n{line}\n");
    }
    read(&text, &[])
}

fn values(config: &Config) -> BTreeMap<&'static str, serde_json::Value> {
    config.settings().iter().map(|it| (it.key, it.value.clone())).collect()
}

fn repository(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_minimum_gets_every_default() {
    let config = minimal();
    assert_eq!(config.rules(), ephemerd::model::Rules::default());
    assert_eq!(config.component.secret.expose_secret(), "s3cret-of-component");
    assert_eq!(
        config.component.server,
        ServerAddress::Tcp { host: "127.0.0.1".into(), port: 5347 }
    );
    assert_eq!(config.archive.kind, ArchiveKind::Prosody);
    assert_eq!(config.archive.poll, Duration::from_secs(1));
    assert_eq!((config.erase.batch, config.erase.rows_per_second), (1000, None));
    assert!(!config.erase.dry_run && config.database.password.is_none());
}

#[test]
fn the_environment_wins_and_sets_every_key() {
    let name = |key: &str| format!("EPHEMERD__{}", key.replace('.', "__").to_uppercase());
    // Another name for a key that is set as well.
    let keys = KEY_INFOS.iter().filter(|it| it.key != "offline.undelivered_for");
    let (in_files, inline): (Vec<_>, Vec<_>) = keys.partition(|it| it.key.ends_with("_file"));
    let names: Vec<_> = inline.iter().map(|it| (name(it.key), it.example)).collect();
    let environment: Vec<_> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let config = read(MINIMAL, &environment).unwrap();
    assert_eq!(config.component.secret.expose_secret(), "0012345", "stays text, with its zeros");
    let values = values(&config);
    for info in inline {
        let expected = match info.key {
            "component.secret" | "database.password" => "***".into(),
            "archive.hosts" => r#"["example.net","conference.example.net"]"#.into(),
            "timers.read_evidence" => r#"["mds","replies"]"#.into(),
            "rooms.ignore_readers" => {
                r#"["bot@example.net","bots.example.net","den@rooms.example.net/Bot"]"#.into()
            }
            "uploads.urls" | "uploads.hosts" => format!("[\"{}\"]", info.example),
            _ => info.example.to_owned(),
        };
        let shown = &values[info.key];
        let shown = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
        assert_eq!(shown, expected, "{}", info.key);
    }
    // A secret may be in a file instead.
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "0012345\n").unwrap();
    for info in in_files {
        let environment = name(info.key);
        let set = [(environment.as_str(), secret.to_str().unwrap())];
        let config = read(&MINIMAL.replace("secret = ", "#"), &set);
        let config = config.or_else(|_| read(MINIMAL, &set)).unwrap();
        let key = info.key.strip_suffix("_file").unwrap();
        let shown = config.settings().iter().find(|it| it.key == key).unwrap();
        assert_eq!(shown.value, "***", "{key}");
        assert_eq!(shown.origin, Origin::Environment(environment), "{key}");
    }
    // Other variables are none of our business.
    assert!(read(MINIMAL, &[("EPHEMERD_CONFIG", "x"), ("PATH", "y")]).is_ok());
}

#[test]
fn unknown_keys_are_refused_with_their_place() {
    for (text, environment, key, place) in [
        ("[archive]\nprot = 1", None, "archive.prot", FILE),
        ("[archives]\npoll = \"1s\"", None, "archives", FILE),
        ("", Some("EPHEMERD__ARCHIVE__PROT"), "archive.prot", "EPHEMERD__ARCHIVE__PROT"),
        ("", Some("EPHEMERD__ARCHIVES__POLL"), "archives", "EPHEMERD__ARCHIVES__POLL"),
    ] {
        let text = match text.strip_prefix("[archive]\n") {
            Some(line) => MINIMAL.replace("[archive]", &format!("[archive]\n{line}")),
            None => format!("{MINIMAL}\n{text}"),
        };
        let environment: Vec<_> = environment.map(|name| (name, "word")).into_iter().collect();
        let error = read(&text, &environment).unwrap_err();
        assert!(error.starts_with(&format!("unknown key {key} ({place})\nhelp: ")), "{error}");
        let expected = if key == "archives" { "`archive`" } else { "`max_lag`" };
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_key_outside_of_any_section_is_refused() {
    for (text, environment, key, place) in [
        ("poll = \"1s\"\n", None, "poll", FILE),
        ("archive = \"prosody\"\n", None, "archive", FILE),
        (MINIMAL, Some("EPHEMERD__POLL"), "poll", "EPHEMERD__POLL"),
        (MINIMAL, Some("EPHEMERD__ARCHIVE"), "archive", "EPHEMERD__ARCHIVE"),
    ] {
        let environment: Vec<_> = environment.map(|name| (name, "word")).into_iter().collect();
        let error = read(text, &environment).unwrap_err();
        let start = format!("{key} is outside any section ({place})\nhelp: ");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for (key, line) in [
        ("component.jid", "jid = "),
        ("component.server", "server = "),
        ("component.secret", "secret = "),
        ("database.url", "url = "),
        ("archive.kind", "kind = "),
        ("archive.hosts", "hosts = "),
    ] {
        let error = read(&MINIMAL.replace(line, "#"), &[]).unwrap_err();
        assert!(error.starts_with(&format!("{key} is missing ({FILE})\nhelp: below [")), "{error}");
        assert!(error.contains(" or set EPHEMERD__"), "{error}");
    }
    assert!(read("", &[]).unwrap_err().starts_with("component.jid is missing"));
}

#[test]
fn wrong_values_are_refused_with_key_place_and_remedy() {
    for (section, line) in [
        ("component", "jid = \"a@b\""),
        ("component", "jid = 5"),
        ("component", "server = \"127.0.0.1\""),
        ("component", "secret = \"\""),
        ("component", "secret = 5347"),
        ("component", "secret = true"),
        ("component", "secret = [\"a\"]"),
        ("component", "secret = { a = 1 }"),
        ("component", "secret = \"two\\nlines\""),
        ("database", "url = \"mysql://localhost/x\""),
        ("archive", "kind = \"openfire\""),
        ("archive", "kind = \"Prosody\""),
        ("archive", "hosts = []"),
        ("archive", "hosts = \"\""),
        ("archive", "hosts = \"a.b,,c.d\""),
        ("archive", "hosts = [\"Example.org\"]"),
        ("archive", "hosts = [\"a.b\", \"a.b\"]"),
        ("archive", "hosts = [1]"),
        ("archive", "hosts = 1"),
        ("archive", "poll = 1"),
        ("archive", "poll = \"1\""),
        ("archive", "poll = \"1M\""),
        ("archive", "poll = \"0s\""),
        ("archive", "poll = \"2m\""),
        ("archive", "max_lag = \"1s\""),
        ("timers", "min = \"-1s\""),
        ("timers", "max = \"never\""),
        ("timers", "max = \"0s\""),
        ("timers", "max = \"101y\""),
        ("timers", "max = \"36526d\""),
        ("timers", "negotiation_for = \"3 months\""),
        ("hints", "conflict = \"both\""),
        ("inherit", "quotes = \"keep\""),
        ("offline", "undelivered_for = \"none\""),
        ("timers", "start = \"displayed\""),
        ("timers", "unread_for = \"none\""),
        ("timers", "read_evidence = []"),
        ("timers", "read_evidence = \"mds,receipts\""),
        ("timers", "read_evidence = true"),
        ("erase", "mode = \"\""),
        ("erase", "batch = 0"),
        ("erase", "batch = 100001"),
        ("erase", "batch = -1"),
        ("erase", "batch = 1.5"),
        ("erase", "batch = true"),
        ("erase", "batch = \"many\""),
        ("erase", "rows_per_second = 10000001"),
        ("erase", "dry_run = \"yes\""),
        ("erase", "dry_run = 1"),
        ("uploads", "urls = \"\""),
        ("uploads", "urls = 1"),
        ("uploads", "urls = [\"ftp://h/\"]"),
        ("uploads", "urls = [\"https://h\"]"),
        ("uploads", "urls = [\"https:///\"]"),
        ("uploads", "urls = [\"https://h/a b/\"]"),
        ("uploads", "urls = [\"https://h/?a=/\"]"),
        ("uploads", &format!("urls = [\"https://h/{}/\"]", "x".repeat(490))),
        ("uploads", &format!("urls = [{}]", "\"https://h/\", ".repeat(21))),
        ("uploads", "hosts = [\"A.b\"]"),
        ("uploads", "hosts = 1"),
        ("uploads", &format!("hosts = [{}]", "\"a.b\", ".repeat(21))),
        ("retention", "archive_for = \"0s\""),
        ("retention", "archive_for = \"1\""),
        ("retention", "rooms_for = \"none\""),
        ("retention", "queue_for = \"36526d\""),
        ("retention", "rule = \"peter@example.org\""),
        ("retention", "rule = [\"peter@example.org\"]"),
        ("retention", "rule = [{ archive_for = \"1d\" }]"),
        ("retention", "rule = [{ hosts = [\"example.org\"] }]"),
        ("retention", "rule = [{ hosts = [], archive_for = \"1d\" }]"),
        ("retention", "rule = [{ hosts = \"example.org\", archive_for = \"1d\" }]"),
        ("retention", "rule = [{ hosts = [\"example.com\"], archive_for = \"1d\" }]"),
        ("retention", "rule = [{ hosts = [\"example.org\"], archive_for = \"0s\" }]"),
        ("retention", "rule = [{ hosts = [\"example.org\"], archive_for = 1 }]"),
        (
            "retention",
            "rule = [{ hosts = [\"example.org\"], encrypted = true, archive_for = \"1d\" }]",
        ),
        (
            "retention",
            "rule = [{ hosts = [\"example.org\"], users = [\"a@example.org\"], archive_for = \"1d\" }]",
        ),
        ("retention", "rule = [{ users = [\"example.org\"], archive_for = \"1d\" }]"),
        ("retention", "rule = [{ users = [\"a@example.org/x\"], archive_for = \"1d\" }]"),
        ("retention", "rule = [{ users = [\"A@example.org\"], archive_for = \"1d\" }]"),
        ("retention", "rule = [{ users = [\"a@example.org\"], rooms_for = \"1d\" }]"),
        ("retention", "rule = [{ rooms = [\"a@example.org\"], archive_for = \"1d\" }]"),
        (
            "retention",
            "rule = [{ users = [\"a@example.org\", \"a@example.org\"], archive_for = \"1d\" }]",
        ),
        ("retention", "rule = [{ users = [\"a@example.org\"], archive_for = \"1d\", reason = 1 }]"),
        ("retention", "rule = [{ users = [\"e\\u0301va@example.org\"], archive_for = \"never\" }]"),
        (
            "retention",
            "rule = [{ hosts = [\"example.org\"], archive_for = \"1d\", grace = \"1d\" }]",
        ),
        ("retention", "confirm_above = -1"),
        ("retention", "grace = \"366d\""),
        ("sweep", "every = \"59s\""),
        ("canary", "account = \"canary\""),
        ("canary", "account = \"canary@elsewhere.example\""),
        ("canary", "account = \"canary@example.org/phone\""),
        ("canary", "every = \"9s\""),
        ("commands", "settings = 1"),
        ("commands", "shortest_archive_for = \"0s\""),
        ("commands", "shortest_archive_for = \"never\""),
        ("http", "listen = \"localhost:10466\""),
        ("http", "listen = \"127.0.0.1\""),
        ("log", "level = \"verbose\""),
        ("log", "format = \"xml\""),
    ] {
        let key = format!("{section}.{}", line.split(' ').next().unwrap());
        let error = with(section, line).unwrap_err();
        assert!(error.starts_with(&format!("{key} ")), "{line}: {error}");
        assert!(error.contains(&format!(" ({FILE})\nhelp: ")), "{line}: {error}");
    }
}

#[test]
fn values_at_their_bounds_are_taken() {
    for (section, line) in [
        ("archive", "poll = \"50ms\""),
        ("timers", "max = \"36525d\""),
        ("timers", "max = \"none\""),
        ("offline", "undelivered_for = \"0s\""),
        ("timers", "unread_for = \"0s\""),
        ("timers", "read_evidence = [\"markers\"]"),
        ("erase", "batch = 1"),
        ("erase", "batch = 100000"),
        ("commands", "shortest_archive_for = \"1s\""),
        ("commands", "shortest_archive_for = \"36525d\""),
        ("erase", "rows_per_second = 10000000"),
        ("uploads", "urls = [\"https://h/\", \"http://h:80/a-b/\"]"),
        ("uploads", &format!("urls = [\"https://h/{}/\"]", "x".repeat(489))),
        ("uploads", &format!("urls = [{}]", "\"https://h/\", ".repeat(20))),
        ("retention", "archive_for = \"1s\""),
        ("retention", "rooms_for = \"36525d\""),
        ("retention", "queue_for = \"never\""),
        ("retention", "rule = []"),
        (
            "retention",
            "rule = [{ users = [\"a@example.org\"], archive_for = \"never\", reason = \"court\" }]",
        ),
        ("retention", "confirm_above = 0"),
        ("retention", "grace = \"0s\""),
        ("retention", "grace = \"365d\""),
        ("sweep", "every = \"1m\""),
        ("canary", "account = \"canary@example.org\""),
        ("canary", "account = \"none\""),
        ("canary", "every = \"10s\""),
        ("component", "server = \"unix:/run/c.sock\""),
        ("archive", "hosts = [\"bücher.example\"]"),
    ] {
        with(section, line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

/// Whoever removes the files is found by their URLs, unless it is said; and files go only where it is known what names them.
#[test]
fn the_hosts_of_uploads_are_those_of_their_urls() {
    let hosts = |lines: &str| {
        let text = format!("{MINIMAL}[uploads]\n{lines}");
        read(&text, &[]).unwrap_or_else(|error| panic!("{lines}: {error}")).uploads.hosts
    };
    let urls = "urls = [\"https://up.example.org:5281/file_share/\", \"http://up.example.org/\"]";
    assert_eq!(hosts(urls), ["up.example.org"]);
    assert_eq!(hosts(&format!("{urls}\nhosts = [\"example.org\"]")), ["example.org"]);
    assert!(hosts("").is_empty());
    let nobody = read(&format!("{MINIMAL}[uploads]\n{urls}\nhosts = []"), &[]).unwrap_err();
    assert!(nobody.starts_with("uploads.hosts is empty"), "{nobody}");
    let unknown = MINIMAL.replace("\"prosody\"", "\"component\"");
    let unknown = read(&format!("{unknown}[uploads]\n{urls}"), &[]).unwrap_err();
    assert!(unknown.starts_with("uploads.urls needs archives in PostgreSQL"), "{unknown}");
}

#[test]
fn what_may_be_unlimited_says_by_which_word() {
    for (section, line, word) in [
        ("timers", "max = \"0s\"", "\"none\""),
        ("timers", "max = \"unlimited\"", "\"none\""),
        ("offline", "undelivered_for = \"forever\"", "\"never\""),
        ("timers", "unread_for = \"forever\"", "\"never\""),
        ("retention", "archive_for = \"forever\"", "\"never\""),
    ] {
        let error = with(section, line).unwrap_err();
        assert!(error.ends_with(&format!(", or {word}")), "{line}: {error}");
    }
}

#[test]
fn timers_must_fit_each_other() {
    let error = read(&format!("{MINIMAL}[timers]\nmin = \"2d\"\nmax = \"1d\""), &[]).unwrap_err();
    assert!(error.starts_with("timers.max is shorter than timers.min (2d)"), "{error}");
    assert!(read(&format!("{MINIMAL}[timers]\nmin = \"1d\"\nmax = \"1d\""), &[]).is_ok());
}

#[test]
fn a_canarys_message_has_time_to_go() {
    let with = |min: &str, every: &str| {
        let canary = format!("[canary]\naccount = \"c@example.org\"\nevery = \"{every}\"");
        read(&format!("{MINIMAL}[timers]\nmin = \"{min}\"\n{canary}"), &[])
    };
    let error = with("1h", "61m").unwrap_err();
    assert!(
        error.starts_with("canary.every is not longer than timers.min and a minute"),
        "{error}"
    );
    assert!(with("1h", "62m").is_ok() && with("10s", "10s").is_ok());
}

#[test]
fn one_value_has_two_names_and_is_set_by_one_of_them() {
    let older = read(&format!("{MINIMAL}[offline]\nundelivered_for = \"3d\""), &[]).unwrap();
    let newer = read(&format!("{MINIMAL}[timers]\nunread_for = \"3d\""), &[]).unwrap();
    assert_eq!(older.changes(&newer), []);
    assert!(older.render().contains("unread_for = \"3d\""), "{}", older.render());
    let both = "[timers]\nunread_for = \"3d\"\n[offline]\nundelivered_for = \"3d\"";
    let error = read(&format!("{MINIMAL}{both}"), &[]).unwrap_err();
    let twice =
        format!("timers.unread_for ({FILE}) and offline.undelivered_for ({FILE}) are both set");
    assert!(error.starts_with(&twice), "{error}");
}

/// Two rules for one name contradict each other, and the message says which rule has it a second time.
#[test]
fn a_name_is_in_one_rule_only() {
    let rules = |second: &str| {
        let first = "[[retention.rule]]\nusers = [\"a@example.org\"]\narchive_for = \"1d\"\n";
        read(&format!("{MINIMAL}\n{first}[[retention.rule]]\n{second}"), &[])
    };
    let error =
        rules("users = [\"b@example.org\", \"a@example.org\"]\nqueue_for = \"1d\"").unwrap_err();
    let says =
        format!("retention.rule number 2 has a name that a rule has already ({FILE})\nhelp: ");
    assert!(error.starts_with(&says), "{error}");
    let config =
        rules("hosts = [\"example.org\"]\narchive_for = \"2d\"\nreason = \"law\"").unwrap();
    let again = read(&config.render(), &[]).unwrap();
    assert_eq!(values(&again), values(&config), "what is shown reads back");
    assert_eq!(again.retention.rules, config.retention.rules);
}

/// Behind the companion module nothing goes by its age: that is said, and not ignored.
/// Below a [[retention.rule]] TOML takes every key for a part of the rule.
#[test]
fn a_key_below_a_retention_rule_is_named() {
    let rule = "[[retention.rule]]\nhosts = [\"example.org\"]\narchive_for = \"1d\"";
    for key in ["grace = \"2d\"", "confirm_above = 1"] {
        let error = read(&format!("{MINIMAL}\n{rule}\n{key}"), &[]).unwrap_err();
        let name = key.split(' ').next().unwrap_or_default();
        let help = format!("help: write {name} above the first [[retention.rule]]");
        assert!(error.contains(&help), "{error}");
    }
}

#[test]
fn retention_by_age_needs_the_archives_in_postgresql() {
    let component = MINIMAL.replace("kind = \"prosody\"", "kind = \"component\"");
    let rule = "rule = [{ hosts = [\"example.org\"], archive_for = \"1d\" }]";
    for (key, line) in [
        ("archive_for", "archive_for = \"1d\""),
        ("rooms_for", "rooms_for = \"1d\""),
        ("queue_for", "queue_for = \"1d\""),
        ("rule", rule),
    ] {
        let error = read(&format!("{component}\n[retention]\n{line}"), &[]).unwrap_err();
        let says = format!("retention.{key} needs the archives in PostgreSQL");
        assert!(error.starts_with(&says), "{error}");
    }
    assert!(read(&format!("{component}\n[retention]\narchive_for = \"never\""), &[]).is_ok());
}

#[test]
fn faulty_toml_is_shown_by_its_line() {
    let error = read("[component]\njid = \"a\"\nserver = x\n", &[]).unwrap_err();
    assert!(error.starts_with(&format!("{FILE}, line 3: ")), "{error}");
}

#[test]
fn what_is_shown_reads_back_and_names_its_origin() {
    let config = read(MINIMAL, &[("EPHEMERD__TIMERS__MAX", "7d")]).unwrap();
    let shown = config.render();
    let again = read(&shown, &[]).unwrap();
    assert_eq!(values(&again), values(&config));
    let origin = |key| config.settings().iter().find(|it| it.key == key).unwrap().origin.clone();
    assert_eq!(origin("timers.max"), Origin::Environment("EPHEMERD__TIMERS__MAX".into()));
    assert_eq!(origin("component.jid"), Origin::File(FILE.into()));
    assert_eq!(origin("timers.min"), Origin::Default);
    let line = shown.lines().find(|line| line.starts_with("max = ")).unwrap();
    assert!(line.ends_with(" # EPHEMERD__TIMERS__MAX"), "{line}");
}

/// The sample is valid, has every key, and its commented-out values are the defaults.
#[test]
fn the_sample_is_true() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["component.secret", "database.password"] {
        fs::write(folder.path().join(name), "s3cret\n").unwrap();
    }
    let there = format!("{}/", folder.path().display());
    let sample = repository("deploy/ephemerd.toml").replace("/etc/ephemerd/", &there);
    let as_it_is = read(&sample, &[]).unwrap();
    let is_value = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    let inline = |line: &str| line.starts_with("#secret = ") || line.starts_with("#password = ");
    let full: Vec<_> = sample
        .lines()
        .map(
            |line| {
                if is_value(&line) && !inline(line) { line.trim_start_matches('#') } else { line }
            },
        )
        .collect();
    let with_defaults = read(&full.join("\n"), &[]).unwrap();
    assert_eq!(values(&with_defaults), values(&as_it_is));
    // One value has two names, and the sample has the newer one.
    for key in KEYS.iter().filter(|key| **key != "offline.undelivered_for") {
        let (section, name) = key.split_once('.').unwrap();
        let below = sample.split_once(&format!("\n[{section}]\n")).unwrap().1;
        let below = below.split("\n[").next().unwrap();
        let has = |line: &str| line.trim_start_matches('#').starts_with(&format!("{name} = "));
        assert!(below.lines().any(has), "the sample lacks {key}");
    }
    for setting in with_defaults.settings() {
        assert!(matches!(setting.origin, Origin::File(_)), "the sample lacks {}", setting.key);
    }
}

/// docs/configuration.md has a row for each key, in order, with its default and whether it changes in a
/// running daemon.
#[test]
fn the_documentation_is_true() {
    let config = minimal();
    let row = |info: &ephemerd::config::KeyInfo| {
        let setting = config.settings().iter().find(|it| it.key == info.key);
        let other = format!("{}_file", info.key);
        let default = match setting {
            Some(it) if it.origin != Origin::Default && KEYS.contains(&other.as_str()) => {
                format!("required, or `{}`", other.split_once('.').unwrap().1)
            }
            Some(it) if it.origin != Origin::Default => "required".to_owned(),
            Some(it) => {
                let value = it.value.as_str().map_or_else(|| it.value.to_string(), str::to_owned);
                format!("`{value}`")
            }
            None => "–".to_owned(),
        };
        let changes = if changes_in_place(info.key) { "in place" } else { "at a restart" };
        let (key, takes, effect) = (info.key, info.takes, info.effect.trim());
        format!("| `{key}` | {takes} | {default} | {changes} | {effect} |")
    };
    let rows: Vec<String> = KEY_INFOS.iter().map(row).collect();
    check_table("docs/configuration.md", "| key | type | default | changes | effect |", &rows);
}
