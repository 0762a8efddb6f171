//! The companion module in a real ejabberd, with a component in the daemon's place: with archives and offline
//! queues in Mnesia, and in SQL. Judged by what clients are shown.

use ephemerd_lab::ejabberd::rows::{ArchiveRow, insert};
use ephemerd_lab::ejabberd::{EjabberdConfig, Schema, Storage};
use ephemerd_lab::xmpp::{Component, Element, MamItem, MamQuery};
use ephemerd_lab::{Ejabberd, Lab, PATIENCE, Result};

use crate::companion::{self, NS, Notice, host_of, item, request};
use crate::companion_ejabberd_lists::{
    a_list_looks_at_so_many_rows, lists_have_pages, refusals_change_nothing,
    what_is_long_is_reduced, words_that_came_back_are_listed,
};
use crate::companion_notices::{EXPIRE, EXPIRE_AT};

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

    /// All notices not read yet. Earlier traffic must have been processed.
    pub(crate) async fn told(&mut self) -> Result<Vec<Notice>> {
        self.number("localhost").await?;
        let told = companion::notices(&mut self.component, "conference.localhost").await?;
        assert!(
            told.iter().all(|it| it.host == host_of(&it.owner)),
            "said by the owner's own host"
        );
        Ok(told)
    }

    /// The boot and the number of the last notice, according to the module; everything stored earlier has
    /// been announced by then.
    pub(crate) async fn number(&mut self, host: &str) -> Result<(String, u64)> {
        let answer = companion::companion(&mut self.component, host).await?;
        let number = answer.attribute("number").expect("a number").parse().expect("a number");
        Ok((answer.attribute("boot").expect("a boot").to_owned(), number))
    }

    pub(crate) async fn set(&mut self, host: &str, payload: &str) -> Result<Element> {
        companion::answer(&mut self.component, "set", host, &payload.replace("NS", NS)).await
    }

    /// The outcomes of erasing (`erase`) or blanking (`blank`) rows in the same store as this one, in order.
    pub(crate) async fn change(
        &mut self,
        what: &str,
        of: &Notice,
        items: &[String],
    ) -> Result<Vec<String>> {
        companion::change(&mut self.component, what, &of.owner, &of.store, items).await
    }

    /// A list's answer; waits if the module asks to.
    pub(crate) async fn list(&mut self, host: &str, payload: &str) -> Result<Element> {
        let payload = payload.replace("NS", NS);
        companion::answer_in_time(&mut self.component, "get", host, &payload).await
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
    marked_stanzas_are_announced(world).await?;
    a_queue_is_announced(world).await?;
    outcomes_are_right(world).await?;
    lists_have_pages(world).await?;
    what_is_long_is_reduced(world).await?;
    a_history_is_scrubbed(world).await
}

/// Each kind of mark is announced once per archive, with what MAM shows of the row; nothing else is.
async fn marked_stanzas_are_announced(world: &mut World) -> Result<()> {
    const MARKED: [&str; 9] = [
        EPHEMERAL,
        "<e:ephemeral xmlns:e='urn:xmpp:ephemeral:0' timer='60'/>",
        "<i-want-out xmlns='urn:xmpp:ephemeral:0'/>",
        "<no-permanent-store xmlns='urn:xmpp:hints'/><store xmlns='urn:xmpp:hints'/>",
        "<no-storage xmlns='urn:xmpp:hints'/><store xmlns='urn:xmpp:hints'/>",
        "<store xmlns='urn:xmpp:hints'/><h:no-permanent-storage xmlns:h='urn:xmpp:hints'/>",
        "<expired xmlns='urn:ephemerd:0' until='2031-01-01T00:00:00Z'/>",
        EXPIRE,
        EXPIRE_AT,
    ];
    const PLAIN: [&str; 6] = [
        "",
        "<store xmlns='urn:xmpp:hints'/>",
        "<ephemeral xmlns='urn:example:other' timer='60'/>",
        "<x xmlns='urn:example:x'><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/></x>",
        "<e:ephemeral xmlns:e='urn:example:e' xmlns='urn:xmpp:ephemeral:0'/>",
        "<amp xmlns='http://jabber.org/protocol/amp' status='alert'><rule condition='expire-at' action='drop' value='x'/></amp>",
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
    peter.wait_for_body("plain room 5").await?;
    rosa.wait_for("the last copy", PATIENCE, |it| it.xml.contains("plain room 5")).await?;
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
        known.sort(); // a row is stamped first, then stored, and announced last
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

/// A marked copy in an offline queue is announced, even if no archive has it, and so is its delivery.
async fn a_queue_is_announced(world: &mut World) -> Result<()> {
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

/// What may be erased or blanked is, everything else stays byte for byte, and each item gets its outcome in
/// its place.
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

/// Erased messages are no longer replayed to people who join, and others still are. Scrubbing alone leaves
/// the archive.
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

/// Two rows may have the same time, and thus the same archive id: the marked one is erased or blanked.
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
