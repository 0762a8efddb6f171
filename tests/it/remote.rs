//! Archives that only the companion module can reach, end to end: real servers, their modules, and the
//! daemon. And what the module adds if archives are in SQL.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::ejabberd::{self, EjabberdConfig};
use ephemerd_lab::prosody::{ProsodyConfig, Storage};
use ephemerd_lab::xmpp::{Client, Component, MamQuery};
use ephemerd_lab::{
    Daemon, DaemonConfig, Ejabberd, Lab, PATIENCE, Postgres, PostgresConfig, Prosody, Result,
    Server, eventually,
};

use crate::sent_watch::let_pass;
use crate::support::{number, printed, program, run, start, wait_for_number};

const ENTRIES: &str = "SELECT count(*) FROM ephemerd.expiries";

/// An ejabberd that keeps archives in Mnesia, with its companion module.
pub(crate) async fn mnesia() -> Result<Lab<Ejabberd>> {
    let storage = ejabberd::Storage::Mnesia;
    let more_hosts = vec!["second.localhost"];
    let config =
        EjabberdConfig { storage, companion: true, more_hosts, ..EjabberdConfig::default() };
    Lab::ejabberd(&config).await
}

/// A Prosody with its companion module.
pub(crate) async fn prosody(storage: Storage) -> Result<Lab<Prosody>> {
    Lab::prosody_with(&ProsodyConfig::default().storage_in(storage).with_companion()).await
}

pub(crate) fn config<S: Server>(lab: &Lab<S>) -> DaemonConfig {
    lab.daemon_config().set("archive.kind", "component")
}

pub(crate) fn timer(seconds: u32) -> String {
    format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{seconds}'/>")
}

/// Whether any message that this user's client finds in its archive has this text.
pub(crate) async fn says<S: Server>(lab: &Lab<S>, user: &str, word: &str) -> Result<bool> {
    let items = lab.archive(user, &MamQuery::default()).await?;
    Ok(items.iter().any(|item| item.xml.contains(word)))
}

pub(crate) async fn until_gone<S: Server>(lab: &Lab<S>, user: &str, word: &str) -> Result<()> {
    gone_within(PATIENCE, lab, user, word).await
}

pub(crate) async fn gone_within<S: Server>(
    patience: Duration,
    lab: &Lab<S>,
    user: &str,
    word: &str,
) -> Result<()> {
    eventually(&format!("{user}'s archive without {word}"), patience, async || {
        Ok((!says(lab, user, word).await?).then_some(()))
    })
    .await
}

async fn until_figure(daemon: &Daemon, name: &str, is: f64) -> Result<()> {
    eventually(&format!("{name} to be {is}"), PATIENCE, async || {
        Ok((daemon.figures().await?.get(name, &[]) == Some(is)).then_some(()))
    })
    .await
}

