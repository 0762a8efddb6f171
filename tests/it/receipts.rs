//! Receipts (XEP-0184) show that a message was received, though its copy is still in the queue: its timer starts.

use ephemerd_lab::rows::ArchiveRow;
use ephemerd_lab::xmpp::{Client, MamQuery};
use ephemerd_lab::{
    EjabberdConfig, Lab, PATIENCE, Prosody, ProsodyConfig, Result, Server, eventually,
};

use crate::reading_chats::{CAP, Chats, EPHEMERAL, Entry, TIMER, message, without_words};
use crate::support::{pause, printed, resume, start, wait_for_number};

const ANN: &str = "ann@localhost/phone";
const EVE: &str = "eve@elsewhere.example/x";
const BOB: &str = "bob@localhost/phone";

fn receipt(id: &str) -> String {
    format!("<received xmlns='urn:xmpp:receipts' id='{id}'/>")
}

/// What Bob received from somebody so long ago, with a copy in his queue.
fn undelivered(chats: &Chats, from: &str, id: &str, ago: i64) -> [ArchiveRow; 2] {
    let words = message(from, "bob@localhost", id, EPHEMERAL);
    let queued = ArchiveRow::queue("bob", &format!("queued-{id}"), chats.began - ago, &words, id);
    [chats.received("bob", from, id, ago), queued]
}

fn waiting(ago: i64) -> Entry {
    Entry { timer: CAP + TIMER, reason: "undelivered".to_owned(), ..Entry::read("archived", ago) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_starts_what_the_queue_held_back() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "delivered")]).await?;
    let (one, two) = (undelivered(&chats, ANN, "one", 900), undelivered(&chats, ANN, "two", 800));
    chats.add(&[one, two].concat()).await?;
    assert_eq!(chats.entry("bob", "one").await?, waiting(900));
    let stanza = without_words(BOB, ANN, &receipt("one"));
    let receipts = [500, 400].map(|ago| chats.row("bob", &format!("r{ago}"), ago, &stanza));
    chats.add(&receipts).await?;
    let received = Entry::read("receipt", 500);
    for sweep in [false, true] {
        if sweep {
            printed(&chats.config, &["sweep"]).await?;
        }
        assert_eq!(chats.entry("bob", "one").await?, received, "by the first");
        assert_eq!(chats.entry_in("queue", "bob", "queued-one").await?, received);
        assert_eq!(chats.entry("bob", "two").await?, waiting(800), "it names one message");
    }
    let explained =
        printed(&chats.config, &["explain", "--owner", "bob@localhost", "--id", "one"]).await?;
    assert!(explained.contains("its owner received it, "), "{explained}");
    assert!(explained.contains(", as a receipt showed"), "{explained}");
    // The queue is handed out after all: what runs keeps its start.
    sqlx::query("DELETE FROM prosodyarchive WHERE store = 'offline'").execute(chats.pool()).await?;
    let queued = "SELECT count(*) FROM ephemerd.expiries WHERE store = 'queue'";
    wait_for_number(chats.pool(), queued, 0).await?;
    assert_eq!(chats.entry("bob", "one").await?, received);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_elses_receipt_counts() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "delivered")]).await?;
    let early = chats.row("bob", "early", 950, &without_words(BOB, ANN, &receipt("one")));
    let rows: Vec<_> = [early].into_iter().chain(undelivered(&chats, ANN, "one", 900)).collect();
    chats.add(&rows).await?;
    let error = without_words(BOB, ANN, &receipt("one")).replace("type='chat'", "type='error'");
    let others = [
        ("forged", without_words(EVE, "bob@localhost", &receipt("one"))),
        ("of-the-sender", without_words(ANN, "bob@localhost", &receipt("one"))),
        ("other-chat", without_words(BOB, EVE, &receipt("one"))),
        ("unknown", without_words(BOB, ANN, &receipt("none"))),
        ("asked", without_words(BOB, ANN, "<request xmlns='urn:xmpp:receipts'/>")),
        ("error", error),
    ];
    let others = others.map(|(key, stanza)| chats.row("bob", key, 500, &stanza));
    chats.add(&others).await?;
    let hers =
        chats.row("carol", "hers", 500, &without_words("carol@localhost/x", ANN, &receipt("one")));
    chats.add(&[hers]).await?;
    assert_eq!(chats.entry("bob", "one").await?, waiting(900));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_id_twice_the_newest_before_the_receipt_was_received() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "delivered")]).await?;
    let words = message(ANN, "bob@localhost", "one", EPHEMERAL);
    let mut rows = Vec::new();
    for (key, ago) in [("first", 900), ("second", 800), ("third", 300)] {
        if key == "third" {
            rows.push(chats.row("bob", "r", 500, &without_words(BOB, ANN, &receipt("one"))));
        }
        rows.push(chats.row("bob", key, ago, &words));
        rows.push(ArchiveRow::queue(
            "bob",
            &format!("queued-{key}"),
            chats.began - ago,
            &words,
            key,
        ));
    }
    chats.add(&rows).await?;
    // What was read once is read again.
    printed(&chats.config, &["sweep"]).await?;
    assert_eq!(chats.entry("bob", "first").await?, waiting(900));
    assert_eq!(chats.entry("bob", "second").await?, Entry::read("receipt", 500));
    assert_eq!(chats.entry("bob", "third").await?, waiting(300));
    Ok(())
}

