//! The companion module in a real ejabberd, asked by a component in the daemon's place: with archives and offline queues
//! in Mnesia, and in SQL. What it did is judged by what clients are shown.

use std::time::Duration;

use ephemerd_lab::ejabberd::rows::{ArchiveRow, insert};
use ephemerd_lab::ejabberd::{EjabberdConfig, Schema, Storage};
use ephemerd_lab::xmpp::{Component, Element, MamItem, MamQuery};
use ephemerd_lab::{Ejabberd, Lab, PATIENCE, Result};

use crate::companion::{self, NS, Notice, host_of, item, request};
use crate::companion_notices::{barely_told, more_than_is_told};

pub(crate) const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>";
const NO_PERMANENT_STORE: &str = "<no-permanent-store xmlns='urn:xmpp:hints'/>";

pub(crate) fn mnesia() -> EjabberdConfig {
    EjabberdConfig { storage: Storage::Mnesia, companion: true, ..EjabberdConfig::default() }
}

pub(crate) fn sql(schema: Schema) -> EjabberdConfig {
    EjabberdConfig { schema, companion: true, ..EjabberdConfig::default() }
}

/// An ejabberd with the module, and the component that it speaks to.
pub(crate) struct World {
    pub(crate) lab: Lab<Ejabberd>,
    pub(crate) component: Component,
}

impl World {
    pub(crate) async fn new(config: &EjabberdConfig) -> Result<Self> {
        let lab = Lab::ejabberd(config).await?;
        let component = Component::connect(lab.endpoints()).await?;
        Ok(Self { lab, component })
    }

    /// All that was told and not read yet. What was said before must have been worked through.
    pub(crate) async fn told(&mut self) -> Result<Vec<Notice>> {
        self.number("localhost").await?;
        let told = companion::notices(&mut self.component, "conference.localhost").await?;
        assert!(
            told.iter().all(|it| it.host == host_of(&it.owner)),
            "said by the owner's own host"
        );
        Ok(told)
    }

    /// The boot and the number of the last notice, by the module's own word; what was stored before is told of by then.
    pub(crate) async fn number(&mut self, host: &str) -> Result<(String, u64)> {
        let answer = companion::companion(&mut self.component, host).await?;
        let number = answer.attribute("number").expect("a number").parse().expect("a number");
        Ok((answer.attribute("boot").expect("a boot").to_owned(), number))
    }

    pub(crate) async fn get(&mut self, host: &str, payload: &str) -> Result<Element> {
        companion::answer(&mut self.component, "get", host, &payload.replace("NS", NS)).await
    }

    pub(crate) async fn set(&mut self, host: &str, payload: &str) -> Result<Element> {
        companion::answer(&mut self.component, "set", host, &payload.replace("NS", NS)).await
    }

    /// The outcomes of erasing (`erase`) or blanking (`blank`) rows of the same store as this one, in their order.
    pub(crate) async fn change(
        &mut self,
        what: &str,
        of: &Notice,
        items: &[String],
    ) -> Result<Vec<String>> {
        companion::change(&mut self.component, what, &of.owner, &of.store, items).await
    }

