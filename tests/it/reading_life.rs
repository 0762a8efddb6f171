//! Timers that start at reading, over time: queues, devices, pauses, history, accounts that never tell.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{Lab, PATIENCE, Result};

use crate::reading_chats::{
    CAP, Chats, EPHEMERAL, Entry, TIMER, displayed, message, without_words,
};
use crate::support::{number, printed, start, told, wait_for_number};

const ANN: &str = "ann@localhost/phone";
const EVE: &str = "eve@elsewhere.example/x";

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_the_archive_first_blanks_the_queue_too() -> Result<()> {
    let chats = Chats::start().await?;
    let words = message(ANN, "bob@localhost", "one", EPHEMERAL);
    let queued = ArchiveRow::queue("bob", "queued", chats.began - 900, &words, "one");
    chats.add(&[chats.received("bob", ANN, "one", 900), queued]).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::unread(900));
    let copy = chats.entry_in("queue", "bob", "queued").await?;
    assert_eq!(
        (copy.ago, copy.timer),
        (899, CAP + TIMER),
        "together with its archive row: {copy:?}"
    );
    chats.add(&[chats.marker("bob", ANN, "one", 500)]).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("marker", 500));
    assert_eq!(chats.entry_in("queue", "bob", "queued").await?, Entry::read("marker", 500));
    // The queue is handed out after all: what runs keeps its start.
    sqlx::query("DELETE FROM prosodyarchive WHERE store = 'offline'").execute(chats.pool()).await?;
    wait_for_number(
        chats.pool(),
        "SELECT count(*) FROM ephemerd.expiries WHERE store = 'queue'",
        0,
    )
    .await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("marker", 500));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_handed_out_is_not_read_yet() -> Result<()> {
    let chats = Chats::start().await?;
    let words = message(ANN, "bob@localhost", "one", EPHEMERAL);
    let queued = ArchiveRow::queue("bob", "queued", chats.began - 900, &words, "one");
    chats.add(&[chats.received("bob", ANN, "one", 900), queued]).await?;
    sqlx::query("DELETE FROM prosodyarchive WHERE store = 'offline'").execute(chats.pool()).await?;
    wait_for_number(
        chats.pool(),
        "SELECT count(*) FROM ephemerd.expiries WHERE store = 'queue'",
        0,
    )
    .await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::unread(900));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_devices_the_earliest_counts() -> Result<()> {
    let chats = Chats::start().await?;
    let rows = [
        chats.received("bob", ANN, "one", 900),
        // Noticed in one round, and the later one lies first.
        chats.item("bob", "ann@localhost", "one", 400),
        chats.marker("bob", ANN, "one", 500),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("marker", 500));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_goes_at_the_cap() -> Result<()> {
    let chats = Chats::start_with(&[
        ("timers.start", "read"),
        ("timers.unread_for", "10m"),
        ("timers.max", "1m"),
        ("erase.placeholder_for", "1h"),
    ])
    .await?;
    chats
        .add(&[chats.received("bob", ANN, "one", 662), chats.received("bob", ANN, "two", 600)])
        .await?;
    let gone =
        "SELECT count(*) FROM prosodyarchive WHERE key = 'one' AND value LIKE '%urn:ephemerd:0%'";
    wait_for_number(chats.pool(), gone, 1).await?;
    let words =
        "SELECT count(*) FROM prosodyarchive WHERE key = 'two' AND value LIKE '%words of two%'";
    assert_eq!(number(chats.pool(), words).await?, 1, "600 s and 60 s are not over");
    let figure = "ephemerd_unread_capped_total";
    chats.daemon.wait_for_figure(figure, &[], PATIENCE, |it| it >= 1.0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_was_over_when_noticed_goes_at_once_and_leaves_no_trace() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "read"), ("timers.max", "1m")]).await?;
    let rows = [chats.received("bob", ANN, "one", 900), chats.received("bob", ANN, "two", 100)];
    chats.add(&rows).await?;
    chats.add(&[chats.marker("bob", ANN, "one", 500)]).await?;
    let gone =
        "SELECT count(*) FROM prosodyarchive WHERE key = 'one' AND value LIKE '%urn:ephemerd:0%'";
    wait_for_number(chats.pool(), gone, 1).await?;
    let by = [("by", "marker")];
    chats.daemon.wait_for_figure("ephemerd_started_total", &by, PATIENCE, |it| it >= 1.0).await?;
    // The placeholder's entry does not say that it was read, or when.
    let traces = "SELECT count(*) FROM ephemerd.expiries AS e
                   WHERE archive_id = 'one' AND (started_by <> 'archived' OR chat IS NOT NULL OR message IS NOT NULL
                         OR timer_us IS NOT NULL OR runs_from <> stamped_at)";
    assert_eq!(number(chats.pool(), traces).await?, 0);
    let waiting =
        "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'two' AND length(chat) = 16";
    assert_eq!(number(chats.pool(), waiting).await?, 1, "a digest, as long as it waits");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_while_the_daemon_was_down_starts_when_it_was_read() -> Result<()> {
    let mut chats = Chats::start().await?;
    chats.add(&[chats.received("bob", ANN, "one", 900)]).await?;
    assert!(chats.daemon.terminate().await?.success());
    let rows = [
        chats.marker("bob", ANN, "one", 500),
        chats.received("bob", ANN, "two", 400),
        chats.marker("bob", ANN, "two", 300),
    ];
    insert(chats.lab.database.superuser(), &rows).await?;
    chats.daemon = start(&chats.config).await?;
    chats.settle().await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("marker", 500));
    assert_eq!(chats.entry("bob", "two").await?, Entry::read("marker", 300));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_our_servers_stamps_count() -> Result<()> {
    let chats = Chats::start().await?;
    let delay = "<delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/>";
    let marker = without_words(
        "bob@localhost/phone",
        "ann@localhost",
        &format!("{}{delay}", displayed("one")),
    );
    // A stamp of the future is the time at which it is seen.
    let future = chats.marker("bob", "eve@elsewhere.example", "other", -90_000);
    let rows = [
        chats.received("bob", ANN, "one", 900),
        chats.received("bob", EVE, "other", 800),
        chats.row("bob", "marker", 500, &marker),
        future,
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("marker", 500));
    let other = chats.entry("bob", "other").await?;
    assert!(other.by == "marker" && (-60..=0).contains(&other.ago), "{other:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_judged_when_it_is_accepted() -> Result<()> {
    let mut chats = Chats::start().await?;
    assert!(chats.daemon.terminate().await?.success());
    let pool = chats.lab.database.superuser().clone();
    // As if it had been there before the first start.
    let rows = [chats.received("bob", ANN, "one", 900), chats.marker("bob", ANN, "one", 500)];
    insert(&pool, &rows).await?;
    sqlx::query("UPDATE ephemerd.cursors SET first_position = 100, position = 100, frontier = 100")
        .execute(&pool)
        .await?;
    sqlx::query("SELECT setval('prosodyarchive_sort_id_seq', 200)").execute(&pool).await?;
    sqlx::query("UPDATE ephemerd.sweeps SET requested_at = now()").execute(&pool).await?;
    chats.daemon = start(&chats.config).await?;
    wait_for_number(&pool, "SELECT count(*) FROM ephemerd.expiries WHERE backlog", 1).await?;
    chats.settle().await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::unread(900), "held");
    printed(&chats.config, &["backlog", "accept"]).await?;
    sqlx::query("UPDATE ephemerd.sweeps SET requested_at = now()").execute(&pool).await?;
    let read =
        "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'one' AND started_by = 'marker'";
    wait_for_number(&pool, read, 1).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("marker", 500));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_account_leaves_nothing_behind() -> Result<()> {
    let chats = Chats::start().await?;
    chats.add(&[chats.received("bob", ANN, "one", 900)]).await?;
    sqlx::query(r#"DELETE FROM prosodyarchive WHERE "user" = 'bob'"#).execute(chats.pool()).await?;
    sqlx::query("UPDATE ephemerd.sweeps SET requested_at = now()").execute(chats.pool()).await?;
    wait_for_number(chats.pool(), "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'bob'", 0)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_publishes_two_thousand_chats_takes_a_few_statements() -> Result<()> {
    let chats = Chats::start().await?;
    let names: Vec<String> = (0..2_000).map(|at| format!("friend{at}@localhost")).collect();
    let mut rows: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(at, name)| chats.received("bob", &format!("{name}/x"), &format!("m{at}"), 900))
        .collect();
    insert(chats.pool(), &rows).await?;
    rows.clear();
    let items = names.iter().enumerate();
    rows.extend(items.map(|(at, name)| chats.item("bob", name, &format!("m{at}"), 500)));
    chats.add(&rows).await?;
    let read = "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'bob' AND started_by = 'mds'";
    wait_for_number(chats.pool(), read, 2_000).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_waits_only_for_those_whose_clients_show_that_they_read() -> Result<()> {
    // It is the default.
    let chats = Chats::start_with(&[]).await?;
    let month = 31 * 86_400;
    let theirs = without_words(ANN, "psi@localhost", &displayed("one"));
    let rows = [
        // Whose client shows it, has shown it before anything waited.
        chats.marker("bob", ANN, "before", 800),
        chats.item("eve", "somebody@localhost", "other", 86_400),
        chats.marker("old", ANN, "before", month),
        chats.item("old", "ann@localhost", "before", month),
        chats.row("psi", "theirs", 800, &theirs),
    ];
    chats.add(&rows).await?;
    let readers = ["bob", "eve"];
    let others = ["old", "psi"];
    let rows: Vec<_> = readers
        .iter()
        .chain(&others)
        .flat_map(|user| [("one", 700), ("two", 600)].map(|(key, ago)| (user, key, ago)))
        .map(|(user, key, ago)| chats.received(user, ANN, key, ago))
        .collect();
    chats.add(&rows).await?;
    for (key, ago) in [("one", 700), ("two", 600)] {
        for user in readers {
            assert_eq!(chats.entry(user, key).await?, Entry::unread(ago), "{user}");
        }
        for user in others {
            assert_eq!(chats.entry(user, key).await?, Entry::read("archived", ago), "{user}");
        }
    }
    // Whose client shows it for the first time, is one from then on.
    chats.add(&[chats.marker("psi", ANN, "one", 500)]).await?;
    chats.add(&[chats.received("psi", ANN, "three", 400)]).await?;
    assert_eq!(chats.entry("psi", "one").await?, Entry::read("archived", 700), "it runs already");
    assert_eq!(chats.entry("psi", "three").await?, Entry::unread(400));
    let kept = "SELECT count(*) FROM ephemerd.readers WHERE owner = 'bob'";
    assert_eq!(number(chats.pool(), kept).await?, 1, "one date for each account");
    assert_eq!(
        number(chats.pool(), "SELECT count(*) FROM ephemerd.readers WHERE owner = 'old'").await?,
        0
    );
    // After 30 days without a sign it is as before.
    sqlx::query("DELETE FROM prosodyarchive WHERE key LIKE 'marker%'")
        .execute(chats.pool())
        .await?;
    sqlx::query("UPDATE ephemerd.readers SET seen_on = seen_on - 31").execute(chats.pool()).await?;
    chats.add(&[chats.received("bob", ANN, "month", 500)]).await?;
    assert_eq!(chats.entry("bob", "month").await?, Entry::read("archived", 500));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_evidence_that_is_configured_counts() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "read")]).await?;
    assert!(chats.daemon.terminate().await?.success());
    let config = chats.config.clone().set("timers.read_evidence", vec!["replies"]);
    let (lab, began) = (chats.lab, chats.began);
    let chats = Chats { daemon: start(&config).await?, lab, config, began };
    let reply = "<reply xmlns='urn:xmpp:reply:0' id='two'/>";
    let reply = message("bob@localhost/phone", "ann@localhost", "re", reply);
    let rows = [
        chats.received("bob", ANN, "one", 900),
        chats.received("bob", ANN, "two", 800),
        chats.marker("bob", ANN, "two", 500),
        chats.item("bob", "ann@localhost", "two", 500),
        chats.row("bob", "re", 400, &reply),
    ];
    insert(chats.pool(), &rows).await?;
    let read = "SELECT count(*) FROM ephemerd.expiries WHERE started_by = 'reply'";
    wait_for_number(chats.pool(), read, 1).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::unread(900));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_the_evidence_and_its_time() -> Result<()> {
    let chats = Chats::start().await?;
    let rows = [
        chats.received("bob", ANN, "one", 900),
        chats.received("bob", ANN, "two", 800),
        chats.item("bob", "ann@localhost", "one", 500),
    ];
    chats.add(&rows).await?;
    let explain = async |key: &str| {
        let live = ["explain", "--owner", "bob@localhost", "--id", key];
        (printed(&chats.config, &live).await, told(&chats.config, &live).await)
    };
    let (text, json) = explain("one").await;
    let text = text?;
    assert!(text.contains("counted from when its owner read it, "), "{text}");
    assert!(text.contains(", as MDS showed"), "{text}");
    assert_eq!(json?["rows"][0]["started_by"], "mds");
    let (text, json) = explain("two").await;
    let text = text?;
    assert!(text.contains("its owner has not read it yet; counted at the latest from "), "{text}");
    assert_eq!(json?["rows"][0]["started_by"], "unread");
    Ok(())
}

