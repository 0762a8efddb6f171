//! What Prosody delivers by itself, from an offline queue or a room's memory, after the companion module has
//! erased messages.

use std::time::Duration;

use ephemerd_lab::xmpp::{Client, Component, Element, MamQuery};
use ephemerd_lab::{Lab, PATIENCE, Prosody, Result};

use crate::companion::{Notice, answer, change, notices, page, request};
use crate::companion_notices::{HINT, TIMER, everywhere};

const EXPIRED: &str = "urn:ephemerd:0";

/// Logs in and returns what was waiting.
async fn handed_out(lab: &Lab<Prosody>, user: &str) -> Result<Vec<Element>> {
    let mut client = lab.online(user).await?;
    let waited = client.take(|it| it.name == "message");
    client.close().await?;
    Ok(waited.into_iter().map(|it| it.element).collect())
}

fn bodies(messages: &[Element]) -> Vec<&str> {
    messages.iter().filter_map(Element::body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_gets_no_blanked_words_and_all_others() -> Result<()> {
    everywhere(async |lab| {
        let mut component = Component::connect(lab.endpoints()).await?;
        let mut peter = lab.online("peter").await?;
        for user in ["ada", "lea", "ron"] {
            lab.client(user).await?.close().await?;
            for (body, extra) in [("one", ""), ("timer", TIMER), ("hint", HINT), ("two", "")] {
                let is_lea = user == "lea" && !extra.is_empty();
                let extra = if is_lea { "" } else { extra };
                peter.chat(&format!("{user}@localhost"), body, extra).await?;
            }
        }
        peter.sync().await?;
        let told = notices(&mut component, "localhost").await?;
        let queued = told
            .iter()
            .filter(|it| (it.owner.as_str(), it.store.as_str()) == ("ada@localhost", "queue"));
        let items: Vec<_> = queued.map(Notice::item).collect();
        assert_eq!(items.len(), 2);
        let ada = "ada@localhost";
        for _ in 0..2 {
            let outcomes = change(&mut component, "blank", ada, "queue", &items).await?;
            assert_eq!(outcomes, ["done", "done"]);
        }
        let (rows, _, complete) =
            page(&mut component, ada, "queue", "max='9' max-bytes='9999'").await?;
        assert!(complete && rows.len() == 2 && rows.iter().all(|(_, _, it)| it.body().is_none()));

        let waited = handed_out(&lab, "ada").await?;
        assert_eq!(bodies(&waited), ["one", "two"]);
        assert_eq!(waited.len(), 4);
        let blanked = &waited[1];
        assert!(blanked.child(EXPIRED, "expired").is_some() && blanked.attribute("id").is_some());
        let own = blanked.child("urn:xmpp:sid:0", "stanza-id").and_then(|it| it.attribute("id"));
        let archived = lab.archive("ada", &MamQuery::default()).await?;
        assert_eq!(own, archived.get(1).map(|it| it.id.as_str()));
        assert!(handed_out(&lab, "ada").await?.is_empty());

        // Ron reads his archive first, so Prosody holds back his queue; Lea has nothing marked.
        let mut ron = lab.client("ron").await?;
        ron.query(&MamQuery::default()).await?;
        ron.send_presence().await?;
        ron.sync().await?;
        assert!(ron.take(|it| it.name == "message").is_empty());
        assert_eq!(bodies(&handed_out(&lab, "lea").await?), ["one", "timer", "hint", "two"]);
        let drained = notices(&mut component, "localhost").await?;
        let owners: Vec<_> =
            drained.iter().map(|it| (it.what.as_str(), it.owner.as_str())).collect();
        assert_eq!(owners, [("drained", ada)]);
        Ok(())
    })
    .await
}

/// Joins and returns what the room replays, ten messages at most: few enough to come from memory.
async fn replayed(lab: &Lab<Prosody>, user: &str, room: &str) -> Result<Vec<Element>> {
    let mut client: Client = lab.online(user).await?;
    let join = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='10'/></x>";
    client.send(&format!("<presence to='{room}/{user}'>{join}</presence>")).await?;
    let is_subject =
        |it: &ephemerd_lab::xmpp::Stanza| it.child("jabber:client", "subject").is_some();
    client.wait_for("the subject", PATIENCE, is_subject).await?;
    let history = client.take(|it| it.name == "message");
    client.close().await?;
    Ok(history.into_iter().map(|it| it.element).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_no_longer_replays_what_was_erased() -> Result<()> {
    everywhere(async |lab| {
        let mut component = Component::connect(lab.endpoints()).await?;
        let (room, rooms) = (lab.endpoints().room("garden"), lab.endpoints().rooms.clone());
        let mut peter = lab.online("peter").await?;
        peter.join(&room, "peter").await?;
        for nr in 0..12 {
            peter.groupchat(&room, &format!("plain {nr}"), "").await?;
        }
        for body in ["erased", "blanked", "scrubbed"] {
            peter.groupchat(&room, body, TIMER).await?;
        }
        peter.groupchat(&room, "last", "").await?;
        peter.wait_for_body("last").await?;
        let words = ["erased", "blanked", "scrubbed"];
        let said = |history: &[Element]| -> Vec<String> {
            let bodies = bodies(history).into_iter();
            bodies.filter(|it| words.contains(it)).map(str::to_owned).collect()
        };
        assert_eq!(said(&replayed(&lab, "ada", &room).await?), words);

        let told = notices(&mut component, &rooms).await?;
        let [erased, blanked, scrubbed] = told.as_slice() else { panic!("{told:#?}") };
        for (name, notice) in [("erase", erased), ("blank", blanked)] {
            let outcomes = change(&mut component, name, &room, "room", &[notice.item()]).await?;
            assert_eq!(outcomes, ["done"]);
        }
        let item = format!("<item id='{}'/><item id='unknown'/>", scrubbed.id);
        let scrub = request("scrub", &room, "room", "", &item);
        for count in ["1", "0"] {
            let answer = answer(&mut component, "set", &rooms, &scrub).await?;
            assert_eq!(answer.attribute("count"), Some(count));
        }
        let history = replayed(&lab, "rosa", &room).await?;
        assert!(said(&history).is_empty());
        assert_eq!(history.len(), 10);
        assert_eq!(bodies(&history).last(), Some(&"last"));
        let archived = peter.query_all(&MamQuery::room(&room)).await?;
        let archived: Vec<_> = archived.into_iter().map(|it| it.message).collect();
        assert_eq!(said(&archived), ["scrubbed"]);
        assert_eq!(archived.len(), 15);

        // A request must not create a room.
        let nowhere = lab.endpoints().room("nowhere");
        let scrub = request("scrub", &nowhere, "room", "", &item);
        let answer = answer(&mut component, "set", &rooms, &scrub).await?;
        assert_eq!(answer.attribute("count"), Some("0"));
        assert!(component.receive(Duration::from_millis(1)).await.is_err());
        Ok(())
    })
    .await
}
