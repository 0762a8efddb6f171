//! What the companion modules announce of what users have read: in Prosody and in ejabberd, with a component in the
//! daemon's place.

use std::time::Duration;

use ephemerd_lab::ejabberd::{self, EjabberdConfig};
use ephemerd_lab::prosody::{ProsodyConfig, Storage};
use ephemerd_lab::xmpp::{Client, Component, Element, Stanza};
use ephemerd_lab::{Lab, PATIENCE, Result, Server};
use tokio::time::Instant;

use crate::companion::{NS, answer};

const ALL: &str = "reads='mds markers replies'";
const MDS: &str = "urn:xmpp:mds:displayed:0";

/// What was read: of which kind, in which chat, by which id.
type Item = (String, String, String);

fn item(by: &str, chat: &str, id: &str) -> Item {
    (by.to_owned(), chat.to_owned(), id.to_owned())
}

/// Greets the module as a daemon that wants this. Returns what it can.
async fn greet(component: &mut Component, wanted: &str) -> Result<Vec<String>> {
    greet_on(component, "localhost", wanted).await
}

async fn greet_on(component: &mut Component, host: &str, wanted: &str) -> Result<Vec<String>> {
    let payload = format!("<companion xmlns='{NS}' version='2' daemon='test' {wanted}/>");
    let told = answer(component, "get", host, &payload).await?;
    let can = told.children.iter().filter_map(|it| it.attribute("what"));
    Ok(can.map(str::to_owned).collect())
}

async fn recall(component: &mut Component) -> Result<()> {
    let payload = format!("<recall xmlns='{NS}' version='2' max='100'/>");
    answer(component, "get", "localhost", &payload).await.map(drop)
}

/// The notices of what Rosa has read, up to the one that names `last`; what names that is left out.
async fn told(component: &mut Component, last: &str) -> Result<Vec<Vec<Element>>> {
    let mut all = Vec::new();
    loop {
        let stanza = component
            .wait_for("a notice of what was read", PATIENCE, |it| {
                it.children.iter().any(|child| child.is(NS, "read"))
            })
            .await?;
        assert_eq!(stanza.attribute("type"), Some("headline"));
        assert_eq!(stanza.attribute("from"), Some("localhost"));
        let read = stanza.children.iter().find(|it| it.is(NS, "read")).expect("it is one");
        if read.attribute("owner") == Some("peter@localhost") {
            // What he shows is about his own archive.
            assert!(read.children.iter().all(|it| it.attribute("id") == Some("of-a-contact")));
            continue;
        }
        assert_eq!(read.attribute("owner"), Some("rosa@localhost"));
        assert!(read.text.is_empty(), "no words");
        let is_last = |it: &Element| it.attribute("id") == Some(last);
        let ends = read.children.iter().any(is_last);
        all.push(read.children.iter().filter(|it| !is_last(it)).cloned().collect());
        if ends {
            return Ok(all);
        }
    }
}

fn items(notices: &[Vec<Element>]) -> Vec<Item> {
    let of = |it: &Element, name: &str| it.attribute(name).unwrap_or_default().to_owned();
    notices.concat().iter().map(|it| (of(it, "by"), of(it, "chat"), of(it, "id"))).collect()
}

async fn send(rosa: &mut Client, attributes: &str, payload: &str) -> Result<()> {
    rosa.send(&format!("<message {attributes}>{payload}</message>")).await
}

fn displayed(id: &str) -> String {
    format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>")
}

/// A position in Rosa's archive, or in another.
fn position(by: &str, id: &str) -> String {
    format!(
        "<displayed xmlns='{MDS}'><stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/></displayed>"
    )
}

fn publish(node: &str, chat: &str, position: &str) -> String {
    publish_all(node, chat, &[position.to_owned()])
}

