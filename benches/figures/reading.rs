//! Timers that start at reading: what it costs the tail to look for what shows that something was read, and how long it
//! takes from a marker until a timer runs.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::{Daemon, DaemonConfig, Lab, Postgres, Result, eventually};
use sqlx::PgPool;
use tokio::time::{Instant, interval};

use crate::data::{PATIENCE, Scale, end, program};
use crate::progress::Progress;
use crate::report::{Figure, Target};

const POLL_MS: f64 = 500.0;

/// Messages that ask for markers as most do, and every tenth a marker; nothing waits to be read.
const CHAT: &str = r#"
    INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
    SELECT 'localhost', 'user' || nr % 50, 'archive', gen_random_uuid()::text,
           floor(extract(epoch FROM clock_timestamp()))::int, 'rosa@localhost', 'xml',
           '<message type=''chat'' id=''m' || nr || ''' to=''rosa@localhost'' from=''user' || nr % 50 || '@localhost/phone''>'
             || CASE WHEN nr % 10 = 0
                     THEN '<displayed xmlns=''urn:xmpp:chat-markers:0'' id=''r' || nr || '''/>'
                     ELSE '<body>' || repeat('Meet me at the bridge. ', 9)
                          || '</body><markable xmlns=''urn:xmpp:chat-markers:0''/>' END
             || '</message>'
      FROM generate_series(1, $1) AS nr"#;

/// Messages that wait to be read, or the markers that show that they were.
const WAITING: &str = r#"
    INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
    SELECT 'localhost', 'user' || nr % 50, 'archive', CASE WHEN $3 THEN 'marker-' || nr ELSE 'm' || nr END,
           floor(extract(epoch FROM clock_timestamp()))::int, 'friend' || nr || '@localhost', 'xml',
           CASE WHEN $3
                THEN '<message type=''chat'' from=''user' || nr % 50 || '@localhost/phone'' to=''friend' || nr
                     || '@localhost''><displayed xmlns=''urn:xmpp:chat-markers:0'' id=''m' || nr || '''/></message>'
                ELSE '<message type=''chat'' id=''m' || nr || ''' to=''user' || nr % 50 || '@localhost'' from=''friend' || nr
                     || '@localhost/x''><body>words</body><ephemeral timer=''3600'' xmlns=''urn:xmpp:ephemeral:0''/></message>'
           END
      FROM generate_series($1, $2) AS nr"#;

/// PostgreSQL knows when the transactions were committed that wrote the marker and that started the timer.
const DELAY_MS: &str = r#"
    SELECT (percentile_cont(0.99) WITHIN GROUP (
              ORDER BY extract(epoch FROM pg_xact_commit_timestamp(e.xmin) - pg_xact_commit_timestamp(m.xmin)))
            * 1000)::float8
      FROM ephemerd.expiries AS e JOIN prosodyarchive AS m ON m.key = 'marker-' || substr(e.archive_id, 2)
     WHERE e.started_by = 'marker'"#;

const EVERY: Duration = Duration::from_millis(100);
const MARKERS_AT_ONCE: i64 = 10;
const SECONDS: i64 = 10;

pub(crate) const fn steps(scale: Scale) -> usize {
    2 * scale.runs
}

/// Adds both figures.
pub(crate) async fn measure(
    postgres: &Arc<Postgres>,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    let (mut ours, mut theirs, mut delays) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..scale.runs {
        progress.step("the tail, with and without looking for readers");
        for reads in [run % 2 == 0, run % 2 == 1] {
            let side = if reads { &mut ours } else { &mut theirs };
            side.push(tail_rate(postgres, scale, reads).await?);
        }
    }
    for _ in 0..scale.runs {
        progress.step("from a marker to a running timer");
        delays.push(p99_ms(postgres).await?);
    }
    figures.push(Figure {
        what: "the tail, looking for what was read".to_owned(),
        against: "the same with timers.start = \"delivered\"".to_owned(),
        unit: "messages/s".to_owned(),
        ours,
        theirs,
        target: Target::AtLeast(0.95, 0.98),
        sql: String::new(),
    });
    let what = "marker → timer started at 100 markers/s, p99, with archive.poll = 500 ms";
    figures.push(Figure::alone(
        what,
        "ms",
        delays,
        Target::AtMost(POLL_MS + 100.0, POLL_MS + 50.0),
    ));
    Ok(())
}

/// Messages per second, of those that came while no daemon ran.
async fn tail_rate(postgres: &Arc<Postgres>, scale: Scale, reads: bool) -> Result<f64> {
    let database = Lab::database_only_on(Arc::clone(postgres)).await?.database;
    let pool = database.superuser();
    let start = if reads { "read" } else { "delivered" };
    let config = DaemonConfig::for_database(&database)?.set("timers.start", start);
    waiting(pool, (1, 1), false).await?;
    let daemon = Daemon::start(program(), &config).await?;
    waiting(pool, (2, 2), false).await?;
    recorded(pool, 2).await?;
    daemon.terminate().await?;
    let rows = scale.rows / 2;
    sqlx::query(CHAT).bind(rows).execute(pool).await?;
    waiting(pool, (3, 3), false).await?;
    sqlx::query("VACUUM ANALYZE prosodyarchive").execute(pool).await?;
    let started = Instant::now();
    let daemon = Daemon::start(program(), &config).await?;
    recorded(pool, 3).await?;
    let rate = rows as f64 / started.elapsed().as_secs_f64();
    daemon.terminate().await?;
    end(database).await?;
    Ok(rate)
}

async fn p99_ms(postgres: &Arc<Postgres>) -> Result<f64> {
    let database = Lab::database_only_on(Arc::clone(postgres)).await?.database;
    let pool = database.superuser();
    let config = DaemonConfig::for_database(&database)?
        .set("timers.start", "read")
        .set("archive.poll", format!("{POLL_MS}ms"));
    let daemon = Daemon::start(program(), &config).await?;
    let all = MARKERS_AT_ONCE * 10 * SECONDS;
    waiting(pool, (1, all), false).await?;
    recorded(pool, all).await?;
    let mut clock = interval(EVERY);
    for at in 0..10 * SECONDS {
        clock.tick().await;
        waiting(pool, (at * MARKERS_AT_ONCE + 1, (at + 1) * MARKERS_AT_ONCE), true).await?;
    }
    eventually("all timers to run", PATIENCE, async || {
        let left = "SELECT count(*) FROM ephemerd.expiries WHERE started_by = 'unread'";
        let left: i64 = sqlx::query_scalar(left).fetch_one(pool).await?;
        Ok((left == 0).then_some(()))
    })
    .await?;
    let delay = sqlx::query_scalar(DELAY_MS).fetch_one(pool).await?;
    daemon.terminate().await?;
    end(database).await?;
    Ok(delay)
}

async fn waiting(pool: &PgPool, (from, to): (i64, i64), markers: bool) -> Result<()> {
    sqlx::query(WAITING).bind(from).bind(to).bind(markers).execute(pool).await?;
    Ok(())
}

/// Waits until the ledger knows this message.
async fn recorded(pool: &PgPool, nr: i64) -> Result<()> {
    let key = format!("m{nr}");
    eventually("the tail", PATIENCE, async || {
        let found = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = $1";
        let found: i64 = sqlx::query_scalar(found).bind(&key).fetch_one(pool).await?;
        Ok((found == 1).then_some(()))
    })
    .await
}
