//! Rooms for members only whose timers start when every member has read the message, with real servers and clients.

use std::ops::{Deref, DerefMut};

use ephemerd_lab::prosody::ProsodyConfig;
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{EjabberdConfig, Lab, PATIENCE, Result, Server, eventually};
use sqlx::PgPool;
use tokio::time::{Duration, Instant};

use crate::hanging::config_of;
use crate::reading_cost::dump;
use crate::reading_rooms_servers::{
    self, Kinds, STORE, WAITING, displayed, on_all_kinds, publish, show,
};
use crate::sent_watch::let_pass;
use crate::support::{CLOCKS, number, printed, start, told, wait_for_number};

const SECONDS: u32 = 3;
const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
/// Entries of which somebody is known to have read them, and whose members were asked for since.
const JUDGED: &str =
    "SELECT count(*) FROM ephemerd.expiries WHERE judged AND cardinality(readers) > 0";
/// Entries that say anything of readers.
const KEPT: &str =
    "SELECT count(*) FROM ephemerd.expiries WHERE num_nonnulls(readers, read_at, read_by) > 0";

/// A room with Peter, who owns it and speaks, Rosa, a member, and Mia, an admin. Ada, a member too, is ignored.
struct Den<S: Server> {
    den: reading_rooms_servers::Den<S>,
    mia: Client,
    /// The room's own id of Mia, if it tells.
    id_of_mia: String,
}

impl<S: Server> Deref for Den<S> {
    type Target = reading_rooms_servers::Den<S>;

    fn deref(&self) -> &Self::Target {
        &self.den
    }
}

impl<S: Server> DerefMut for Den<S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.den
    }
}

impl<S: Server> Den<S> {
    async fn of(lab: Lab<S>, only_module: bool, unread_for: &str, is_open: bool) -> Result<Self> {
        let room = lab.endpoints().room("den");
        let ignored = format!("ada@localhost, {room}/ada");
        let config = config_of(&lab, only_module)
            .set("archive.poll", "50ms")
            .set("timers.unread_for", unread_for)
            .set("rooms.start", "everyone")
            .set("rooms.ignore_readers", &*ignored);
        let daemon = start(&config).await?;
        let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
        let (mut mia, mut ada) = (lab.online("mia").await?, lab.online("ada").await?);
        peter.join(&room, "peter").await?;
        if !is_open {
            peter.configure(&room, &[("muc#roomconfig_membersonly", "1")]).await?;
            for (user, affiliation) in [("rosa", "member"), ("mia", "admin"), ("ada", "member")] {
                peter.affiliate(&room, &format!("{user}@localhost"), affiliation).await?;
            }
        }
        rosa.join(&room, "rosa").await?;
        ada.join(&room, "ada").await?;
        let joined = mia.join(&room, "mia").await?;
        let id = joined.presence.child(OCCUPANT_ID, "occupant-id");
        let id_of_mia = id.and_then(|it| it.attribute("id")).unwrap_or_default().to_owned();
        let den = reading_rooms_servers::Den { lab, daemon, room, peter, rosa, ada };
        Ok(Self { den, mia, id_of_mia })
    }

    fn pool(&self) -> &PgPool {
        self.lab.database.superuser()
    }

    async fn judged(&self, is: i64) -> Result<()> {
        wait_for_number(self.pool(), JUDGED, is).await
    }

    /// Rosa shows that she has read this until it is noted: the module may not have been told yet what to announce.
    async fn until_rosa_counts(&mut self, id: &str) -> Result<()> {
        let den = &mut self.den;
        let pool = den.lab.database.superuser();
        eventually("what Rosa shows is noted", PATIENCE, async || {
            show(&mut den.rosa, &den.room, &displayed(id)).await?;
            let_pass(pool, 0.3).await?;
            Ok((number(pool, JUDGED).await? > 0).then_some(()))
        })
        .await
    }
}

