//! `ephemerd try`: the whole way of one message, or what stands in it, with real servers.

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{Daemon, DaemonConfig, EjabberdConfig, Lab, Output, PATIENCE, Result, Server};
use serde_json::Value;

use crate::remote;
use crate::support::{pause, printed, resume, run, start};

const WORDS: &str = "This is a trial of ephemerd";

async fn connected(config: &DaemonConfig) -> Result<Daemon> {
    let daemon = start(config).await?;
    daemon.wait_for_figure("ephemerd_component_connected", &[], PATIENCE, |it| it == 1.0).await?;
    Ok(daemon)
}

async fn tried(config: &DaemonConfig, to: &str, more: &[&str]) -> Result<Output> {
    run(config, &[&["try", "--to", to], more].concat()).await
}

/// What stood in the way, as programs see it.
async fn in_the_way(config: &DaemonConfig, to: &str, more: &[&str]) -> Result<String> {
    let output = tried(config, to, &[more, &["--json"]].concat()).await?;
    let told: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((output.code, &told["gone"]), (Some(1), &Value::Bool(false)), "{told}");
    assert!(output.stderr.starts_with("error: ") && output.stderr.contains("\nhelp: "));
    Ok(told["in_the_way"].as_str().unwrap_or_default().to_owned())
}

/// Rosa is online: she gets the message, and it vanishes from her archive.
async fn vanishes<S: Server>(lab: &Lab<S>, config: &DaemonConfig) -> Result<()> {
    let mut rosa = lab.online("rosa").await?;
    let output = tried(config, &lab.endpoints().jid("rosa"), &["--timer", "2s"]).await?;
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
    assert_eq!(lines.first(), Some(&"sent: a message with a timer of 2s"));
    assert!(lines.iter().any(|it| it.starts_with("recorded: it goes at ")), "{lines:?}");
    assert!(lines.last().is_some_and(|it| it.starts_with("gone: ")), "{lines:?}");
    rosa.sync().await?;
    let got = rosa.take(|it| it.body().is_some_and(|it| it.starts_with(WORDS)));
    assert_eq!(got.len(), 1, "she got it");
    let items = lab.archive("rosa", &MamQuery::default()).await?;
    assert!(!items.iter().any(|it| it.xml.contains(WORDS)), "the archive has it no more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_a_trial_vanishes_or_says_what_is_in_the_way() -> Result<()> {
    let lab = Lab::prosody().await?;
    let config = lab.daemon_config().set("archive.poll", "50ms");
    let daemon = connected(&config).await?;
    vanishes(&lab, &config).await?;
    lab.client("ada").await?.close().await?;
    let away = in_the_way(&config, "ada@localhost", &["--timer", "1s", "--wait", "3s"]).await?;
    assert_eq!(away, "undelivered");
    assert_eq!(in_the_way(&config, "nobody@localhost", &[]).await?, "not_archived");
    let rosa = lab.online("rosa").await?;
    let soon = in_the_way(&config, "rosa@localhost", &["--timer", "1h", "--wait", "1s"]).await?;
    assert_eq!(soon, "not_due");
    pause(&config).await?;
    assert_eq!(in_the_way(&config, "rosa@localhost", &["--timer", "1s"]).await?, "paused");
    resume(&config).await?;
    let hold = ["hold", "add", "--user", "rosa@localhost", "--reason", "a test", "--by", "test"];
    printed(&config, &hold).await?;
    assert_eq!(in_the_way(&config, "rosa@localhost", &["--timer", "1s"]).await?, "on_hold");
    printed(&config, &["hold", "release", "1", "--reason", "a test", "--by", "test"]).await?;
    let elsewhere = tried(&config, "rosa@elsewhere.example", &[]).await?;
    assert_eq!(elsewhere.code, Some(2), "{}", elsewhere.stderr);
    assert!(elsewhere.stderr.contains("archive.hosts"), "{}", elsewhere.stderr);
    daemon.terminate().await?;
    assert_eq!(in_the_way(&config, "rosa@localhost", &[]).await?, "no_daemon");
    let config = config.set("erase.dry_run", "true");
    let _daemon = connected(&config).await?;
    assert_eq!(in_the_way(&config, "rosa@localhost", &["--timer", "1s"]).await?, "dry_run");
    drop(rosa);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_and_by_a_module_a_trial_vanishes() -> Result<()> {
    let ejabberd = Lab::ejabberd(&EjabberdConfig::default()).await?;
    let config = ejabberd.daemon_config().set("archive.poll", "50ms");
    let _daemon = connected(&config).await?;
    vanishes(&ejabberd, &config).await?;
    let files = remote::prosody(Storage::Files).await?;
    let config = remote::config(&files).set("archive.poll", "50ms");
    let _daemon = connected(&config).await?;
    vanishes(&files, &config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_a_connection_says_so() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    let _daemon = start(&config).await?;
    assert_eq!(in_the_way(&config, "rosa@localhost", &[]).await?, "disconnected");
    Ok(())
}
