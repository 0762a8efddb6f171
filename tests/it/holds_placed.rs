//! What `hold add` says once the hold is in force: whatever fails after that, the hold is not denied.

use ephemerd::database::DatabaseSettings;
use ephemerd_lab::{DaemonConfig, Lab, Result};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::{printed, run, start, wait_for_number};

const ADD: [&str; 7] = ["hold", "add", "--all", "--reason", "r", "--by", "b"];

async fn migrated() -> Result<(Lab, DaemonConfig)> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    Ok((lab, config))
}

async fn in_force(pool: &PgPool) -> Result<i64> {
    let holds = "SELECT count(*) FROM ephemerd.holds WHERE ends_at IS NULL";
    Ok(sqlx::query_scalar(holds).fetch_one(pool).await?)
}

/// What it keeps cannot be read, because somebody has locked the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_named_that_cannot_be_shown() -> Result<()> {
    let (lab, config) = migrated().await?;
    let pool = lab.database.superuser();
    let mut other = pool.begin().await?;
    sqlx::query("LOCK TABLE ephemerd.expiries").execute(&mut *other).await?;
    let output = run(&config, &ADD).await?;
    assert_eq!(output.code, Some(1), "{}", output.stdout);
    assert!(output.stderr.contains("hold 1 was placed, but then"), "{}", output.stderr);
    other.rollback().await?;
    assert_eq!(in_force(pool).await?, 1);
    assert!(printed(&config, &["hold", "show", "1"]).await?.contains("reason    r\n"));
    Ok(())
}

/// Autovacuum, or another `hold add`, counts the holds at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_cannot_be_counted_is_placed_all_the_same() -> Result<()> {
    let (lab, config) = migrated().await?;
    let pool = lab.database.superuser();
    let mut other = pool.begin().await?;
    let counting = "LOCK TABLE ephemerd.holds IN SHARE UPDATE EXCLUSIVE MODE";
    sqlx::query(counting).execute(&mut *other).await?;
    let output = run(&config, &ADD).await?;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    other.rollback().await?;
    assert_eq!(in_force(pool).await?, 1);
    Ok(())
}

/// It ends while `hold add` waits for a module that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_ends_meanwhile_was_placed() -> Result<()> {
    let (lab, config) = migrated().await?;
    let pool = lab.database.superuser();
    let _daemon = start(&config).await?;
    let asked =
        "INSERT INTO ephemerd.asked (host, owner, until) VALUES ('h', 'o', now() + interval '6 s')";
    sqlx::query(asked).execute(pool).await?;
    let short = [&ADD[..], &["--for", "1s", "--wait", "20s"]].concat();
    let output = run(&config, &short).await?;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stdout.starts_with("Hold 1 is in force until"), "{}", output.stdout);
    // It has ended, and the daemon lets go what it kept.
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.holds", 0).await
}

/// A claim must see the holds that were placed before it got its lock, whatever the database's default says.
#[tokio::test(flavor = "multi_thread")]
async fn our_sessions_see_what_was_committed_meanwhile() -> Result<()> {
    let lab = Lab::database_only().await?;
    let default = format!(
        "ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'",
        lab.database.name()
    );
    sqlx::raw_sql(AssertSqlSafe(default)).execute(lab.database.superuser()).await?;
    let settings = DatabaseSettings::new(vec![lab.database.daemon_url().parse()?]);
    let isolation: String =
        sqlx::query_scalar("SHOW transaction_isolation").fetch_one(&settings.pool()).await?;
    assert_eq!(isolation, "read committed");
    Ok(())
}
