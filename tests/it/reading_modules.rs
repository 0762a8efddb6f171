//! Timers that start at reading, where only the companion module sees what was read: archives in files and in Mnesia,
//! an ejabberd that does not archive markers, a Prosody that keeps only archives in SQL.

use std::time::Duration;

use ephemerd_lab::ejabberd::{self, EjabberdConfig};
use ephemerd_lab::prosody::{ProsodyConfig, Storage};
use ephemerd_lab::xmpp::{Client, MamQuery};
use ephemerd_lab::{
    Daemon, DaemonConfig, Ejabberd, Lab, PATIENCE, Prosody, Result, Server, eventually,
};
use tokio::time::Instant;

use crate::hanging::config_of;
use crate::remote::{says, timer, until_gone};
use crate::sent_watch::let_pass;
use crate::support::{CLOCKS, number, start, wait_for_number};

const SECONDS: u32 = 3;
const MDS: &str = "urn:xmpp:mds:displayed:0";
const UNREAD: &str = "SELECT count(*) FROM ephemerd.expiries WHERE started_by = 'unread'";

async fn ejabberd(storage: ejabberd::Storage) -> Result<Lab<Ejabberd>> {
    let config = EjabberdConfig { storage, companion: true, ..EjabberdConfig::default() };
    Lab::ejabberd(&config).await
}

async fn prosody(storage: Storage, archives_only: bool) -> Result<Lab<Prosody>> {
    let config = ProsodyConfig::default().storage_in(storage).with_companion();
    Lab::prosody_with(&ProsodyConfig { archives_only, ..config }).await
}

async fn reading<S: Server>(lab: &Lab<S>, only_module: bool) -> Result<(Daemon, DaemonConfig)> {
    let config = config_of(lab, only_module).set("timers.start", "read");
    let daemon = start(&config).await?;
    let there = if only_module { "ephemerd_companions" } else { "ephemerd_component_connected" };
    daemon.wait_for_figure(there, &[], PATIENCE, |it| it >= 1.0).await?;
    if !only_module {
        // Its module was greeted.
        wait_for_number(lab.database.superuser(), "SELECT count(*) FROM ephemerd.feeds", 1).await?;
    }
    Ok((daemon, config))
}

async fn say(peter: &mut Client, id: &str, seconds: u32) -> Result<()> {
    let payload = format!("<body>words-{id}</body>{}", timer(seconds));
    let message = format!("<message to='rosa@localhost' type='chat' id='{id}'>{payload}</message>");
    peter.send(&message).await?;
    peter.sync().await
}

/// Rosa's client sends this to Peter. Nothing asks for it to be stored.
async fn show(rosa: &mut Client, payload: &str) -> Result<()> {
    rosa.send(&format!("<message to='peter@localhost' type='chat'>{payload}</message>")).await?;
    rosa.sync().await
}

fn displayed(id: &str) -> String {
    format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>")
}

