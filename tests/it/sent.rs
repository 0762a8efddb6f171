//! What was sent, to whom, who was offline, and what happened to it: docs/semantics.md, observed on a real
//! Prosody.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ephemerd_lab::xmpp::{Client, Element, MamItem, MamQuery};
use ephemerd_lab::{Daemon, Endpoints, Lab, PATIENCE, Prosody, Result, Server};

use crate::pages::Page;
use crate::sent_watch::{SLACK, Seen, Watch, let_pass};
use crate::support::start;

/// In seconds. Any two sums of them that the document has differ by more than `SLACK`, and each is long enough to be seen first.
const KEEP_FOR: f64 = 3.0;
const TIMER: f64 = 10.0;
const NEGOTIATION: f64 = 17.0;
const UNDELIVERED: f64 = 24.0;

/// What the document calls each delay after archiving.
const DELAYS: [(&str, f64); 6] = [
    ("`keep_for`", KEEP_FOR),
    ("timer", TIMER),
    ("`negotiation_for`", NEGOTIATION),
    ("`undelivered_for` + `keep_for`", UNDELIVERED + KEEP_FOR),
    ("`undelivered_for` + timer", UNDELIVERED + TIMER),
    ("`undelivered_for` + `negotiation_for`", UNDELIVERED + NEGOTIATION),
];

const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='10'/>";
const BODY: &str = "<body>WORDS</body>";
const OMEMO: &str = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/>\
                     <payload>WORDS</payload></encrypted>";
const EME: &str = "<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/>";
const STORE: &str = "<store xmlns='urn:xmpp:hints'/>";
const NO_STORE: &str = "<no-store xmlns='urn:xmpp:hints'/>";
const NO_PERMANENT_STORE: &str = "<no-permanent-store xmlns='urn:xmpp:hints'/>";

/// The rows of the document's first table: what was sent, and the message's content.
const CASES: [(&str, &[&str]); 28] = [
    ("words", &[BODY]),
    ("words, timer", &[BODY, EPHEMERAL]),
    ("words, two timers: the shorter counts", &[BODY, LONG_TIMER, EPHEMERAL]),
    ("words, timer of `0`", &[BODY, "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='0'/>"]),
    ("words, timer of `soon`", &[BODY, "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='soon'/>"]),
    (
        "words, timer by a prefix",
        &[BODY, "<e:ephemeral xmlns:e='urn:xmpp:ephemeral:0' timer='10'/>"],
    ),
    (
        "words, timer in character references",
        &[BODY, "<ephemeral xmlns='urn&#58;xmpp&#x3a;ephemeral:&#48;' timer='&#49;0'/>"],
    ),
    (
        "words that quote a timer in CDATA",
        &["<body><![CDATA[WORDS <ephemeral xmlns='urn:xmpp:ephemeral:0' timer='10'/>]]></body>"],
    ),
    ("words in CDATA, timer", &["<body><![CDATA[WORDS & <more>]]></body>", EPHEMERAL]),
    (
        "words, timer inside another element",
        &[
            BODY,
            "<wrap xmlns='urn:example:wrap'><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='10'/></wrap>",
        ],
    ),
    ("link (XEP-0066)", &[BODY, "<x xmlns='jabber:x:oob'><url>https://a.example/WORDS</url></x>"]),
    (
        "link (XEP-0066), timer",
        &[BODY, "<x xmlns='jabber:x:oob'><url>https://a.example/WORDS</url></x>", EPHEMERAL],
    ),
    (
        "correction (XEP-0308), timer",
        &[BODY, "<replace xmlns='urn:xmpp:message-correct:0' id='m0'/>", EPHEMERAL],
    ),
    ("words, `no-copy`", &[BODY, "<no-copy xmlns='urn:xmpp:hints'/>"]),
    ("words, `no-store`", &[BODY, NO_STORE]),
    ("words, `no-permanent-store`", &[BODY, NO_PERMANENT_STORE]),
    ("words, `no-permanent-store`, `store`", &[BODY, NO_PERMANENT_STORE, STORE]),
    (
        "words, `no-permanent-storage` (legacy)",
        &[BODY, "<no-permanent-storage xmlns='urn:xmpp:hints'/>"],
    ),
    ("words, `no-permanent-store`, timer", &[BODY, NO_PERMANENT_STORE, EPHEMERAL]),
    ("timer alone", &[EPHEMERAL]),
    ("timer alone, `store`", &[EPHEMERAL, STORE]),
    (
        "timer of `0` alone, `store`",
        &["<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='0'/>", STORE],
    ),
    ("`i-want-out`, `store`", &["<i-want-out xmlns='urn:xmpp:ephemeral:0'/>", STORE]),
    ("displayed marker (XEP-0333)", &["<displayed xmlns='urn:xmpp:chat-markers:0' id='m0'/>"]),
    ("OMEMO with XEP-0380", &[OMEMO, EME]),
    ("OMEMO with XEP-0380, timer", &[OMEMO, EME, EPHEMERAL]),
    ("OMEMO with `store`, timer", &[OMEMO, STORE, EPHEMERAL]),
    ("OMEMO with neither, timer", &[OMEMO, EPHEMERAL]),
];
const LONG_TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3600'/>";

