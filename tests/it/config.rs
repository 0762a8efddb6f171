//! The configuration: what is read, what is refused and in which words, and what the documents say of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ephemerd::component::ServerAddress;
use ephemerd::config::{ArchiveKind, Config, KEYS, Origin, Sources, changes_in_place};
use secrecy::ExposeSecret as _;

const MINIMAL: &str = r#"
[component]
jid = "ephemerd.example.org"
server = "127.0.0.1:5347"
secret = "s3cret-of-component"
[database]
url = "postgres://ephemerd@127.0.0.1/prosody"
[archive]
kind = "prosody"
hosts = ["example.org"]
"#;

const FILE: &str = "/etc/ephemerd/ephemerd.toml";

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Config::from_sources(&Sources::of_text(FILE, text, environment))
        .map_err(|error| error.to_string())
}

fn minimal() -> Config {
    read(MINIMAL, &[]).unwrap()
}

/// `MINIMAL` with `[section] key = value` put in.
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
    config.settings().into_iter().map(|setting| (setting.key, setting.value)).collect()
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
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "0012345\n").unwrap();
    let set = [
        ("component.jid", "e.example.net"),
        ("component.server", "unix:/run/prosody.sock"),
        ("component.secret_file", secret.to_str().unwrap()),
        ("database.url", "postgresql://e@db/prosody"),
        ("database.password", "0012345"),
        ("archive.kind", "prosody"),
        ("archive.hosts", "example.net, conference.example.net"),
        ("archive.poll", "250ms"),
        ("archive.max_lag", "1m"),
        ("timers.min", "5s"),
        ("timers.max", "7d"),
        ("timers.negotiation_for", "1d"),
        ("hints.keep_for", "1h"),
        ("hints.conflict", "no-permanent-store"),
        ("offline.undelivered_for", "never"),
        ("erase.mode", "delete"),
        ("erase.placeholder_for", "2d"),
        ("erase.batch", "10"),
        ("erase.rows_per_second", "500"),
        ("erase.dry_run", "true"),
        ("erase.backlog", "erase"),
        ("sweep.every", "2h"),
        ("sweep.rows_per_second", "0"),
        ("http.listen", "[::1]:1"),
        ("log.level", "debug"),
        ("log.format", "json"),
    ];
    let names: Vec<_> = set
        .iter()
        .map(|(key, value)| {
            (format!("EPHEMERD__{}", key.replace('.', "__").to_uppercase()), *value)
        })
        .collect();
    let environment: Vec<_> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let config = read(&MINIMAL.replace("secret = ", "#"), &environment).unwrap();
    assert_eq!(config.component.secret.expose_secret(), "0012345", "stays text, with its zeros");
    let values = values(&config);
    for (key, value) in set {
        let shown = match key {
            "component.secret_file" => &values["component.secret"],
            key => &values[key],
        };
        let expected = match key {
            "component.secret_file" | "database.password" => "***".into(),
            "archive.hosts" => r#"["example.net","conference.example.net"]"#.into(),
            _ => value.to_owned(),
        };
        let shown = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
        assert_eq!(shown, expected, "{key}");
    }
    // Together with the two other ways to give a secret these are all keys.
    let left: Vec<_> = KEYS.iter().filter(|key| !set.iter().any(|(set, _)| set == *key)).collect();
    assert_eq!(left, [&"component.secret", &"database.password_file"]);
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
        let start = format!("{key} stands outside of any section ({place})\nhelp: ");
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
        ("offline", "undelivered_for = \"none\""),
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
        ("sweep", "every = \"59s\""),
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
        ("erase", "batch = 1"),
        ("erase", "batch = 100000"),
        ("erase", "rows_per_second = 10000000"),
        ("sweep", "every = \"1m\""),
        ("component", "server = \"unix:/run/c.sock\""),
        ("archive", "hosts = [\"bücher.example\"]"),
    ] {
        with(section, line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn what_may_be_unlimited_says_by_which_word() {
    for (section, line, word) in [
        ("timers", "max = \"0s\"", "\"none\""),
        ("timers", "max = \"unlimited\"", "\"none\""),
        ("offline", "undelivered_for = \"forever\"", "\"never\""),
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
fn a_secret_comes_from_one_place() {
    let error = read(MINIMAL, &[("EPHEMERD__COMPONENT__SECRET_FILE", "/x")]).unwrap_err();
    assert_eq!(
        error,
        format!(
            "component.secret ({FILE}) and component.secret_file (EPHEMERD__COMPONENT__SECRET_FILE) \
             are both set\nhelp: keep one of them"
        )
    );
    let url = "url = \"postgres://ephemerd:pw@127.0.0.1/prosody\"\npassword = \"pw2\"";
    let error = read(&MINIMAL.replace("url = \"postgres://ephemerd@127.0.0.1/prosody\"", url), &[]);
    assert!(error.unwrap_err().starts_with("database.url holds a password, and another is set"));
}

#[test]
fn a_secret_file_loses_one_line_end_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let line = format!("secret_file = {:?}", file.to_str().unwrap());
    let text = MINIMAL.replace("secret = \"s3cret-of-component\"", &line);
    for (written, secret) in
        [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s \n", " s ")]
    {
        fs::write(&file, written).unwrap();
        let config = read(&text, &[]).unwrap();
        assert_eq!(config.component.secret.expose_secret(), secret, "{written:?}");
    }
    for written in ["", "\n", "a\n\n", "a\nb\n"] {
        fs::write(&file, written).unwrap();
        assert!(read(&text, &[]).unwrap_err().starts_with("component.secret_file "), "{written:?}");
    }
    fs::write(&file, "x".repeat(5000)).unwrap();
    assert!(read(&text, &[]).unwrap_err().contains("the file is too long"));
    fs::remove_file(&file).unwrap();
    let error = read(&text, &[]).unwrap_err();
    let start =
        format!("cannot read {}, named by component.secret_file ({FILE}): ", file.display());
    assert!(error.starts_with(&start) && error.contains("\nhelp: make "), "{error}");
}

/// Whatever is wrong, and wherever the secret was put, no words of ours repeat it.
#[test]
fn secrets_are_never_printed() {
    const WORD: &str = "s3cret-of-component";
    let config = minimal();
    for shown in [format!("{config:?}"), config.render(), config.to_json().to_string()] {
        assert!(!shown.contains(WORD), "{shown}");
    }
    for (text, environment) in [
        (format!("[component]\nsecret = {WORD}"), None),
        (format!("[component]\nsecret = \"{WORD}"), None),
        (format!("secret = \"{WORD}\""), None),
        (format!("component = \"{WORD}\""), None),
        (format!("[component]\nsecret = [\"{WORD}\"]"), None),
        (format!("[component]\nsecret = {{ is = \"{WORD}\" }}"), None),
        (format!("[component]\nsecrets = \"{WORD}\""), None),
        (format!("[component]\nserver = \"{WORD}\"\njid = \"a\""), None),
        (format!("[log]\nlevel = \"{WORD}\""), None),
        (String::new(), Some("EPHEMERD__COMPONENT")),
        (String::new(), Some("EPHEMERD__SECRET")),
        (String::new(), Some("EPHEMERD__COMPONENT__SECRET__IS")),
        (String::new(), Some("EPHEMERD__COMPONENT__SECRETS")),
        (String::new(), Some("EPHEMERD__DATABASE__URL")),
    ] {
        let environment: Vec<_> = environment.map(|name| (name, WORD)).into_iter().collect();
        let error = read(&text, &environment).unwrap_err();
        assert!(!error.contains(WORD), "{text}: {error}");
        assert!(error.contains("\nhelp: "), "{error}");
    }
}

#[test]
fn faulty_toml_is_shown_by_its_line() {
    let error = read("[component]\njid = \"a\"\nserver = x\n", &[]).unwrap_err();
    assert!(error.starts_with(&format!("{FILE}, line 3: ")), "{error}");
}

#[test]
fn what_is_shown_reads_back_and_says_whence() {
    let config = read(MINIMAL, &[("EPHEMERD__TIMERS__MAX", "7d")]).unwrap();
    let shown = config.render();
    let again = read(&shown, &[]).unwrap();
    assert_eq!(values(&again), values(&config));
    let origin = |key| config.settings().into_iter().find(|it| it.key == key).unwrap().origin;
    assert_eq!(origin("timers.max"), Origin::Environment("EPHEMERD__TIMERS__MAX".into()));
    assert_eq!(origin("component.jid"), Origin::File(FILE.into()));
    assert_eq!(origin("timers.min"), Origin::Default);
    let line = shown.lines().find(|line| line.starts_with("max = ")).unwrap();
    assert!(line.ends_with(" # EPHEMERD__TIMERS__MAX"), "{line}");
}

/// The sample is valid, names every key, and what it has commented out is the default.
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
    for key in KEYS {
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

/// docs/configuration.md has a row for each key, in order, with the default that is in force and whether it
/// changes in a running daemon.
#[test]
fn the_documentation_is_true() {
    let text = repository("docs/configuration.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect()
        })
        .collect();
    let keys: Vec<_> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(keys, KEYS);
    let values = values(&minimal());
    for row in &rows {
        assert_eq!(row.len(), 5, "{row:?}");
        let (key, default) = (row[0], row[2]);
        let changes = if changes_in_place(key) { "in place" } else { "at a restart" };
        assert_eq!(row[3], changes, "{key}");
        if default.starts_with("required") || default == "–" {
            continue;
        }
        let value = &values[key];
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(default, value, "{key}");
    }
    for required in
        ["component.jid", "component.server", "database.url", "archive.kind", "archive.hosts"]
    {
        let row = rows.iter().find(|row| row[0] == required).unwrap();
        assert_eq!(row[2], "required", "{required}");
    }
}
