//! Passwords pasted into `database.url` unencoded, and secrets in the wrong places: no command and no log
//! line shows any part of them, and no reload ends the daemon.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::LazyLock;
use std::time::Duration;

use ephemerd::config::{Config, GivenUrl, KEYS, Sources};
use ephemerd_lab::{Daemon, DaemonConfig, PATIENCE, Result, Signal, eventually};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config as Runs, RngSeed, TestRunner};
use tempfile::tempdir;

use crate::reliability::saw;
use crate::support::{program, run};

/// Part of every piece of a password, and of nothing else.
const NEEDLE: &str = "Zq7x";

/// Pieces that contain the needle, with anything around it: printable characters, preferably special ones.
fn password() -> impl Strategy<Value = String> {
    let any = prop_oneof![2 => "[ -~]", 1 => "[@:/?#\\[\\]% \"'&=+,\\\\]", 1 => "[0-9]"];
    let around = || prop::collection::vec(any.clone(), 0..5).prop_map(|it| it.concat());
    (around(), around(), around())
        .prop_map(|(one, two, three)| format!("{one}{NEEDLE}{two}{NEEDLE}{three}"))
}

/// Where people put it.
const PLACES: [&str; 17] = [
    "postgres://ephemerd:{}@127.0.0.1:1/prosody",
    "postgresql://ephemerd:{}@127.0.0.1:1/prosody?sslmode=disable",
    "postgres://:{}@127.0.0.1:1/prosody",
    "postgres://ephemerd:{}@/prosody?host=/nonexistent",
    "postgres://ephemerd:{}@%2Fnonexistent/prosody",
    "postgres://ephemerd:{}@[::1]:1/prosody",
    "postgres://ephemerd:{}@127.0.0.1:1",
    "postgres://ephemerd:{}@127.0.0.1:1,127.0.0.1:2/prosody",
    "postgres://ephemerd@127.0.0.1:1/prosody?password={}",
    "postgres://ephemerd@127.0.0.1:1/prosody?password={}&sslmode=disable",
    "postgres://ephemerd@127.0.0.1:1/prosody?sslmode=disable&password={}",
    "postgres://ephemerd@127.0.0.1:1/prosody?sslpassword={}",
    "postgres://ephemerd@127.0.0.1:1/prosody?{}",
    "mysql://ephemerd:{}@127.0.0.1:1/prosody",
    "ephemerd:{}@127.0.0.1:1/prosody",
    "host=127.0.0.1 user=ephemerd password={} dbname=prosody",
    "{}",
];

fn url() -> impl Strategy<Value = String> {
    (prop::sample::select(&PLACES[..]), password()).prop_map(|(place, it)| place.replace("{}", &it))
}

const MINIMAL: &str = "[component]\njid = \"e.example.org\"\nserver = \"127.0.0.1:1\"\nsecret = \"s\"\n\
                       [archive]\nkind = \"prosody\"\nhosts = [\"example.org\"]\n[database]\n";

/// Everything the program may say about a configuration, and about a change to it.
fn said(text: String, environment: Option<(String, String)>) -> String {
    let plain = format!("{MINIMAL}url = \"postgres://e@127.0.0.1:1/p\"");
    let base = Config::from_sources(&Sources::of_text("/f.toml", plain, [])).unwrap();
    match Config::from_sources(&Sources::of_text("/f.toml", text, environment)) {
        Ok(config) => {
            let changes = [base.changes(&config), config.changes(&base), config.changes(&config)];
            let changes = changes.concat().iter().map(ToString::to_string).collect::<String>();
            format!("{config:?}{}{}{changes}", config.render(), config.to_json())
        }
        Err(fault) => format!("{fault}{fault:?}"),
    }
}

/// The seed of this run, printed: LAB_SEED repeats it.
#[expect(clippy::print_stderr, reason = "the seed that repeats a run")]
fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        let given = std::env::var("LAB_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| rand::rng().random());
        eprintln!("secrets: LAB_SEED={seed}");
        seed
    });
    *SEED
}

