//! Anyone but ephemerd's component learns nothing from the companion module in Prosody and changes nothing;
//! and while the component is away, nothing leaves the server.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Client, Component, MamQuery, Stanza};
use ephemerd_lab::{
    Endpoints, Lab, LabError, PATIENCE, Prosody, ProsodyConfig, Result, Server as _,
};

use crate::companion::{NS, bare, companion, item, notices, request};
use crate::companion_notices::TIMER;

const ELSEWHERE: &str = "elsewhere.localhost";

fn in_files() -> ProsodyConfig {
    ProsodyConfig::default().storage_in(Storage::Files).with_companion()
}

#[tokio::test(flavor = "multi_thread")]
async fn none_but_the_component_is_answered() -> Result<()> {
    let hosts = vec![format!("VirtualHost {ELSEWHERE:?}\n\tmodules_enabled = {{ \"ephemerd\" }}")];
    let globals = vec!["validate_from_addresses = false".to_owned()];
    let lab = Lab::prosody_with(&ProsodyConfig { hosts, globals, ..in_files() }).await?;
    let mut component = Component::connect(lab.endpoints()).await?;
    let mut peter = lab.online("peter").await?;
    peter.chat("peter@localhost", "stays", TIMER).await?;
    peter.sync().await?;
    let before = lab.archive("peter", &MamQuery::default()).await?;
    let told = notices(&mut component, "localhost").await?;
    assert!(!told.is_empty() && told.iter().all(|it| it.owner == "peter@localhost"));

    let us = component.jid().to_owned();
    let one = item(&before[0].id, &before[0].stamp);
    let owner = "peter@localhost";
    let requests = [
        ("get", format!("<companion xmlns='{NS}' version='1'/>")),
        ("get", format!("<owners xmlns='{NS}' version='1' store='archive' max='9'/>")),
        ("get", request("list", owner, "archive", "max='9' max-bytes='9999'", "")),
        ("set", request("erase", owner, "archive", "", &one)),
        ("set", request("blank", owner, "archive", "until='2099-01-01T00:00:00Z'", &one)),
        ("set", request("devour", owner, "archive", "", &one)),
    ];
    lab.server.register_at(ELSEWHERE, "eve")?;
    let elsewhere = Endpoints { domain: ELSEWHERE.to_owned(), ..lab.endpoints().clone() };
    let mut eve = Client::login(&elsewhere, "eve", "lab").await?;
    let mut other =
        Component::connect_as(lab.endpoints(), &lab.endpoints().other_component).await?;
    for (kind, payload) in &requests {
        for host in ["localhost", "conference.localhost", ELSEWHERE] {
            let answers = [
                peter.iq(kind, Some(host), payload).await.err(),
                eve.iq(kind, Some(host), payload).await.err(),
                other.iq(kind, host, payload).await.err(),
                // The component's own domain, but not its own JID.
                as_another_of_its_domain(&mut component, kind, host, payload).await?,
            ];
            for error in answers {
                let condition = error.as_ref().and_then(|it| it.condition());
                assert_eq!(condition, Some("forbidden"), "{payload}");
            }
        }
    }
    // Prosody would close a stream that uses other names, but can be configured not to check (above).
    let erase = &requests[3].1;
    other.send(&format!("<iq type='set' id='x' from='{us}' to='localhost'>{erase}</iq>")).await?;
    let is_answer = |it: &Stanza| it.attribute("id") == Some("x");
    let answer = other.wait_for("an answer", PATIENCE, is_answer).await?.error();
    assert_eq!(answer.as_ref().and_then(|it| it.condition()), Some("forbidden"));
    // A user's claim to be the component is overwritten.
    peter
        .send(&format!("<iq type='set' id='y' from='{us}' to='localhost'>{}</iq>", requests[3].1))
        .await?;
    peter.sync().await?;
    let after = lab.archive("peter", &MamQuery::default()).await?;
    assert_eq!(after.len(), before.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&after.id, bare(&after.message)), (&before.id, bare(&before.message)));
    }
    Ok(())
}

