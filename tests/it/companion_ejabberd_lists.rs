//! What ejabberd's companion module refuses, and what it lists: in pages, reduced where it is long, never more than its
//! bounds.

use std::time::Duration;

use ephemerd_lab::ejabberd::Schema;
use ephemerd_lab::ejabberd::rows::{ArchiveRow, insert};
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{PATIENCE, Result};

use crate::companion::{self, NS, Notice, item, request};
use crate::companion_ejabberd::{EPHEMERAL, World};
use crate::companion_notices::{
    EXPIRE, EXPIRE_AT, barely_told, expires_as_sent, more_than_is_told,
};

/// Requests that violate a bound are refused with the right condition, and do nothing.
pub(crate) async fn refusals_change_nothing(world: &mut World, told: &Notice) -> Result<()> {
    let before = world.lab.archive("bert", &MamQuery::default()).await?;
    let (row, owner) = (told.item(), "owner='bert@localhost' store='archive'");
    let erase = |attributes: &str, items: &str| {
        format!("<erase xmlns='NS' version='1' {attributes}>{items}</erase>")
    };
    let many: String = (0..501).map(|at| item(&at.to_string(), &told.stamp)).collect();
    let long = item(&"9".repeat(257), &told.stamp);
    let here = "localhost";
    for (host, payload, condition) in [
        (here, erase(owner, ""), "bad-request"),
        (here, erase(owner, &many), "bad-request"),
        (here, erase(owner, &long), "bad-request"),
        (here, erase(owner, &[row.as_str(), &row].concat()), "bad-request"),
        (here, erase(owner, &format!("<item id='{}'/>", told.id)), "bad-request"),
        (here, erase("owner='bert@localhost/x' store='archive'", &row), "bad-request"),
        (here, erase("owner='localhost' store='archive'", &row), "bad-request"),
        (here, erase("owner='bert@localhost' store='roster'", &row), "bad-request"),
        (here, erase("owner='bert@localhost'", &row), "bad-request"),
        (here, erase("owner='bert@localhost' store='room'", &row), "item-not-found"),
        (here, erase("owner='bert@other.example' store='archive'", &row), "item-not-found"),
        ("conference.localhost", erase(owner, &row), "item-not-found"),
        (here, erase("owner='bert@localhost' store='queue'", &row), "feature-not-implemented"),
        (here, erase(owner, &row).replace("erase", "blank"), "bad-request"),
        (here, erase(owner, &row).replace("erase", "scrub"), "item-not-found"),
        (here, erase(owner, &row).replace("erase", "wipe"), "feature-not-implemented"),
        (here, erase(owner, &row).replace(" version='1'", ""), "bad-request"),
        (here, erase(owner, &row).replace("'1'", "'3'"), "feature-not-implemented"),
    ] {
        let error = world.set(host, &payload).await.expect_err(&payload);
        assert_eq!(error.condition(), Some(condition), "{payload}");
        if payload.contains("version='3'") {
            let text = error.to_string();
            assert!(text.contains("version 2") && text.contains("version 3"), "{text}");
        }
    }
    let after = world.lab.archive("bert", &MamQuery::default()).await?;
    assert_eq!(before.len(), after.len());
    assert!(before.iter().zip(&after).all(|(before, after)| before.xml == after.xml));
    Ok(())
}