/// The daemon dies after the module has erased and before the answer is settled; notices come while neither
/// it nor its database can accept them; the server with its module restarts. Nothing is lost, nothing stays.
async fn crashes_lose_nothing<S: Server>(lab: Lab<S>) -> Result<()> {
    let pool = lab.database.superuser();
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    let crashing = config(&lab).set("erase.mode", "delete").env("LAB_CRASH_AT", "asked");
    let mut daemon = start(&crashing).await?;
    peter.chat(rosa.bare_jid(), "stays-here", "").await?;
    peter.chat(rosa.bare_jid(), "erased-and-not-settled", &timer(1)).await?;
    rosa.wait_for_body("erased-and-not-settled").await?;
    assert!(!daemon.wait(PATIENCE).await?.success(), "it died as it was told to");
    assert!(number(pool, ENTRIES).await? > 0, "the answer was not settled");

    // Nobody hears of these: neither of their sending nor, after that, of the module's previous boot.
    peter.chat(rosa.bare_jid(), "while-nobody-heard", &timer(1)).await?;
    rosa.wait_for_body("while-nobody-heard").await?;
    lab.server.restart().await?;
    daemon = start(&config(&lab).set("erase.mode", "delete")).await?;
    for user in ["peter", "rosa"] {
        for word in ["while-nobody-heard", "erased-and-not-settled"] {
            until_gone(&lab, user, word).await?;
        }
        assert!(says(&lab, user, "stays-here").await?);
    }
    // What was erased and not settled was requested again, without waiting for the dead daemon's lease to
    // expire.
    wait_for_number(pool, ENTRIES, 0).await?;
    drop(daemon);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_and_restarts_lose_nothing() -> Result<()> {
    tokio::try_join!(async { crashes_lose_nothing(mnesia().await?).await }, async {
        crashes_lose_nothing(prosody(Storage::Files).await?).await
    },)?;
    Ok(())
}

/// More notices than the daemon can keep arrive while its database is away: it requests afterwards what it
/// lost.
#[tokio::test(flavor = "multi_thread")]
async fn notices_lost_while_the_database_is_away_are_made_up_for() -> Result<()> {
    const MORE_THAN_ARE_KEPT: usize = 1_200;
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let files = ProsodyConfig::default().storage_in(Storage::Files).with_companion();
    let lab = Lab::prosody_on(Arc::clone(&postgres), &files).await?;
    let daemon = start(&config(&lab).set("erase.mode", "placeholder")).await?;
    until_figure(&daemon, "ephemerd_component_connected", 1.0).await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    peter.chat(rosa.bare_jid(), "heard-of", &timer(1)).await?;
    peter.chat(rosa.bare_jid(), "stays-here", "").await?;
    until_gone(&lab, "rosa", "heard-of").await?;

    postgres.stop().await?;
    for at in 1..=MORE_THAN_ARE_KEPT {
        peter.chat(rosa.bare_jid(), &format!("while-away-{at}."), &timer(1)).await?;
        // A busy machine needs time for all of them.
        if at % 100 == 0 {
            rosa.wait_for_body(&format!("while-away-{at}.")).await?;
        }
    }
    postgres.resume().await?;
    daemon.wait_ready(PATIENCE).await?;
    // Its number shows that others are missing; without it the module is asked once a minute.
    peter.chat(rosa.bare_jid(), "while-away-no-more", &timer(1)).await?;
    for user in ["peter", "rosa"] {
        gone_within(Duration::from_secs(180), &lab, user, "while-away-").await?;
        assert!(says(&lab, user, "stays-here").await?);
    }
    let lost = daemon.figures().await?.get("ephemerd_notices_lost_total", &[]);
    assert!(lost.is_some_and(|lost| lost > 0.0), "the test lost nothing: {lost:?}");
    let pending = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'pending'";
    wait_for_number(lab.database.superuser(), pending, 0).await
}

/// A notice from an ordinary account, from another component, and from the module of a host that is not listed.
#[tokio::test(flavor = "multi_thread")]
async fn forged_notices_are_refused_and_counted() -> Result<()> {
    let lab = mnesia().await?;
    let daemon = start(&config(&lab)).await?;
    let mut eve = lab.online("eve").await?;
    let at = lab.endpoints().clone();
    let forged = format!(
        "<archived xmlns='urn:ephemerd:companion:0' boot='b' number='1' owner='rosa@localhost' store='archive' \
         id='1' stamp='2026-01-01T00:00:00Z'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'>\
         <body>x</body>{}</message></forwarded></archived>",
        timer(1)
    );
    let to = &at.component_jid;
    eve.send(&format!("<message to='{to}' type='headline'>{forged}</message>")).await?;
    eve.sync().await?;
    let mut other = Component::connect_as(&at, &at.other_component).await?;
    let from = &at.other_component;
    other
        .send(&format!("<message from='{from}' to='{to}' type='headline'>{forged}</message>"))
        .await?;
    other.sync("localhost").await?;
    until_figure(&daemon, "ephemerd_notices_refused_total", 2.0).await?;

    // A host of the same server, with the module, that archive.hosts does not list.
    let mut second = at.clone();
    second.domain = "second.localhost".to_owned();
    let mut eve = Client::login(&second, "eve", "second").await?;
    eve.chat("nobody@second.localhost", "not-ours", &timer(1)).await?;
    eve.sync().await?;
    until_figure(&daemon, "ephemerd_notices_refused_total", 3.0).await?;
    assert_eq!(number(lab.database.superuser(), ENTRIES).await?, 0, "nothing was recorded");
    Ok(())
}

/// What existed before the first start is held, and goes when the operator says so. The daemon does the
/// sweep: the command requests it and watches.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_waits_for_the_operator() -> Result<()> {
    let lab = prosody(Storage::Sqlite).await?;
    let pool = lab.database.superuser();
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    peter.chat(rosa.bare_jid(), "from-before", &timer(1)).await?;
    rosa.wait_for_body("from-before").await?;
    let_pass(pool, 2.0).await?; // Prosody stamps whole seconds
    let config = config(&lab);
    let daemon = start(&config).await?;
    printed(&config, &["sweep"]).await?;
    let held = "SELECT count(*) FROM ephemerd.expiries WHERE backlog";
    assert_eq!(number(pool, held).await?, 2);
    let names = "SELECT count(*) FROM ephemerd.sweeps WHERE after_owner <> ''";
    assert_eq!(number(pool, names).await?, 0, "a sweep that is done keeps no name");
    let id = "SELECT archive_id FROM ephemerd.expiries WHERE owner = 'rosa'";
    let id: String = sqlx::query_scalar(id).fetch_one(pool).await?;
    let explained =
        printed(&config, &["explain", "--owner", "rosa@localhost", "--id", &id]).await?;
    assert!(
        explained.contains("only the companion module can read what is there\n  ledger: goes "),
        "{explained}"
    );
    assert!(explained.contains("reason: timer; held as backlog until"), "{explained}");
    let unknown =
        run(&config, &["explain", "--owner", "rosa@localhost", "--id", "unknown"]).await?;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("the archive cannot be reached"), "{}", unknown.stderr);
    assert!(says(&lab, "rosa", "from-before").await?);
    let checked = run(&config, &["check"]).await?;
    assert!(
        checked.stdout.contains("companion modules: left to the running daemon"),
        "{}",
        checked.stdout
    );
    let scanned = run(&config, &["preview", "--scan"]).await?;
    assert!(
        scanned.code == Some(3) && scanned.stderr.contains("without --scan"),
        "{}",
        scanned.stderr
    );
    printed(&config, &["backlog", "accept"]).await?;
    until_gone(&lab, "rosa", "from-before").await?;
    daemon.terminate().await?;
    let checked = printed(&config, &["check"]).await?;
    assert!(checked.contains("companion module on localhost: version"), "{checked}");
    Ok(())
}