/// Rosa is offline. A client of hers reads the archive, sends a receipt, and never takes the queue.
async fn who_reads_the_archive_first<S: Server>(lab: Lab<S>, rows: &'static str) -> Result<()> {
    lab.client("rosa").await?.close().await?;
    let mut peter = lab.online("peter").await?;
    let config = lab.daemon_config().set("archive.poll", "50ms").set("timers.start", "delivered");
    let _daemon = start(&config).await?;
    let pool = lab.database.superuser();
    // A busy server may take longer than the timer from the archive to the queue.
    pause(&config).await?;
    let timer =
        "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3'/><request xmlns='urn:xmpp:receipts'/>";
    for id in ["one", "two"] {
        let words = format!("<body>words {id}</body>{timer}");
        let stanza =
            format!("<message to='rosa@localhost' type='chat' id='{id}'>{words}</message>");
        peter.send(&stanza).await?;
    }
    let waits =
        "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'rosa' AND reason = 'undelivered'";
    wait_for_number(pool, waits, 4).await?;
    resume(&config).await?;
    let items = lab.archive("rosa", &MamQuery::default()).await?;
    assert_eq!(items.iter().filter(|it| it.body().is_some()).count(), 2, "it waits for her");
    let mut rosa: Client = lab.client("rosa").await?;
    let store = "<store xmlns='urn:xmpp:hints'/>";
    rosa.send(&format!(
        "<message to='peter@localhost' type='chat'>{}{store}</message>",
        receipt("one")
    ))
    .await?;
    eventually("the words go from archive and queue", PATIENCE, async || {
        let left: i64 = sqlx::query_scalar(rows).bind("words one<").fetch_one(pool).await?;
        Ok((left == 0).then_some(()))
    })
    .await?;
    let two: i64 = sqlx::query_scalar(rows).bind("words two<").fetch_one(pool).await?;
    assert_eq!(two, 2, "the other waits, in archive and queue");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_the_archive_first_starts_timers_by_receipts() -> Result<()> {
    let prosody: Lab<Prosody> = Lab::prosody_with(&ProsodyConfig::default()).await?;
    let rows =
        r#"SELECT count(*) FROM prosodyarchive WHERE "user" = 'rosa' AND strpos(value, $1) > 0"#;
    who_reads_the_archive_first(prosody, rows).await?;
    let ejabberd = Lab::ejabberd(&EjabberdConfig::default()).await?;
    let rows = "SELECT (SELECT count(*) FROM archive WHERE username = 'rosa' AND strpos(xml, $1) > 0)
                     + (SELECT count(*) FROM spool WHERE username = 'rosa' AND strpos(xml, $1) > 0)";
    who_reads_the_archive_first(ejabberd, rows).await
}
