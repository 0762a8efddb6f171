//! What was sent, to whom, who was away, and what became of it: docs/semantics.md, seen on a real Prosody.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ephemerd_lab::xmpp::{Client, Element, MamItem, MamQuery};
use ephemerd_lab::{Endpoints, Lab, PATIENCE, Prosody, Result};

use crate::sent_watch::{SLACK, Seen, Watch, now};
use crate::support::start;

/// In seconds. Every sum of them that the document knows lies more than `SLACK` from the next.
pub(crate) const KEEP_FOR: f64 = 1.0;
const TIMER: f64 = 5.0;
pub(crate) const NEGOTIATION: f64 = 10.0;
pub(crate) const UNDELIVERED: f64 = 15.0;

/// What the document calls each delay after archiving.
pub(crate) const DELAYS: [(&str, f64); 6] = [
    ("`keep_for`", KEEP_FOR),
    ("timer", TIMER),
    ("`negotiation_for`", NEGOTIATION),
    ("`undelivered_for` + `keep_for`", UNDELIVERED + KEEP_FOR),
    ("`undelivered_for` + timer", UNDELIVERED + TIMER),
    ("`undelivered_for` + `negotiation_for`", UNDELIVERED + NEGOTIATION),
];

const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='5'/>";
const BODY: &str = "<body>WORDS</body>";
const OMEMO: &str = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/>\
                     <payload>WORDS</payload></encrypted>";
const EME: &str = "<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/>";
const STORE: &str = "<store xmlns='urn:xmpp:hints'/>";
const NO_STORE: &str = "<no-store xmlns='urn:xmpp:hints'/>";
const NO_PERMANENT_STORE: &str = "<no-permanent-store xmlns='urn:xmpp:hints'/>";