/// Each kind of evidence starts what it names, and nothing that came later.
async fn each_kind_counts<S: Server>(lab: Lab<S>, only_module: bool) -> Result<()> {
    let (daemon, _) = reading(&lab, only_module).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    for id in ["one", "two", "three"] {
        say(&mut peter, id, SECONDS).await?;
        rosa.wait_for_body(&format!("words-{id}")).await?;
        // Files have stamps of whole seconds: what came in the same second as something read counts as read.
        let_pass(lab.database.superuser(), 1.1).await?;
    }
    wait_for_number(lab.database.superuser(), UNREAD, 3).await?;
    for id in ["one", "two", "three"] {
        until_gone(&lab, "peter", &format!("words-{id}")).await?;
        assert!(says(&lab, "rosa", &format!("words-{id}")).await?, "{id} waits for its reader");
    }

    let read = Instant::now();
    show(&mut rosa, &displayed("one")).await?;
    until_gone(&lab, "rosa", "words-one").await?;
    let least = Duration::from_secs(SECONDS.into()) - CLOCKS;
    assert!(read.elapsed() >= least, "never earlier than asked for");
    assert!(says(&lab, "rosa", "words-two").await?, "it came later");

    let items = lab.archive("rosa", &MamQuery::default()).await?;
    let two = items.iter().find(|it| it.body() == Some("words-two")).expect("it stands");
    let published = format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{MDS}'><item id='peter@localhost'>\
         <displayed xmlns='{MDS}'><stanza-id xmlns='urn:xmpp:sid:0' by='rosa@localhost' id='{}'/></displayed>\
         </item></publish></pubsub>",
        two.id
    );
    // A server may refuse what a client publishes, or have no place for it: she has read it all the same.
    let _ = rosa.iq("set", None, &published).await;
    until_gone(&lab, "rosa", "words-two").await?;
    assert!(says(&lab, "rosa", "words-three").await?, "it came later");

    let reaction =
        "<reactions xmlns='urn:xmpp:reactions:0' id='three'><reaction>x</reaction></reactions>";
    show(&mut rosa, reaction).await?;
    until_gone(&lab, "rosa", "words-three").await?;
    for by in ["marker", "mds", "reply"] {
        daemon.counts("ephemerd_started_total", &[("by", by)], 1.0).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_show_what_was_read() -> Result<()> {
    tokio::try_join!(
        async { each_kind_counts(ejabberd(ejabberd::Storage::Sql).await?, false).await },
        async { each_kind_counts(ejabberd(ejabberd::Storage::Mnesia).await?, true).await },
        async { each_kind_counts(prosody(Storage::Files, false).await?, true).await },
        async { each_kind_counts(prosody(Storage::Postgres, true).await?, false).await },
    )?;
    Ok(())
}

/// The module remembers what was read while no daemon listened, and when. A copy in the offline queue goes with it.
async fn read_while_the_daemon_is_down<S: Server>(lab: Lab<S>, only_module: bool) -> Result<()> {
    let pool = lab.database.superuser();
    let (mut daemon, _) = reading(&lab, only_module).await?;
    let mut peter = lab.online("peter").await?;
    // She reads her archive and leaves her queue alone.
    let mut rosa = lab.client("rosa").await?;
    say(&mut peter, "one", 3_600).await?;
    wait_for_number(pool, UNREAD, 1).await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries WHERE store = 'queue'", 1)
        .await?;
    daemon.kill().await?;
    show(&mut rosa, &displayed("one")).await?;
    sqlx::query("CREATE TABLE read_at AS SELECT clock_timestamp() AS at").execute(pool).await?;
    let_pass(pool, 3.0).await?;
    daemon.resume().await?;
    let started = "SELECT count(*) FROM ephemerd.expiries, read_at
                    WHERE started_by = 'marker' AND owner = 'rosa' AND reason = 'timer'
                      AND runs_from <= at + interval '1.1 s' AND due_at = runs_from + interval '1 h'";
    wait_for_number(pool, started, 2).await?;
    let stores = "SELECT count(DISTINCT store) FROM ephemerd.expiries WHERE started_by = 'marker'";
    assert_eq!(number(pool, stores).await?, 2, "the archive's row and its copy in the queue");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_remembers_what_was_read_while_no_daemon_ran() -> Result<()> {
    tokio::try_join!(
        async {
            read_while_the_daemon_is_down(ejabberd(ejabberd::Storage::Sql).await?, false).await
        },
        async {
            read_while_the_daemon_is_down(ejabberd(ejabberd::Storage::Mnesia).await?, true).await
        },
        async { read_while_the_daemon_is_down(prosody(Storage::Files, false).await?, true).await },
    )?;
    Ok(())
}

/// A reload that begins to look for readers tells the modules, and one that ends it too.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_tells_the_module_what_to_announce() -> Result<()> {
    let lab = ejabberd(ejabberd::Storage::Sql).await?;
    let pool = lab.database.superuser();
    let config = config_of(&lab, false);
    let mut daemon = start(&config).await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.feeds", 1).await?;
    daemon.reload(&config.clone().set("timers.start", "read"))?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let reloaded = "ephemerd_config_last_reload_successful";
    daemon.wait_for_figure(reloaded, &[], PATIENCE, |it| it == 1.0).await?;
    // Until the tail judges by the new rules.
    let waits = eventually("a message that waits for its reader", PATIENCE, async || {
        say(&mut peter, "at", 3_600).await?;
        let_pass(pool, 0.3).await?;
        Ok((number(pool, UNREAD).await? > 0).then_some(()))
    });
    waits.await?;
    eventually("the module to announce what was read", PATIENCE, async || {
        show(&mut rosa, &displayed("at")).await?;
        let_pass(pool, 0.3).await?;
        Ok((number(pool, UNREAD).await? == 0).then_some(()))
    })
    .await
}

/// A marker may name a message that has no timer, or one that its reader sent: the module knows where these stand.
async fn positions_without_a_mark_count<S: Server>(lab: Lab<S>) -> Result<()> {
    let pool = lab.database.superuser();
    let (_daemon, _) = reading(&lab, true).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    say(&mut peter, "one", 3_600).await?;
    rosa.wait_for_body("words-one").await?;
    let_pass(pool, 1.1).await?;
    let plain = "<body>yes</body>";
    rosa.send(&format!("<message to='peter@localhost' type='chat' id='own'>{plain}</message>"))
        .await?;
    rosa.sync().await?;
    let_pass(pool, 1.1).await?;
    say(&mut peter, "two", 3_600).await?;
    rosa.wait_for_body("words-two").await?;
    wait_for_number(pool, UNREAD, 2).await?;
    show(&mut rosa, &displayed("own")).await?;
    wait_for_number(pool, UNREAD, 1).await?;
    let_pass(pool, 1.1).await?;
    let plain = format!("<message to='rosa@localhost' type='chat' id='plain'>{plain}</message>");
    peter.send(&plain).await?;
    peter.sync().await?;
    rosa.wait_for_body("yes").await?;
    let items = lab.archive("rosa", &MamQuery::default()).await?;
    let last = items.last().expect("the archive has it");
    assert_eq!(last.body(), Some("yes"));
    let position = format!(
        "<displayed xmlns='{MDS}'><stanza-id xmlns='urn:xmpp:sid:0' by='rosa@localhost' id='{}'/></displayed>",
        last.id
    );
    show(&mut rosa, &position).await?;
    wait_for_number(pool, UNREAD, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_know_where_a_message_without_a_timer_stands() -> Result<()> {
    tokio::try_join!(
        async { positions_without_a_mark_count(ejabberd(ejabberd::Storage::Mnesia).await?).await },
        async { positions_without_a_mark_count(prosody(Storage::Files, false).await?).await },
    )?;
    Ok(())
}
