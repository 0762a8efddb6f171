//! The delay from due to committed while a thousand messages fall due every second.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::{Daemon, DaemonConfig, Lab, Postgres, Result, eventually};
use tokio::time::interval;

use crate::data::{PATIENCE, Scale, end, program};
use crate::progress::Progress;
use crate::report::{Figure, Target};

/// Archived ten times per second.
const ROWS: i64 = 100;
const EVERY: Duration = Duration::from_millis(100);
const SECONDS: usize = 10;

/// Messages as Prosody stores them, in whole seconds: all of one second fall due together.
const ARCHIVE: &str = r#"
    INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
    SELECT 'localhost', 'user' || nr % 50, 'archive', gen_random_uuid()::text,
           floor(extract(epoch FROM clock_timestamp()))::int, 'rosa@localhost', 'xml',
           '<message xml:lang=''en'' type=''chat'' id=''' || gen_random_uuid()
             || ''' to=''rosa@localhost'' from=''peter@localhost/phone''><body>'
             || repeat('Meet me at the bridge. ', 9)
             || '</body><ephemeral timer=''5'' xmlns=''urn:xmpp:ephemeral:0''/></message>'
      FROM generate_series(1, $1) AS nr"#;

/// The rows remain as placeholders: PostgreSQL knows when the transaction that wrote each was committed.
const DELAY_MS: &str = r#"
    SELECT (percentile_cont(0.99) WITHIN GROUP (
              ORDER BY extract(epoch FROM pg_xact_commit_timestamp(xmin)) - ("when" + 1 + 5))
            * 1000)::float8
      FROM prosodyarchive"#;

pub(crate) const fn steps(scale: Scale) -> usize {
    scale.runs
}

/// Adds the figure.
pub(crate) async fn measure(
    postgres: &Arc<Postgres>,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    let mut ours = Vec::new();
    for _ in 0..scale.runs {
        progress.step("from due to committed");
        ours.push(p99_ms(postgres).await?);
    }
    let what = "due → committed at 1,000 due/s, p99, by PostgreSQL's commit times";
    figures.push(Figure::alone(what, "ms", ours, Target::AtMost(250.0, 100.0)));
    Ok(())
}

async fn p99_ms(postgres: &Arc<Postgres>) -> Result<f64> {
    let database = Lab::database_only_on(Arc::clone(postgres)).await?.database;
    let config = DaemonConfig::for_database(&database)?.set("erase.mode", "placeholder");
    let daemon = Daemon::start(program(), &config).await?;
    let mut clock = interval(EVERY);
    for _ in 0..SECONDS * 10 {
        clock.tick().await;
        sqlx::query(ARCHIVE).bind(ROWS).execute(database.superuser()).await?;
    }
    eventually("the words to be gone", PATIENCE, async || {
        let words = "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%<body>%'";
        let words: i64 = sqlx::query_scalar(words).fetch_one(database.superuser()).await?;
        Ok((words == 0).then_some(()))
    })
    .await?;
    let delay = sqlx::query_scalar(DELAY_MS).fetch_one(database.superuser()).await?;
    daemon.terminate().await?;
    end(database).await?;
    Ok(delay)
}
