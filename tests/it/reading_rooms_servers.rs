//! Rooms whose timers start at their first reader, with real servers and clients.

use ephemerd_lab::ejabberd;
use ephemerd_lab::prosody::{ProsodyConfig, Storage};
use ephemerd_lab::xmpp::{Client, MamQuery};
use ephemerd_lab::{Daemon, EjabberdConfig, Lab, LabError, PATIENCE, Result, Server, eventually};
use tokio::time::{Duration, Instant};

use crate::hanging::config_of;
use crate::remote::timer;
use crate::sent_watch::let_pass;
use crate::support::{CLOCKS, number, start, wait_for_number};

const SECONDS: u32 = 3;
const ITEM: &str = "urn:xmpp:mds:displayed:0";
pub(crate) const STORE: &str = "<store xmlns='urn:xmpp:hints'/>";
pub(crate) const WAITING: &str =
    "SELECT count(*) FROM ephemerd.expiries WHERE store = 'room' AND started_by = 'unread'";

/// Both servers, with the module, and their archives in tables or not.
pub(crate) struct Kinds {
    pub(crate) tables: ProsodyConfig,
    pub(crate) files: ProsodyConfig,
    pub(crate) sql: EjabberdConfig,
    pub(crate) mnesia: EjabberdConfig,
}

impl Kinds {
    pub(crate) fn with_modules() -> Self {
        let ejabberd =
            |storage| EjabberdConfig { storage, companion: true, ..EjabberdConfig::default() };
        Self {
            tables: ProsodyConfig::default().with_companion(),
            files: ProsodyConfig::default().storage_in(Storage::Files).with_companion(),
            sql: ejabberd(ejabberd::Storage::Sql),
            mnesia: ejabberd(ejabberd::Storage::Mnesia),
        }
    }
}

/// Runs a test of a lab on all kinds; it is told whether only the module reaches the archives.
macro_rules! on_all_kinds {
    ($test:ident) => {{
        let kinds = crate::reading_rooms_servers::Kinds::with_modules();
        tokio::try_join!(
            async { $test(Lab::prosody_with(&kinds.tables).await?, false).await },
            async { $test(Lab::prosody_with(&kinds.files).await?, true).await },
            async { $test(Lab::ejabberd(&kinds.sql).await?, false).await },
            async { $test(Lab::ejabberd(&kinds.mnesia).await?, true).await },
        )?;
        Ok(())
    }};
}
pub(crate) use on_all_kinds;

/// A room with three people: Peter, who speaks, Rosa, and Ada, whom the daemon ignores.
pub(crate) struct Den<S: Server> {
    pub(crate) lab: Lab<S>,
    pub(crate) daemon: Daemon,
    pub(crate) room: String,
    pub(crate) peter: Client,
    pub(crate) rosa: Client,
    pub(crate) ada: Client,
}

impl<S: Server> Den<S> {
    async fn of(lab: Lab<S>, only_module: bool) -> Result<Self> {
        let room = lab.endpoints().room("den");
        let ignored = format!("ada@localhost, {room}/ada");
        let config = config_of(&lab, only_module)
            .set("archive.poll", "50ms")
            .set("rooms.start", "first_reader")
            .set("rooms.ignore_readers", &*ignored);
        let daemon = start(&config).await?;
        let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
        let mut ada = lab.online("ada").await?;
        for (client, nick) in [(&mut peter, "peter"), (&mut rosa, "rosa"), (&mut ada, "ada")] {
            client.join(&room, nick).await?;
        }
        Ok(Self { lab, daemon, room, peter, rosa, ada })
    }

    /// Peter says this; the id is that of the room's archive.
    pub(crate) async fn say(&mut self, words: &str, seconds: u32) -> Result<String> {
        let extra = format!("{}<markable xmlns='urn:xmpp:chat-markers:0'/>", timer(seconds));
        self.peter.groupchat(&self.room, words, &extra).await?;
        let heard = self.rosa.wait_for_body(words).await?;
        let id = heard.child("urn:xmpp:sid:0", "stanza-id").and_then(|it| it.attribute("id"));
        Ok(id.ok_or_else(|| LabError::new("the room archives nothing"))?.to_owned())
    }

    pub(crate) async fn has(&self, words: &str) -> Result<bool> {
        let items = self.lab.archive("peter", &MamQuery::room(&self.room)).await?;
        Ok(items.iter().any(|it| it.xml.contains(&format!("<body>{words}<"))))
    }

    pub(crate) async fn until_gone(&self, words: &str) -> Result<()> {
        let goes = format!("{words} goes from the room");
        eventually(&goes, PATIENCE, async || Ok((!self.has(words).await?).then_some(()))).await
    }

