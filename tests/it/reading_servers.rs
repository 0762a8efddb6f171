//! Timers that start at reading, with real servers and clients.

use std::time::Duration;

use ephemerd_lab::xmpp::{Client, MamQuery};
use ephemerd_lab::{EjabberdConfig, Lab, PATIENCE, Result, eventually};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::support::{CLOCKS, number, run, start, wait_for_number};

const TIMER: Duration = Duration::from_secs(3);
const ITEM: &str = "urn:xmpp:mds:displayed:0";
const PUBSUB: &str = "  mod_caps: {}\n  mod_pubsub:\n    plugins: [flat, pep]\n";

/// Rosa has read her chat with Peter up to this archive id.
fn publish(id: &str) -> String {
    format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{ITEM}'><item id='peter@localhost'>\
         <displayed xmlns='{ITEM}'><stanza-id xmlns='urn:xmpp:sid:0' by='rosa@localhost' id='{id}'/></displayed>\
         </item></publish></pubsub>"
    )
}

/// Peter says this to somebody, who gets it and has not read it.
async fn say(peter: &mut Client, client: &mut Client, id: &str) -> Result<()> {
    let extra = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3'/><markable xmlns='urn:xmpp:chat-markers:0'/>";
    let stanza = format!(
        "<message to='{}' type='chat' id='{id}'><body>words {id}</body>{extra}</message>",
        client.bare_jid()
    );
    peter.send(&stanza).await?;
    client.wait_for_body(&format!("words {id}")).await.map(drop)
}

/// Rosa's client shows that she has read up to this.
async fn show(rosa: &mut Client, id: &str, extra: &str) -> Result<()> {
    let marker = format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>{extra}");
    rosa.send(&format!("<message to='peter@localhost' type='chat' id='d-{id}'>{marker}</message>"))
        .await?;
    rosa.sync().await
}

/// Waits until a user's archive has no row with these words any more.
async fn gone(pool: &PgPool, rows: &'static str, user: &str, id: &str) -> Result<()> {
    eventually(&format!("{id} goes from {user}'s archive"), PATIENCE, async || {
        Ok((standing(pool, rows, user, id).await? == 0).then_some(()))
    })
    .await
}

async fn standing(pool: &PgPool, rows: &'static str, user: &str, id: &str) -> Result<i64> {
    let words = format!("words {id}<");
    Ok(sqlx::query_scalar(rows).bind(user).bind(words).fetch_one(pool).await?)
}

const OF_PROSODY: &str = r#"SELECT count(*) FROM prosodyarchive
      WHERE store = 'archive' AND "user" = $1 AND strpos(value, $2) > 0"#;
const OF_EJABBERD: &str =
    "SELECT count(*) FROM archive WHERE username = $1 AND strpos(xml, $2) > 0";

