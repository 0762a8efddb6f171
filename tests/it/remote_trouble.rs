//! With a companion module: what single users, files and moments must not be able to do to everybody else.

use std::fs;
use std::time::Duration;

use ephemerd::ledger;
use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{DaemonConfig, Lab, Result, Server, Signal};

use crate::remote::{config, gone_within, mnesia, prosody, timer, until_gone};
use crate::sent_watch::let_pass;
use crate::support::{now, number, printed, start, wait_for_number};

/// Stanzas that are hard to announce: nested deeper than a stream allows, and with marks that are too long.
async fn hard_to_tell_of<S: Server>(lab: Lab<S>) -> Result<()> {
    let daemon = start(&config(&lab).set("erase.mode", "delete")).await?;
    let mut eve = lab.online("eve").await?;
    let mut rosa = lab.online("rosa").await?;
    let deep = format!("{}{}", "<a xmlns='urn:x'>".repeat(65), "</a>".repeat(65));
    let inside = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'>";
    let quotes = format!("{inside}{}</ephemeral>", "'".repeat(40_000));
    let nested = format!("{inside}{deep}</ephemeral>");
    let many = format!("{}{}", timer(1), "<b xmlns='urn:x'/>".repeat(5_000));
    for (word, extra) in [
        ("deep-beside", &format!("{}{deep}", timer(1))),
        ("deep-within", &nested),
        ("long-within", &quotes),
        ("long-beside", &many),
    ] {
        eve.chat(rosa.bare_jid(), word, extra).await?;
        rosa.wait_for_body(word).await?;
    }
    for word in ["deep-beside", "deep-within", "long-within", "long-beside"] {
        // In files the module rests after each archive that it has rewritten.
        gone_within(Duration::from_secs(90), &lab, "rosa", word).await?;
        gone_within(Duration::from_secs(90), &lab, "eve", word).await?;
    }
    let lost = daemon.figures().await?.get("ephemerd_notices_lost_total", &[]);
    assert_eq!(lost, Some(0.0), "all of them were told of");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_user_sends_is_announced() -> Result<()> {
    tokio::try_join!(async { hard_to_tell_of(mnesia().await?).await }, async {
        hard_to_tell_of(prosody(Storage::Files).await?).await
    },)?;
    Ok(())
}

/// An unreadable file is one user's trouble, and several of them are no more than theirs: the sweep finishes,
/// and other users' messages go.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_stops_nobody_else() -> Result<()> {
    let lab = prosody(Storage::Files).await?;
    let mut peter = lab.online("peter").await?;
    for user in ["anna", "rosa"] {
        let mut online = lab.online(user).await?;
        peter.chat(online.bare_jid(), "from-before", &timer(1)).await?;
        online.wait_for_body("from-before").await?;
        online.close().await?;
    }
    let_pass(lab.database.superuser(), 2.0).await?; // Prosody stamps whole seconds
    let archives = lab.server.data().join("localhost/archive");
    let whole = fs::read(archives.join("anna.list"))?;
    let neighbours = (1..=6).map(|at| archives.join(format!("anna{at}.list")));
    for file in neighbours.clone().chain([archives.join("anna.list")]) {
        fs::write(&file, "item({\n\t[\"attr\"")?;
    }
    let config = config(&lab).set("erase.backlog", "erase").set("erase.mode", "delete");
    let daemon = start(&config).await?;
    // Each of them is retried a few times.
    gone_within(Duration::from_secs(90), &lab, "rosa", "from-before").await?;
    until_gone(&lab, "peter", "from-before").await?;
    let unreadable = daemon.figures().await?.get("ephemerd_unreadable_stanzas_total", &[]);
    assert!(unreadable.is_some_and(|count| count >= 6.0), "they are counted: {unreadable:?}");

    let done = "SELECT count(*) FROM ephemerd.sweeps
                 WHERE requested_at IS NULL AND started_at IS NULL AND completed_at IS NOT NULL";
    wait_for_number(lab.database.superuser(), done, 1).await?;

    // Once the file is intact again, the next sweep finds its messages.
    neighbours.clone().try_for_each(fs::remove_file)?;
    fs::write(archives.join("anna.list"), whole)?;
    printed(&config, &["sweep"]).await?;
    until_gone(&lab, "anna", "from-before").await
}