/// The rows of the document's first table: what was sent, and what the message holds.
pub(crate) const CASES: [(&str, &[&str]); 28] = [
    ("words", &[BODY]),
    ("words, timer", &[BODY, EPHEMERAL]),
    ("words, two timers: the shorter counts", &[BODY, LONG_TIMER, EPHEMERAL]),
    ("words, timer of `0`", &[BODY, "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='0'/>"]),
    ("words, timer of `soon`", &[BODY, "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='soon'/>"]),
    (
        "words, timer by a prefix",
        &[BODY, "<e:ephemeral xmlns:e='urn:xmpp:ephemeral:0' timer='5'/>"],
    ),
    (
        "words, timer in character references",
        &[BODY, "<ephemeral xmlns='urn&#58;xmpp&#x3a;ephemeral:&#48;' timer='&#53;'/>"],
    ),
    (
        "words that quote a timer in CDATA",
        &["<body><![CDATA[WORDS <ephemeral xmlns='urn:xmpp:ephemeral:0' timer='5'/>]]></body>"],
    ),
    ("words in CDATA, timer", &["<body><![CDATA[WORDS & <more>]]></body>", EPHEMERAL]),
    (
        "words, timer inside another element",
        &[
            BODY,
            "<wrap xmlns='urn:example:wrap'><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='5'/></wrap>",
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

/// Where each message is sent; the document's columns follow from it.
pub(crate) const PLACES: [&str; 3] = ["rosa", "otto", "den"];

struct Talk {
    lab: Lab<Prosody>,
    peter: Client,
    rosa: Client,
    tablet: Client,
}

async fn talk() -> Result<Talk> {
    let lab = Lab::prosody().await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    lab.client("otto").await?.close().await?;
    let mut tablet = Client::login(lab.endpoints(), "rosa", "tablet").await?;
    tablet.send_presence().await?;
    tablet.iq("set", None, "<enable xmlns='urn:xmpp:carbons:2'/>").await?;
    let room = lab.endpoints().room("den");
    peter.join(&room, "Peter").await?;
    rosa.join(&room, "Rosa").await?;
    Ok(Talk { lab, peter, rosa, tablet })
}

/// The id of a case's message to a place, and the words in it, which no placeholder may hold.
pub(crate) fn id(case: usize, place: &str) -> String {
    format!("m{case}-{place}")
}
fn words(case: usize, place: &str) -> String {
    format!("said{case}in{place}")
}

/// A case's message to a place.
pub(crate) fn stanza(at: &Endpoints, case: usize, place: &str) -> String {
    let (to, kind) = match place {
        "den" => (at.room("den"), "groupchat"),
        user => (at.jid(user), "chat"),
    };
    let inside = CASES[case].1.concat().replace("WORDS", &words(case, place));
    format!("<message to='{to}' type='{kind}' id='{}'>{inside}</message>", id(case, place))
}

impl Talk {
    async fn say_all(&mut self) -> Result<()> {
        let room = self.lab.endpoints().room("den");
        for case in 0..CASES.len() {
            for place in PLACES {
                self.peter.send(&stanza(self.lab.endpoints(), case, place)).await?;
            }
        }
        // A room's private message (XEP-0045, 7.5), and one to a single device, with a carbon for the other.
        let private = format!(
            "<message to='{room}/Rosa' type='chat' id='private'><body>saidprivately</body>\
             {EPHEMERAL}<x xmlns='http://jabber.org/protocol/muc#user'/></message>"
        );
        self.peter.send(&private).await?;
        let to_one = format!(
            "<message to='{}' type='chat' id='carbon'><body>saidtoone</body>{EPHEMERAL}</message>",
            self.rosa.jid()
        );
        self.peter.send(&to_one).await?;
        self.peter.sync().await
    }
}

/// What became of a message in one store, in the document's words.
fn fate(rows: &[Seen]) -> String {
    let [row] = rows else {
        return if rows.is_empty() { "–".to_owned() } else { format!("{} rows", rows.len()) };
    };
    if row.is_spoilt || row.gone_at.is_some() {
        return "spoilt".to_owned();
    }
    let Some(after) = row.went_after() else { return "stays".to_owned() };
    let named = DELAYS.iter().find(|(_, delay)| (*delay..delay + SLACK).contains(&after));
    named.map_or_else(|| format!("after {after} s"), |(name, _)| (*name).to_owned())
}

/// The document's first table, as it was seen.
fn table(watch: &Watch) -> String {
    let mut table = String::from(
        "| sent | archives | archive of a recipient who is away | offline queue | room |\n\
         |---|---|---|---|---|\n",
    );
    for (case, (name, _)) in CASES.iter().enumerate() {
        let of = |store, user, place| fate(&watch.of(store, user, &id(case, place)));
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
    table
}

/// Whatever is sent, wherever it lies: it goes when docs/semantics.md says, or stays byte for byte.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_sent_goes_or_stays_as_documented() -> Result<()> {
    let mut talk = talk().await?;
    let config = talk
        .lab
        .daemon_config()
        .set("archive.poll", "200ms")
        .set("hints.keep_for", format!("{KEEP_FOR}s"))
        .set("timers.negotiation_for", format!("{NEGOTIATION}s"))
        .set("offline.undelivered_for", format!("{UNDELIVERED}s"));
    let _daemon = start(&config).await?;
    let pool = talk.lab.database.superuser().clone();
    let watch = Watch::start(&pool);
    talk.say_all().await?;
    talk.tablet.wait_for("a carbon", PATIENCE, |it| it.xml.contains("saidtoone")).await?;

    let said = now(&pool).await?;
    let last = UNDELIVERED + NEGOTIATION + SLACK + 2.0;
    tokio::time::sleep(Duration::from_secs_f64(said + last - now(&pool).await?)).await;

    let seen = table(&watch);
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/semantics.md");
    let document = fs::read_to_string(document)?;
    assert!(document.contains(&seen), "docs/semantics.md says otherwise; this was seen:\n{seen}");
    for (id, archives) in [("private", ["peter", "rosa"]), ("carbon", ["peter", "rosa"])] {
        for user in archives {
            assert_eq!(fate(&watch.of("archive", user, id)), "timer", "{id}, {user}'s archive");
        }
    }
    see_stored(&watch);
    see_archives(&talk, &watch).await?;
    see_queue(&talk, &watch).await
}

/// Whatever the sender wrote, Prosody stores namespaces and timers spelt out, which the database's search for
/// candidates relies on.
fn see_stored(watch: &Watch) {
    for name in ["words, timer by a prefix", "words, timer in character references"] {
        let case = CASES.iter().position(|it| it.0 == name).expect("it is one of the cases");
        let stored = watch.one("archive", "rosa", &id(case, "rosa")).first;
        assert!(stored.contains("'urn:xmpp:ephemeral:0'"), "{stored}");
        assert!(stored.contains("timer='5'"), "{stored}");
    }
    let case = CASES.iter().position(|it| it.0.contains("quote")).expect("it is one of the cases");
    let stored = watch.one("archive", "rosa", &id(case, "rosa")).first;
    assert!(stored.contains("&lt;ephemeral") && !stored.contains("CDATA"), "{stored}");
}

/// What fresh clients find: words where they stay, placeholders without words where they went.
async fn see_archives(talk: &Talk, watch: &Watch) -> Result<()> {
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

/// Who was away comes back: what stays is handed out whole, what went without words, in its place.
async fn see_queue(talk: &Talk, watch: &Watch) -> Result<()> {
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
