//! What belongs to a message through time: after the message, while no daemon runs, in old archives, on hold.

use ephemerd_lab::rows::insert;
use ephemerd_lab::{PATIENCE, Result, eventually};

use crate::belonging::{ANN, BOB, is_recorded, naming, row, with_message};
use crate::holds::{hold, release};
use crate::reading_chats::{Chats, EPHEMERAL, message};
use crate::reading_cost::dump;
use crate::support::{number, printed, tail_has_passed, told, wait_for_number};

/// Up to a day after a message is gone, what belongs to it goes at once. Then nothing is known of it any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_goes_at_once() -> Result<()> {
    for mode in ["delete", "placeholder"] {
        let settings = [("timers.start", "archived"), ("timers.max", "1s"), ("erase.mode", mode)];
        let chats = Chats::start_with(&settings).await?;
        let with_words =
            "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%<body>%' AND \"user\" = 'bob'";
        insert(chats.pool(), &[row(&chats, ANN, "words", 60, EPHEMERAL)]).await?;
        wait_for_number(chats.pool(), with_words, 0).await?;
        let late = [
            row(&chats, ANN, "better", 5, &naming("replace", "words")),
            row(&chats, BOB, "heart", 5, &naming("reactions", "words")),
            row(&chats, BOB, "not-his", 5, &naming("replace", "words")),
        ];
        insert(chats.pool(), &late).await?;
        wait_for_number(chats.pool(), with_words, 1).await?;
        let left =
            "SELECT count(*) FROM prosodyarchive WHERE key = 'not-his' AND value LIKE '%<body>%'";
        assert_eq!(number(chats.pool(), left).await?, 1, "{mode}");
        let best = row(&chats, ANN, "best", 4, &naming("replace", "better"));
        insert(chats.pool(), &[best]).await?;
        wait_for_number(
            chats.pool(),
            "SELECT count(*) FROM prosodyarchive WHERE key = 'best' AND value LIKE '%<body>%'",
            0,
        )
        .await?;
        // A day later.
        sqlx::query("UPDATE ephemerd.gone SET gone_at = gone_at - interval '25 h'")
            .execute(chats.pool())
            .await?;
        let rows = [
            row(&chats, ANN, "too-late", 3, &naming("replace", "words")),
            chats.row("bob", "wakes", 2, &message(ANN, BOB, "wakes", EPHEMERAL)),
        ];
        insert(chats.pool(), &rows).await?;
        wait_for_number(chats.pool(), with_words, 2).await?;
        let left = "SELECT count(*) FROM prosodyarchive WHERE key IN ('not-his', 'too-late') AND value LIKE '%<body>%'";
        assert_eq!(number(chats.pool(), left).await?, 2, "{mode}");
        wait_for_number(
            chats.pool(),
            "SELECT count(*) FROM ephemerd.gone WHERE gone_at < now() - interval '1 d'",
            0,
        )
        .await?;
    }
    Ok(())
}

/// While the daemon is away, all of it comes, in any order; what is older than the message belongs to another one.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_the_daemon_was_away_is_found() -> Result<()> {
    let mut chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    chats.daemon.kill().await?;
    let rows = [
        row(&chats, BOB, "older", 901, &naming("reactions", "words")),
        row(&chats, ANN, "better", 800, &naming("replace", "words")),
        row(&chats, BOB, "same-second", 900, &naming("reactions", "words")),
        row(&chats, ANN, "words", 900, EPHEMERAL),
    ];
    insert(chats.pool(), &rows).await?;
    chats.daemon.resume().await?;
    chats.settle().await?;
    for key in ["same-second", "better"] {
        assert_eq!(chats.entry("bob", key).await?, with_message(900), "{key}");
    }
    assert!(!is_recorded(&chats, "older").await?);
    // Its message is committed when this one has been read already.
    chats.add(&[row(&chats, BOB, "early", 600, &naming("reactions", "later"))]).await?;
    assert!(!is_recorded(&chats, "early").await?);
    chats.add(&[row(&chats, ANN, "later", 600, EPHEMERAL)]).await?;
    eventually("the early reaction is found", PATIENCE, async || {
        Ok(is_recorded(&chats, "early").await?.then_some(()))
    })
    .await?;
    assert_eq!(chats.entry("bob", "early").await?, with_message(600));
    Ok(())
}