/// Where each message is sent, from which the document's columns follow.
const PLACES: [&str; 3] = ["rosa", "otto", "den"];

/// Peter and Rosa are online, and in the den; Otto is away.
pub(crate) struct Talk<S> {
    lab: Lab<S>,
    peter: Client,
    rosa: Client,
}

impl<S: Server> Talk<S> {
    pub(crate) async fn begin(lab: Lab<S>) -> Result<Self> {
        let mut peter = lab.online("peter").await?;
        let mut rosa = lab.online("rosa").await?;
        lab.client("otto").await?.close().await?;
        let room = lab.endpoints().room("den");
        peter.join(&room, "Peter").await?;
        rosa.join(&room, "Rosa").await?;
        Ok(Self { lab, peter, rosa })
    }

    pub(crate) async fn daemon(&self) -> Result<Daemon> {
        let config = self
            .lab
            .daemon_config()
            .set("archive.poll", "200ms")
            .set("hints.keep_for", format!("{KEEP_FOR}s"))
            .set("timers.negotiation_for", format!("{NEGOTIATION}s"))
            .set("offline.undelivered_for", format!("{UNDELIVERED}s"));
        start(&config).await
    }

    pub(crate) async fn say_all(&mut self) -> Result<()> {
        for case in 0..CASES.len() {
            for place in PLACES {
                self.peter.send(&stanza(self.lab.endpoints(), case, place)).await?;
            }
            // ejabberd slows down clients that send too much at once.
            self.peter.sync().await?;
        }
        Ok(())
    }

    /// Waits until all has gone that goes.
    pub(crate) async fn outlast(&self) -> Result<()> {
        let all = UNDELIVERED + NEGOTIATION + SLACK + 2.0;
        let_pass(self.lab.database.superuser(), all).await
    }
}

/// The id of a case's message to a place, and its text, which no placeholder may contain.
fn id(case: usize, place: &str) -> String {
    format!("m{case}-{place}")
}
fn words(case: usize, place: &str) -> String {
    format!("said{case}in{place}")
}

/// A case's message to a place.
fn stanza(at: &Endpoints, case: usize, place: &str) -> String {
    let (to, kind) = match place {
        "den" => (at.room("den"), "groupchat"),
        user => (at.jid(user), "chat"),
    };
    let inside = CASES[case].1.concat().replace("WORDS", &words(case, place));
    format!("<message to='{to}' type='{kind}' id='{}'>{inside}</message>", id(case, place))
}