/// Page by page, each marked row comes once and in order, and no unmarked one; likewise owners.
pub(crate) async fn lists_have_pages(world: &mut World) -> Result<()> {
    let mut kurt = world.lab.online("kurt").await?;
    world.told().await?;
    for at in 0..7 {
        kurt.chat("kurt@localhost/nobody", &format!("plain {at}"), "").await?;
        kurt.chat("rosa@localhost", &format!("{at} {}", "x".repeat(300)), EPHEMERAL).await?;
        kurt.chat("rosa@localhost", &format!("plain {at}"), "").await?;
    }
    kurt.sync().await?;
    let told = world.told().await?;
    let told: Vec<_> = told.into_iter().filter(|it| it.owner == "kurt@localhost").collect();
    let ids: Vec<_> = told.iter().map(|it| it.id.clone()).collect();
    assert_eq!(ids.len(), 7);
    for (bounds, longest) in [("max='3' max-bytes='262144'", 3), ("max='500' max-bytes='1024'", 2)]
    {
        assert_eq!(pages(world, bounds, "", longest).await?, ids);
    }
    let since = format!("since='{}'", told[4].stamp);
    assert_eq!(pages(world, "max='500' max-bytes='262144'", &since, 7).await?, ids[4..]);

    let mut owners = Vec::new();
    loop {
        let after = owners.last().cloned().unwrap_or_default();
        let payload =
            format!("<owners xmlns='NS' version='1' store='archive' after='{after}' max='1'/>");
        let page = world.list("localhost", &payload).await?;
        owners.extend(page.children.iter().map(|it| it.attribute("jid").expect("one").to_owned()));
        if page.attribute("complete") == Some("true") {
            break;
        }
        assert_eq!(page.children.len(), 1);
    }
    assert!(owners.is_sorted(), "{owners:?}");
    assert!(
        ["kurt@localhost", "peter@localhost"].iter().all(|it| owners.contains(&(*it).to_owned()))
    );

    // Many at once: the first has had its pause, and those behind it come too soon. On a busy machine another may be in
    // time, and then the next is not.
    let list = "<list xmlns='NS' version='1' owner='kurt@localhost' store='archive' max='9' max-bytes='262144'/>";
    tokio::time::sleep(Duration::from_millis(60)).await;
    let list = list.replace("NS", NS);
    let ids: Vec<String> = (1..=10).map(|at| format!("p{at}")).collect();
    let ask = |id: &String| {
        format!("<iq type='get' id='{id}' from='ephemerd.localhost' to='localhost'>{list}</iq>")
    };
    world.component.send(&ids.iter().map(ask).collect::<String>()).await?;
    let mut answers = Vec::new();
    for id in &ids {
        let is_answer = |it: &ephemerd_lab::xmpp::Stanza| it.attribute("id") == Some(id);
        let answer = world.component.wait_for("an answer", PATIENCE, is_answer).await?;
        answers.push(answer.error().and_then(|it| it.condition().map(str::to_owned)));
    }
    let refused = |it: &Option<String>| it.as_deref() == Some("resource-constraint");
    assert_eq!(answers[0], None);
    assert!(answers.iter().any(refused), "{answers:?}");
    assert!(answers.iter().all(|it| it.is_none() || refused(it)), "{answers:?}");
    kurt.close().await
}

async fn pages(
    world: &mut World,
    bounds: &str,
    since: &str,
    longest: usize,
) -> Result<Vec<String>> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let payload = format!(
            "<list xmlns='NS' version='1' owner='kurt@localhost' store='archive' {bounds} {since} after='{after}'/>"
        );
        let page = world.list("localhost", &payload).await?;
        assert!(page.children.len() <= longest, "{bounds}");
        ids.extend(page.children.iter().map(|it| it.attribute("id").expect("one").to_owned()));
        if page.attribute("complete") == Some("true") {
            return Ok(ids);
        }
        page.attribute("last").expect("where to go on").clone_into(&mut after);
    }
}