/// With archives in SQL a notice wakes the tail long before its next poll, and a room replays no erased
/// message.
#[tokio::test(flavor = "multi_thread")]
async fn the_module_makes_sql_instant_and_scrubs_rooms() -> Result<()> {
    let lab = prosody(Storage::Postgres).await?;
    let config = lab.daemon_config().set("archive.poll", "1m").set("archive.max_lag", "5m");
    let daemon = Daemon::spawn(program(), &config)?;
    // If the first poll finds a row locked, the next one comes a whole interval later.
    daemon.wait_ready(Duration::from_secs(90)).await?;
    until_figure(&daemon, "ephemerd_component_connected", 1.0).await?;
    let mut peter = lab.online("peter").await?;
    let den = lab.endpoints().room("den");
    peter.join(&den, "Peter").await?;
    peter.groupchat(&den, "stays-in-the-room", "").await?;
    let mut rosa = lab.online("rosa").await?;
    // Long enough for Rosa to join first.
    peter.groupchat(&den, "goes-from-the-room", &timer(8)).await?;
    peter.wait_for_body("goes-from-the-room").await?;
    let replayed = async |rosa: &mut Client, nick: String| {
        let history = rosa.join(&den, &nick).await?.history;
        let text: String = history.iter().map(|it| it.xml.clone()).collect();
        let leave = format!("<presence type='unavailable' to='{den}/{nick}'/>");
        rosa.send(&leave).await?;
        rosa.sync().await?;
        Ok::<_, ephemerd_lab::LabError>(text)
    };
    let first = replayed(&mut rosa, "Rosa".to_owned()).await?;
    assert!(first.contains("goes-from-the-room"), "{first}");
    let erased =
        "SELECT count(*) FROM prosodyarchive WHERE strpos(value, 'goes-from-the-room') > 0";
    wait_for_number(lab.database.superuser(), erased, 0).await?;
    let mut nicks = 0..;
    let last = eventually("the room replays it no longer", PATIENCE, async || {
        let nick = format!("Rosa{}", nicks.next().unwrap_or_default());
        let text = replayed(&mut rosa, nick).await?;
        Ok((!text.contains("goes-from-the-room")).then_some(text))
    })
    .await?;
    assert!(last.contains("stays-in-the-room"), "{last}");
    Ok(())
}
