//! The companion protocol as the daemon speaks it: what modules announce as read, and who asks for it.

use ephemerd::archive::companion::{Answer, Event, Request, Wanted};
use ephemerd::model::{Occupant, ReadEvidence};
use tokio::sync::watch;

use crate::companion_protocol::{NS, exchanged, next, result};
use crate::component_stand_in::{HOST, JID, Peer, Running};

#[tokio::test]
async fn what_was_read_is_read_item_by_item() {
    let (mut running, _server, mut peer) = Running::connected().await;
    let item = |by: &str, chat: &str, id: &str| {
        format!("<item by='{by}' chat='{chat}' id='{id}' stamp='2026-11-22T03:34:18.5Z'/>")
    };
    let long = "i".repeat(257);
    let items = [
        item("marker", "ann@example.org", "a&amp;b"),
        item("mds", "den@rooms.example/Ann", "7"),
        item("reply", "ann@example.org", "8"),
        // Of a newer module, or out of bounds: they do not cost the others.
        item("glance", "ann@example.org", "9"),
        item("archived", "ann@example.org", "9"),
        item("marker", "", "9"),
        item("marker", "ann@example.org", ""),
        item("marker", "ann@example.org", &long),
        item("marker", "ann@example.org", "new&#10;line"),
        "<item by='marker' chat='ann@example.org' id='9'/>".to_owned(),
        "<item by='marker' chat='ann@example.org' id='9' stamp='noon'/>".to_owned(),
    ];
    let read = |items: &str| {
        let read = format!(
            "<read xmlns='{NS}' boot='b' number='1' owner='bob@example.org'>{items}</read>"
        );
        format!("<message from='{HOST}' to='{JID}' type='headline'>{read}</message>")
    };
    peer.ask(read(&items.concat())).await;
    let Event::Read(owner, told) = next(&mut running).await.event else { panic!("a reading") };
    assert_eq!(owner, "bob");
    let told: Vec<_> =
        told.iter().map(|it| (it.by.as_str(), it.chat.as_str(), it.id.as_str())).collect();
    assert_eq!(
        told,
        [
            ("marker", "ann@example.org", "a&b"),
            ("mds", "den@rooms.example/Ann", "7"),
            ("reply", "ann@example.org", "8"),
        ]
    );
    assert_eq!(running.metrics.notices_lost.get(), 0);
    peer.ask(read(&item("marker", "ann@example.org", "1").repeat(501))).await;
    peer.ask(read("")).await;
    assert_eq!(running.metrics.notices_lost.get(), 2, "too many, and none");
}

/// In rooms an item says what is known of who read it.
#[tokio::test]
async fn what_was_read_in_a_room_says_by_whom() {
    let (mut running, _server, mut peer) = Running::connected().await;
    let item = |rest: &str| {
        format!(
            "<item by='marker' chat='den@example.org' id='7' stamp='2026-11-22T03:34:18Z' {rest}/>"
        )
    };
    let long = format!("in='room' occupant='{}'", "o".repeat(4_000));
    let items = [
        item("in='room' occupant='den@example.org/Ann' jid='ann@h' occupant-id='o'"),
        item("in='room'"),
        // Out of bounds.
        item(&long),
        item("in='room' jid='ann&#10;@h'"),
        item("in='room' occupant-id=''"),
    ];
    let read = format!(
        "<read xmlns='{NS}' boot='b' number='1' owner='den@example.org'>{}</read>",
        items.concat()
    );
    peer.ask(format!("<message from='{HOST}' to='{JID}' type='headline'>{read}</message>")).await;
    let Event::Read(owner, told) = next(&mut running).await.event else { panic!("a reading") };
    assert_eq!(owner, "den");
    let known = |text: &str| Some(text.to_owned());
    let ann = Occupant { nick: known("den@example.org/Ann"), jid: known("ann@h"), id: known("o") };
    let readers: Vec<_> = told.into_iter().map(|it| it.in_room).collect();
    assert_eq!(readers, [Some(ann), Some(Occupant::default())]);
}

/// An older module does not know the attribute, and an older daemon does not send it: both go on as before.
#[tokio::test]
async fn modules_are_asked_for_what_was_read_as_configured() {
    let (running, _server, mut peer) = Running::connected().await;
    let payload =
        format!("<companion xmlns='{NS}' version='2' boot='b' number='0'>REST</companion>");
    let greeted = async |peer: &mut Peer, can: &str| {
        let payload = payload.replace("REST", can);
        exchanged(&running, peer, Request::Companion, |id| result(id, &payload)).await
    };
    let (sent, answer) = greeted(&mut peer, "<can what='sessions'/>").await;
    assert!(!sent.contains("reads="), "{sent}");
    let Ok(Answer::Companion(module)) = answer else { panic!("{answer:?}") };
    assert!(module.can.sessions && !module.can.reads, "an older module");
    let reads = ReadEvidence { markers: false, ..ReadEvidence::default() };
    let in_rooms = ReadEvidence { mds: true, ..ReadEvidence::NONE };
    let (wants, wanted) = watch::channel(Wanted { reads, in_rooms });
    running.exchange.want(wanted);
    let (sent, answer) = greeted(&mut peer, "<can what='reads'/>").await;
    assert!(sent.contains(" reads='mds replies' room-reads='mds'"), "{sent}");
    assert!(matches!(answer, Ok(Answer::Companion(module)) if module.can.reads));
    wants.send_replace(Wanted::NOTHING);
    let (sent, _) = greeted(&mut peer, "").await;
    assert!(!sent.contains("reads="), "{sent}");
}