    /// A list's answer; waits where the module paces.
    pub(crate) async fn list(&mut self, host: &str, payload: &str) -> Result<Element> {
        loop {
            match self.get(host, payload).await {
                Err(error) if error.condition() == Some("resource-constraint") => {
                    tokio::time::sleep(Duration::from_millis(60)).await;
                }
                answer => return answer,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_archives_in_mnesia() -> Result<()> {
    all_of_it(&mut World::new(&mnesia()).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_archives_in_sql() -> Result<()> {
    let mut world = World::new(&sql(Schema::MultiHost)).await?;
    all_of_it(&mut world).await?;
    a_twin_is_left_alone(&mut world).await?;
    words_that_came_back_are_listed(&mut world).await?;
    a_list_looks_at_so_many_rows(&mut world).await
}

async fn all_of_it(world: &mut World) -> Result<()> {
    marked_stanzas_are_told_of(world).await?;
    a_queue_is_told_of(world).await?;
    outcomes_are_right(world).await?;
    lists_have_pages(world).await?;
    what_is_long_is_reduced(world).await?;
    a_history_is_scrubbed(world).await
}

/// Each kind of mark is told of once an archive, with what MAM shows of the row; nothing else is.
async fn marked_stanzas_are_told_of(world: &mut World) -> Result<()> {
    const MARKED: [&str; 7] = [
        EPHEMERAL,
        "<e:ephemeral xmlns:e='urn:xmpp:ephemeral:0' timer='60'/>",
        "<i-want-out xmlns='urn:xmpp:ephemeral:0'/>",
        "<no-permanent-store xmlns='urn:xmpp:hints'/><store xmlns='urn:xmpp:hints'/>",
        "<no-storage xmlns='urn:xmpp:hints'/><store xmlns='urn:xmpp:hints'/>",
        "<store xmlns='urn:xmpp:hints'/><h:no-permanent-storage xmlns:h='urn:xmpp:hints'/>",
        "<expired xmlns='urn:ephemerd:0' until='2031-01-01T00:00:00Z'/>",
    ];
    const PLAIN: [&str; 5] = [
        "",
        "<store xmlns='urn:xmpp:hints'/>",
        "<ephemeral xmlns='urn:example:other' timer='60'/>",
        "<x xmlns='urn:example:x'><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/></x>",
        "<e:ephemeral xmlns:e='urn:example:e' xmlns='urn:xmpp:ephemeral:0'/>",
    ];
    let mut peter = world.lab.online("peter").await?;
    let mut rosa = world.lab.online("rosa").await?;
    let den = world.lab.endpoints().room("den");
    peter.join(&den, "Peter").await?;
    let subscribe = "<subscribe xmlns='urn:xmpp:mucsub:0' nick='Rosa'>\
                     <event node='urn:xmpp:mucsub:nodes:messages'/></subscribe>";
    rosa.iq("set", Some(&den), subscribe).await?;
    for (at, extra) in MARKED.iter().enumerate() {
        peter.chat("rosa@localhost", &format!("marked {at}"), extra).await?;
        peter.groupchat(&den, &format!("room {at}"), extra).await?;
    }
    for (at, extra) in PLAIN.iter().enumerate() {
        peter.chat("rosa@localhost", &format!("plain {at}"), extra).await?;
        peter.groupchat(&den, &format!("plain room {at}"), extra).await?;
    }
    peter.wait_for_body("plain room 4").await?;
    rosa.wait_for("the last copy", PATIENCE, |it| it.xml.contains("plain room 4")).await?;
    rosa.sync().await?;

    let told = world.told().await?;
    for host in ["localhost", "conference.localhost"] {
        let of_host = told.iter().filter(|it| it.owner.ends_with(&format!("@{host}")));
        let numbers: Vec<_> = of_host.map(|it| it.number).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{host}");
        let (boot, last) = world.number(host).await?;
        assert_eq!(last, numbers.len() as u64);
        assert!(told.iter().all(|it| it.boot == boot));
    }
    for (user, room) in [("peter", None), ("rosa", None), ("rosa", Some(den.as_str()))] {
        let query = room.map_or_else(MamQuery::default, MamQuery::room);
        let items = world.lab.archive(user, &query).await?;
        let owner = room.map_or_else(|| format!("{user}@localhost"), str::to_owned);
        let marked = |it: &&MamItem| it.xml.contains(">marked ") || it.xml.contains(">room ");
        let shown: Vec<_> = items.iter().filter(marked).map(|it| (&it.id, &it.stamp)).collect();
        let of_owner = told.iter().filter(|it| it.owner == owner);
        let mut known: Vec<_> = of_owner.clone().map(|it| (&it.id, &it.stamp)).collect();
        known.sort(); // a row gets its time first, is stored then, and told of last
        assert_eq!(known, shown, "{owner}");
        let store = if room.is_some() { "room" } else { "archive" };
        assert!(
            of_owner.clone().all(|it| it.store == store && !it.is_reduced && it.copy_of.is_none())
        );
        let copies = if user == "rosa" && room.is_none() { 2 } else { 1 };
        assert_eq!(known.len(), MARKED.len() * copies, "{owner}");
    }
    assert_eq!(told.len(), MARKED.len() * 4);
    assert_eq!(
        told.iter().filter(|it| it.body() == Some("marked 0")).count(),
        2,
        "forwarded as it is"
    );
    peter.close().await?;
    rosa.close().await
}

/// A marked copy in an offline queue is told of, also where no archive has it, and that it was handed out.
async fn a_queue_is_told_of(world: &mut World) -> Result<()> {
    let mut peter = world.lab.online("peter").await?;
    world.lab.client("otto").await?.close().await?;
    world.lab.client("lena").await?.close().await?;
    world.told().await?;
    let forged = "<delay xmlns='urn:xmpp:delay' from='localhost' stamp='1999-01-01T00:00:00Z'/>";
    let both = format!("{EPHEMERAL}{forged}");
    peter.chat("otto@localhost", "both", &both).await?;
    peter.chat("otto@localhost", "plain", "").await?;
    peter.chat("otto@localhost", "queue only", NO_PERMANENT_STORE).await?;
    peter.chat("lena@localhost", "plain", "").await?;
    peter.sync().await?;
    let told = world.told().await?;
    let of = |store: &str, words: &str| {
        told.iter().find(|it| {
            it.owner == "otto@localhost" && it.store == store && it.body() == Some(words)
        })
    };
    assert_eq!(told.len(), 4, "two archives, two copies: {told:?}");
    let (archived, copy) =
        (of("archive", "both").expect("told"), of("queue", "both").expect("told"));
    assert_eq!(copy.copy_of.as_ref(), Some(&archived.id));
    assert!(copy.stamp >= archived.stamp, "a sender cannot date his message back");
    assert_eq!(of("queue", "queue only").expect("told").copy_of, None);

    let payload = "<list xmlns='NS' version='1' owner='otto@localhost' store='queue' max='9' max-bytes='262144'/>";
    let listed = world.list("localhost", payload).await?;
    let rows = told.iter().filter(|it| it.store == "queue");
    let known: Vec<_> = rows.map(|it| (Some(it.id.as_str()), Some(it.stamp.as_str()))).collect();
    let shown: Vec<_> =
        listed.children.iter().map(|it| (it.attribute("id"), it.attribute("stamp"))).collect();
    assert_eq!(shown, known);
    let owners =
        world.list("localhost", "<owners xmlns='NS' version='1' store='queue' max='9'/>").await?;
    let owners: Vec<_> = owners.children.iter().filter_map(|it| it.attribute("jid")).collect();
    assert_eq!(owners, ["lena@localhost", "otto@localhost"]);

    let mut lena = world.lab.online("lena").await?;
    lena.wait_for_body("plain").await?;
    let mut otto = world.lab.client("otto").await?;
    otto.send("<presence><priority>-1</priority></presence>").await?;
    otto.sync().await?;
    assert!(world.told().await?.is_empty(), "nothing that was marked was handed out");
    otto.send_presence().await?;
    otto.wait_for_body("queue only").await?;
    otto.sync().await?;
    let told_now = world.told().await?;
    assert_eq!(told_now.len(), 1);
    assert_eq!((told_now[0].owner.as_str(), told_now[0].id.as_str()), ("otto@localhost", ""));
    assert_eq!(told_now[0].number, told[3].number + 1);
    peter.close().await
}

/// What may be erased or blanked is, what may not stays byte for byte, and each item is told its outcome in its place.
async fn outcomes_are_right(world: &mut World) -> Result<()> {
    let mut anna = world.lab.online("anna").await?;
    world.lab.client("bert").await?.close().await?;
    world.told().await?;
    for (words, extra) in [
        ("one", EPHEMERAL),
        ("plain one", ""),
        ("two", EPHEMERAL),
        ("three", EPHEMERAL),
        ("plain two", ""),
    ] {
        anna.chat("bert@localhost", words, extra).await?;
    }
    anna.sync().await?;
    let before = world.lab.archive("bert", &MamQuery::default()).await?;
    let of_anna = world.lab.archive("anna", &MamQuery::default()).await?;
    let told = world.told().await?;
    let of_bert: Vec<_> = told
        .into_iter()
        .filter(|it| it.owner == "bert@localhost" && it.store == "archive")
        .collect();
    let [one, two, three] = of_bert.as_slice() else { panic!("three are marked: {of_bert:?}") };
    let items = [
        one.item(),
        item(&before[1].id, &before[1].stamp),
        item(&three.id, &one.stamp),
        item("17", "1970-01-01T00:00:00.000017Z"),
        item("no number", "1970-01-01T00:00:00Z"),
    ];
    for _ in 0..2 {
        let outcomes = world.change("blank", one, &items).await?;
        assert_eq!(outcomes, ["done", "other", "other", "gone", "gone"]);
    }
    let items = [two.item(), items[1].clone(), items[2].clone()];
    assert_eq!(world.change("erase", one, &items).await?, ["done", "other", "other"]);
    assert_eq!(world.change("erase", one, &items).await?, ["gone", "other", "other"]);

    let after = world.lab.archive("bert", &MamQuery::default()).await?;
    assert_eq!(
        after.iter().map(|it| &it.id).collect::<Vec<_>>(),
        [0, 1, 3, 4].map(|at| &before[at].id)
    );
    assert_eq!([&after[1].xml, &after[2].xml, &after[3].xml], [1, 3, 4].map(|at| &before[at].xml));
    let blank = &after[0].message;
    assert_eq!((&after[0].stamp, blank.body()), (&before[0].stamp, None));
    assert!(!after[0].xml.contains("one") && !after[0].xml.contains("urn:xmpp:ephemeral:0"));
    let expired = blank.child("urn:ephemerd:0", "expired").expect("a placeholder");
    assert_eq!(expired.attribute("until"), Some("2099-01-01T00:00:00Z"));
    assert_eq!(blank.attribute("from"), before[0].message.attribute("from"));
    let with = MamQuery { with: Some("anna@localhost".to_owned()), ..MamQuery::default() };
    assert_eq!(world.lab.archive("bert", &with).await?.len(), 4, "the other's address stays");
    let beyond = MamQuery { after: Some(two.id.clone()), ..MamQuery::default() };
    assert_eq!(
        world.lab.archive("bert", &beyond).await?.len(),
        2,
        "an erased id is still a cursor"
    );
    assert_eq!(
        world.change("erase", one, &[one.item()]).await?,
        ["done"],
        "a placeholder goes as well"
    );
    let rest = world.lab.archive("anna", &MamQuery::default()).await?;
    let xml = |items: &[MamItem]| items.iter().map(|it| it.xml.clone()).collect::<Vec<_>>();
    assert_eq!(xml(&rest), xml(&of_anna), "nothing of another owner");
    refusals_change_nothing(world, three).await?;
    anna.close().await
}

/// Requests that break a bound are refused with the right condition, and do nothing.
async fn refusals_change_nothing(world: &mut World, told: &Notice) -> Result<()> {
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
        (here, erase(owner, &row).replace("'1'", "'2'"), "feature-not-implemented"),
    ] {
        let error = world.set(host, &payload).await.expect_err(&payload);
        assert_eq!(error.condition(), Some(condition), "{payload}");
        if payload.contains("version='2'") {
            let text = error.to_string();
            assert!(text.contains("version 1") && text.contains("version 2"), "{text}");
        }
    }
    let after = world.lab.archive("bert", &MamQuery::default()).await?;
    assert_eq!(before.len(), after.len());
    assert!(before.iter().zip(&after).all(|(before, after)| before.xml == after.xml));
    Ok(())
}

/// Page by page, each marked row comes once and in order, and no plain one; an owner too.
async fn lists_have_pages(world: &mut World) -> Result<()> {
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

    // Two at once: the second comes too fast.
    let list = "<list xmlns='NS' version='1' owner='kurt@localhost' store='archive' max='9' max-bytes='262144'/>";
    tokio::time::sleep(Duration::from_millis(60)).await;
    for id in ["p1", "p2"] {
        let list = list.replace("NS", NS);
        world
            .component
            .send(&format!(
                "<iq type='get' id='{id}' from='ephemerd.localhost' to='localhost'>{list}</iq>"
            ))
            .await?;
    }
    let mut answers = Vec::new();
    for id in ["p1", "p2"] {
        let is_answer = |it: &ephemerd_lab::xmpp::Stanza| it.attribute("id") == Some(id);
        let answer = world.component.wait_for("an answer", PATIENCE, is_answer).await?;
        answers.push(answer.error().and_then(|it| it.condition().map(str::to_owned)));
    }
    assert_eq!(answers, [None, Some("resource-constraint".to_owned())]);
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

/// Of a stanza that is too long to forward, what it says about retention is told, and that it had words.
async fn what_is_long_is_reduced(world: &mut World) -> Result<()> {
    let mut vera = world.lab.online("vera").await?;
    world.told().await?;
    let extra =
        format!("{EPHEMERAL}<picture xmlns='urn:example:p'>{}</picture>", "y".repeat(100_000));
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
    assert_eq!(message.child("urn:example:p", "picture").expect("named").text, "");
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

    // ejabberd keeps, and sends on, a prefix that only the sender's stream declares: no parser takes that.
    world.lab.client("xaver").await?.close().await?;
    let mut wanda = world.lab.client("wanda").await?;
    wanda.chat("xaver@localhost", "mute", &format!("{EPHEMERAL}<lab:x/>")).await?;
    wanda.sync().await?;
    let told = world.told().await?;
    let message = told.first().and_then(|it| it.message.as_ref()).expect("it is told of");
    assert!(told.iter().all(|it| it.is_reduced) && message.body() == Some("…"), "{told:?}");
    wanda.close().await
}

/// What was erased is no longer replayed to those who join, and what was not still is. Scrubbing alone leaves the archive.
async fn a_history_is_scrubbed(world: &mut World) -> Result<()> {
    let mut emil = world.lab.online("emil").await?;
    let attic = world.lab.endpoints().room("attic");
    emil.join(&attic, "Emil").await?;
    world.told().await?;
    for (words, extra) in
        [("1", EPHEMERAL), ("2", ""), ("3", EPHEMERAL), ("4", EPHEMERAL), ("5", EPHEMERAL)]
    {
        emil.groupchat(&attic, words, extra).await?;
        emil.wait_for_body(words).await?;
    }
    let told = world.told().await?;
    let [one, three, four, _five] = told.as_slice() else { panic!("four are marked: {told:?}") };
    assert_eq!(world.change("erase", one, &[one.item()]).await?, ["done"]);
    assert_eq!(world.change("blank", one, &[three.item()]).await?, ["done"]);
    let payload = format!(
        "<scrub xmlns='NS' version='1' owner='{attic}'><item id='{}'/><item id='17'/></scrub>",
        four.id
    );
    let scrubbed = world.set("conference.localhost", &payload).await?;
    assert_eq!(scrubbed.attribute("count"), Some("1"));
    let scrubbed = world.set("conference.localhost", &payload).await?;
    assert_eq!(scrubbed.attribute("count"), Some("0"));
    emil.groupchat(&attic, "6", "").await?;
    emil.wait_for_body("6").await?;
    let joined = world.lab.online("rosa").await?.join(&attic, "Rosa").await?;
    let replayed: Vec<_> = joined.history.iter().filter_map(|it| it.body()).collect();
    assert_eq!(replayed, ["2", "5", "6"]);
    let archived = world.lab.archive("rosa", &MamQuery::room(&attic)).await?;
    assert_eq!(
        archived.iter().map(MamItem::body).collect::<Vec<_>>(),
        [Some("2"), None, Some("4"), Some("5"), Some("6")]
    );
    emil.close().await
}

/// Two rows may have one time, and so one archive id: what is erased or blanked is the marked one.
async fn a_twin_is_left_alone(world: &mut World) -> Result<()> {
    world.lab.client("zoe").await?.close().await?;
    let row = |time: i64, body: &str, extra: &str| {
        let xml = format!(
            "<message xmlns='jabber:client' type='chat' to='zoe@localhost' from='rosa@localhost/x'>\
             <body>{body}</body>{extra}</message>"
        );
        ArchiveRow::user("zoe", time, &xml)
    };
    let rows = [
        row(1_000_001, "plain 1", ""),
        row(1_000_001, "marked 1", EPHEMERAL),
        row(1_000_002, "marked 2", EPHEMERAL),
        row(1_000_002, "plain 2", ""),
    ];
    insert(&world.lab.database, Schema::MultiHost, &rows).await?;
    let before = world.lab.snapshots().await?.remove(0);
    let list = request("list", "zoe@localhost", "archive", "max='9' max-bytes='262144'", "");
    let listed = world.list("localhost", &list).await?;
    let bodies: Vec<_> = listed.children.iter().map(|it| it.children[0].body()).collect();
    assert_eq!(bodies, [Some("marked 1"), Some("marked 2")]);
    let stamp = |at: usize| listed.children[at].attribute("stamp").expect("one");
    let component = &mut world.component;
    for (what, at) in [("erase", 0), ("blank", 1)] {
        let id = (1_000_001 + at).to_string();
        let items = [item(&id, stamp(at))];
        let outcomes =
            companion::change(component, what, "zoe@localhost", "archive", &items).await?;
        assert_eq!(outcomes, ["done"]);
    }
    let after = world.lab.snapshots().await?.remove(0);
    let faults = before.faults(&after, &["marked 1".to_owned(), "marked 2".to_owned()].into());
    assert!(faults.is_empty() && after.len() == before.len() - 1, "{faults:?}");
    Ok(())
}

/// A server that was killed may come back with the words beside their placeholder, as Mnesia does: they are listed, and go.
async fn words_that_came_back_are_listed(world: &mut World) -> Result<()> {
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

/// One answer looks at no more than 2,000 rows, and says where the next goes on.
async fn a_list_looks_at_so_many_rows(world: &mut World) -> Result<()> {
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