fn publish_all(node: &str, chat: &str, positions: &[String]) -> String {
    let item = |position: &String| format!("<item id='{chat}'>{position}</item>");
    let items: String = positions.iter().map(item).collect();
    format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'>{items}\
         </publish><publish-options><x xmlns='jabber:x:data' type='submit'>\
         <field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>\
         <field var='pubsub#max_items'><value>max</value></field></x></publish-options></pubsub>"
    )
}

/// Servers that refuse the options of XEP-0490 learn it as well.
async fn publishes(rosa: &mut Client, payload: &str) {
    let _ = rosa.iq("set", None, payload).await;
}

async fn each_kind_is_told_of_and_nothing_else<S: Server>(lab: Lab<S>) -> Result<()> {
    let mut component = Component::connect(lab.endpoints()).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let chat = "to='peter@localhost/x' type='chat'";

    // A daemon that does not ask gets no such notice.
    assert!(greet(&mut component, "").await?.contains(&"reads".to_owned()));
    send(&mut rosa, chat, &displayed("unwanted")).await?;
    rosa.sync().await?;
    greet(&mut component, ALL).await?;
    recall(&mut component).await?;

    send(&mut rosa, chat, &displayed("m1")).await?;
    send(&mut rosa, "to='peter@localhost'", &displayed("m2")).await?;
    let reply = "<body>yes</body><reply xmlns='urn:xmpp:reply:0' id='m3' to='peter@localhost'/>";
    send(&mut rosa, chat, reply).await?;
    let reaction =
        "<reactions xmlns='urn:xmpp:reactions:0' id='m4'><reaction>x</reaction></reactions>";
    send(&mut rosa, chat, reaction).await?;
    let occupant = "<x xmlns='http://jabber.org/protocol/muc#user'/>";
    send(&mut rosa, "to='den@rooms.example/Nick' type='chat'", &(displayed("m5") + occupant))
        .await?;
    publishes(&mut rosa, &publish(MDS, "peter@localhost", &position("rosa@localhost", "a1"))).await;
    // A client may leave it to the server to publish.
    send(&mut rosa, chat, &(displayed("m6") + &position("rosa@localhost", "a2"))).await?;

    // Nothing of this counts.
    let others = [
        ("to='den@rooms.example' type='groupchat'", displayed("no1")),
        ("to='peter@localhost' type='error'", displayed("no2")),
        ("to='rosa@localhost' type='chat'", displayed("no3")),
        (chat, "<received xmlns='urn:xmpp:receipts' id='no4'/>".to_owned()),
        (chat, "<x xmlns='y'><displayed xmlns='urn:xmpp:chat-markers:0' id='no5'/></x>".to_owned()),
        (chat, displayed("")),
        (chat, displayed(&"n".repeat(300))),
        (chat, displayed("no&#10;6")),
        (chat, position("peter@localhost", "no7")),
    ];
    for (attributes, payload) in &others {
        send(&mut rosa, attributes, payload).await?;
    }
    publishes(&mut rosa, &publish(MDS, "den@rooms.example", &position("den@rooms.example", "no8")))
        .await;
    publishes(
        &mut rosa,
        &publish("urn:other", "peter@localhost", &position("rosa@localhost", "no9")),
    )
    .await;
    let own = "to='rosa@localhost' type='chat'";
    send(&mut peter, own, &displayed("of-a-contact")).await?;
    peter.sync().await?;
    // Of many references only the first count.
    send(&mut rosa, chat, &(0..20).map(|at| displayed(&format!("r{at}"))).collect::<String>())
        .await?;
    let positions: Vec<_> =
        (0..20).map(|at| position("rosa@localhost", &format!("p{at}"))).collect();
    publishes(&mut rosa, &publish_all(MDS, "peter@localhost", &positions)).await;
    send(&mut rosa, chat, &displayed("last")).await?;

    let notices = told(&mut component, "last").await?;
    let peters = |by: &str, id: &str| item(by, "peter@localhost", id);
    let mut expected = vec![
        peters("marker", "m1"),
        peters("marker", "m2"),
        peters("reply", "m3"),
        peters("reply", "m4"),
        item("marker", "den@rooms.example/Nick", "m5"),
        peters("mds", "a1"),
        peters("marker", "m6"),
        peters("mds", "a2"),
    ];
    expected.extend((0..8).map(|at| peters("marker", &format!("r{at}"))));
    expected.extend((0..8).map(|at| peters("mds", &format!("p{at}"))));
    let (mut seen, mut wanted) = (items(&notices), expected.clone());
    // Where two stanzas are handled beside each other, their order is open.
    seen.sort();
    wanted.sort();
    assert_eq!(seen, wanted);
    Ok(())
}

