//! What is older than the first start is held until the operator releases it.

use ephemerd_lab::rows::{ArchiveRow, Bulk, insert};
use ephemerd_lab::{DaemonConfig, Lab, Result};

use crate::support::{marked, now, number, printed, start, told, wait_for_number};

const MARKED: &str =
    "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%urn:xmpp:ephemeral:0%'";
const HELD: &str = "SELECT count(*) FROM ephemerd.expiries WHERE backlog";

/// An archive with history: 400 messages in rooms and archives that are due, one that is not, all held.
async fn history() -> Result<(Lab, DaemonConfig)> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    Bulk { rows: 4_000, ..Bulk::default() }.insert(pool).await?;
    sqlx::query(r#"UPDATE prosodyarchive SET "when" = "when" - 1000"#).execute(pool).await?;
    let now = now(pool).await?;
    insert(
        pool,
        &[
            ArchiveRow::room("den", "room-1", now - 100, &marked("room", 1)),
            ArchiveRow::archive("peter", "not-yet", now - 100, &marked("not yet", 86_400)),
        ],
    )
    .await?;
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    Ok((lab, config))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_shown_and_goes_when_accepted() -> Result<()> {
    let (lab, config) = history().await?;
    let pool = lab.database.superuser();
    let daemon = start(&config).await?;
    wait_for_number(pool, HELD, 402).await?;
    assert_eq!(number(pool, MARKED).await?, 402, "nothing went");

    let shown = told(&config, &["backlog", "show"]).await?;
    assert_eq!(shown["held"], 402);
    let rows = shown["by_store_and_reason"].as_array().unwrap();
    let counts: Vec<_> = rows.iter().map(|it| (&it["store"], &it["held"], &it["due"])).collect();
    let archive = (&"archive".into(), &401.into(), &400.into());
    assert_eq!(counts, [archive, (&"room".into(), &1.into(), &1.into())]);
    let text = printed(&config, &["backlog", "show"]).await?;
    assert!(text.starts_with("store    reason  held  due  oldest"), "{text}");
    assert!(text.contains("\narchive  timer    401  400  20"), "{text}");
    assert!(text.contains("\n402 messages are held until `ephemerd backlog accept`;"), "{text}");

    let text = printed(&config, &["backlog", "accept"]).await?;
    assert_eq!(
        text,
        "402 messages are no longer held: each goes when it is due. \
         Later sweeps hold nothing.\n"
    );
    // Woken by NOTIFY: otherwise an eraser sleeps for up to a minute, longer than anybody waits here.
    wait_for_number(pool, MARKED, 1).await?;
    let left =
        "SELECT count(*) FROM prosodyarchive WHERE key = 'not-yet' AND value LIKE '%not yet%'";
    assert_eq!(number(pool, left).await?, 1, "what is not due stays");
    assert_eq!(printed(&config, &["backlog", "show"]).await?, "Nothing is held.\n");
    let again = printed(&config, &["backlog", "accept"]).await?;
    assert_eq!(again, "Nothing was held. Later sweeps hold nothing.\n");
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// A held backlog is released when the daemon starts with `erase.backlog = "erase"`.
#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_lets_it_go_too() -> Result<()> {
    let (lab, config) = history().await?;
    let pool = lab.database.superuser();
    let daemon = start(&config).await?;
    wait_for_number(pool, HELD, 402).await?;
    assert!(daemon.terminate().await?.success());
    let _daemon = start(&config.set("erase.backlog", "erase")).await?;
    wait_for_number(pool, MARKED, 1).await?;
    assert_eq!(number(pool, HELD).await?, 0);
    Ok(())
}

/// What a sweep had read before the operator accepted is not held afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn accepting_waits_for_a_sweeps_transaction() -> Result<()> {
    let (lab, config) = history().await?;
    let pool = lab.database.superuser();
    printed(&config, &["migrate"]).await?;
    let daemon = start(&config).await?;
    wait_for_number(pool, HELD, 402).await?;
    assert!(daemon.terminate().await?.success());

    let mut sweep = pool.begin().await?;
    sqlx::query("SELECT 1 FROM ephemerd.sweeps FOR UPDATE").execute(&mut *sweep).await?;
    let accepting = tokio::spawn(async move { printed(&config, &["backlog", "accept"]).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity
                    WHERE wait_event_type = 'Lock' AND query LIKE '%accept_backlog%'
                      AND datname = current_database()";
    wait_for_number(pool, waiting, 1).await?;
    sqlx::query(
        "INSERT INTO ephemerd.expiries
           (store, host, owner, archive_id, stamped_at, runs_from, due_at, reason, backlog)
         VALUES ('archive', 'localhost', 'peter', 'late', now(), now(), now(), 'timer', true)",
    )
    .execute(&mut *sweep)
    .await?;
    sweep.commit().await?;
    let text = accepting.await.expect("the command ends")?;
    assert!(text.starts_with("403 messages are no longer held"), "{text}");
    assert_eq!(number(pool, HELD).await?, 0);
    Ok(())
}