/// What happened to a message in one store, in the document's terms, where what is erased leaves a placeholder or
/// nothing.
fn fate(rows: &[Seen], leaves_placeholder: bool) -> String {
    let [row] = rows else {
        return if rows.is_empty() { "–".to_owned() } else { format!("{} rows", rows.len()) };
    };
    let Some(after) = row.went_after() else {
        return if row.is_spoilt { "spoilt" } else { "stays" }.to_owned();
    };
    let as_it_should = match leaves_placeholder {
        true => row.gone_at.is_none() && row.is_blank(),
        false => row.changed_at.is_none(),
    };
    if row.is_spoilt || !as_it_should {
        return format!("spoilt: {row:?}");
    }
    // The last that fits: two looks may be far apart.
    let named = DELAYS.iter().rfind(|(_, delay)| row.went(*delay));
    named.map_or_else(|| format!("after {after} s"), |(name, _)| (*name).to_owned())
}

/// A table of the document, as observed: `placeholders` in these stores.
pub(crate) fn see_documented(sent: &str, watch: &Watch, placeholders: &[&str]) {
    let mut table = format!(
        "| {sent} | archives | archive of a recipient who is away | offline queue | room |\n\
         |---|---|---|---|---|\n"
    );
    for (case, (name, _)) in CASES.iter().enumerate() {
        let of = |store, user, place| {
            fate(&watch.of(store, user, &id(case, place)), placeholders.contains(&store))
        };
        let archives = of("archive", "peter", "rosa");
        for (user, place) in [("rosa", "rosa"), ("peter", "otto")] {
            assert_eq!(of("archive", user, place), archives, "{name}: {user}'s archive");
        }
        let _ = writeln!(
            table,
            "| {name} | {archives} | {} | {} | {} |",
            of("archive", "otto", "otto"),
            of("offline", "otto", "otto"),
            of("muc_log", "den", "den"),
        );
    }
    let page = Page::read("docs/semantics.md").text;
    assert!(page.contains(&table), "docs/semantics.md says otherwise; this was seen:\n{table}");
}

/// A room's private message (XEP-0045, 7.5), and one to a single device, with a carbon for the other.
async fn say_aside(talk: &mut Talk<Prosody>) -> Result<()> {
    let mut tablet = Client::login(talk.lab.endpoints(), "rosa", "tablet").await?;
    tablet.send_presence().await?;
    tablet.iq("set", None, "<enable xmlns='urn:xmpp:carbons:2'/>").await?;
    let private = format!(
        "<message to='{}/Rosa' type='chat' id='private'><body>saidprivately</body>\
         {EPHEMERAL}<x xmlns='http://jabber.org/protocol/muc#user'/></message>",
        talk.lab.endpoints().room("den")
    );
    talk.peter.send(&private).await?;
    let to_one = format!(
        "<message to='{}' type='chat' id='carbon'><body>saidtoone</body>{EPHEMERAL}</message>",
        talk.rosa.jid()
    );
    talk.peter.send(&to_one).await?;
    tablet.wait_for("a carbon", PATIENCE, |it| it.xml.contains("saidtoone")).await?;
    tablet.close().await
}

/// Whatever is sent, wherever it is stored: it goes when docs/semantics.md says, or stays byte for byte.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_sent_goes_or_stays_as_documented() -> Result<()> {
    let mut talk = Talk::begin(Lab::prosody().await?).await?;
    let _daemon = talk.daemon().await?;
    let watch = Watch::prosody(talk.lab.database.superuser());
    talk.say_all().await?;
    say_aside(&mut talk).await?;
    talk.outlast().await?;

    see_documented("sent", &watch, &["archive", "offline", "muc_log"]);
    for id in ["private", "carbon"] {
        for user in ["peter", "rosa"] {
            let rows = watch.of("archive", user, id);
            assert_eq!(fate(&rows, true), "timer", "{id}, {user}'s archive");
        }
    }
    see_stored(&watch);
    see_archives(&talk, &watch).await?;
    see_queue(&talk, &watch).await
}

