//! What the companion module in Prosody announces, with each kind of storage.

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Client, Component, Element, MamItem, MamQuery};
use ephemerd_lab::{Context as _, Lab, Prosody, ProsodyConfig, Result};

use crate::companion::{Notice, answer, companion, notices, page, request};

pub(crate) const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>";
/// When it expires by older specifications.
pub(crate) const EXPIRE: &str = "<x xmlns='jabber:x:expire' seconds='60'/>";
pub(crate) const EXPIRE_AT: &str = "<amp xmlns='http://jabber.org/protocol/amp'>\
    <rule condition='expire-at' action='drop' value='2040-01-01T00:00:00Z'/></amp>";
pub(crate) const HINT: &str = "<no-permanent-store xmlns='urn:xmpp:hints'/>";

/// Runs this on three Prosodys at once, each with a different archive storage.
pub(crate) async fn everywhere(test: impl AsyncFn(Lab<Prosody>) -> Result<()>) -> Result<()> {
    let run = async |storage| {
        let config = ProsodyConfig::default().storage_in(storage).with_companion();
        let lab = Lab::prosody_with(&config).await?;
        test(lab).await.context(format!("with archives in {storage:?}"))
    };
    tokio::try_join!(run(Storage::Files), run(Storage::Sqlite), run(Storage::Postgres))?;
    Ok(())
}

/// How an archive shows the message with this body: the row's id and stamp.
fn shown(items: &[MamItem], body: &str) -> (String, String) {
    let found = items.iter().find(|it| it.body() == Some(body));
    let found = found.unwrap_or_else(|| panic!("{body} is archived"));
    (found.id.clone(), found.stamp.clone())
}

fn told<'a>(notices: &'a [Notice], owner: &str, store: &str, body: &str) -> &'a Notice {
    let mut found = notices.iter().filter(|it| {
        (it.owner.as_str(), it.store.as_str(), it.body()) == (owner, store, Some(body))
    });
    let only = found.next().unwrap_or_else(|| panic!("{body} in {owner}'s {store} is told of"));
    assert!(found.next().is_none(), "{body} in {owner}'s {store} is told of once");
    only
}