/// A sweep finds it in an old archive, holds it with its message, and moves both when the rules change.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_it_in_an_old_archive() -> Result<()> {
    let mut chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    chats.daemon.kill().await?;
    sqlx::raw_sql(
        "DELETE FROM ephemerd.cursors; DELETE FROM ephemerd.sweeps; DELETE FROM ephemerd.expiries",
    )
    .execute(chats.pool())
    .await?;
    let rows = [
        row(&chats, ANN, "words", 900, EPHEMERAL),
        row(&chats, ANN, "better", 800, &naming("replace", "words")),
        row(&chats, ANN, "plain", 700, &naming("replace", "unmarked")),
    ];
    insert(chats.pool(), &rows).await?;
    chats.daemon.resume().await?;
    let held = "SELECT count(*) FROM ephemerd.expiries WHERE backlog AND owner = 'bob'";
    wait_for_number(chats.pool(), held, 2).await?;
    assert_eq!(chats.entry("bob", "better").await?, with_message(900));
    let explained =
        told(&chats.config, &["explain", "--owner", "bob@localhost", "--id", "better"]).await?;
    assert!(explained.to_string().contains("it goes with the message it corrects"), "{explained}");
    let shorter = chats.config.clone().set("timers.max", "1h");
    chats.reload(&shorter).await?;
    let moved = "SELECT count(*) FROM ephemerd.expiries WHERE due_at < runs_from + interval '61 min' AND owner = 'bob'";
    assert_eq!(number(chats.pool(), moved).await?, 2);
    assert!(!is_recorded(&chats, "plain").await?);
    Ok(())
}

/// A hold keeps what belongs to a message although the message goes; released, it goes as well, however late that is.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_it() -> Result<()> {
    let settings = [("timers.start", "archived"), ("timers.max", "1s"), ("erase.mode", "delete")];
    let chats = Chats::start_with(&settings).await?;
    let since = chrono::DateTime::from_timestamp(chats.began - 30, 0).expect("a time");
    let since = since.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let held = hold(&chats.config, &["--user", "bob@localhost", "--from", &since]).await?;
    let rows = [
        row(&chats, ANN, "words", 60, EPHEMERAL),
        row(&chats, ANN, "better", 5, &naming("replace", "words")),
    ];
    insert(chats.pool(), &rows).await?;
    let left = "SELECT count(*) FROM prosodyarchive WHERE \"user\" = 'bob'";
    wait_for_number(chats.pool(), left, 1).await?;
    let aside = "SELECT count(*) FROM ephemerd.expiries WHERE retry_at = 'infinity' AND archive_id = 'better'";
    wait_for_number(chats.pool(), aside, 1).await?;
    tail_has_passed(chats.pool()).await?;
    // Two days later nobody knows the message any more, and a sweep reads what belonged to it.
    sqlx::query("UPDATE ephemerd.gone SET gone_at = gone_at - interval '2 d'")
        .execute(chats.pool())
        .await?;
    printed(&chats.config, &["sweep"]).await?;
    assert_eq!(number(chats.pool(), left).await?, 1);
    assert!(is_recorded(&chats, "better").await?, "it is still to go");
    release(&chats.config, &held).await?;
    wait_for_number(chats.pool(), left, 0).await
}

/// The ledger has no id that a sender gave and no address of the other side, and after a day it knows nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_does_not_tell_what_belonged_to_what() -> Result<()> {
    let settings = [("timers.start", "archived"), ("timers.max", "5s"), ("erase.mode", "delete")];
    let chats = Chats::start_with(&settings).await?;
    let said = |key: &str, id: &str, extra: &str| {
        let stanza = message("writer-ann@localhost/x", "reader-bob@localhost", id, extra);
        chats.row("reader-bob", key, 30, &stanza)
    };
    insert(
        chats.pool(),
        &[
            said("key", "id-of-words", EPHEMERAL),
            said("other", "id-of-other", &naming("replace", "id-of-words")),
        ],
    )
    .await?;
    let left = "SELECT count(*) FROM prosodyarchive WHERE \"user\" = 'reader-bob'";
    wait_for_number(chats.pool(), left, 0).await?;
    let names: Vec<String> =
        sqlx::query_scalar("SELECT encode(unnest(names), 'hex') FROM ephemerd.gone")
            .fetch_all(chats.pool())
            .await?;
    assert_eq!(names.len(), 2);
    let after = dump(&chats.lab.database).await?;
    assert!(
        names.iter().all(|name| after.contains(name)),
        "digests are looked for in the right place"
    );
    for trace in ["reader-bob", "writer-ann", "id-of-words", "id-of-other"] {
        assert!(!after.contains(trace), "{trace} is left:\n{after}");
    }
    sqlx::query("UPDATE ephemerd.gone SET gone_at = gone_at - interval '1 d'")
        .execute(chats.pool())
        .await?;
    // Something else to do wakes the eraser.
    let wakes = message(ANN, "rosa@localhost", "wakes", EPHEMERAL);
    insert(chats.pool(), &[chats.row("rosa", "wakes", 30, &wakes)]).await?;
    wait_for_number(
        chats.pool(),
        "SELECT count(*) FROM ephemerd.gone WHERE gone_at < now() - interval '1 d'",
        0,
    )
    .await?;
    let later = dump(&chats.lab.database).await?;
    assert!(!names.iter().any(|name| later.contains(name)), "digests are left");
    Ok(())
}
