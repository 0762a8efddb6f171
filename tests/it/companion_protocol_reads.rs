//! The companion protocol as the daemon speaks it: what modules announce as read, and who asks for it.

use ephemerd::archive::companion::{Answer, Event, Request};
use ephemerd::model::ReadEvidence;
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
    let (wants, wanted) =
        watch::channel(ReadEvidence { markers: false, ..ReadEvidence::default() });
    running.exchange.want(wanted);
    let (sent, answer) = greeted(&mut peer, "<can what='reads'/>").await;
    assert!(sent.contains("reads='mds replies'"), "{sent}");
    assert!(matches!(answer, Ok(Answer::Companion(module)) if module.can.reads));
    wants.send_replace(ReadEvidence::NONE);
    let (sent, _) = greeted(&mut peer, "").await;
    assert!(!sent.contains("reads="), "{sent}");
}
