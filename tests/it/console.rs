//! The command lines shown in the documents print what the documents say.

use std::fs;
use std::path::Path;

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Prosody, Result};
use sqlx::PgPool;

use crate::support::{marked, now, run, start, wait_for_number};

/// A command and its output, from a document.
struct Shown {
    command: Vec<String>,
    output: Vec<String>,
}

fn shown(document: &str) -> Vec<Shown> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let mut shown: Vec<Shown> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => {
                    let command = command.split_whitespace().map(str::to_owned).collect();
                    shown.push(Shown { command, output: Vec::new() });
                }
                None => shown.last_mut().unwrap().output.push(line.to_owned()),
            }
        }
    }
    shown
}

/// Whether a line matches, where `…` means anything, and blanks between words any number of blanks.
fn matches(pattern: &str, line: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (plain(pattern), plain(line));
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<_> = parts.collect();
    for (at, part) in parts.iter().enumerate() {
        let found = if at + 1 == parts.len() {
            rest.ends_with(part).then(|| rest.len() - part.len())
        } else {
            rest.find(part)
        };
        let Some(found) = found else { return false };
        rest = &rest[found + part.len()..];
    }
    !parts.is_empty() || rest.is_empty()
}

/// An archive with history: three messages and one in a room that are due, and one that is not.
async fn lab() -> Result<(Lab<Prosody>, DaemonConfig)> {
    let lab = Lab::prosody().await?;
    let pool = lab.database.superuser();
    let rooms = lab.endpoints().rooms.clone();
    let old = now(pool).await? - 7_200;
    let row = |key, timer| ArchiveRow::archive("peter", key, old, &marked(key, timer));
    let room =
        ArchiveRow { host: rooms, ..ArchiveRow::room("den", "room", old, &marked("room", 60)) };
    let rows = [row("example", 60), row("two", 60), row("three", 60), row("later", 36_000), room];
    insert(pool, &rows).await?;
    let config = lab.daemon_config();
    Ok((lab, config))
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

/// Waits for what a command depends on, so that its output is stable.
async fn settle(pool: &PgPool, command: &[String]) -> Result<()> {
    match words(command)[..] {
        [_, "status"] => {
            let gone = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'placeholder'";
            wait_for_number(pool, gone, 5).await?;
            let swept = "SELECT count(*) FROM ephemerd.sweeps
                          WHERE completed_at IS NOT NULL AND requested_at IS NULL AND started_at IS NULL";
            wait_for_number(pool, swept, 1).await
        }
        _ => Ok(()),
    }
}

/// The command prints what the document says.
async fn prints(config: &DaemonConfig, Shown { command, output }: &Shown) -> Result<()> {
    assert_eq!(command[0], "ephemerd");
    let args: Vec<&str> = command.iter().skip(1).map(String::as_str).collect();
    let printed = run(config, &args).await?;
    let lines: Vec<&str> = printed.stdout.lines().collect();
    let same = lines.len() == output.len()
        && output.iter().zip(&lines).all(|(shown, line)| matches(shown, line));
    assert!(same, "{command:?} prints:\n{}\n{}", printed.stdout, printed.stderr);
    assert_eq!(printed.code, Some(0), "{command:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operating_shows_what_is_printed() -> Result<()> {
    let (lab, config) = lab().await?;
    let mut daemon: Option<Daemon> = None;
    let commands = shown("docs/operating.md");
    assert!(commands.len() > 10, "the blocks were found");
    // She gets what `try` sends.
    let _rosa = lab.online("rosa").await?;
    for shown in commands {
        if shown.command[0] == "systemctl" {
            daemon = Some(start(&config).await?);
            continue;
        }
        settle(lab.database.superuser(), &shown.command).await?;
        if let (Some(daemon), [_, "try", ..]) = (&daemon, &words(&shown.command)[..]) {
            let connected = "ephemerd_component_connected";
            daemon.wait_for_figure(connected, &[], PATIENCE, |it| it == 1.0).await?;
        }
        prints(&config, &shown).await?;
    }
    assert!(daemon.expect("it was started").terminate().await?.success());
    Ok(())
}

/// The same for docs/holds.md, with messages that are due and no daemon that would erase them.
#[tokio::test(flavor = "multi_thread")]
async fn holds_shows_what_is_printed() -> Result<()> {
    let (_lab, config) = lab().await?;
    let config = config.set("erase.backlog", "erase");
    for command in ["migrate", "sweep"] {
        assert_eq!(run(&config, &[command]).await?.code, Some(0));
    }
    for shown in shown("docs/holds.md") {
        prints(&config, &shown).await?;
    }
    Ok(())
}

/// The same for docs/requests.md, with a daemon that holds what was archived before its start, and so would not erase it.
#[tokio::test(flavor = "multi_thread")]
async fn requests_shows_what_is_printed() -> Result<()> {
    let (lab, config) = lab().await?;
    let daemon = start(&config).await?;
    let recorded = "SELECT count(*) FROM ephemerd.expiries";
    wait_for_number(lab.database.superuser(), recorded, 5).await?;
    for shown in shown("docs/requests.md") {
        prints(&config, &shown).await?;
    }
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// The same for docs/retention.md: messages of two hours ago, and a daemon that announces the policy on the page.
#[tokio::test(flavor = "multi_thread")]
async fn retention_shows_what_is_printed() -> Result<()> {
    let (lab, config) = lab().await?;
    let rooms = lab.endpoints().rooms.clone();
    let rules = serde_json::json!([
        { "users": ["peter@localhost"], "archive_for": "1h", "reason": "on request" },
        { "hosts": [rooms], "rooms_for": "30d" },
    ]);
    let config = config
        .set("retention.archive_for", "365d")
        .set("retention.rooms_for", "90d")
        .set("retention.confirm_above", 3)
        .env("EPHEMERD__RETENTION__RULE", &rules.to_string());
    let daemon = start(&config).await?;
    daemon.wait_for_figure("ephemerd_age_unaccepted", &[], PATIENCE, |it| it == 4.0).await?;
    for shown in shown("docs/retention.md") {
        prints(&config, &shown).await?;
    }
    Ok(())
}

#[test]
fn lines_are_compared_strictly() {
    assert!(matches("a … c", "a b c") && matches("a  b", "a b") && matches("…", "x"));
    assert!(!matches("a … c", "a b d") && !matches("a b", "a b c") && !matches("a …", "b c"));
}