/// It reads at once, or by a wrong clock before the message came: the timer runs from archiving, and never before.
#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_marks_at_once_never_shortens_a_timer() -> Result<()> {
    let chats = Chats::start().await?;
    let rows = [
        chats.received("bot", ANN, "one", 900),
        chats.marker("bot", ANN, "one", 900),
        chats.received("bot", EVE, "two", 900),
        chats.marker("bot", EVE, "two", 950),
    ];
    chats.add(&rows).await?;
    for key in ["one", "two"] {
        assert_eq!(chats.entry("bot", key).await?, Entry::read("marker", 900), "{key}");
    }
    Ok(())
}

/// Their server's archive is not ours: the sender's copy runs from archiving, whatever comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_on_another_server_changes_nothing_here() -> Result<()> {
    let chats = Chats::start().await?;
    let sent = message("bob@localhost/phone", "eve@elsewhere.example", "one", EPHEMERAL);
    let marker = without_words(EVE, "bob@localhost", &displayed("one"));
    let item = "<displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0' by='eve@elsewhere.example' \
                id='one'/></displayed>";
    let event = format!(
        "<message from='{EVE}' to='bob@localhost'><event xmlns='http://jabber.org/protocol/pubsub#event'><items \
         node='urn:xmpp:mds:displayed:0'><item id='bob@localhost'>{item}</item></items></event></message>"
    );
    let rows = [
        chats.row("bob", "one", 900, &sent),
        chats.row("bob", "marker", 500, &marker),
        chats.row("bob", "event", 400, &event),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("archived", 900));
    Ok(())
}