/// If a stanza is too long to forward, what it says about retention is announced, and that it had content.
pub(crate) async fn what_is_long_is_reduced(world: &mut World) -> Result<()> {
    let mut vera = world.lab.online("vera").await?;
    world.told().await?;
    let extra = format!(
        "{EPHEMERAL}{EXPIRE}{EXPIRE_AT}<picture xmlns='urn:example:p'>{}</picture>",
        "y".repeat(100_000)
    );
    vera.chat("rosa@localhost", &"x".repeat(40_000), &extra).await?;
    vera.sync().await?;
    let told = world.told().await?;
    let [of_vera, ..] = told.as_slice() else { panic!("it is told of") };
    let message = of_vera.message.as_ref().expect("a stanza");
    assert!(of_vera.is_reduced && of_vera.body() == Some("…"), "{of_vera:?}");
    assert_eq!(
        message.child("urn:xmpp:ephemeral:0", "ephemeral").expect("whole").attribute("timer"),
        Some("60")
    );
    assert_eq!(message.child("urn:example:p", "picture").expect("named").text, "…");
    expires_as_sent(message);
    assert_eq!(message.attribute("to"), Some("rosa@localhost"));
    let payload = "<list xmlns='NS' version='1' owner='vera@localhost' store='archive' max='9' max-bytes='1024'/>";
    let page = world.list("localhost", payload).await?;
    assert_eq!(page.children[0].attribute("reduced"), Some("true"));
    assert_eq!(page.children[0].children[0].body(), Some("…"));
    vera.chat("rosa@localhost", "much", &more_than_is_told()).await?;
    vera.sync().await?;
    let told = world.told().await?;
    barely_told(told.first().expect("it is told of"));
    vera.close().await?;

    // ejabberd stores, and sends on, a prefix that only the sender's stream declares: no parser accepts that.
    world.lab.client("xaver").await?.close().await?;
    let mut wanda = world.lab.client("wanda").await?;
    wanda.chat("xaver@localhost", "mute", &format!("{EPHEMERAL}<lab:x/>")).await?;
    wanda.sync().await?;
    let told = world.told().await?;
    let message = told.first().and_then(|it| it.message.as_ref()).expect("it is told of");
    assert!(told.iter().all(|it| it.is_reduced) && message.body() == Some("…"), "{told:?}");
    wanda.close().await
}

/// After a crash a server may have both the text and its placeholder, as Mnesia does: such rows are listed,
/// and go.
pub(crate) async fn words_that_came_back_are_listed(world: &mut World) -> Result<()> {
    world.lab.client("xena").await?.close().await?;
    let xml = format!(
        "<message xmlns='jabber:client' type='chat' to='xena@localhost' from='rosa@localhost/x'>\
         <body>came back</body>{EPHEMERAL}</message>"
    );
    let row = || [ArchiveRow::user("xena", 1_000_001, &xml)];
    insert(&world.lab.database, Schema::MultiHost, &row()).await?;
    let list = request("list", "xena@localhost", "archive", "max='9' max-bytes='262144'", "");
    let stamp =
        world.list("localhost", &list).await?.children[0].attribute("stamp").map(str::to_owned);
    let items = [item("1000001", stamp.as_deref().expect("one"))];
    let component = &mut world.component;
    assert_eq!(
        companion::change(component, "blank", "xena@localhost", "archive", &items).await?,
        ["done"]
    );
    insert(&world.lab.database, Schema::MultiHost, &row()).await?;
    let listed = world.list("localhost", &list).await?;
    let bodies: Vec<_> = listed.children.iter().map(|it| it.children[0].body()).collect();
    assert_eq!(bodies, [Some("came back")]);
    let component = &mut world.component;
    assert_eq!(
        companion::change(component, "blank", "xena@localhost", "archive", &items).await?,
        ["done"]
    );
    let listed = world.list("localhost", &list).await?;
    let bodies: Vec<_> = listed.children.iter().map(|it| it.children[0].body()).collect();
    assert_eq!(bodies, [None], "only the placeholder is left");
    Ok(())
}

/// One answer examines at most 2,000 rows, and says where to continue.
pub(crate) async fn a_list_looks_at_so_many_rows(world: &mut World) -> Result<()> {
    let plain = "<message xmlns='jabber:client'><body>plain</body></message>";
    let marked = format!("<message xmlns='jabber:client'><body>found</body>{EPHEMERAL}</message>");
    let mut rows: Vec<_> = (1..=2_000).map(|time| ArchiveRow::user("yves", time, plain)).collect();
    rows.push(ArchiveRow::user("yves", 2_001, &marked));
    insert(&world.lab.database, Schema::MultiHost, &rows).await?;
    let list = |more: &str| {
        let more = format!("max='9' max-bytes='262144' {more}");
        request("list", "yves@localhost", "archive", &more, "")
    };
    let first = world.list("localhost", &list("")).await?;
    assert_eq!((first.children.len(), first.attribute("last")), (0, Some("2000")));
    assert_eq!(first.attribute("complete"), None);
    let second = world.list("localhost", &list("after='2000'")).await?;
    assert_eq!(second.children[0].attribute("id"), Some("2001"));
    assert_eq!(second.attribute("complete"), Some("true"));
    Ok(())
}