    pub(crate) async fn started(&self, by: &str) -> Result<f64> {
        let figures = self.daemon.figures().await?;
        Ok(figures.get("ephemerd_started_total", &[("by", by)]).unwrap_or_default())
    }

    /// So many timers were started by this, which is counted after the commit.
    pub(crate) async fn counts_started(&self, by: &str, is: f64) -> Result<()> {
        let labels = [("by", by)];
        let counted =
            self.daemon.wait_for_figure("ephemerd_started_total", &labels, PATIENCE, |it| it >= is);
        assert_eq!(counted.await?, is, "{by}");
        Ok(())
    }

    pub(crate) async fn waiting(&self, is: i64) -> Result<()> {
        wait_for_number(self.lab.database.superuser(), WAITING, is).await
    }

    /// Peter says this, and Rosa's client shows that she has read it, again and again until that counts: the module may
    /// not have been told yet what to announce.
    async fn until_announced(
        &mut self,
        words: &str,
        mut shows: impl AsyncFnMut(&mut Client, &str, &str) -> Result<()>,
    ) -> Result<()> {
        let id = self.say(words, 3_600).await?;
        self.waiting(1).await?;
        let pool = self.lab.database.superuser();
        eventually("the module announces what was read", PATIENCE, async || {
            shows(&mut self.rosa, &self.room, &id).await?;
            let_pass(pool, 0.3).await?;
            Ok((number(pool, WAITING).await? == 0).then_some(()))
        })
        .await?;
        // Where stamps are whole seconds, what came in the same second counts as read.
        let_pass(pool, 1.1).await
    }
}

/// Someone's client shows this in the room.
pub(crate) async fn show(client: &mut Client, room: &str, payload: &str) -> Result<()> {
    client
        .send(&format!("<message to='{room}' type='groupchat' id='d'>{payload}</message>"))
        .await?;
    client.sync().await
}

/// Someone's client publishes this. Where a server has no place for it, the module sees it all the same.
pub(crate) async fn publish(client: &mut Client, room: &str, id: &str) -> Result<()> {
    let displayed = format!(
        "<displayed xmlns='{ITEM}'><stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='{id}'/></displayed>"
    );
    let publish = format!("<publish node='{ITEM}'><item id='{room}'>{displayed}</item></publish>");
    let pubsub = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{publish}</pubsub>");
    let _ = client.iq("set", None, &pubsub).await;
    Ok(())
}

pub(crate) fn displayed(id: &str) -> String {
    format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>{STORE}")
}

/// Only somebody else in the room starts a timer, by each kind of evidence.
async fn the_first_reader_starts<S: Server>(lab: Lab<S>, whois: &[(&str, &str)]) -> Result<()> {
    let mut den = Den::of(lab, false).await?;
    if !whois.is_empty() {
        den.peter.configure(&den.room, whois).await?;
    }
    by_each_kind(&mut den, displayed, [0.0; 3]).await
}

/// The same, where nothing asks to be stored: the module alone shows it.
async fn the_module_shows_the_first_reader<S: Server>(
    lab: Lab<S>,
    only_module: bool,
) -> Result<()> {
    let mut den = Den::of(lab, only_module).await?;
    let shown = |id: &str| displayed(id).replace(STORE, "");
    // Until both modules were told what to announce.
    den.until_announced("zero", async |rosa, room, id| show(rosa, room, &shown(id)).await).await?;
    den.until_announced("nought", publish).await?;
    by_each_kind(&mut den, shown, [1.0, 0.0, 1.0]).await
}

