//! The tail misses nothing: rows that commit late, out of order, or while nobody looked.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::ejabberd::rows::{ArchiveRow, insert};
use ephemerd_lab::{
    Daemon, DaemonConfig, Lab, PATIENCE, Postgres, PostgresConfig, Result, eventually,
};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::support::{printed, program, start, wait_for_number};

fn marked(word: &str) -> String {
    format!(
        "<message type='chat' to='rosa@localhost' from='peter@localhost/phone'><body>{word}</body>\
         <ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/></message>"
    )
}

const INSERT: &str = r#"
    INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
    VALUES ('localhost', 'peter', 'archive', $1, extract(epoch FROM now())::int, 'rosa@localhost',
            'xml', $2)
    RETURNING sort_id"#;

const STANDING: &str = "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%<body>%'";

async fn words_stand(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar(STANDING).fetch_one(pool).await?)
}

/// A row with a smaller number commits 8 s after one with a larger number was read: both go.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_commits_late_is_seen() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let _daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;

    let mut early = PgConnection::connect(&lab.database.server_url()).await?;
    let mut transaction = early.begin().await?;
    let small: i64 = sqlx::query_scalar(INSERT)
        .bind("late")
        .bind(marked("late"))
        .fetch_one(&mut *transaction)
        .await?;
    let large: i64 =
        sqlx::query_scalar(INSERT).bind("soon").bind(marked("soon")).fetch_one(pool).await?;
    assert!(small < large, "the late row has the smaller number");
    eventually("the row that committed at once goes", PATIENCE, async || {
        Ok((words_stand(pool).await? == 0).then_some(()))
    })
    .await?;

    // Real time: the transaction must outlive anything that could make a tail move on without it.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let standing: i64 = sqlx::query_scalar(STANDING).fetch_one(&mut *transaction).await?;
    assert_eq!(standing, 1, "the late row is there");
    transaction.commit().await?;
    eventually("the row that committed late goes", PATIENCE, async || {
        Ok((words_stand(pool).await? == 0).then_some(()))
    })
    .await
}

/// What is archived while the daemon is down goes once it is up; what is older than its first start is held.
#[tokio::test(flavor = "multi_thread")]
async fn downtime_is_caught_up_and_history_is_held() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    sqlx::query(INSERT).bind("old").bind(marked("old")).execute(pool).await?;
    let daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    eventually("history is found", PATIENCE, async || {
        let held = "SELECT count(*) FROM ephemerd.expiries WHERE backlog";
        let held: i64 = sqlx::query_scalar(held).fetch_one(pool).await?;
        Ok((held == 1).then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());

    sqlx::query(INSERT).bind("down").bind(marked("down")).execute(pool).await?;
    let _daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    eventually("what came in the downtime goes", PATIENCE, async || {
        Ok((words_stand(pool).await? == 1).then_some(()))
    })
    .await?;
    let left: String =
        sqlx::query_scalar("SELECT key FROM prosodyarchive WHERE value LIKE '%<body>%'")
            .fetch_one(pool)
            .await?;
    assert_eq!(left, "old", "history waits for the operator");
    Ok(())
}

/// However rare polls are, one that a lock kept from reading is repeated soon: until then a new daemon is not ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_waited_in_vain_is_repeated_soon() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?
        .set("archive.poll", "1m")
        .set("archive.max_lag", "10m");
    printed(&config, &["migrate"]).await?;
    let mut locking = pool.begin().await?;
    sqlx::query("LOCK TABLE ephemerd.cursors").execute(&mut *locking).await?;
    let daemon = Daemon::spawn(program(), &config)?;
    let waiting = "SELECT least(count(*), 1) FROM pg_locks WHERE NOT granted AND relation = 'ephemerd.cursors'::regclass";
    wait_for_number(pool, waiting, 1).await?;
    wait_for_number(pool, waiting, 0).await?;
    locking.rollback().await?;
    daemon.wait_ready(PATIENCE).await?;
    Ok(())
}

/// Waits until nothing has been written to the database's log for this long. PostgreSQL itself writes a record up to
/// 15 s after the last.
async fn nothing_is_written(pool: &PgPool, span: Duration) -> Result<()> {
    let end = "SELECT pg_current_wal_insert_lsn()::text";
    eventually("a while without a record", PATIENCE * 4, async || {
        let before: String = sqlx::query_scalar(end).fetch_one(pool).await?;
        tokio::time::sleep(span).await; // what is tested is that nothing happens meanwhile
        let after: String = sqlx::query_scalar(end).fetch_one(pool).await?;
        Ok((before == after).then_some(()))
    })
    .await
}

/// With nothing to do, no poll takes a lock or writes to the database's log; what comes then goes on time.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_archive_is_only_looked_at() -> Result<()> {
    let lab = Lab::database_apart().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let _daemon = start(&config).await?;
    for word in ["first", "second"] {
        sqlx::query(INSERT).bind(word).bind(marked(word)).execute(pool).await?;
        eventually("it goes", PATIENCE, async || Ok((words_stand(pool).await? == 0).then_some(())))
            .await?;
        nothing_is_written(pool, Duration::from_secs(12)).await?;
    }
    Ok(())
}

/// The same with ejabberd's tables, whose numbers say nothing about what commits late.
#[tokio::test(flavor = "multi_thread")]
async fn ejabberds_quiet_tables_are_only_looked_at() -> Result<()> {
    let config = EjabberdConfig::default();
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::ejabberd_tables_on(postgres, &config).await?;
    let pool = lab.database.superuser();
    let daemon = DaemonConfig::for_ejabberd_tables(&lab.database)?.set("archive.poll", "50ms");
    let _daemon = start(&daemon).await?;
    for word in ["first", "second"] {
        let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let at: i64 = sqlx::query_scalar(now).fetch_one(pool).await?;
        let row = ArchiveRow::user("peter", at, &marked(word));
        insert(&lab.database, config.schema, &[row]).await?;
        let words = "SELECT count(*) FROM archive WHERE xml LIKE '%<body>%'";
        eventually("it goes", PATIENCE, async || {
            let count: i64 = sqlx::query_scalar(words).fetch_one(pool).await?;
            Ok((count == 0).then_some(()))
        })
        .await?;
        nothing_is_written(pool, Duration::from_secs(12)).await?;
    }
    Ok(())
}
