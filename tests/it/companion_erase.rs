//! What the companion module in Prosody erases and blanks, with each kind of storage.

use ephemerd_lab::xmpp::{Component, MamItem, MamQuery};
use ephemerd_lab::{Lab, Prosody, Result};

use crate::companion::{NS, Notice, answer, bare, change, companion, item, notices, request};
use crate::companion_notices::{TIMER, everywhere};

const UNTIL: &str = "2099-01-01T00:00:00Z";

async fn archive(lab: &Lab<Prosody>, user: &str) -> Result<Vec<MamItem>> {
    lab.archive(user, &MamQuery::default()).await
}

/// Asserts that two readings of an archive show the same rows.
fn assert_same(before: &[MamItem], after: &[MamItem]) {
    let rows = |items: &[MamItem]| -> Vec<_> {
        items.iter().map(|it| (it.id.clone(), it.stamp.clone(), bare(&it.message))).collect()
    };
    assert_eq!(rows(after), rows(before));
}

/// Rosa's archive with some marked and some plain messages from Peter; returns the notices by text.
async fn conversation(
    lab: &Lab<Prosody>,
    component: &mut Component,
    words: &[(&str, &str)],
) -> Result<Vec<Notice>> {
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    for (body, extra) in words {
        peter.chat("rosa@localhost", body, extra).await?;
    }
    peter.sync().await?;
    rosa.sync().await?;
    let mut told = notices(component, "localhost").await?;
    told.retain(|it| it.owner == "rosa@localhost");
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_by_id_and_stamp_and_others_stay() -> Result<()> {
    everywhere(async |lab| {
        let mut component = Component::connect(lab.endpoints()).await?;
        let words = [
            ("blanked", TIMER),
            ("plain", ""),
            ("erased", TIMER),
            ("kept", TIMER),
            ("erased too", TIMER),
            ("end", ""),
        ];
        let told = conversation(&lab, &mut component, &words).await?;
        let [blanked, erased, kept, erased_too] = told.as_slice() else {
            panic!("four are told of: {told:#?}");
        };
        let before = archive(&lab, "rosa").await?;
        let plain = before.iter().find(|it| it.body() == Some("plain")).expect("it is archived");
        let (plain_item, unknown) = (item(&plain.id, &plain.stamp), item("unknown", UNTIL));

        let rosa = "rosa@localhost";
        let mut asked = vec![plain_item, unknown, item(&kept.id, "2001-01-01T00:00:00Z")];
        for name in ["erase", "blank"] {
            let outcomes = change(&mut component, name, rosa, "archive", &asked).await?;
            assert_eq!(outcomes, ["other", "gone", "other"]);
        }
        assert_same(&before, &archive(&lab, "rosa").await?);

        asked.extend([erased.item(), erased_too.item()]);
        for outcome in ["done", "gone"] {
            let outcomes = change(&mut component, "erase", rosa, "archive", &asked).await?;
            assert_eq!(outcomes, ["other", "gone", "other", outcome, outcome]);
            let blank = [blanked.item()];
            assert_eq!(change(&mut component, "blank", rosa, "archive", &blank).await?, ["done"]);
        }
        let after = archive(&lab, "rosa").await?;
        let ids = |items: &[MamItem]| items.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
        let mut left = ids(&before);
        left.retain(|id| *id != erased.id && *id != erased_too.id);
        assert_eq!(ids(&after), left);
        let same = |items: &[MamItem]| {
            let others = [&blanked.id, &erased.id, &erased_too.id];
            items.iter().filter(|it| !others.contains(&&it.id)).cloned().collect::<Vec<_>>()
        };
        assert_same(&same(&before), &same(&after));
        assert_is_placeholder(&before[0], &after[0]);
        assert_eq!(before[0].id, blanked.id);

        // A client whose last known message was blanked fetches what it missed from there.
        let mut rosa = lab.client("rosa").await?;
        let query = MamQuery { after: Some(blanked.id.clone()), ..MamQuery::default() };
        assert_eq!(ids(&rosa.query_all(&query).await?), left[1..]);
        refused(&lab, &mut component).await
    })
    .await
}

fn assert_is_placeholder(before: &MamItem, after: &MamItem) {
    assert_eq!((&after.id, &after.stamp), (&before.id, &before.stamp));
    let attributes = |it: &MamItem| {
        ["from", "to", "type"].map(|name| it.message.attribute(name).map(str::to_owned))
    };
    assert_eq!(attributes(after), attributes(before));
    let [expired] = after.message.children.as_slice() else { panic!("{}", after.xml) };
    assert!(expired.is("urn:ephemerd:0", "expired"), "{}", after.xml);
    assert_eq!((expired.attribute("until"), after.message.text.as_str()), (Some(UNTIL), ""));
}

/// Requests that are invalid in themselves change nothing.
async fn refused(lab: &Lab<Prosody>, component: &mut Component) -> Result<()> {
    let before = archive(lab, "rosa").await?;
    let own = item(&before[0].id, &before[0].stamp);
    let many: String = (0..501).map(|nr| item(&nr.to_string(), UNTIL)).collect();
    let rosa = "rosa@localhost";
    let erase = |items: &str| request("erase", rosa, "archive", "", items);
    let no_stamp = format!("<item id='{}'/>", before[0].id);
    let other_namespace = own.replace("<item", "<item xmlns='other'");
    for (payload, condition) in [
        (erase(""), "bad-request"),
        (erase(&item("", UNTIL)), "bad-request"),
        (erase("<item stamp='2099-01-01T00:00:00Z'/>"), "bad-request"),
        (erase(&no_stamp), "bad-request"),
        (erase(&other_namespace), "bad-request"),
        (erase(&item(&before[0].id, "yesterday")), "bad-request"),
        (erase(&[own.as_str(), own.as_str()].concat()), "bad-request"),
        (erase(&item(&"x".repeat(257), UNTIL)), "bad-request"),
        (erase(&many), "bad-request"),
        (request("blank", rosa, "archive", "", &own), "bad-request"),
        (request("erase", rosa, "everything", "", &own), "bad-request"),
        (request("erase", "rosa@localhost/phone", "archive", "", &own), "bad-request"),
        (request("erase", "localhost", "archive", "", &own), "bad-request"),
        (request("erase", "@localhost", "archive", "", &own), "bad-request"),
        (request("erase", "rosa@example.org", "archive", "", &own), "item-not-found"),
        (request("erase", rosa, "room", "", &own), "item-not-found"),
        (request("erase", rosa, "queue", "", &own), "feature-not-implemented"),
        (request("scrub", rosa, "archive", "", &own), "feature-not-implemented"),
        (request("devour", rosa, "archive", "", &own), "feature-not-implemented"),
        (erase(&own).replace("version='1'", "version='3'"), "feature-not-implemented"),
        (erase(&own).replace("version='1'", ""), "feature-not-implemented"),
    ] {
        let error = answer(component, "set", "localhost", &payload).await.err();
        let found = error.as_ref().and_then(|error| error.condition());
        assert_eq!(found, Some(condition), "{payload:.300}");
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(!text.contains(&before[0].id) && !text.contains("rosa"), "{text}");
    }
    assert_same(&before, &archive(lab, "rosa").await?);
    // Whatever version is requested, it says which one it speaks.
    let asked = format!("<companion xmlns='{NS}' version='3'/>");
    let told = answer(component, "get", "localhost", &asked).await?;
    assert_eq!(told.attribute("version"), Some("2"));
    // But to an older daemon it speaks the older version.
    let old = companion(component, "localhost").await?;
    assert_eq!(old.attribute("version"), Some("1"));
    assert_eq!(told.attribute("module"), Some(env!("CARGO_PKG_VERSION")));
    let can = |it: &ephemerd_lab::xmpp::Element| -> Vec<_> {
        it.children.iter().filter_map(|can| can.attribute("what").map(str::to_owned)).collect()
    };
    assert_eq!(can(&told), ["erase", "blank", "list", "queue", "sessions", "reads", "room-reads"]);
    let rooms = companion(component, &lab.endpoints().rooms).await?;
    assert_eq!(
        can(&rooms),
        ["erase", "blank", "list", "scrub", "remember", "room-reads", "members"]
    );
    Ok(())
}