/// Two members and an ignored one: the timer starts with the last who reads, whoever else shows whatever.
async fn starts_with_the_last<S: Server>(lab: Lab<S>, only_module: bool) -> Result<()> {
    let mut den = Den::of(lab, only_module, "14d", false).await?;
    let one = den.say("one", SECONDS).await?;
    let_pass(den.pool(), 1.1).await?;
    let two = den.say("two", 3_600).await?;
    den.waiting(2).await?;
    let_pass(den.pool(), 1.1).await?;
    den.until_rosa_counts(&two).await?;
    den.judged(2).await?;

    // Rosa for Mia, twice; the sender; somebody ignored; somebody outside, who knows the id.
    let id = format!("<occupant-id xmlns='{OCCUPANT_ID}' id='{}'/>", den.id_of_mia);
    let item = "<item jid='mia@localhost' affiliation='admin' role='moderator'/>";
    let x = format!("<x xmlns='http://jabber.org/protocol/muc#user'>{item}</x>");
    let room = den.room.clone();
    for _ in 0..2 {
        show(&mut den.rosa, &room, &format!("{}{x}{id}", displayed(&two))).await?;
    }
    show(&mut den.peter, &room, &displayed(&two)).await?;
    publish(&mut den.peter, &room, &two).await?;
    show(&mut den.ada, &room, &displayed(&two)).await?;
    publish(&mut den.ada, &room, &two).await?;
    let mut otto = den.lab.online("otto").await?;
    show(&mut otto, &room, &displayed(&two)).await?;
    publish(&mut otto, &room, &two).await?;
    show(&mut den.mia, &room, &displayed("nothing")).await?;
    den.say("later", 3_600).await?;
    den.waiting(3).await?;
    let_pass(den.pool(), 2.5).await?;
    den.judged(2).await?;
    den.waiting(3).await?;

    // A restart keeps who has read.
    den.daemon.kill().await?;
    den.daemon.resume().await?;
    let read = Instant::now();
    let mia = displayed(&one);
    let pool = den.den.lab.database.superuser();
    eventually("what Mia shows counts", PATIENCE, async || {
        show(&mut den.mia, &room, &mia).await?;
        let_pass(pool, 0.3).await?;
        Ok((number(pool, WAITING).await? == 2).then_some(()))
    })
    .await?;
    den.until_gone("one").await?;
    let least = Duration::from_secs(SECONDS.into()) - CLOCKS;
    assert!(read.elapsed() >= least, "never earlier than asked for");
    assert!(den.has("two").await?, "Mia has not read it");
    den.counts_started("marker", 1.0).await?;

    // Who is missing leaves.
    sqlx::query("CREATE TABLE left_at AS SELECT clock_timestamp() AS at")
        .execute(den.pool())
        .await?;
    den.peter.affiliate(&room, "mia@localhost", "none").await?;
    den.waiting(1).await?;
    den.counts_started("members", 1.0).await?;
    let now = "SELECT count(*) FROM ephemerd.expiries, left_at
                WHERE started_by = 'members' AND runs_from >= at AND runs_from <= now()";
    assert_eq!(number(den.pool(), now).await?, 1, "from then on, and not before");
    assert_eq!(number(den.pool(), KEPT).await?, 0, "nothing is kept once it runs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rooms_words_go_once_every_member_has_read_them() -> Result<()> {
    on_all_kinds!(starts_with_the_last)
}

/// What somebody never reads goes when `timers.unread_for` is over; so does what is in a room that anybody may enter, even
/// if all who are there have read it.
async fn somebody_never_reads<S: Server>(lab: Lab<S>, only_module: bool, open: bool) -> Result<()> {
    let mut den = Den::of(lab, only_module, "20s", open).await?;
    let said = Instant::now();
    let id = den.say("one", 1).await?;
    den.waiting(1).await?;
    let_pass(den.pool(), 1.1).await?;
    den.until_rosa_counts(&id).await?;
    let room = den.room.clone();
    if open {
        show(&mut den.mia, &room, &displayed(&id)).await?;
        show(&mut den.ada, &room, &displayed(&id)).await?;
    }
    den.until_gone("one").await?;
    assert!(said.elapsed() >= Duration::from_secs(20), "not before {:?}", said.elapsed());
    for by in ["marker", "mds", "reply", "members"] {
        assert_eq!(den.started(by).await?, 0.0, "{by}");
    }
    let capped = "ephemerd_unread_capped_total";
    den.daemon.wait_for_figure(capped, &[], PATIENCE, |it| it >= 1.0).await?;
    assert_eq!(number(den.pool(), KEPT).await?, 0, "nothing is kept of it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rooms_words_do_not_wait_for_ever_for_every_member() -> Result<()> {
    let Kinds { tables, mnesia, .. } = Kinds::with_modules();
    tokio::try_join!(
        async { somebody_never_reads(Lab::prosody_with(&tables).await?, false, false).await },
        async { somebody_never_reads(Lab::ejabberd(&mnesia).await?, true, false).await },
        async { somebody_never_reads(Lab::prosody_with(&tables).await?, false, true).await },
        async { somebody_never_reads(Lab::ejabberd(&mnesia).await?, true, true).await },
    )?;
    Ok(())
}

/// What members read while no daemon runs counts from when they read it.
async fn read_while_the_daemon_is_down<S: Server>(lab: Lab<S>, only_module: bool) -> Result<()> {
    let mut den = Den::of(lab, only_module, "14d", false).await?;
    let id = den.say("one", 3_600).await?;
    den.waiting(1).await?;
    let_pass(den.pool(), 1.1).await?;
    den.until_rosa_counts(&id).await?;
    den.daemon.kill().await?;
    let room = den.room.clone();
    show(&mut den.mia, &room, &displayed(&id)).await?;
    let pool = den.lab.database.superuser();
    sqlx::query("CREATE TABLE read_at AS SELECT clock_timestamp() AS at").execute(pool).await?;
    let_pass(pool, 3.0).await?;
    den.daemon.resume().await?;
    den.waiting(0).await?;
    let started = "SELECT count(*) FROM ephemerd.expiries, read_at
                    WHERE store = 'room' AND started_by = 'marker' AND runs_from <= at + interval '1.1 s'";
    assert_eq!(number(den.lab.database.superuser(), started).await?, 1, "when it was read");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_members_read_while_the_daemon_is_down_counts() -> Result<()> {
    on_all_kinds!(read_while_the_daemon_is_down)
}

/// What every member had to read says so, whoever would be enough for later messages: after a reload, and after a sweep
/// that changes when it goes.
#[tokio::test(flavor = "multi_thread")]
async fn explain_says_that_every_member_read_it_whatever_the_rule_is_now() -> Result<()> {
    let lab = Lab::prosody_with(&ProsodyConfig::default().with_companion()).await?;
    let mut den = Den::of(lab, false, "14d", false).await?;
    let id = den.say("one", 3_600).await?;
    den.waiting(1).await?;
    den.until_rosa_counts(&id).await?;
    let room = den.room.clone();
    show(&mut den.mia, &room, &displayed(&id)).await?;
    den.waiting(0).await?;
    let config = config_of(&den.lab, false).set("rooms.start", "first_reader");
    let live = ["explain", "--owner", &room, "--id", &id];
    let says = "counted from when every member of the room read it, ";
    let text = printed(&config, &live).await?;
    assert!(text.contains(says), "{text}");
    let json = told(&config, &live).await?;
    assert_eq!(json["rows"][0]["ledger"]["by_every_member"], true, "{json}");
    let shorter = config.set("timers.max", "30m");
    den.daemon.reload(&shorter)?;
    let moved = "SELECT count(*) FROM ephemerd.expiries
                  WHERE store = 'room' AND started_by = 'marker' AND due_at = runs_from + interval '30 min'";
    wait_for_number(den.pool(), moved, 1).await?;
    let text = printed(&shorter, &live).await?;
    assert!(text.contains(says), "{text}");
    Ok(())
}

/// Who became a member after the message was sent is waited for, too, and so is nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_becomes_a_member_meanwhile_is_waited_for() -> Result<()> {
    let config = EjabberdConfig { companion: true, ..EjabberdConfig::default() };
    let mut den = Den::of(Lab::ejabberd(&config).await?, false, "14d", false).await?;
    let id = den.say("one", 3_600).await?;
    den.waiting(1).await?;
    den.until_rosa_counts(&id).await?;
    let room = den.room.clone();
    den.peter.affiliate(&room, "otto@localhost", "member").await?;
    show(&mut den.mia, &room, &displayed(&id)).await?;
    let both = "SELECT count(*) FROM ephemerd.expiries WHERE judged AND cardinality(readers) = 2";
    wait_for_number(den.pool(), both, 1).await?;
    den.waiting(1).await?;
    let mut otto = den.lab.online("otto").await?;
    otto.join(&room, "otto").await?;
    show(&mut otto, &room, &displayed(&id)).await?;
    den.waiting(0).await?;
    den.counts_started("marker", 1.0).await?;
    Ok(())
}

/// A member who has left before anybody read anything: nobody is left to wait for.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_is_left_to_read_goes() -> Result<()> {
    let lab = Lab::prosody_with(&ProsodyConfig::default().with_companion()).await?;
    let mut den = Den::of(lab, false, "14d", false).await?;
    den.say("one", SECONDS).await?;
    den.waiting(1).await?;
    let room = den.room.clone();
    den.peter.affiliate(&room, "mia@localhost", "none").await?;
    den.peter.affiliate(&room, "rosa@localhost", "outcast").await?;
    den.until_gone("one").await?;
    den.counts_started("members", 1.0).await?;
    Ok(())
}

/// While the message waits, a backup has digests of who read it; afterwards nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_does_not_say_which_members_read_what() -> Result<()> {
    let lab = Lab::prosody_with(&ProsodyConfig::default().with_companion()).await?;
    let mut den = Den::of(lab, false, "14d", false).await?;
    let id = den.say("one", SECONDS).await?;
    den.waiting(1).await?;
    den.until_rosa_counts(&id).await?;
    let known = "SELECT encode(unnest(readers), 'hex') FROM ephemerd.expiries";
    let digests: Vec<String> = sqlx::query_scalar(known).fetch_all(den.pool()).await?;
    assert!(!digests.is_empty());
    let before = dump(&den.lab.database).await?;
    for digest in &digests {
        assert!(before.contains(digest), "it is looked for in the right place");
    }
    for name in ["rosa", "mia", "peter", "ada@"] {
        assert!(!before.contains(name), "{name} is known:\n{before}");
    }
    let room = den.room.clone();
    show(&mut den.mia, &room, &displayed(&id)).await?;
    den.waiting(0).await?;
    let read = dump(&den.lab.database).await?;
    assert!(!digests.iter().any(|it| read.contains(it)), "it is left once the timer runs:\n{read}");
    den.until_gone("one").await?;
    let after = dump(&den.lab.database).await?;
    let traces = digests.iter().map(String::as_str).chain(["marker", "rosa", "mia"]);
    for trace in traces {
        assert!(!after.contains(trace), "{trace} is left:\n{after}");
    }
    Ok(())
}

/// Without a module nobody knows who the members are, and `check` says what happens.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_module_a_rooms_words_wait() -> Result<()> {
    let mut den = Den::of(Lab::prosody().await?, false, "12s", false).await?;
    let said = Instant::now();
    let id = den.say("one", 1).await?;
    let room = den.room.clone();
    for reader in [&mut den.den.rosa, &mut den.mia, &mut den.den.ada] {
        show(reader, &room, &format!("{}{STORE}", displayed(&id))).await?;
    }
    den.until_gone("one").await?;
    assert!(said.elapsed() >= Duration::from_secs(12), "not before: {:?}", said.elapsed());
    assert!(den.daemon.terminate().await?.success());
    let config = config_of(&den.lab, false).set("rooms.start", "everyone");
    let checked = crate::support::run(&config, &["check"]).await?.stdout;
    assert!(checked.contains("No companion module lists rooms' members"), "{checked}");
    let with_first = config.set("rooms.start", "first_reader");
    let checked = crate::support::run(&with_first, &["check"]).await?.stdout;
    assert!(!checked.contains("members"), "{checked}");
    Ok(())
}