/// A blocked contact's message, for example.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_removed_is_no_obstacle_for_others() -> Result<()> {
    let chats = Chats::start().await?;
    chats
        .add(&[chats.received("bob", ANN, "one", 900), chats.received("bob", ANN, "two", 800)])
        .await?;
    sqlx::query("DELETE FROM prosodyarchive WHERE key = 'one'").execute(chats.pool()).await?;
    chats.add(&[chats.marker("bob", ANN, "two", 500)]).await?;
    assert_eq!(chats.entry("bob", "two").await?, Entry::read("marker", 500));
    sqlx::query("UPDATE ephemerd.expiries SET due_at = now() WHERE archive_id = 'one'")
        .execute(chats.pool())
        .await?;
    sqlx::query("UPDATE ephemerd.sweeps SET requested_at = now()").execute(chats.pool()).await?;
    let left = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'one'";
    wait_for_number(chats.pool(), left, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_brings_back_goes_by_the_marker_beside_it() -> Result<()> {
    let settings = [("timers.start", "read"), ("timers.max", "1m"), ("erase.mode", "delete")];
    // Other tests' open transactions would hold back the cursor.
    let chats = Chats::start_in(Lab::database_apart().await?, &settings).await?;
    let pool = chats.pool();
    chats.add(&[chats.received("bob", ANN, "one", 900)]).await?;
    sqlx::query("CREATE TABLE backup AS SELECT * FROM prosodyarchive WHERE key = 'one'")
        .execute(pool)
        .await?;
    chats.add(&[chats.marker("bob", ANN, "one", 500)]).await?;
    let words = "SELECT count(*) FROM prosodyarchive WHERE key = 'one'";
    wait_for_number(pool, words, 0).await?;
    // The tail does not look there again: the sweep has to.
    let passed = "SELECT count(*) FROM ephemerd.cursors
                   WHERE position >= (SELECT max(sort_id) FROM prosodyarchive)";
    wait_for_number(pool, passed, 1).await?;
    sqlx::query("INSERT INTO prosodyarchive SELECT * FROM backup").execute(pool).await?;
    assert_eq!(number(pool, words).await?, 1);
    sqlx::query("UPDATE ephemerd.sweeps SET requested_at = now()").execute(pool).await?;
    wait_for_number(pool, words, 0).await
}
