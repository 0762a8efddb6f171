//! The whole way through a real ejabberd, in both schemas.

use std::time::Duration;

use ephemerd_lab::ejabberd::rows::{ArchiveRow, insert};
use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{
    Archive, Checker, Daemon, DaemonConfig, Lab, PATIENCE, Result, Words, eventually,
};
use tokio::time::Instant;

use crate::support::{REFUSED, pause, program, resume, start, wait_for_number};

const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='5'/>";
/// That timer, by another clock: ejabberd, which stamps messages, follows the system's slowly.
const SOONEST: Duration = Duration::from_millis(4_500);
const MARKED: &str = "SELECT count(*) FROM archive WHERE xml LIKE '%urn:xmpp:ephemeral:0%'";

/// In each schema: marked text leaves both users' archives and the room's on time, everything else stays byte
/// for byte, and a cursor on an erased message still works.
#[tokio::test(flavor = "multi_thread")]
async fn marked_words_go_on_time_and_nothing_else() -> Result<()> {
    for schema in [Schema::Classic, Schema::MultiHost] {
        let lab = Lab::ejabberd(&EjabberdConfig::default().schema(schema)).await?;
        let config = lab.daemon_config();
        let daemon = start(&config).await?;
        pause(&config).await?;
        let mut words = Words::random();
        let pool = lab.database.superuser();
        let mut peter = lab.online("peter").await?;
        let mut rosa = lab.online("rosa").await?;
        let den = lab.endpoints().room("den");
        peter.join(&den, "Peter").await?;
        rosa.join(&den, "Rosa").await?;
        let both = [Archive::user("peter"), Archive::user("rosa")];
        let room = [Archive::room("den", "rosa")];
        let mut checker = Checker::new();
        let started = Instant::now();
        for extra in ["", EPHEMERAL, ""] {
            let word = words.word();
            peter.chat(rosa.bare_jid(), &word, extra).await?;
            rosa.wait_for_body(&word).await?;
            let in_room = words.word();
            peter.groupchat(&den, &in_room, extra).await?;
            rosa.wait_for_body(&in_room).await?;
            for (word, archives) in [(&word, &both[..]), (&in_room, &room[..])] {
                match extra {
                    "" => checker.stays(word, archives),
                    _ => checker.goes(word, archives, Instant::now(), Instant::now() + PATIENCE),
                }
            }
        }
        let before = lab.snapshots().await?;
        let items = lab.archive("rosa", &MamQuery::default()).await?;
        assert_eq!(items.len(), 3, "all is there when nothing is due");
        resume(&config).await?;
        wait_for_number(pool, MARKED, 0).await?;
        assert!(started.elapsed() >= SOONEST, "{schema:?}: never earlier than asked for");
        checker.all_due();
        let verdict = checker.judge(&lab, &before).await?;
        assert!(verdict.is_good(), "{schema:?}, seed {}: {verdict:?}", words.seed());
        let after = MamQuery { after: Some(items[1].id.clone()), ..MamQuery::default() };
        let rest = rosa.query_all(&after).await?;
        assert_eq!(rest.len(), 1, "a cursor on an erased message works");
        assert!(daemon.terminate().await?.success());
    }
    Ok(())
}

/// With `use_mam_for_storage` the queue holds one message and the archive the rest. Of one marked and two
/// plain messages to somebody who is offline, the marked one goes on time, and the others are delivered at
/// login.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_an_erased_message_is_delivered() -> Result<()> {
    for (schema, mam_for_storage) in
        [(Schema::Classic, true), (Schema::MultiHost, true), (Schema::Classic, false)]
    {
        let config = EjabberdConfig { schema, mam_for_storage, ..EjabberdConfig::default() };
        let lab = Lab::ejabberd(&config).await?;
        let pool = lab.database.superuser();
        let config = lab.daemon_config().set("offline.undelivered_for", "3s");
        let daemon = start(&config).await?;
        pause(&config).await?;
        let mut words = Words::random();
        lab.client("otto").await?.close().await?;
        let mut peter = lab.online("peter").await?;
        let said: Vec<String> = (0..3).map(|_| words.word()).collect();
        // Nothing is archived before this; on a busy machine the last is sent long after the first.
        let started = Instant::now();
        for (word, extra) in said.iter().zip([EPHEMERAL, "", ""]) {
            peter.chat("otto@localhost", word, extra).await?;
            peter.sync().await?;
        }
        let stands = async |word: &str| -> Result<i64> {
            let rows = "SELECT (SELECT count(*) FROM archive WHERE username = 'otto' AND strpos(xml || txt, $1) > 0)
                             + (SELECT count(*) FROM spool WHERE strpos(xml, $1) > 0)";
            Ok(sqlx::query_scalar(rows).bind(word).fetch_one(pool).await?)
        };
        assert_eq!(stands(&said[0]).await?, 2, "an archived row and its copy");
        resume(&config).await?;
        eventually("the marked message goes", PATIENCE, async || {
            Ok((stands(&said[0]).await? == 0).then_some(()))
        })
        .await?;
        // Its timer, plus how long it may stay undelivered.
        let soonest = SOONEST + Duration::from_secs(3);
        assert!(started.elapsed() >= soonest, "undelivered words wait");
        let queued: i64 = sqlx::query_scalar("SELECT count(*) FROM spool").fetch_one(pool).await?;
        assert_eq!(queued, if mam_for_storage { 1 } else { 3 }, "queue rows are blanked in place");

        let mut otto = lab.online("otto").await?;
        for word in &said[1..] {
            otto.wait_for_body(word).await?;
        }
        otto.sync().await?;
        assert!(otto.take(|it| it.body() == Some(&said[0])).is_empty());
        // Nothing is remembered of what is gone.
        wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries", 0).await?;
        let failures = daemon.figures().await?.get("ephemerd_erase_failures_total", &REFUSED);
        assert_eq!(failures, Some(0.0));
    }
    Ok(())
}

