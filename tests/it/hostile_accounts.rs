//! What an ordinary account on a real Prosody can send to the component: the stream is never lost, and every
//! request gets an answer.

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Prosody, ProsodyConfig, Result, Server as _};

use crate::reliability::saw;
use crate::support::{answered, ping, start};

/// Maximum depth of a stanza that is read.
const MOST_LEVELS: usize = 64;

fn nested(levels: usize) -> String {
    "<a xmlns='y'>".to_owned() + &"<a>".repeat(levels - 2) + &"</a>".repeat(levels - 2) + "</a>"
}

/// A stanza's own attributes, and its content.
fn contents() -> Vec<(&'static str, String, String)> {
    let long = |length: usize| format!(" long='{}'", "x".repeat(length));
    let many: String = (0..2_000).map(|at| format!(" a{at}=''")).collect();
    let ping = |attributes: &str| format!("<ping xmlns='urn:xmpp:ping'{attributes}/>");
    vec![
        ("as many levels as are read", String::new(), nested(MOST_LEVELS)),
        ("one level more", String::new(), nested(MOST_LEVELS + 1)),
        ("an attribute of 200 KB", String::new(), ping(&long(200_000))),
        ("an attribute of 200 KB on the stanza", long(200_000), ping("")),
        ("2,000 attributes", String::new(), ping(&many)),
        ("2,000 attributes on the stanza", many, ping("")),
        ("two payloads", String::new(), ping("").repeat(2)),
        ("no payload", String::new(), String::new()),
        ("text", String::new(), "words ".repeat(40_000)),
        ("an unknown payload", String::new(), "<wibble xmlns='urn:wibble'/>".to_owned()),
    ]
}

/// Any answer counts, including an error; the server may answer in our place.
async fn ask(client: &mut Client, id: usize, to: &str, kind: &str, xml: &str) -> Result<()> {
    let id = format!("h{id}");
    client.send(&format!("<iq type='{kind}' id='{id}' to='{to}'{xml}</iq>")).await?;
    let is_answer = |it: &ephemerd_lab::xmpp::Stanza| {
        it.name == "iq" && it.attribute("id") == Some(id.as_str())
    };
    client.wait_for("an answer", PATIENCE, is_answer).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_an_account_sends_ends_the_stream() -> Result<()> {
    let lab = Lab::database_only().await?;
    let files = ProsodyConfig { storage: Storage::Files, ..ProsodyConfig::default() };
    let prosody = Prosody::start(&files, None).await?;
    let daemon = start(&DaemonConfig::for_server(&prosody, &lab.database)).await?;
    let component = prosody.endpoints().component_jid.clone();
    prosody.register("mallory").await?;
    let mut mallory = Client::login(prosody.endpoints(), "mallory", "x").await?;
    mallory.send_presence().await?;
    answered(&mut mallory, &component, PATIENCE).await?;

    let (mut sent, mut requests) = (0, 0);
    for (name, attributes, content) in contents() {
        for element in ["message", "presence"] {
            let stanza = format!("<{element} to='{component}'{attributes}>{content}</{element}>");
            mallory.send(&stanza).await?;
            sent += 1;
        }
        for kind in ["get", "set"] {
            let xml = format!("{attributes}>{content}");
            let answer = ask(&mut mallory, sent, &component, kind, &xml).await;
            answer.unwrap_or_else(|error| panic!("{kind} with {name}: {error}"));
            (sent, requests) = (sent + 1, requests + 1);
        }
        let answer = ping(&mut mallory, &component).await;
        answer.unwrap_or_else(|error| panic!("after {name}: {error}"));
    }
    for element in ["message", "presence"] {
        for kind in ["chat", "wibble", "error", "subscribe", "unavailable", "groupchat"] {
            let stanza =
                format!("<{element} to='{component}' type='{kind}'><a xmlns='y'/></{element}>");
            mallory.send(&stanza).await?;
            sent += 1;
            ping(&mut mallory, &component).await?;
        }
    }
    for presence in [
        "<priority>much</priority>",
        "<priority>1000</priority>",
        "<show>everything</show><show/>",
        "<x xmlns='http://jabber.org/protocol/muc'/>",
    ] {
        mallory.send(&format!("<presence to='{component}/x'>{presence}</presence>")).await?;
        sent += 1;
        ping(&mut mallory, &component).await?;
    }
    let figures = daemon.figures().await?;
    assert_eq!(figures.get("ephemerd_component_reconnects_total", &[]), Some(0.0));
    assert_eq!(figures.get("ephemerd_component_connected", &[]), Some(1.0));
    assert!(daemon.terminate().await?.success());
    saw(
        "hostile stanzas through Prosody",
        "an ordinary account sends to the component: 64 and 65 levels, attributes of 200 KB, 2,000 attributes, unknown types, bad presence, requests with two payloads or none",
        &format!(
            "{sent} stanzas; each of {requests} requests answered; a ping answered after each; no reconnect"
        ),
    );
    Ok(())
}