fn assert_numbered(notices: &[Notice], host: &str) {
    let of_host: Vec<_> = notices.iter().filter(|it| it.host == host).collect();
    let numbers: Vec<_> = of_host.iter().map(|it| it.number).collect();
    assert_eq!(numbers, (1..=of_host.len() as u64).collect::<Vec<_>>());
    assert!(of_host.windows(2).all(|it| it[0].boot == it[1].boot && !it[0].boot.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_marked_stanza_is_announced_and_no_other() -> Result<()> {
    everywhere(async |lab| {
        let mut component = Component::connect(lab.endpoints()).await?;
        let mut peter = lab.online("peter").await?;
        let mut rosa = lab.online("rosa").await?;
        lab.client("ada").await?.close().await?;
        // Prosody accepts a forged id as it is, and adds its own behind it.
        let forged = "<stanza-id xmlns='urn:xmpp:sid:0' by='ada@localhost' id='forged'/>";
        let forged = format!("{TIMER}{forged}");
        for (to, body, extra) in [
            ("rosa", "plain", ""),
            ("rosa", "timer", TIMER),
            ("rosa", "legacy", "<no-permanent-storage xmlns='urn:xmpp:hints'/>"),
            ("rosa", "expired", "<expired xmlns='urn:ephemerd:0'/>"),
            ("rosa", "expires", EXPIRE),
            ("rosa", "ruled", EXPIRE_AT),
            ("rosa", "reported", &EXPIRE_AT.replacen("<amp ", "<amp status='alert' ", 1)),
            ("rosa", "other rule", &EXPIRE_AT.replace("expire-at", "deliver")),
            ("rosa", "copy", "<no-copy xmlns='urn:xmpp:hints'/>"),
            ("rosa", "nested", "<x xmlns='y'><ephemeral xmlns='urn:xmpp:ephemeral:0'/></x>"),
            ("ada", "away", ""),
            ("ada", "timer", &forged),
            ("ada", "hint", HINT),
        ] {
            peter.chat(&format!("{to}@localhost"), body, extra).await?;
        }
        peter.sync().await?;
        let told_of = notices(&mut component, "localhost").await?;

        let archived = lab.archive("rosa", &MamQuery::default()).await?;
        for body in ["timer", "legacy", "expired", "expires", "ruled"] {
            let notice = told(&told_of, "rosa@localhost", "archive", body);
            assert_eq!((notice.id.clone(), notice.stamp.clone()), shown(&archived, body));
        }
        let archived = lab.archive("ada", &MamQuery::default()).await?;
        let (id, _) = shown(&archived, "timer");
        assert_eq!(told(&told_of, "ada@localhost", "archive", "timer").id, id);
        let copy = told(&told_of, "ada@localhost", "queue", "timer");
        assert_eq!(copy.copy_of.as_ref(), Some(&id));
        assert_eq!(told(&told_of, "ada@localhost", "queue", "hint").copy_of, None);
        let (queue, _, _) =
            page(&mut component, "ada@localhost", "queue", "max='9' max-bytes='9999'").await?;
        let listed: Vec<_> = queue.iter().map(|(id, stamp, _)| (id, stamp)).collect();
        let told_as = ["timer", "hint"].map(|it| told(&told_of, "ada@localhost", "queue", it));
        assert_eq!(listed, told_as.map(|it| (&it.id, &it.stamp)));
        // Six in Peter's own archive, five in Rosa's, and Ada's archive and queue.
        assert_eq!(told_of.len(), 6 + 5 + 1 + 2, "{told_of:#?}");
        assert!(told_of.iter().all(|it| it.host == "localhost" && it.what == "archived"));
        assert_numbered(&told_of, "localhost");
        let there = companion(&mut component, "localhost").await?;
        assert_eq!(there.attribute("number"), Some("14"));
        assert_eq!(there.attribute("boot"), Some(told_of[0].boot.as_str()));
        room_is_announced(&lab, &mut component, [&mut peter, &mut rosa]).await
    })
    .await
}

async fn room_is_announced(
    lab: &Lab<Prosody>,
    component: &mut Component,
    [peter, rosa]: [&mut Client; 2],
) -> Result<()> {
    let room = lab.endpoints().room("garden");
    peter.join(&room, "peter").await?;
    rosa.join(&room, "rosa").await?;
    peter.groupchat(&room, "said", "").await?;
    peter.groupchat(&room, "here", TIMER).await?;
    rosa.wait_for_body("here").await?;
    let told_of = notices(component, &lab.endpoints().rooms).await?;
    let archived = rosa.query_all(&MamQuery::room(&room)).await?;
    let notice = told(&told_of, &room, "room", "here");
    assert_eq!((notice.id.clone(), notice.stamp.clone()), shown(&archived, "here"));
    assert_eq!(told_of.len(), 1, "{told_of:#?}");
    assert_numbered(&told_of, &lab.endpoints().rooms);
    Ok(())
}

/// A room's message as ejabberd wraps it (MUC/Sub), with something marked inside.
fn wrapped(node: &str, body: &str) -> String {
    format!(
        "<message to='rosa@localhost' type='chat'><body>{body}</body>\
         <event xmlns='http://jabber.org/protocol/pubsub#event'><items node='{node}'><item>\
         <message xmlns='jabber:client' from='garden@example.net/ada'><body>inside</body>{TIMER}</message>\
         </item></items></event></message>"
    )
}

/// So many elements that even their names are too long.
pub(crate) fn more_than_is_told() -> String {
    let timers = ["99", " 60 ", "+7", "0.5", "0", "7", "never", "99999999999"];
    let timer = |it: &&str| format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{it}'/>");
    let timers: String = timers.iter().map(timer).collect();
    // Prosody archives nothing that says no-store.
    let hint = "<store xmlns='urn:xmpp:hints'/><once xmlns='urn:ephemerd:0'/>";
    format!("{}{timers}{hint}{hint}", "<a xmlns='urn:example:a'/>".repeat(6_000))
}

/// The rest says the same about retention.
pub(crate) fn barely_told(notice: &Notice) {
    let message = notice.message.as_ref().expect("the stanza is forwarded");
    assert!(notice.is_reduced && message.attribute("to") == Some("rosa@localhost"), "{notice:?}");
    let named = |name: &str| message.children.iter().filter(|it| it.name == name).count();
    assert_eq!(["store", "once", "body", "a"].map(named), [1, 1, 1, 0], "{message:?}");
    let timers = message.children.iter().filter_map(|it| it.attribute("timer"));
    let timers: Vec<&str> = timers.collect();
    assert_eq!(timers, ["0", "1", "7", "60", "99", "4294967295"]);
}

/// A reduced stanza still says when it expires by older specifications.
pub(crate) fn expires_as_sent(message: &Element) {
    let expire = message.child("jabber:x:expire", "x").expect("it was sent");
    assert_eq!(expire.attribute("seconds"), Some("60"));
    let rules = "http://jabber.org/protocol/amp";
    let rule = message.child(rules, "amp").and_then(|it| it.child(rules, "rule"));
    let said = |name| rule.and_then(|it| it.attribute(name));
    assert_eq!([said("condition"), said("action")], [Some("expire-at"), Some("drop")]);
    assert_eq!(said("value"), Some("2040-01-01T00:00:00Z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stanza_is_announced_without_its_words_and_a_wrapped_one_is_seen() -> Result<()> {
    let config = ProsodyConfig::default().storage_in(Storage::Files).with_companion();
    let lab = Lab::prosody_with(&config).await?;
    let mut component = Component::connect(lab.endpoints()).await?;
    let mut peter = lab.online("peter").await?;
    lab.client("rosa").await?.close().await?;
    let long = "long ".repeat(30_000);
    let extra = format!(
        "{TIMER}<store xmlns='urn:xmpp:hints'/><subject>{0}</subject><x xmlns='urn:other'>{0}</x>\
         {EXPIRE}{EXPIRE_AT}",
        "secret"
    );
    peter.chat("rosa@localhost", &long, &extra).await?;
    peter.send(&wrapped("urn:xmpp:mucsub:nodes:messages", "event")).await?;
    peter.send(&wrapped("urn:xmpp:mucsub:nodes:subject", "other")).await?;
    peter.sync().await?;
    let told_of = notices(&mut component, "localhost").await?;
    assert!(told_of.iter().all(|it| it.body() != Some("other")));
    assert!(!told(&told_of, "rosa@localhost", "archive", "event").is_reduced);

    let notice = told(&told_of, "rosa@localhost", "archive", "…");
    assert!(notice.is_reduced);
    let message = notice.message.as_ref().expect("the stanza is forwarded");
    let sent = ["from", "to", "type", "id"].map(|name| message.attribute(name).is_some());
    assert_eq!(sent, [true; 4]);
    let children = message.children.iter().map(|it| (it.name.as_str(), it.text.as_str()));
    let expected = [("body", "…"), ("ephemeral", ""), ("store", ""), ("subject", "…"), ("x", "…")];
    assert_eq!(children.collect::<Vec<_>>(), [&expected[..], &[("x", ""), ("amp", "")]].concat());
    expires_as_sent(message);
    assert_eq!(message.children[1].attribute("timer"), Some("60"));
    let list = "max='9' max-bytes='1024'";
    let (rows, _, complete) = page(&mut component, "rosa@localhost", "archive", list).await?;
    assert_eq!(rows.iter().filter_map(|(_, _, it)| it.body()).collect::<Vec<_>>(), ["…", "event"]);
    assert!(complete);

    peter.chat("rosa@localhost", "much", &more_than_is_told()).await?;
    peter.sync().await?;
    let told_of = notices(&mut component, "localhost").await?;
    barely_told(told(&told_of, "rosa@localhost", "archive", "…"));
    let archived = told(&told_of, "rosa@localhost", "archive", "…").id.clone();
    let list = request("list", "rosa@localhost", "queue", "max='9' max-bytes='262144'", "");
    let queue = answer(&mut component, "get", "localhost", &list).await?;
    let copies = queue.children.iter().map(|it| it.attribute("copy-of"));
    assert!(copies.clone().all(|it| it.is_some()), "all know what they are copies of: {queue:?}");
    assert!(copies.flatten().any(|it| it == archived));
    Ok(())
}