fn runner(cases: u32) -> TestRunner {
    let rng_seed = RngSeed::Fixed(seed());
    TestRunner::new(Runs { cases, failure_persistence: None, rng_seed, ..Runs::default() })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[test]
fn no_piece_of_a_pasted_password_is_shown() {
    let tested = runner(3_000).run(&(url(), 0..3_u8), |(url, how)| {
        let said = match how {
            0 => said(format!("{MINIMAL}url = {}", quoted(&url)), None),
            1 => {
                said(MINIMAL.to_owned(), Some(("EPHEMERD__DATABASE__URL".to_owned(), url.clone())))
            }
            _ => said(format!("{MINIMAL}url = {url}"), None),
        };
        prop_assert!(!said.contains(NEEDLE), "{url}: {said}");
        Ok(())
    });
    tested.unwrap();
}

/// What `init` writes and prints of the URL that it is given.
#[test]
fn no_piece_of_it_is_in_what_init_makes_of_it() {
    let tested = runner(3_000).run(&url(), |url| {
        let made = match GivenUrl::parse(&url) {
            Ok(given) => format!("{given:?}{:?}", GivenUrl::for_role(&url, "ephemerd")),
            Err(fault) => format!("{fault:?}"),
        };
        prop_assert!(!made.contains(NEEDLE), "{url}: {made}");
        Ok(())
    });
    tested.unwrap();
}

/// In any key, and in the key's own place.
#[test]
fn no_piece_of_it_is_shown_by_another_key() {
    let whole = url().prop_filter("a URL", |url| url.contains("://"));
    let tested = runner(1_500).run(&(whole, prop::sample::select(KEYS)), |(url, key)| {
        let (section, name) = key.split_once('.').unwrap();
        let base = format!("{MINIMAL}url = \"postgres://e@127.0.0.1:1/p\"\n");
        let base = base.lines().filter(|line| !line.starts_with(&format!("{name} = ")));
        let base: String = base.map(|line| format!("{line}\n")).collect();
        let has = base.contains(&format!("[{section}]"));
        let (head, line) = (format!("[{section}]\n"), format!("{name} = {}\n", quoted(&url)));
        let text =
            if has { base.replace(&head, &format!("{head}{line}")) } else { base + &head + &line };
        let said_of_it = said(text.clone(), None);
        prop_assert!(!said_of_it.contains(NEEDLE), "{key} {url}: {said_of_it}");
        let as_a_key = text.replace(&line, &format!("{} = 1\n", quoted(&url)));
        let said_of_it = said(as_a_key, None);
        prop_assert!(!said_of_it.contains(NEEDLE), "{url} as a key: {said_of_it}");
        Ok(())
    });
    tested.unwrap();
}

/// serde's message ends the unknown key with a backtick and a comma, which a password may contain.
#[test]
fn a_key_that_looks_like_the_end_of_an_error_is_not_shown() {
    for key in ["a`, Zq7x", "a`, expected Zq7x", "Zq7x`, expected one of `Zq7x`, expected Zq7x"] {
        for section in ["database", "component"] {
            let section = format!("[{section}]\n");
            let line = format!("{section}{} = 1\n", quoted(key));
            let base = format!("{MINIMAL}url = \"postgres://e@127.0.0.1:1/p\"\n");
            let said_of_it = said(base.replace(&section, &line), None);
            assert!(said_of_it.contains("unknown key"), "{said_of_it}");
            assert!(!said_of_it.contains(NEEDLE), "{key}: {said_of_it}");
        }
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

const HOSTS: [&str; 10] =
    ["::1", "[::1]", "a b", "/run/postgresql", "", "db", "db:1", "%41", "a@b", "é"];

/// Everything a URL may legally say: users, passwords and databases with any characters, and each form of a
/// host.
fn legal() -> impl Strategy<Value = String> {
    let text = || prop_oneof![Just(String::new()), "[ -~]{1,8}", "\\PC{1,4}"];
    let parts = (text(), text(), text(), prop::sample::select(&HOSTS[..]), 0..3_u8);
    parts.prop_map(|(user, password, database, host, form)| {
        let [user, password, database] = [user, password, database].map(|it| encoded(&it));
        let host = encoded(host);
        match form {
            0 => format!("postgres://{user}:{password}@127.0.0.1/{database}?host={host}"),
            1 => format!("postgres:///{database}?user={user}&password={password}&hostaddr=::1"),
            _ => format!("postgres://{host}/{database}?user={user}&dbname={database}"),
        }
    })
}

#[test]
fn whatever_the_urls_say_they_can_be_compared() {
    let read = |url: &str| {
        let text = format!("{MINIMAL}url = {}", quoted(url));
        Config::from_sources(&Sources::of_text("/f.toml", text, [])).ok()
    };
    let tested = runner(1_500).run(&(legal(), legal()), |(one, other)| {
        if let (Some(one), Some(other)) = (read(&one), read(&other)) {
            let _ = one.changes(&other);
            prop_assert!(one.changes(&one).is_empty());
        }
        Ok(())
    });
    tested.unwrap();
    for url in ["postgres://a%3Ab%2Fx@db/p", "postgres://e@/p?host=::1", "postgres://@/"] {
        let config = read(url).expect("it is legal");
        assert!(config.changes(&config).is_empty(), "{url}");
    }
}

fn with_url(url: &str) -> DaemonConfig {
    DaemonConfig::empty()
        .set("component.jid", "ephemerd.localhost")
        .set("component.server", "127.0.0.1:1")
        .set_file("component.secret_file", "nobody asks")
        .set("archive.kind", "prosody")
        .set("archive.hosts", vec!["localhost"])
        .set("database.url", url)
}

/// This many samples, after those that were once shown.
fn samples(count: usize) -> Vec<String> {
    let found = [
        "postgres://ephemerd:/7MZq7x+rE@127.0.0.1/prosody",
        "postgres://ephemerd:12/34Zq7x@127.0.0.1/prosody",
        "postgres://ephemerd:5432#aZq7x@127.0.0.1/prosody",
    ];
    found.into_iter().map(str::to_owned).chain(drawn(&url(), count)).collect()
}

fn drawn(strategy: &impl Strategy<Value = String>, count: usize) -> Vec<String> {
    let mut runner = runner(1);
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// The same through the program: each command, by file and by environment.
#[tokio::test(flavor = "multi_thread")]
async fn no_command_shows_a_piece_of_it() -> Result<()> {
    for (at, url) in samples(24).iter().enumerate() {
        let in_file = with_url(url);
        let in_environment =
            with_url("postgres://e@127.0.0.1/p").env("EPHEMERD__DATABASE__URL", url);
        let config = if at % 2 == 0 { in_file } else { in_environment };
        for args in [&["config"][..], &["config", "--json"], &["check"], &["status"]] {
            let output = run(&config, args).await?;
            let said = output.stdout + &output.stderr;
            assert!(!said.contains(NEEDLE), "{args:?} with {url}: {said}");
        }
    }
    for url in &samples(0) {
        for args in [&["config"][..], &["check"], &["run"]] {
            let output = run(&with_url(url), args).await?;
            assert_eq!(output.code, Some(3), "{url}: {}", output.stderr);
            let (what, help) = output.stderr.split_once("\nhelp: ").expect("what to do");
            assert!(what.starts_with("error: database.url has "), "{what}");
            assert!(what.ends_with("ephemerd.toml)"), "{what}");
            assert!(help.starts_with("percent-encode the password or use password_file\n"));
        }
    }
    saw(
        "a password that is not percent-encoded",
        "in `database.url`, in file and environment, and in the place of every other key",
        "no command, log line or reload shows a piece of it; `run` says what to do, with exit code 3",
    );
    Ok(())
}

/// One daemon that is sent each of them; it applies what it can, and never ends.
#[tokio::test(flavor = "multi_thread")]
async fn no_reload_shows_a_piece_of_it_or_ends_the_daemon() -> Result<()> {
    let mut daemon = Daemon::spawn(program(), &with_url("postgres://e@127.0.0.1:1/p"))?;
    eventually("its pages", PATIENCE, async || Ok(daemon.get("/healthz").await.ok())).await?;
    let unusual =
        ["postgres://e@/p?host=::1", "postgres://e%40%3A%5B:p@/p?host=a%20b", "postgres://@/"];
    let unusual = unusual.map(str::to_owned).into_iter().chain(drawn(&legal(), 40));
    let urls = samples(60).into_iter().chain(unusual);
    for (at, url) in urls.enumerate() {
        daemon.reload(&with_url(&url))?;
        let read = ("ephemerd_config_reloads_total", []);
        let read = daemon.wait_for_figure(read.0, &read.1, PATIENCE, |count| count > at as f64);
        read.await?;
    }
    for name in ["run", "status"] {
        let log = daemon.log()?;
        assert!(!log.contains(NEEDLE) && !log.contains("panic"), "{name}: {log}");
    }
    assert!(daemon.log()?.contains("percent-encode the password or use password_file"));
    assert!(daemon.terminate().await?.success());

    // And one that starts with it.
    for url in samples(12) {
        let daemon = Daemon::spawn(program(), &with_url(&url))?;
        let started = eventually("its pages, or its end", PATIENCE, async || {
            let ended = daemon.wait(Duration::from_millis(1)).await.is_ok();
            Ok((ended || daemon.get("/healthz").await.is_ok()).then_some(ended))
        });
        if !started.await? {
            daemon.signal(Signal::SIGTERM)?;
            daemon.wait(PATIENCE).await?;
        }
        let log = daemon.log()?;
        assert!(!log.contains(NEEDLE), "{url}: {log}");
    }
    saw(
        "SIGHUP with any URL",
        "a running daemon is asked to reload URLs with unencoded passwords, and legal ones of unusual forms",
        "no reload ends it; each is applied, or refused with what to do",
    );
    Ok(())
}

/// A secret in place of its file's name is not shown as a file name.
#[tokio::test]
async fn a_secret_in_its_files_place_is_not_shown() -> Result<()> {
    for secret in ["/7MZq7x+rE", "Zq7xZq7x", "postgres://e:Zq7x@127.0.0.1/p", "a/Zq7x/b"] {
        for key in ["component.secret_file", "database.password_file"] {
            let config = with_url("postgres://e@127.0.0.1:1/p").unset(key).set(key, secret);
            let output = run(&config, &["config"]).await?;
            assert_eq!(output.code, Some(3));
            let start = format!("error: cannot read the file, named by {key} (");
            assert!(output.stderr.starts_with(&start), "{}", output.stderr);
            assert!(!output.stderr.contains(NEEDLE), "{}", output.stderr);
        }
    }
    Ok(())
}

/// World-readable files with secrets: reported by `check` and once by `run`.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_secrets_is_reported() -> Result<()> {
    let folder = tempdir()?;
    let secret = folder.path().join("secret");
    fs::write(&secret, "nobody asks")?;
    let told = |mode: u32| {
        fs::set_permissions(&secret, Permissions::from_mode(mode))?;
        let url = "postgres://e@127.0.0.1:1/p";
        Ok(with_url(url)
            .unset("component.secret_file")
            .set("component.secret_file", secret.to_str()))
    };
    let help = format!("chmod 640 {}", secret.display());
    let what = format!(
        "{} is readable by everyone on this machine and contains a secret (component.secret_file).",
        secret.display()
    );
    for (mode, is_told) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        let config: Result<DaemonConfig> = told(mode);
        let output = run(&config?, &["check"]).await?;
        let line = format!(
            "warning  {what}\n         {help}\n         see docs/configuration.md#secrets\n"
        );
        assert_eq!(output.stdout.contains(&line), is_told, "{mode:o}: {}", output.stdout);
        assert_eq!(output.stdout.contains("chmod"), is_told, "{mode:o}: {}", output.stdout);
    }
    let config: Result<DaemonConfig> = told(0o644);
    let config = config?;
    let mut daemon = Daemon::spawn(program(), &config)?;
    eventually("its pages", PATIENCE, async || Ok(daemon.get("/healthz").await.ok())).await?;
    for at in 1..3 {
        daemon.reload(&config)?;
        let read = ("ephemerd_config_reloads_total", []);
        daemon.wait_for_figure(read.0, &read.1, PATIENCE, |count| count >= f64::from(at)).await?;
    }
    let log = daemon.log()?;
    assert_eq!((log.matches(&what).count(), log.matches(&help).count()), (1, 1), "{log}");
    Ok(())
}

/// A URL among the arguments, or as the name of the configuration file.
#[tokio::test]
async fn a_url_on_the_command_line_is_not_shown() -> Result<()> {
    let config = with_url("postgres://e@127.0.0.1:1/p");
    let url = "postgres://e:Zq7x@127.0.0.1/p";
    for args in [&["run", url][..], &["check", "--json", url], &[url], &["config", "--url", url]] {
        let output = run(&config, args).await?;
        assert_eq!(output.code, Some(2), "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains("--help"), "{args:?}: {}", output.stderr);
        assert!(!output.stderr.contains(NEEDLE), "{args:?}: {}", output.stderr);
    }
    let mut named = std::process::Command::new(program());
    let output = named.args(["config", "--config", url]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && !said.contains(NEEDLE), "{said}");
    assert!(said.starts_with("error: cannot read the configuration "), "{said}");
    Ok(())
}