/// Whatever the sender wrote, Prosody stores namespaces and timers literally, which the database's search for
/// candidates relies on.
fn see_stored(watch: &Watch) {
    for name in ["words, timer by a prefix", "words, timer in character references"] {
        let case = CASES.iter().position(|it| it.0 == name).expect("it is one of the cases");
        let stored = watch.one("archive", "rosa", &id(case, "rosa")).first;
        assert!(stored.contains("'urn:xmpp:ephemeral:0'"), "{stored}");
        assert!(stored.contains("timer='10'"), "{stored}");
    }
    let case = CASES.iter().position(|it| it.0.contains("quote")).expect("it is one of the cases");
    let stored = watch.one("archive", "rosa", &id(case, "rosa")).first;
    assert!(stored.contains("&lt;ephemeral") && !stored.contains("CDATA"), "{stored}");
}

/// What fresh clients find: text where it stays, placeholders without text where it went.
async fn see_archives(talk: &Talk<Prosody>, watch: &Watch) -> Result<()> {
    let room = MamQuery::room(&talk.lab.endpoints().room("den"));
    let views = [
        ("archive", "peter", talk.lab.archive("peter", &MamQuery::default()).await?),
        ("archive", "rosa", talk.lab.archive("rosa", &MamQuery::default()).await?),
        ("archive", "otto", talk.lab.archive("otto", &MamQuery::default()).await?),
        ("muc_log", "den", talk.lab.archive("rosa", &room).await?),
    ];
    for (store, user, items) in views {
        let rows = watch.rows().into_values().filter(|it| it.store == store && it.user == user);
        let rows: BTreeMap<String, Seen> = rows.map(|it| (it.key.clone(), it)).collect();
        assert_eq!(items.len(), rows.len(), "{user}'s {store} is complete");
        for item in &items {
            see_item(item, &rows[&item.id]);
        }
    }
    Ok(())
}

fn see_item(item: &MamItem, row: &Seen) {
    if row.is_untouched() {
        let first = Element::parse(&row.first).expect("it is XML");
        assert_eq!(item.message.attribute("id"), first.attribute("id"), "{}", item.xml);
        assert_eq!(item.body(), first.body(), "{}", item.xml);
    } else {
        assert!(row.is_blank(), "{}", row.value);
        assert!(!item.xml.contains("said"), "{}", item.xml);
        assert!(item.message.child("urn:ephemerd:0", "expired").is_some(), "{}", item.xml);
    }
}

/// Somebody who was offline logs in: what stays is delivered whole, the rest without text, in its place.
async fn see_queue(talk: &Talk<Prosody>, watch: &Watch) -> Result<()> {
    let queued: Vec<Seen> = watch
        .rows()
        .into_values()
        .filter(|it| it.store == "offline" && it.user == "otto")
        .collect();
    assert_eq!(queued.len(), CASES.len(), "all that was sent waits in the queue");
    let mut otto = talk.lab.online("otto").await?;
    let handed_out = otto.take(|it| it.name == "message");
    assert_eq!(handed_out.len(), queued.len(), "nothing in the queue is lost");
    for (message, row) in handed_out.iter().zip(&queued) {
        assert_eq!(message.attribute("id"), Some(row.id().as_str()), "in the order of sending");
        assert!(message.child("urn:xmpp:delay", "delay").is_some(), "{}", message.xml);
        if row.is_untouched() {
            let first = Element::parse(&row.first)?;
            assert_eq!(message.body(), first.body());
            assert_eq!(message.children.len(), first.children.len() + 1, "all, and the delay");
            continue;
        }
        assert!(row.is_blank() && !message.xml.contains("said"), "{}", message.xml);
        let id_of = |xml: &Element| xml.child("urn:xmpp:sid:0", "stanza-id").cloned();
        let (was, is) = (id_of(&Element::parse(&row.first)?), id_of(message));
        assert_eq!(was.map(|it| it.attributes), is.map(|it| it.attributes), "{}", message.xml);
    }
    Ok(())
}