async fn by_each_kind<S: Server>(
    den: &mut Den<S>,
    displayed: impl Fn(&str) -> String,
    before: [f64; 3],
) -> Result<()> {
    let mut ids = [const { String::new() }; 3];
    for (words, id) in ["one", "two", "three"].into_iter().zip(&mut ids) {
        *id = den.say(words, SECONDS).await?;
        let_pass(den.lab.database.superuser(), 1.1).await?;
    }
    let [one, two, three] = &ids;
    den.waiting(3).await?;
    // Of an outsider, of the sender and of somebody ignored nothing counts.
    let mut otto = den.lab.online("otto").await?;
    show(&mut otto, &den.room, &displayed(three)).await?;
    show(&mut den.peter, &den.room, &displayed(three)).await?;
    publish(&mut den.peter, &den.room, three).await?;
    show(&mut den.ada, &den.room, &displayed(three)).await?;
    publish(&mut den.ada, &den.room, three).await?;
    show(&mut den.rosa, &den.room, &displayed("nothing")).await?;
    den.say("later", 3_600).await?;
    den.waiting(4).await?;
    // What modules announce is looked at within moments.
    let_pass(den.lab.database.superuser(), 0.5).await?;
    den.waiting(4).await?;

    let read = Instant::now();
    show(&mut den.rosa, &den.room, &displayed(one)).await?;
    show(&mut den.rosa, &den.room, &displayed(one)).await?;
    den.until_gone("one").await?;
    let least = Duration::from_secs(SECONDS.into()) - CLOCKS;
    assert!(read.elapsed() >= least, "never earlier than asked for");
    assert!(den.has("two").await?, "it came later");

    let reaction = format!(
        "<reactions xmlns='urn:xmpp:reactions:0' id='{three}'><reaction>x</reaction></reactions>{}",
        displayed("nothing")
    );
    show(&mut den.rosa, &den.room, &reaction).await?;
    den.until_gone("three").await?;
    assert!(den.has("two").await?, "a reaction shows its own message only");

    publish(&mut den.rosa, &den.room, two).await?;
    den.until_gone("two").await?;
    for (by, before) in ["marker", "reply", "mds"].into_iter().zip(before) {
        assert_eq!(den.started(by).await? - before, 1.0, "{by}");
    }
    den.waiting(1).await?;
    let who = "SELECT count(*) FROM ephemerd.readers";
    assert_eq!(number(den.lab.database.superuser(), who).await?, 0, "nobody is noted");
    Ok(())
}

/// Where everybody sees real addresses, Prosody's archive has them too.
#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_a_rooms_words_go_once_somebody_read_them() -> Result<()> {
    the_first_reader_starts(Lab::prosody().await?, &[("muc#roomconfig_whois", "anyone")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_a_rooms_words_go_once_somebody_read_them() -> Result<()> {
    const PUBSUB: &str = "  mod_caps: {}\n  mod_pubsub:\n    plugins: [flat, pep]\n";
    let config = EjabberdConfig { modules: vec![PUBSUB], ..EjabberdConfig::default() };
    the_first_reader_starts(Lab::ejabberd(&config).await?, &[]).await
}

/// What is known of a sender by a nickname alone is compared with nicknames alone.
#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_positions_do_not_count_where_addresses_are_hidden() -> Result<()> {
    let mut den = Den::of(Lab::prosody().await?, false).await?;
    let id = den.say("one", 3_600).await?;
    den.waiting(1).await?;
    publish(&mut den.rosa, &den.room, &id).await?;
    den.say("two", 3_600).await?;
    den.waiting(2).await?;
    show(&mut den.rosa, &den.room, &displayed(&id)).await?;
    den.waiting(1).await?;
    den.counts_started("marker", 1.0).await?;
    assert_eq!(den.started("mds").await?, 0.0);
    Ok(())
}

/// The module remembers what was read in rooms while no daemon listened, and when.
async fn read_while_the_daemon_is_down<S: Server>(lab: Lab<S>, only_module: bool) -> Result<()> {
    let mut den = Den::of(lab, only_module).await?;
    let shown = |id: &str| displayed(id).replace(STORE, "");
    den.until_announced("one", async |rosa, room, id| show(rosa, room, &shown(id)).await).await?;
    let id = den.say("two", 3_600).await?;
    den.waiting(1).await?;
    den.daemon.kill().await?;
    show(&mut den.rosa, &den.room, &shown(&id)).await?;
    let pool = den.lab.database.superuser();
    sqlx::query("CREATE TABLE read_at AS SELECT clock_timestamp() AS at").execute(pool).await?;
    let_pass(pool, 3.0).await?;
    den.daemon.resume().await?;
    den.waiting(0).await?;
    let started = "SELECT count(*) FROM ephemerd.expiries, read_at
                    WHERE store = 'room' AND started_by = 'marker' AND runs_from <= at + interval '1.1 s'";
    assert_eq!(number(den.lab.database.superuser(), started).await?, 2, "when it was read");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_remember_what_was_read_in_rooms() -> Result<()> {
    let kinds = Kinds::with_modules();
    tokio::try_join!(
        async { read_while_the_daemon_is_down(Lab::ejabberd(&kinds.sql).await?, false).await },
        async { read_while_the_daemon_is_down(Lab::ejabberd(&kinds.mnesia).await?, true).await },
        async { read_while_the_daemon_is_down(Lab::prosody_with(&kinds.files).await?, true).await },
    )?;
    Ok(())
}

/// ejabberd in SQL and in Mnesia, which archives no such marker, and Prosody, where rooms hide addresses.
#[tokio::test(flavor = "multi_thread")]
async fn modules_show_what_was_read_in_rooms() -> Result<()> {
    on_all_kinds!(the_module_shows_the_first_reader)
}
