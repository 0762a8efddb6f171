//! A pause is one row in the database: it applies to all daemons, and outlives them.

use std::time::Duration;

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{DaemonConfig, Lab, Result};
use sqlx::PgPool;

use crate::support::{marked, now, number, printed, run, start, told, wait_for_number};

const WORDS: &str = "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%<body>%'";
const RECORDED: &str = "SELECT count(*) FROM ephemerd.expiries";

/// Archives messages that are due at once.
async fn archive(pool: &PgPool, name: &str, count: u32) -> Result<()> {
    let old = now(pool).await? - 10;
    let row = |nr| ArchiveRow::archive("peter", &format!("{name}-{nr}"), old, &marked(name, 1));
    insert(pool, &(0..count).map(row).collect::<Vec<_>>()).await.map(drop)
}

/// No daemon erases during a pause, not even one that is started during it; what waited goes at `resume`.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_for_all_daemons_and_outlives_restarts() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let daemons = [start(&config).await?, start(&config).await?];

    let text = printed(&config, &["pause"]).await?;
    assert_eq!(
        text,
        "Erasing is paused until `ephemerd resume`, for all daemons of this database. Inspection continues.\n\
         Only `ephemerd resume` ends the pause; a restart does not.\n"
    );
    archive(pool, "paused", 5).await?;
    wait_for_number(pool, RECORDED, 5).await?;
    for daemon in daemons {
        assert!(daemon.terminate().await?.success());
    }
    let daemon = start(&config).await?;
    archive(pool, "later", 5).await?;
    wait_for_number(pool, RECORDED, 10).await?;
    // Real time: an eraser that ignored the pause would have erased long ago.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(number(pool, WORDS).await?, 10, "nothing goes during a pause");
    let status = told(&config, &["status"]).await?;
    assert_eq!(status["erasing"], serde_json::json!({"paused": true, "until": null}));
    assert_eq!(status["pending"], 10);

    let text = printed(&config, &["resume"]).await?;
    assert_eq!(
        text,
        "Erasing has resumed, in all daemons. It was paused until `ephemerd resume`.\n"
    );
    // Woken by NOTIFY: otherwise an eraser sleeps for up to a minute.
    wait_for_number(pool, WORDS, 0).await?;
    let text = printed(&config, &["resume"]).await?;
    assert_eq!(text, "Erasing was not paused; nothing to resume.\n");
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// A pause with an end ends by itself, by the database's clock, without a notification.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_with_an_end_ends() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    printed(&config, &["migrate"]).await?;
    let paused = told(&config, &["pause", "--for", "6s"]).await?;
    let left =
        "SELECT ceil(extract(epoch FROM paused_until - now()))::bigint FROM ephemerd.control";
    assert!((1..=6).contains(&number(pool, left).await?));
    assert_eq!(paused["paused"], true);
    assert!(paused["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{paused}");
    let _daemon = start(&config).await?;
    archive(pool, "short", 3).await?;
    wait_for_number(pool, WORDS, 0).await?;
    assert_eq!(number(pool, left).await?.signum().max(0), 0, "the pause was over first");
    let text = printed(&config, &["resume"]).await?;
    assert_eq!(text, "Erasing was not paused; nothing to resume.\n");
    Ok(())
}

/// What is impossible is refused, with what to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    for args in
        [&["pause"][..], &["resume"], &["status"], &["backlog", "show"], &["backlog", "accept"]]
    {
        let output = run(&config, args).await?;
        assert_eq!(output.code, Some(3), "{args:?}");
        assert!(output.stderr.contains("\nhelp: run `ephemerd migrate`"), "{}", output.stderr);
    }
    for length in ["0s", "2months", "200y", "40000d"] {
        assert_eq!(run(&config, &["pause", "--for", length]).await?.code, Some(2), "{length}");
    }
    let away = config.set("database.url", "postgres://ephemerd@127.0.0.1:1/nowhere");
    let output = run(&away, &["pause"]).await?;
    assert_eq!(output.code, Some(1));
    assert_eq!(
        output.stderr,
        "error: the database failed: connect: connection refused\n\
         help: check the host and port in database.url, and that PostgreSQL runs there\n\
         see: docs/runbook.md#ephemerddatabaseerrors\n"
    );
    Ok(())
}
