//! What belongs to a message goes with it, with real servers and clients.

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{Lab, PATIENCE, Result, Server, eventually};

use crate::belonging::naming;
use crate::conformance::count;
use crate::support::{REFUSED, start, wait_for_number};

const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='4'/>";
/// Without words, servers archive it only if it asks for that.
const STORE: &str = "<store xmlns='urn:xmpp:hints'/>";

/// Sends what may belong to the message with this id; what the room calls it is `in_room`. Everything contains `token`.
async fn say(
    client: &mut Client,
    to: &str,
    id: &str,
    token: &str,
    in_room: Option<&str>,
) -> Result<()> {
    let kind = if in_room.is_some() { "groupchat" } else { "chat" };
    for (nr, name) in ["replace", "reactions", "attach-to"].into_iter().enumerate() {
        let named = if name == "replace" { id } else { in_room.unwrap_or(id) };
        let element = naming(name, named);
        let content = match name {
            "reactions" => format!("{element}{STORE}<x xmlns='{token}'/>"),
            _ => format!("<body>{token}</body>{element}"),
        };
        let stanza = format!("<message to='{to}' type='{kind}' id='{id}-{nr}'>{content}</message>");
        client.send(&stanza).await?;
    }
    client.sync().await
}

async fn words(client: &mut Client, to: &str, kind: &str, id: &str, extra: &str) -> Result<()> {
    let stanza = format!(
        "<message to='{to}' type='{kind}' id='{id}'><body>words of {id}</body>{extra}</message>"
    );
    client.send(&stanza).await?;
    client.sync().await
}

/// The id that the room gave the message with these words.
async fn in_room(client: &mut Client, words: &str) -> Result<String> {
    let heard = client.wait_for_body(words).await?;
    let id = heard.child("urn:xmpp:sid:0", "stanza-id").and_then(|it| it.attribute("id"));
    Ok(id.unwrap_or_default().to_owned())
}

async fn converse<S: Server>(lab: Lab<S>, mode: &str) -> Result<()> {
    let config = lab.daemon_config().set("archive.poll", "100ms").set("erase.mode", mode);
    let daemon = start(&config).await?;
    let pool = lab.database.superuser();
    lab.client("otto").await?.close().await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let lena = lab.online("lena").await?;
    let (den, lenas) = (lab.endpoints().room("den"), lab.endpoints().jid("lena"));
    peter.join(&den, "Peter").await?;
    rosa.join(&den, "Rosa").await?;
    let (rosas, peters, ottos) =
        (lab.endpoints().jid("rosa"), lab.endpoints().jid("peter"), lab.endpoints().jid("otto"));

    // What has no timer stays, and so does what belongs to it.
    words(&mut peter, &rosas, "chat", "plain", "").await?;
    say(&mut peter, &rosas, "plain", "stays-one", None).await?;
    words(&mut peter, &rosas, "chat", "marked", TIMER).await?;
    say(&mut peter, &rosas, "marked", "goes-one", None).await?;
    let reaction = naming("reactions", "marked");
    let heart = format!(
        "<message to='{peters}' type='chat' id='heart'>{reaction}{STORE}<x xmlns='goes-heart'/></message>"
    );
    rosa.send(&heart).await?;
    // Only the sender corrects.
    words(&mut rosa, &peters, "chat", "forged", &naming("replace", "marked")).await?;

    // He uses the id again, for a message without a timer: that one is meant.
    words(&mut peter, &lenas, "chat", "again", TIMER).await?;
    words(&mut peter, &lenas, "chat", "again", "").await?;
    say(&mut peter, &lenas, "again", "stays-two", None).await?;

    words(&mut peter, &den, "groupchat", "said", TIMER).await?;
    let said = in_room(&mut rosa, "words of said").await?;
    say(&mut peter, &den, "said", "goes-room", Some(&said)).await?;
    words(&mut rosa, &den, "groupchat", "forged-there", &naming("replace", "said")).await?;

    // Nobody has received it yet.
    words(&mut peter, &ottos, "chat", "away", TIMER).await?;
    say(&mut peter, &ottos, "away", "goes-away", None).await?;
    words(&mut peter, &ottos, "chat", "away-again", TIMER).await?;
    words(&mut peter, &ottos, "chat", "away-again", "").await?;
    say(&mut peter, &ottos, "away-again", "stays-away", None).await?;

    eventually("what belongs to it goes with it", PATIENCE, async || {
        let mut left = count(pool, S::TABLES, "words of again<", false).await? - 2;
        for token in ["words of marked", "goes-one", "goes-heart", "words of said", "goes-room"] {
            left += count(pool, S::TABLES, token, false).await?;
        }
        Ok((left == 0).then_some(()))
    })
    .await?;
    let queued = count(pool, S::TABLES, "goes-away", true).await?;
    assert_eq!(queued, 3, "it waits in the queue: a correction, a reaction, an attachment");
    let mut otto = lab.online("otto").await?;
    otto.sync().await?;
    eventually("what was delivered goes", PATIENCE, async || {
        let left = count(pool, S::TABLES, "words of away<", false).await?
            + count(pool, S::TABLES, "goes-away", false).await?
            + (count(pool, S::TABLES, "words of away-again<", false).await? - 2);
        Ok((left == 0).then_some(()))
    })
    .await?;
    for (token, rows) in [
        ("words of plain", 2),
        ("stays-one", 6),
        ("words of again<", 2),
        ("stays-two", 6),
        ("stays-away", 6),
        ("words of forged<", 2),
        ("words of forged-there", 1),
    ] {
        assert_eq!(count(pool, S::TABLES, token, false).await?, rows, "{token}");
    }
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'pending'", 0)
        .await?;
    lena.close().await?;
    let failures = daemon.figures().await?.get("ephemerd_erase_failures_total", &REFUSED);
    assert_eq!(failures, Some(0.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_all_that_belongs_to_a_message_goes_with_it() -> Result<()> {
    converse(Lab::prosody().await?, "placeholder").await?;
    converse(Lab::prosody().await?, "delete").await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_all_that_belongs_to_a_message_goes_with_it() -> Result<()> {
    for (schema, mode) in [(Schema::Classic, "delete"), (Schema::MultiHost, "placeholder")] {
        converse(Lab::ejabberd(&EjabberdConfig::default().schema(schema)).await?, mode).await?;
    }
    Ok(())
}
