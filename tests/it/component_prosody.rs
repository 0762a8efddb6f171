//! The component on a real Prosody, seen by an ordinary account.

use std::time::Duration;

use ephemerd::component::{ComponentSettings, Timing, probe};
use ephemerd::model::Level;
use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{Prosody, ProsodyConfig, Result, Server as _, Signal, eventually};
use xmpp_parsers::ns;

use crate::component_stand_in::{DEADLINE, Running, TIMING};

const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

async fn prosody() -> Result<Prosody> {
    let config = ProsodyConfig { storage: Storage::Files, ..ProsodyConfig::default() };
    Prosody::start(&config, None).await
}

fn settings(prosody: &Prosody) -> ComponentSettings {
    let endpoints = prosody.endpoints();
    ComponentSettings {
        jid: endpoints.component_jid.clone(),
        server: endpoints.components.to_string().parse().unwrap(),
        secret: endpoints.component_secret.as_str().into(),
        timing: TIMING,
    }
}

async fn account(prosody: &Prosody) -> Result<Client> {
    prosody.register("peter").await?;
    Client::login(prosody.endpoints(), "peter", "lab").await
}

async fn connected(running: &Running, connections: i64) -> Result<()> {
    let is_so =
        async || Ok((running.metrics.component_connected.get() == connections).then_some(()));
    eventually("the connection", DEADLINE, is_so).await
}

#[tokio::test]
async fn an_account_sees_us_and_cannot_hurt_us() -> Result<()> {
    let prosody = prosody().await?;
    let running = Running::start(settings(&prosody));
    connected(&running, 1).await?;
    let mut peter = account(&prosody).await?;
    let jid = prosody.endpoints().component_jid.clone();
    let us = Some(jid.as_str());

    let info = format!("<query xmlns='{}'/>", ns::DISCO_INFO);
    let info = peter.iq("get", us, &info).await?.element;
    let identity = info
        .child(ns::DISCO_INFO, "query")
        .and_then(|query| query.child(ns::DISCO_INFO, "identity"));
    let told = ["category", "type", "name"].map(|name| identity.and_then(|it| it.attribute(name)));
    assert_eq!(told, [Some("component"), Some("generic"), Some("ephemerd")]);
    peter.iq("get", us, &format!("<query xmlns='{}'/>", ns::DISCO_ITEMS)).await?;
    peter.iq("get", us, PING).await?;
    let version = format!("<query xmlns='{}'/>", ns::VERSION);
    let version = peter.iq("get", us, &version).await?.element;
    let version =
        version.child(ns::VERSION, "query").and_then(|query| query.child(ns::VERSION, "version"));
    assert_eq!(version.map(|version| version.text.as_str()), Some(env!("CARGO_PKG_VERSION")));

    for (kind, payload, condition) in [
        ("get", "<vCard xmlns='vcard-temp'/>".to_owned(), "service-unavailable"),
        ("set", PING.to_owned(), "feature-not-implemented"),
        ("get", nested(ONE_LEVEL_TOO_MANY), "policy-violation"),
    ] {
        let answer = peter.iq(kind, us, &payload).await;
        assert_eq!(answer.err().as_ref().and_then(|error| error.condition()), Some(condition));
    }
    for content in [nested(ONE_LEVEL_TOO_MANY), "x".repeat(200_000)] {
        peter.send(&format!("<message to='{jid}'>{content}</message>")).await?;
    }
    peter.send(&format!("<message to='{jid}' a='{}'/>", "x".repeat(200_000))).await?;
    peter.send(&format!("<presence to='{jid}'><priority>many</priority></presence>")).await?;
    peter.iq("get", us, PING).await?;
    assert_eq!(running.metrics.component_reconnects.get(), 0);
    running.tell_to_stop();
    running.stopped().await;
    Ok(())
}

/// Depth of a stanza's content; the stanza adds one, and 64 are read.
const ONE_LEVEL_TOO_MANY: usize = 64;

fn nested(levels: usize) -> String {
    format!("<a xmlns='y'>{}{}</a>", "<a>".repeat(levels - 1), "</a>".repeat(levels - 1))
}

#[tokio::test]
async fn a_probe_tells_what_prosody_says() -> Result<()> {
    let prosody = prosody().await?;
    let right = settings(&prosody);
    let told = async |settings: &ComponentSettings| probe(settings).await.remove(0);

    assert_eq!(told(&right).await.level, Level::Good);
    let secret = "another".into();
    let wrong = told(&ComponentSettings { secret, ..right.clone() }).await;
    assert!(wrong.what.contains("refused our secret"), "{wrong:?}");
    let jid = "unknown.localhost".to_owned();
    let unknown = told(&ComponentSettings { jid, ..right.clone() }).await;
    assert!(unknown.what.contains("has no component with our name"), "{unknown:?}");

    let running = Running::start(right.clone());
    connected(&running, 1).await?;
    let conflict = told(&right).await;
    assert_eq!(conflict.level, Level::Warning, "{conflict:?}");
    assert_eq!(running.metrics.component_reconnects.get(), 0);
    Ok(())
}

#[tokio::test]
async fn a_prosody_that_hangs_or_restarts_is_found_again() -> Result<()> {
    let prosody = prosody().await?;
    let timing = Timing {
        ask_after: Duration::from_millis(500),
        // A busy machine may make Prosody's answer late.
        give_up_after: Duration::from_secs(6),
        ..settings(&prosody).timing
    };
    let running = Running::start(ComponentSettings { timing, ..settings(&prosody) });
    connected(&running, 1).await?;
    let mut peter = account(&prosody).await?;
    // Longer than the timeout: only Prosody's returning our own ping keeps the connection.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(running.metrics.component_reconnects.get(), 0);

    prosody.signal(Signal::SIGSTOP).await?;
    connected(&running, 0).await?;
    prosody.signal(Signal::SIGCONT).await?;
    connected(&running, 1).await?;
    peter.iq("get", Some(&prosody.endpoints().component_jid), PING).await?;

    prosody.restart().await?;
    connected(&running, 1).await?;
    let mut peter = account(&prosody).await?;
    peter.iq("get", Some(&prosody.endpoints().component_jid), PING).await?;
    assert!(running.metrics.component_reconnects.get() >= 2);
    Ok(())
}