/// Compressed rows are counted as unreadable and left alone; uncompressed ones still go.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_rows_are_left_alone_and_counted() -> Result<()> {
    let config = EjabberdConfig { compress_xml: true, ..EjabberdConfig::default() };
    let lab = Lab::ejabberd(&config).await?;
    let pool = lab.database.superuser();
    let daemon = start(&lab.daemon_config()).await?;
    let mut peter = lab.online("peter").await?;
    lab.client("rosa").await?.close().await?;
    peter.chat("rosa@localhost", "compressed", EPHEMERAL).await?;
    peter.sync().await?;
    let unreadable = "ephemerd_unreadable_stanzas_total";
    daemon.wait_for_figure(unreadable, &[], PATIENCE, |it| it >= 2.0).await?;
    let pressed = "SELECT count(*) FROM archive WHERE xml NOT LIKE '<%'";
    let rows: i64 = sqlx::query_scalar(pressed).fetch_one(pool).await?;
    assert_eq!(rows, 2);
    daemon.terminate().await?;
    let daemon = start(&lab.daemon_config()).await?;
    assert!(daemon.log()?.contains("compress_xml"), "the operator is told");
    Ok(())
}

/// The classic schema does not name the virtual host: a configuration that leaves it open is refused.
#[tokio::test(flavor = "multi_thread")]
async fn two_virtual_hosts_in_the_classic_schema_are_refused() -> Result<()> {
    let lab = Lab::ejabberd_tables(&EjabberdConfig::default()).await?;
    let config = DaemonConfig::for_ejabberd_tables(&lab.database)?;
    let two = config.clone().set("archive.hosts", vec!["localhost", "other.example"]);
    let daemon = Daemon::spawn(program(), &two)?;
    assert_eq!(daemon.wait(PATIENCE).await?.code(), Some(3));
    assert!(daemon.log()?.contains("one virtual host"));

    // Its users belong to another host than the listed one.
    let xml = "<message from='peter@elsewhere.example/x' to='rosa@elsewhere.example'><body>x</body></message>";
    insert(&lab.database, Schema::Classic, &[ArchiveRow::user("peter", 1, xml)]).await?;
    let daemon = Daemon::spawn(program(), &config)?;
    assert_eq!(daemon.wait(PATIENCE).await?.code(), Some(3));
    assert!(daemon.log()?.contains("elsewhere.example"));
    Ok(())
}

/// A subscriber's copies of a room's messages (MUC/Sub) are in the subscriber's own archive, each inside an
/// event: they go too.
#[tokio::test(flavor = "multi_thread")]
async fn copies_for_subscribers_of_a_room_go_too() -> Result<()> {
    let lab = Lab::ejabberd(&EjabberdConfig::default()).await?;
    let pool = lab.database.superuser();
    let _daemon = start(&lab.daemon_config()).await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    let den = lab.endpoints().room("den");
    peter.join(&den, "Peter").await?;
    let subscribe = "<subscribe xmlns='urn:xmpp:mucsub:0' nick='Rosa'>\
                     <event node='urn:xmpp:mucsub:nodes:messages'/></subscribe>";
    rosa.iq("set", Some(&den), subscribe).await?;
    let mut words = Words::random();
    let (plain, marked) = (words.word(), words.word());
    peter.groupchat(&den, &plain, "").await?;
    peter.groupchat(&den, &marked, EPHEMERAL).await?;
    peter.wait_for_body(&marked).await?;
    let rows = async |word: &str| -> Result<Vec<String>> {
        let owners = "SELECT username FROM archive WHERE strpos(xml, $1) > 0 ORDER BY 1";
        Ok(sqlx::query_scalar(owners).bind(word).fetch_all(pool).await?)
    };
    eventually("a copy in the subscriber's archive", PATIENCE, async || {
        Ok((rows(&marked).await? == [den.as_str(), "rosa"]).then_some(()))
    })
    .await?;
    eventually("both go", PATIENCE, async || Ok(rows(&marked).await?.is_empty().then_some(())))
        .await?;
    assert_eq!(rows(&plain).await?, [den.as_str(), "rosa"]);
    Ok(())
}