async fn what_was_told_is_remembered_and_bounded<S: Server>(lab: Lab<S>) -> Result<()> {
    let mut component = Component::connect(lab.endpoints()).await?;
    let mut rosa = lab.online("rosa").await?;
    greet(&mut component, "reads='markers'").await?;
    let chat = "to='peter@localhost' type='chat'";
    let reaction = "<reactions xmlns='urn:xmpp:reactions:0' id='not-asked'/>";
    send(&mut rosa, chat, reaction).await?;
    // In one piece, so that they come as fast as the server can take them.
    let ids = (0..1_000).map(|at| format!("m{at}")).chain(["last".to_owned()]);
    let all = ids.map(|id| format!("<message {chat}>{}</message>", displayed(&id)));
    let all: String = all.collect();
    let began = Instant::now();
    rosa.send(&all).await?;
    let notices = told(&mut component, "last").await?;
    assert_eq!(items(&notices).len(), 1_000);
    // At most one per 20 ms, however long it takes, and one per 100 markers.
    let most = 20 + began.elapsed().as_millis() / 20;
    assert!(notices.len() as u128 <= most, "{} notices of 1,000 markers: {most}", notices.len());

    // While the component is away nothing is announced; afterwards the newest.
    component.close().await?;
    for at in 0..150 {
        send(&mut rosa, chat, &displayed(&format!("away{at}"))).await?;
    }
    send(&mut rosa, chat, &displayed("back")).await?;
    rosa.sync().await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut component = Component::connect(lab.endpoints()).await?;
    greet(&mut component, "reads='markers'").await?;
    recall(&mut component).await?;
    let again = told(&mut component, "back").await?;
    let expected: Vec<Item> =
        (51..150).map(|at| item("marker", "peter@localhost", &format!("away{at}"))).collect();
    assert_eq!(items(&again), expected, "a hundred of one user, the last one among them");

    // Who does not ask any more makes the module forget.
    greet(&mut component, "").await?;
    greet(&mut component, ALL).await?;
    recall(&mut component).await?;
    send(&mut rosa, chat, &displayed("anew")).await?;
    assert_eq!(items(&told(&mut component, "anew").await?), []);
    Ok(())
}

/// Of what is archived only short ids are remembered, whatever senders choose.
async fn long_ids_are_not_remembered<S: Server>(lab: Lab<S>) -> Result<()> {
    let mut component = Component::connect(lab.endpoints()).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    greet(&mut component, ALL).await?;
    let mut archived = Vec::new();
    for id in ["short".to_owned(), "n".repeat(300)] {
        let attributes = format!("to='rosa@localhost' type='chat' id='{id}'");
        send(&mut peter, &attributes, "<body>words</body>").await?;
        let came = rosa.wait_for_body("words").await?;
        let stanza_id = came.child("urn:xmpp:sid:0", "stanza-id").and_then(|it| it.attribute("id"));
        archived.push(stanza_id.expect("it is archived").to_owned());
    }
    for id in &archived {
        let payload = publish(MDS, "peter@localhost", &position("rosa@localhost", id));
        publishes(&mut rosa, &payload).await;
    }
    send(&mut rosa, "to='peter@localhost' type='chat'", &displayed("last")).await?;
    let notices = told(&mut component, "last").await?.concat();
    let known: Vec<_> =
        notices.iter().map(|it| (it.attribute("id"), it.attribute("upto").is_some())).collect();
    let [short, long] = archived.as_slice() else { panic!("two were archived") };
    assert_eq!(known, [(Some(short.as_str()), true), (Some(long.as_str()), false)]);
    Ok(())
}