#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_words_go_once_they_were_read() -> Result<()> {
    let lab = Lab::prosody().await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let config = lab.daemon_config().set("archive.poll", "50ms").set("timers.start", "read");
    let daemon = start(&config).await?;
    let pool = lab.database.superuser();
    for id in ["one", "two", "three"] {
        say(&mut peter, &mut rosa, id).await?;
    }
    daemon.wait_for_figure("ephemerd_unread_expiries", &[], PATIENCE, |it| it >= 3.0).await?;
    for id in ["one", "two", "three"] {
        gone(pool, OF_PROSODY, "peter", id).await?;
        assert_eq!(standing(pool, OF_PROSODY, "rosa", id).await?, 1, "{id} waits for its reader");
    }

    let read = Instant::now();
    show(&mut rosa, "one", "").await?;
    gone(pool, OF_PROSODY, "rosa", "one").await?;
    assert!(read.elapsed() >= TIMER - CLOCKS, "never earlier than was asked for");
    assert_eq!(standing(pool, OF_PROSODY, "rosa", "two").await?, 1, "it came later");

    // What her client publishes.
    let items = lab.archive("rosa", &MamQuery::default()).await?;
    let two = items.iter().find(|it| it.body() == Some("words two")).expect("it stands");
    let published = format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{ITEM}'><item id='peter@localhost'>\
         <displayed xmlns='{ITEM}'><stanza-id xmlns='urn:xmpp:sid:0' by='rosa@localhost' id='{}'/></displayed>\
         </item></publish></pubsub>",
        two.id
    );
    let read = Instant::now();
    rosa.iq("set", None, &published).await?;
    gone(pool, OF_PROSODY, "rosa", "two").await?;
    assert!(read.elapsed() >= TIMER - CLOCKS, "never earlier than was asked for");
    assert_eq!(standing(pool, OF_PROSODY, "rosa", "three").await?, 1, "it came later");

    // A reaction asks to be stored, and shows one message.
    let reaction =
        "<reactions xmlns='urn:xmpp:reactions:0' id='three'><reaction>x</reaction></reactions>";
    let reaction = format!(
        "<message to='peter@localhost' type='chat'>{reaction}<store xmlns='urn:xmpp:hints'/></message>"
    );
    rosa.send(&reaction).await?;
    gone(pool, OF_PROSODY, "rosa", "three").await?;
    for by in ["marker", "mds", "reply"] {
        daemon.counts("ephemerd_started_total", &[("by", by)], 1.0).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_words_go_once_a_stored_marker_shows_that_they_were_read() -> Result<()> {
    let lab = Lab::ejabberd(&EjabberdConfig::default()).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let config = lab.daemon_config().set("archive.poll", "50ms").set("timers.start", "read");
    let _daemon = start(&config).await?;
    let pool = lab.database.superuser();
    say(&mut peter, &mut rosa, "one").await?;
    // ejabberd does not archive this one.
    show(&mut rosa, "one", "").await?;
    say(&mut peter, &mut rosa, "two").await?;
    for id in ["one", "two"] {
        gone(pool, OF_EJABBERD, "peter", id).await?;
        assert_eq!(standing(pool, OF_EJABBERD, "rosa", id).await?, 1, "{id} waits for its reader");
    }
    let unread =
        "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'rosa' AND started_by = 'unread'";
    assert_eq!(number(pool, unread).await?, 2);

    let plain =
        "<message to='rosa@localhost' type='chat' id='plain'><body>words plain</body></message>";
    peter.send(plain).await?;
    rosa.wait_for_body("words plain").await?;
    say(&mut peter, &mut rosa, "three").await?;
    wait_for_number(pool, unread, 3).await?;
    let read = Instant::now();
    // It names a message without a timer.
    show(&mut rosa, "plain", "<store xmlns='urn:xmpp:hints'/>").await?;
    for id in ["one", "two"] {
        gone(pool, OF_EJABBERD, "rosa", id).await?;
    }
    assert!(read.elapsed() >= TIMER - CLOCKS, "never earlier than was asked for");
    assert_eq!(standing(pool, OF_EJABBERD, "rosa", "three").await?, 1, "it came later");
    Ok(())
}

/// PEP in SQL, and no companion module: the item is changed in place, and looked up from what waits.
#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_published_positions_count_where_pep_is_in_sql() -> Result<()> {
    let config = EjabberdConfig { modules: vec![PUBSUB], ..EjabberdConfig::default() };
    let lab = Lab::ejabberd(&config).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let config = lab.daemon_config().set("archive.poll", "50ms").set("timers.start", "read");
    let daemon = start(&config).await?;
    let pool = lab.database.superuser();
    for id in ["one", "two", "three"] {
        say(&mut peter, &mut rosa, id).await?;
    }
    let unread =
        "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'rosa' AND started_by = 'unread'";
    wait_for_number(pool, unread, 3).await?;
    let items = lab.archive("rosa", &MamQuery::default()).await?;
    // The second one changes the item of the first.
    for (id, left) in [("one", 2), ("two", 1)] {
        let item = items.iter().find(|it| it.body() == Some(&*format!("words {id}")));
        let published = publish(&item.expect("it stands").id);
        let read = Instant::now();
        rosa.iq("set", None, &published).await?;
        gone(pool, OF_EJABBERD, "rosa", id).await?;
        assert!(read.elapsed() >= TIMER - CLOCKS, "never earlier than was asked for");
        wait_for_number(pool, unread, left).await?;
    }
    assert_eq!(standing(pool, OF_EJABBERD, "rosa", "three").await?, 1, "it came later");
    daemon.counts("ephemerd_started_total", &[("by", "mds")], 2.0).await?;
    let checked = run(&config, &["check"]).await?.stdout;
    let shows = "Clients publish what was read, and ejabberd's tables show it";
    assert!(checked.contains(shows), "{checked}");
    // Nobody else's items may be read by the daemon's role.
    let role = lab.database.daemon_pool(1).await?;
    for table in ["pubsub_item", "pubsub_node"] {
        let read = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT FROM {table}"))).execute(&role);
        assert!(read.await.is_err(), "{table} is not granted");
    }
    Ok(())
}

/// Before anything waits for her, Rosa's client has published a position, and Mia's has sent a marker; Otto's shows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_words_wait_for_those_who_showed_before_that_they_read() -> Result<()> {
    let config = EjabberdConfig { modules: vec![PUBSUB], ..EjabberdConfig::default() };
    let lab = Lab::ejabberd(&config).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let (mut mia, mut otto) = (lab.online("mia").await?, lab.online("otto").await?);
    rosa.iq("set", None, &publish("1")).await?;
    show(&mut mia, "earlier", "<store xmlns='urn:xmpp:hints'/>").await?;
    let _daemon = start(&lab.daemon_config().set("archive.poll", "50ms")).await?;
    let pool = lab.database.superuser();
    for client in [&mut rosa, &mut mia, &mut otto] {
        say(&mut peter, client, "one").await?;
    }
    gone(pool, OF_EJABBERD, "otto", "one").await?;
    let unread =
        "SELECT count(*) FROM ephemerd.expiries WHERE owner <> 'peter' AND started_by = 'unread'";
    assert_eq!(number(pool, unread).await?, 2);
    for user in ["rosa", "mia"] {
        assert_eq!(standing(pool, OF_EJABBERD, user, "one").await?, 1, "{user} has not read it");
    }
    Ok(())
}
