//! What the daemon's statements do inside PostgreSQL, by the plans that it followed.

use std::sync::Arc;

use ephemerd_lab::ejabberd::{self, EjabberdConfig, Schema};
use ephemerd_lab::rows::{self, ArchiveRow};
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Postgres, PostgresConfig, Result, eventually};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::{self, marked, start};

/// Rows that are due at once, and go in one batch.
const ROWS: usize = 300;

/// PostgreSQL, which logs how it executed each statement.
pub(crate) async fn explaining() -> Result<Arc<Postgres>> {
    let settings = [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
    ];
    let settings = settings.map(str::to_owned).to_vec();
    Ok(Arc::new(Postgres::start(PostgresConfig { settings, ..PostgresConfig::default() }).await?))
}

/// Erases what is due there, and returns how many pairs of rows any join threw away at most.
async fn most_pairs(
    postgres: &Postgres,
    pool: &PgPool,
    config: DaemonConfig,
    words: &'static str,
) -> Result<usize> {
    let daemon = start(&config).await?;
    eventually("all of them go", PATIENCE, async || {
        let left: i64 = sqlx::query_scalar(AssertSqlSafe(words)).fetch_one(pool).await?;
        Ok((left == 0).then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    let log = postgres.log_text()?;
    assert!(log.contains("Query Text: -- claim"), "plans are logged");
    let pairs =
        log.lines().filter_map(|it| it.trim().strip_prefix("Rows Removed by Join Filter: "));
    Ok(pairs.filter_map(|it| it.parse().ok()).max().unwrap_or_default())
}

/// Each row of a batch is found by a key or a hash. To compare each with each costs the square of the batch.
#[tokio::test(flavor = "multi_thread")]
async fn no_batch_is_compared_with_itself() -> Result<()> {
    for mode in ["delete", "placeholder"] {
        let postgres = explaining().await?;
        let lab = Lab::database_only_on(Arc::clone(&postgres)).await?;
        let pool = lab.database.superuser();
        let config = DaemonConfig::for_database(&lab.database)?.set("erase.mode", mode);
        start(&config).await?.terminate().await?;
        let (now, stanza) = (support::now(pool).await?, marked("words", 1));
        let row = |at: usize| ArchiveRow::archive("peter", &format!("key{at}"), now, &stanza);
        rows::insert(pool, &(0..ROWS).map(row).collect::<Vec<_>>()).await?;
        let words = "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%<body>%'";
        let pairs = most_pairs(&postgres, pool, config, words).await?;
        assert!(pairs <= 10 * ROWS, "Prosody, {mode}: {pairs} pairs");

        for schema in [Schema::Classic, Schema::MultiHost] {
            let postgres = explaining().await?;
            let of = EjabberdConfig { schema, ..EjabberdConfig::default() };
            let lab = Lab::ejabberd_tables_on(Arc::clone(&postgres), &of).await?;
            let pool = lab.database.superuser();
            let config = DaemonConfig::for_ejabberd_tables(&lab.database)?.set("erase.mode", mode);
            start(&config).await?.terminate().await?;
            // A stamp in the second that has begun, after the daemon's first start.
            let next = (support::now(pool).await? + 1) * 1_000_000;
            let row = |at: i64| ejabberd::rows::ArchiveRow::user("peter", next + at, &stanza);
            let all: Vec<_> = (0..).take(ROWS).map(row).collect();
            ejabberd::rows::insert(&lab.database, schema, &all).await?;
            let words = "SELECT count(*) FROM archive WHERE xml LIKE '%<body>%'";
            let pairs = most_pairs(&postgres, pool, config, words).await?;
            assert!(pairs <= 10 * ROWS, "ejabberd, {schema:?}, {mode}: {pairs} pairs");
        }
    }
    Ok(())
}
