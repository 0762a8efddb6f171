//! Archives that only the companion module reaches, end to end: a real server, its module, and the daemon.

use ephemerd_lab::ejabberd::{EjabberdConfig, Storage};
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{DaemonConfig, Ejabberd, Lab, PATIENCE, Result, Server, eventually};

use crate::support::{run, start};

/// An ejabberd that keeps archives in Mnesia, with its companion module.
async fn mnesia() -> Result<Lab<Ejabberd>> {
    let config =
        EjabberdConfig { storage: Storage::Mnesia, companion: true, ..EjabberdConfig::default() };
    Lab::ejabberd(&config).await
}

fn config<S: Server>(lab: &Lab<S>) -> DaemonConfig {
    lab.daemon_config().set("archive.kind", "component")
}

fn timer(seconds: u32) -> String {
    format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{seconds}'/>")
}

/// Whether anything that a client of this user finds in its archive says this.
async fn says<S: Server>(lab: &Lab<S>, user: &str, word: &str) -> Result<bool> {
    let items = lab.archive(user, &MamQuery::default()).await?;
    Ok(items.iter().any(|item| item.xml.contains(word)))
}

async fn until_gone<S: Server>(lab: &Lab<S>, user: &str, word: &str) -> Result<()> {
    eventually(&format!("{user}'s archive without {word}"), PATIENCE, async || {
        Ok((!says(lab, user, word).await?).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_marked_goes_and_all_else_stays() -> Result<()> {
    let lab = mnesia().await?;
    let daemon = start(&config(&lab)).await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    peter.chat(rosa.bare_jid(), "stays-here", "").await?;
    peter.chat(rosa.bare_jid(), "goes-soon", &timer(2)).await?;
    rosa.wait_for_body("goes-soon").await?;
    assert!(says(&lab, "rosa", "goes-soon").await?, "its time is not over");
    for user in ["peter", "rosa"] {
        until_gone(&lab, user, "goes-soon").await?;
        assert!(says(&lab, user, "stays-here").await?);
    }
    let checked = run(&config(&lab), &["check"]).await?;
    assert!(checked.stdout.contains("a daemon runs and works with them"), "{}", checked.stdout);
    daemon.terminate().await?;
    let checked = run(&config(&lab), &["check"]).await?;
    assert!(
        checked.stdout.contains("companion module on localhost: version"),
        "{}",
        checked.stdout
    );
    Ok(())
}