/// What is announced as read in a room, before what names `last`.
async fn told_in_rooms(component: &mut Component, last: &str) -> Result<Vec<Element>> {
    let mut all = told_up_to(component, |it| it.attribute("id") == Some(last)).await?;
    all.pop();
    Ok(all)
}

/// What is announced as read in a room, up to this.
async fn told_up_to(
    component: &mut Component,
    is_last: impl Fn(&Element) -> bool,
) -> Result<Vec<Element>> {
    let mut all = Vec::new();
    loop {
        let what = "a notice of what was read in a room";
        let is_read = |it: &Stanza| it.children.iter().any(|child| child.is(NS, "read"));
        let stanza = component.wait_for(what, PATIENCE, is_read).await?;
        let read = stanza.children.iter().find(|it| it.is(NS, "read")).expect("it is one");
        for item in &read.children {
            let mut item = item.clone();
            item.attributes.remove("stamp");
            item.attributes
                .insert("owner".to_owned(), read.attribute("owner").unwrap_or_default().to_owned());
            let ends = is_last(&item);
            all.push(item);
            if ends {
                return Ok(all);
            }
        }
    }
}

/// What the room hands out, and what users publish of it; with what the server knows of who read it.
async fn what_is_read_in_rooms_is_told<S: Server>(lab: Lab<S>) -> Result<()> {
    const ROOMS: &str = "room-reads='mds markers replies'";
    let mut component = Component::connect(lab.endpoints()).await?;
    let room = lab.endpoints().room("den");
    let rooms = lab.endpoints().rooms.clone();
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let mut otto = lab.online("otto").await?;
    peter.join(&room, "Peter").await?;
    rosa.join(&room, "Rosa").await?;
    let in_room = format!("to='{room}' type='groupchat'");
    send(&mut rosa, &in_room, &displayed("unwanted")).await?;
    rosa.sync().await?;
    for host in ["localhost", &rooms] {
        let can = greet_on(&mut component, host, ROOMS).await?;
        assert!(can.contains(&"room-reads".to_owned()), "{can:?}");
    }
    send(&mut peter, &in_room, "<body>words</body>").await?;
    let came = rosa.wait_for_body("words").await?;
    let id = came.child("urn:xmpp:sid:0", "stanza-id").and_then(|it| it.attribute("id"));
    let id = id.expect("it is archived").to_owned();

    // Nobody of the room, of nobody's archive, no reference, and what nobody asked for.
    send(&mut otto, &in_room, &displayed("of-an-outsider")).await?;
    otto.sync().await?;
    publishes(&mut rosa, &publish(MDS, &room, &position("hall@elsewhere.example", "no1"))).await;
    publishes(&mut rosa, &publish(MDS, "peter@localhost", &position("rosa@localhost", "no2")))
        .await;
    send(&mut rosa, "to='peter@localhost' type='chat'", &displayed("no3")).await?;
    send(&mut rosa, &in_room, &displayed(&"n".repeat(300))).await?;
    send(&mut rosa, &in_room, "<received xmlns='urn:xmpp:receipts' id='no4'/>").await?;
    rosa.sync().await?;
    send(&mut rosa, &in_room, &displayed(&id)).await?;
    let reaction =
        "<reactions xmlns='urn:xmpp:reactions:0' id='r1'><reaction>x</reaction></reactions>";
    send(&mut rosa, &in_room, reaction).await?;
    // What the room hands out has been seen by the module. Rooms and users are told of independently of each other.
    let is_reaction = |it: &Stanza| it.name == "message" && it.xml.contains("urn:xmpp:reactions:0");
    rosa.wait_for("her reaction", PATIENCE, is_reaction).await?;
    let mut told = told_up_to(&mut component, |it| it.attribute("id") == Some("r1")).await?;
    publishes(&mut rosa, &publish(MDS, &room, &position(&room, &id))).await;
    told.extend(told_up_to(&mut component, |it| it.attribute("by") == Some("mds")).await?);
    send(&mut rosa, &in_room, &displayed("last")).await?;
    told.extend(told_in_rooms(&mut component, "last").await?);
    let known = |it: &Element, name: &str| it.attribute(name).unwrap_or_default().to_owned();
    let seen: Vec<_> = told
        .iter()
        .map(|it| ["owner", "by", "chat", "id", "in"].map(|name| known(it, name)))
        .collect();
    let expected = [
        [&room, "marker", &room, &id, "room"],
        [&room, "reply", &room, "r1", "room"],
        ["rosa@localhost", "mds", &room, &id, "room"],
    ];
    assert_eq!(seen, expected.map(|it| it.map(str::to_owned)));
    for item in &told[..2] {
        assert_eq!(known(item, "occupant"), format!("{room}/Rosa"));
        assert_eq!(known(item, "jid"), "rosa@localhost");
    }
    assert!(!known(&told[0], "upto").is_empty(), "the module knows that message");
    // Whoever asks again is told again, on each host what belongs there.
    let recall = format!("<recall xmlns='{NS}' version='2' max='100'/>");
    answer(&mut component, "get", &rooms, &recall).await?;
    let again = told_in_rooms(&mut component, "last").await?;
    assert_eq!(again.len(), 2, "{again:?}");
    answer(&mut component, "get", "localhost", &recall).await?;
    send(&mut rosa, &in_room, &displayed("end")).await?;
    assert_eq!(told_in_rooms(&mut component, "end").await?.len(), 1);
    // Who does not ask any more makes the module forget.
    for host in ["localhost", &rooms] {
        greet_on(&mut component, host, "").await?;
        greet_on(&mut component, host, ROOMS).await?;
        answer(&mut component, "get", host, &recall).await?;
    }
    send(&mut rosa, &in_room, &displayed("anew")).await?;
    assert_eq!(told_in_rooms(&mut component, "anew").await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prosody_tells_what_was_read_in_rooms() -> Result<()> {
    what_is_read_in_rooms_is_told(prosody().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ejabberd_tells_what_was_read_in_rooms() -> Result<()> {
    what_is_read_in_rooms_is_told(ejabberd().await?).await
}

async fn prosody() -> Result<Lab<ephemerd_lab::Prosody>> {
    let config = ProsodyConfig::default().storage_in(Storage::Files).with_companion();
    Lab::prosody_with(&config).await
}

async fn ejabberd() -> Result<Lab<ephemerd_lab::Ejabberd>> {
    let storage = ejabberd::Storage::Mnesia;
    let config = EjabberdConfig { storage, companion: true, ..EjabberdConfig::default() };
    Lab::ejabberd(&config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn prosody_tells_what_was_read() -> Result<()> {
    each_kind_is_told_of_and_nothing_else(prosody().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ejabberd_tells_what_was_read() -> Result<()> {
    each_kind_is_told_of_and_nothing_else(ejabberd().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn prosody_remembers_what_was_read() -> Result<()> {
    what_was_told_is_remembered_and_bounded(prosody().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ejabberd_remembers_what_was_read() -> Result<()> {
    what_was_told_is_remembered_and_bounded(ejabberd().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn prosody_remembers_no_long_ids() -> Result<()> {
    long_ids_are_not_remembered(prosody().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ejabberd_remembers_no_long_ids() -> Result<()> {
    long_ids_are_not_remembered(ejabberd().await?).await
}