async fn as_another_of_its_domain(
    component: &mut Component,
    kind: &str,
    host: &str,
    payload: &str,
) -> Result<Option<LabError>> {
    let from = format!("somebody@{}", component.jid());
    let iq = format!("<iq type='{kind}' id='other' from='{from}' to='{host}'>{payload}</iq>");
    component.send(&iq).await?;
    let is_answer = |it: &Stanza| it.attribute("id") == Some("other");
    let answer = component.wait_for("an answer", PATIENCE, is_answer).await?;
    Ok(answer.error())
}

/// Sends something marked to somebody who is offline, and checks that it was archived.
async fn say(lab: &Lab<Prosody>, body: &str) -> Result<()> {
    let mut peter = lab.online("peter").await?;
    lab.client("ada").await?.close().await?;
    peter.chat("ada@localhost", body, TIMER).await?;
    peter.sync().await?;
    assert!(peter.take(|it| it.attribute("type") == Some("error")).is_empty());
    let archived = lab.archive("ada", &MamQuery::default()).await?;
    assert_eq!(archived.last().and_then(|it| it.body()), Some(body));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_component_is_away_messages_flow_and_none_leaves() -> Result<()> {
    let lab =
        Lab::prosody_with(&ProsodyConfig { log_level: "debug".to_owned(), ..in_files() }).await?;
    let log = || fs::read_to_string(lab.server.log());
    say(&lab, "away").await?;
    // Three notices would have gone out: of two archives and a queue.
    let mut component = Component::connect(lab.endpoints()).await?;
    let there = companion(&mut component, "localhost").await?;
    assert_eq!(there.attribute("number"), Some("3"));
    say(&lab, "there").await?;
    let told = notices(&mut component, "localhost").await?;
    assert_eq!(told.iter().map(|it| it.number).collect::<Vec<_>>(), [4, 5, 6]);
    component.close().await?;
    say(&lab, "away again").await?;
    let away = log()?;
    assert!(!away.contains("Component not connected"), "nothing is sent to bounce");

    // A component that this server does not know, as after a mistake in the configuration.
    lab.server.stop().await?;
    let config = fs::read_to_string(lab.server.config_file())?;
    let setting = "ephemerd_component = \"ephemerd.localhost\"";
    assert!(config.contains(setting));
    let config = config.replace(setting, "ephemerd_component = \"ephemerd.example.net\"");
    fs::write(lab.server.config_file(), config)?;
    lab.server.resume().await?;
    say(&lab, "nowhere").await?;
    let after = log()?;
    assert!(!after.contains("example.net"), "nothing is routed there");
    assert!(!after.contains("route stanza to remote"), "nothing is routed to others");
    assert!(!after.contains("could not be announced"));
    Ok(())
}

/// A module that breaks everything that is sent to the component.
const BREAKS: &str = r#"
module:hook_global("server-started", function ()
    local component = prosody.hosts["ephemerd.localhost"].events;
    module:hook_object_event(component, "message/host", function ()
        error("peter@localhost said something");
    end, 10);
end);
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_fails_harms_no_message() -> Result<()> {
    let plugins = tempfile::tempdir()?;
    fs::set_permissions(plugins.path(), Permissions::from_mode(0o755))?; // Prosody runs as its own user
    fs::write(plugins.path().join("mod_breaks.lua"), BREAKS)?;
    let config = ProsodyConfig {
        plugin_paths: vec![plugins.path().to_owned()],
        modules: vec!["breaks".to_owned()],
        ..in_files()
    };
    let lab = Lab::prosody_with(&config).await?;
    let mut component = Component::connect(lab.endpoints()).await?;
    say(&lab, "one").await?;
    say(&lab, "two").await?;
    assert!(notices(&mut component, "localhost").await?.is_empty());
    let there = companion(&mut component, "localhost").await?;
    assert_eq!(there.attribute("number"), Some("6"));
    let log = fs::read_to_string(lab.server.log())?;
    let said: Vec<_> = log.lines().filter(|it| it.contains("could not be announced")).collect();
    let [line] = said.as_slice() else { panic!("it is said once: {said:?}") };
    assert!(!line.contains('@') && line.contains("mod_breaks.lua"), "{line}");
    Ok(())
}