/// The ledger still has copies in offline queues, and the server no longer has queues.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_queues_is_swept() -> Result<()> {
    let lab = mnesia().await?;
    let pool = lab.database.superuser();
    let config = config(&lab).set("erase.mode", "delete");
    let daemon = start(&config).await?;
    lab.client("otto").await?.close().await?;
    let mut peter = lab.online("peter").await?;
    peter.chat("otto@localhost", "waits", &timer(1)).await?;
    until_gone(&lab, "peter", "waits").await?;
    let waiting = "SELECT count(*) FROM ephemerd.expiries WHERE store = 'queue'";
    wait_for_number(pool, waiting, 1).await?;

    let file = lab.server.config_file();
    let text = fs::read_to_string(&file)?;
    let queue = text.find("  mod_offline:").expect("it has queues");
    let next = text.find("  mod_mam:").expect("it has archives");
    fs::write(&file, format!("{}{}", &text[..queue], &text[next..]))?;
    lab.server.restart().await?;
    printed(&config, &["sweep"]).await?;
    sqlx::raw_sql("UPDATE ephemerd.expiries SET due_at = now(); NOTIFY ephemerd, '0'")
        .execute(pool)
        .await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries", 0).await?;
    drop(daemon);
    Ok(())
}

/// The daemon was stopped, and then gets more notices at once than it records in one transaction: wherever it
/// cuts, no row goes before its copy in the offline queue is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_and_its_copy_are_heard_of_together() -> Result<()> {
    const SENT: usize = 150;
    let lab = prosody(Storage::Files).await?;
    let daemon = start(&config(&lab).set("erase.mode", "placeholder")).await?;
    lab.client("otto").await?.close().await?;
    let mut peter = lab.online("peter").await?;
    peter.chat("otto@localhost", "first", &timer(1)).await?;
    until_gone(&lab, "peter", "first").await?;

    daemon.signal(Signal::SIGSTOP)?;
    for at in 1..=SENT {
        peter.chat("otto@localhost", &format!("word-{at}."), &timer(1)).await?;
    }
    peter.sync().await?;
    let_pass(lab.database.superuser(), 2.0).await?; // until all are due
    daemon.signal(Signal::SIGCONT)?;
    until_gone(&lab, "peter", "word-").await?;
    let kept = lab.archive("otto", &MamQuery::default()).await?;
    let kept = kept.iter().filter(|item| item.xml.contains("word-")).count();
    assert_eq!(kept, SENT, "nobody has had them");
    let held =
        "SELECT count(*) FROM ephemerd.expiries WHERE store = 'archive' AND reason = 'undelivered'";
    assert_eq!(number(lab.database.superuser(), held).await?, SENT as i64 + 1);
    Ok(())
}

/// A queue is handed out again while its owner's archive is listed for the first time: it is listed again
/// from there on, after everybody else who waits. A failed list is retried later, and nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn lists_after_a_hand_out_come_in_turn() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    let now = now(pool).await?;
    for (owner, id, stamped_at) in
        [("anna", "one", now - 10), ("anna", "two", now), ("otto", "three", now)]
    {
        sqlx::query(
            "INSERT INTO ephemerd.expiries (store, host, owner, archive_id, row_number, stamped_at, runs_from, due_at, reason)
             VALUES ('archive', 'localhost', $1, $2, $3, to_timestamp($3), to_timestamp($3), 'infinity', 'undelivered')",
        )
        .bind(owner)
        .bind(id)
        .bind(stamped_at)
        .execute(pool)
        .await?;
    }
    let hosts = ["localhost".to_owned()];
    let mut connection = pool.acquire().await?;
    let connection = &mut *connection;
    let anna = |id| ("localhost", "anna", id);
    ledger::start_timers(connection, &[anna("one")]).await.unwrap();
    let first = ledger::next_relist(connection, &hosts).await.unwrap().expect("hers");
    ledger::start_timers(connection, &[("localhost", "otto", "three")]).await.unwrap();
    ledger::start_timers(connection, &[anna("two")]).await.unwrap();
    ledger::relisted(connection, &first).await.unwrap();

    let second = ledger::next_relist(connection, &hosts).await.unwrap().expect("his");
    assert_eq!((first.owner.as_str(), second.owner.as_str()), ("anna", "otto"));
    ledger::put_off_relist(connection, &second, 1).await.unwrap();
    let third = ledger::next_relist(connection, &hosts).await.unwrap().expect("hers again");
    assert_eq!(third.owner, "anna");
    assert_eq!(third.since - first.since, chrono::TimeDelta::seconds(10), "and no further back");
    ledger::relisted(connection, &third).await.unwrap();
    assert_eq!(ledger::next_relist(connection, &hosts).await.unwrap(), None, "his is put off");
    sqlx::query("UPDATE ephemerd.relists SET asked_at = now()").execute(pool).await?;
    let last = ledger::next_relist(connection, &hosts).await.unwrap().expect("his again");
    ledger::put_off_relist(connection, &last, 1).await.unwrap();
    assert_eq!(number(pool, "SELECT count(*) FROM ephemerd.relists").await?, 0, "for good");
    Ok(())
}
