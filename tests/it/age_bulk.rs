//! Retention by age where rows go many at once: what stands in the way of some, and a table that refuses all.

use ephemerd_lab::{Lab, PATIENCE, Result, eventually};
use sqlx::AssertSqlSafe;
use tokio::time::sleep;

use crate::age::LONG_ENOUGH;
use crate::age_rows::{Kind, Put, on_every_kind};
use crate::age_sets::inspected;
use crate::support::{number, printed, start};

const HOUR: i64 = 3_600;
const SAID: &str = "nothing that is too old can be erased from this table";
const ENTRIES: &str = "SELECT count(*) FROM ephemerd.expiries";

/// So many marked rows of Peter's that are two hours old, and one that is new.
fn marked_rows(count: i64) -> Vec<Put> {
    let old =
        (0..count).map(|at| Put::archive("peter", &format!("old{at}"), 2 * HOUR + count - at));
    let all = old.chain([Put::archive("peter", "new", 0)]);
    all.map(|row| Put { is_marked: true, ..row }).collect()
}

/// A row whose entry another session has claimed is left to that session, with its entry; all others go, with theirs.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_claimed_is_left_to_whoever_claimed_it() -> Result<()> {
    on_every_kind(async |kind| {
        let lab: Lab = kind.lab().await?;
        let pool = lab.database.superuser();
        let config = kind.config(&lab)?.set("erase.backlog", "erase");
        kind.put(pool, &marked_rows(60)).await?;
        printed(&config, &["migrate"]).await?;
        inspected(&config, pool).await?;
        assert_eq!(number(pool, ENTRIES).await?, 61, "{kind:?}");
        let mut other = pool.begin().await?;
        let claim = "SELECT FROM ephemerd.expiries WHERE id =
                        (SELECT id FROM ephemerd.expiries ORDER BY row_number, id OFFSET 30 LIMIT 1) FOR UPDATE";
        sqlx::query(claim).execute(&mut *other).await?;
        let _daemon = start(&config.set("retention.archive_for", "1h")).await?;
        eventually("all others go", PATIENCE, async || {
            Ok((kind.names(pool).await?.len() <= 2).then_some(()))
        })
        .await?;
        assert_eq!(kind.names(pool).await?, ["new", "old30"], "{kind:?}");
        assert_eq!(number(pool, ENTRIES).await?, 2, "{kind:?}: entries go with their rows");
        other.rollback().await?;
        eventually("it goes once nobody has it", PATIENCE * 3, async || {
            Ok((kind.names(pool).await? == ["new"]).then_some(()))
        })
        .await?;
        assert_eq!(number(pool, ENTRIES).await?, 1, "{kind:?}");
        Ok(())
    })
    .await
}

/// Identical rows have one entry: they go together, and so does it.
#[tokio::test(flavor = "multi_thread")]
async fn twins_go_together() -> Result<()> {
    for kind in [Kind::Classic, Kind::MultiHost] {
        let lab: Lab = kind.lab().await?;
        let pool = lab.database.superuser();
        let config = kind.config(&lab)?.set("erase.backlog", "erase");
        kind.put(pool, &marked_rows(20)).await?;
        let host = if kind == Kind::MultiHost { "server_host, " } else { "" };
        let columns = format!("{host}username, timestamp, peer, bare_peer, xml, txt, kind, nick");
        let twins = format!(
            "INSERT INTO archive ({columns}) SELECT {columns} FROM archive WHERE xml LIKE '%<body>old1%'"
        );
        sqlx::query(AssertSqlSafe(twins)).execute(pool).await?;
        printed(&config, &["migrate"]).await?;
        inspected(&config, pool).await?;
        assert_eq!(number(pool, ENTRIES).await?, 21, "{kind:?}: twins have one entry");
        let config = config.set("retention.archive_for", "1h").set("erase.batch", 3);
        let _daemon = start(&config).await?;
        eventually("all that is too old goes", PATIENCE, async || {
            Ok((kind.names(pool).await? == ["new"]).then_some(()))
        })
        .await?;
        assert_eq!(number(pool, ENTRIES).await?, 1, "{kind:?}");
    }
    Ok(())
}

/// A table from which nothing may be deleted is one cause, said once, and its rows are not tried one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_refuses_everything_is_said_once() -> Result<()> {
    on_every_kind(async |kind| {
        let lab: Lab = kind.lab().await?;
        let pool = lab.database.superuser();
        // Its walks follow each other after six seconds.
        let config = kind.config(&lab)?.set("retention.archive_for", "10m");
        let mut daemon = start(&config).await?;
        let table = kind.tables()[0];
        let revoke = format!("REVOKE DELETE ON {table} FROM ephemerd");
        sqlx::query(AssertSqlSafe(revoke)).execute(pool).await?;
        kind.put(pool, &marked_rows(40)).await?;
        eventually("it says so", PATIENCE, async || Ok(daemon.log()?.contains(SAID).then_some(())))
            .await?;
        sleep(LONG_ENOUGH).await;
        let log = daemon.log()?;
        assert_eq!(log.matches(SAID).count(), 1, "{kind:?}: {log}");
        assert!(!log.contains("a row that is too old cannot be erased"), "{kind:?}: {log}");
        let failures = "ephemerd_erase_failures_total";
        let refused = daemon.figures().await?.get(failures, &[("cause", "refused")]);
        assert!(refused.is_some_and(|it| (1.0..10.0).contains(&it)), "{kind:?}: {refused:?}");
        assert_eq!(kind.names(pool).await?.len(), 41, "{kind:?}");
        let grant = format!("GRANT DELETE ON {table} TO ephemerd");
        sqlx::query(AssertSqlSafe(grant)).execute(pool).await?;
        daemon.reload(&config)?;
        eventually("they go", PATIENCE, async || {
            Ok((kind.names(pool).await? == ["new"]).then_some(()))
        })
        .await?;
        eventually("it says that this is over", PATIENCE, async || {
            let over = "this no longer keeps rows from being erased";
            Ok(daemon.log()?.contains(over).then_some(()))
        })
        .await?;
        Ok(())
    })
    .await
}
