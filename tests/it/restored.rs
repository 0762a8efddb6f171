//! Backups are restored: what had been erased is erased again, what came afterwards is seen, nobody else
//! loses a row.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, eventually};
use sqlx::PgPool;

use crate::support::start;

fn row(key: &str, when: i64, marked: bool) -> ArchiveRow {
    let mark = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/>";
    let value = format!(
        "<message type='chat' from='rosa@localhost/x' to='peter@localhost'><body>word {key}</body>{}</message>",
        if marked { mark } else { "" }
    );
    ArchiveRow::archive("peter", key, when, &value)
}

async fn now(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?)
}

/// The keys of rows that still have their text, in order.
async fn standing(pool: &PgPool) -> Result<Vec<String>> {
    let select = "SELECT key FROM prosodyarchive WHERE value LIKE '%<body>%' ORDER BY sort_id";
    Ok(sqlx::query_scalar(select).fetch_all(pool).await?)
}

async fn wait_for_standing(pool: &PgPool, keys: &[&str]) -> Result<()> {
    eventually(&format!("only {keys:?} to stand"), PATIENCE, async || {
        Ok((standing(pool).await? == keys).then_some(()))
    })
    .await
}

/// The archive alone is restored, including its sequence: numbers that were used before are used again for
/// other messages.
#[tokio::test(flavor = "multi_thread")]
async fn the_archive_alone_is_restored() -> Result<()> {
    for mode in ["placeholder", "delete"] {
        let lab = Lab::database_only().await?;
        let pool = lab.database.superuser();
        let config = DaemonConfig::for_database(&lab.database)?.set("erase.mode", mode);
        let daemon = start(&config).await?;
        let when = now(pool).await?;
        insert(pool, &[row("plain", when, false), row("marked", when, true)]).await?;
        sqlx::raw_sql(
            "CREATE TABLE backup AS SELECT * FROM prosodyarchive;
             CREATE TABLE backup_sequence AS SELECT last_value FROM prosodyarchive_sort_id_seq;",
        )
        .execute(pool)
        .await?;
        insert(pool, &[row("lost", when, false), row("lost-marked", when + 3600, true)]).await?;
        // The last one's stamp is in the future, so its expiry stays in the ledger for a while.
        wait_for_standing(pool, &["plain", "lost"]).await?;

        // A data-only restore, in one transaction.
        sqlx::raw_sql(
            "BEGIN; TRUNCATE prosodyarchive; INSERT INTO prosodyarchive SELECT * FROM backup;
             SELECT setval('prosodyarchive_sort_id_seq', last_value) FROM backup_sequence; COMMIT",
        )
        .execute(pool)
        .await?;
        wait_for_standing(pool, &["plain"]).await?;

        // Numbers of lost rows are used again: a stale entry must not erase these.
        let when = now(pool).await?;
        insert(pool, &[row("new", when, false), row("new-marked", when, true)]).await?;
        wait_for_standing(pool, &["plain", "new"]).await?;
        assert!(daemon.terminate().await?.success(), "{mode}");
    }
    Ok(())
}

/// The whole database is restored, including our ledger.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_database_is_restored() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    let daemon = start(&config).await?;
    let when = now(pool).await?;
    insert(pool, &[row("plain", when, false), row("marked", when, true)]).await?;
    eventually("the expiry is recorded", PATIENCE, async || {
        let entries = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'marked'";
        let entries: i64 = sqlx::query_scalar(entries).fetch_one(pool).await?;
        Ok((entries == 1).then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    pool.close().await;
    let yesterday = lab.database.copy().await?;

    // What happened in the meantime is lost with the database; yesterday's state continues.
    let pool = yesterday.superuser();
    let config = DaemonConfig::for_database(&yesterday)?;
    let _daemon = start(&config).await?;
    let when = now(pool).await?;
    insert(pool, &[row("new", when, false), row("new-marked", when, true)]).await?;
    wait_for_standing(pool, &["plain", "new"]).await
}
