//! What an operator would use instead: a cron job, and the server's own expiry.

use std::time::Duration;

use ephemerd_lab::{Daemon, DaemonConfig, Database, LabError, Result};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use crate::data::{Scale, Template, end, program};
use crate::erase::plan;
use crate::meter::{Cost, Meter, TOLD_WITHIN};
use crate::progress::Progress;
use crate::report::{Figure, Target};

/// Without a ledger, every run has to look at all rows.
const CRON: &str = r#"DELETE FROM prosodyarchive
 WHERE value LIKE '%<ephemeral timer=''%' AND value LIKE '%urn:xmpp:ephemeral:0%'
   AND "when" + 1 + substring(value FROM '<ephemeral timer=''([0-9]{1,9})''')::bigint
       <= extract(epoch FROM now())"#;

/// Prosody's `archive_expires_after`: by age, whatever the message says, once a day.
const PROSODY: &str = r#"DELETE FROM prosodyarchive
 WHERE host = 'localhost' AND store = 'archive' AND "when" <= $1"#;

/// The stamp up to which as many rows exist as are due.
const PROSODY_UPTO: &str =
    r#"SELECT "when" FROM prosodyarchive ORDER BY "when" OFFSET $1 - 1 LIMIT 1"#;

/// How long the idle daemon is observed; an hour has 120 of these periods.
const IDLE: Duration = Duration::from_secs(30);
const IDLES_AN_HOUR: f64 = 120.0;
const MINUTES_AN_HOUR: f64 = 60.0;

pub(crate) const fn steps(scale: Scale) -> usize {
    1 + 2 * scale.runs
}

/// Adds the figures.
pub(crate) async fn measure(
    template: &Template,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    let (mut cron, mut hours) = (Vec::new(), Vec::new());
    let (mut expired, mut rates) = (Vec::new(), Vec::new());
    let mut sql = String::new();
    progress.step("ephemerd with nothing to do");
    let database = template.copy().await?;
    template.erased(&database, "delete").await?;
    let idle = idle(&database, IDLE).await?;
    end(database).await?;
    for _ in 0..scale.runs {
        progress.step("a cron job, and Prosody's own expiry");
        let (hour, its_plan) = cron_hour(template).await?;
        cron.push(hour);
        sql = format!("{CRON};\n{its_plan}");
        expired.push(prosody(template).await?);
        progress.step("ephemerd, an hour's work");
        let (hour, rate) = our_hour(template, idle).await?;
        hours.push(hour);
        rates.push(rate);
    }
    let (due, rows) = (template.due, template.rows);
    let cpu = |it: &Cost| it.server_seconds + it.daemon_seconds;
    let mut add = |what: String, against: &str, unit: &str, of: [Vec<f64>; 2], sql: String| {
        let (against, unit, [ours, theirs]) = (against.to_owned(), unit.to_owned(), of);
        let target = Target::None;
        figures.push(Figure { what, against, unit, ours, theirs, target, sql });
    };
    let hour = format!("an hour, {due} of {rows} rows fall due");
    let each_minute = "a cron job, one DELETE over all each minute";
    let seconds = [hours.iter().map(cpu).collect(), cron.iter().map(cpu).collect()];
    add(format!("{hour}: processor time"), each_minute, "s", seconds, sql);
    let pages = |it: &Cost| it.buffers / 1e6;
    let pages = [hours.iter().map(pages).collect(), cron.iter().map(pages).collect()];
    add(format!("{hour}: pages touched"), each_minute, "million", pages, String::new());
    let against = "Prosody's own expiry: as many of the oldest rows, marked or not";
    let sql = format!("{PROSODY};");
    add(
        format!("erasing {due} due of {rows} rows, delete"),
        against,
        "rows/s",
        [rates, expired],
        sql,
    );
    Ok(())
}

/// Sixty passes over the whole archive, which delete once everything that falls due.
async fn cron_hour(template: &Template) -> Result<(Cost, String)> {
    let database = template.copy().await?;
    let mut connection = PgConnection::connect(&database.superuser_url()).await?;
    let plan = plan(&mut connection, CRON).await?;
    connection.close().await?;
    let first = metered(&database, template.due).await?;
    let idle = metered(&database, 0).await?;
    end(database).await?;
    Ok((with_times(first, idle, MINUTES_AN_HOUR - 1.0), plan))
}

async fn metered(database: &Database, due: i64) -> Result<Cost> {
    let mut connection = PgConnection::connect(&database.superuser_url()).await?;
    let mut meter = Meter::start(database, None).await?;
    let done = sqlx::query(CRON).execute(&mut connection).await?.rows_affected();
    meter.stop().await?;
    connection.close().await?;
    let cost = meter.cost().await?;
    if i64::try_from(done) == Ok(due) {
        return Ok(cost);
    }
    Err(LabError::new(format!("the cron job took {done} rows instead of {due}")))
}

/// Erasing what falls due, plus an hour of polling. Also the rows erased per second.
async fn our_hour(template: &Template, idle: Cost) -> Result<(Cost, f64)> {
    let database = template.copy().await?;
    let erasing = template.erased(&database, "delete").await?.cost;
    end(database).await?;
    Ok((with_times(erasing, idle, IDLES_AN_HOUR), template.due as f64 / erasing.seconds))
}

/// What an idle daemon costs in this time.
pub(crate) async fn idle(database: &Database, length: Duration) -> Result<Cost> {
    // Autovacuum would run once, and be counted many times.
    sqlx::query("VACUUM ANALYZE ephemerd.expiries").execute(database.superuser()).await?;
    let config = DaemonConfig::for_database(database)?
        .set("erase.mode", "delete")
        .set("erase.backlog", "erase");
    let daemon = Daemon::start(program(), &config).await?;
    // Its start is over, and earlier work has been reported.
    sleep(TOLD_WITHIN).await;
    let mut meter = Meter::start(database, Some(&daemon)).await?;
    sleep(length).await;
    meter.stop().await?;
    daemon.terminate().await?;
    meter.cost().await
}

fn with_times(once: Cost, more: Cost, times: f64) -> Cost {
    Cost {
        seconds: once.seconds + times * more.seconds,
        server_seconds: once.server_seconds + times * more.server_seconds,
        daemon_seconds: once.daemon_seconds + times * more.daemon_seconds,
        buffers: once.buffers + times * more.buffers,
    }
}

/// Rows per second of Prosody's statement, by age.
async fn prosody(template: &Template) -> Result<f64> {
    let database = template.copy().await?;
    let mut connection = PgConnection::connect(&database.superuser_url()).await?;
    let upto: i32 =
        sqlx::query_scalar(PROSODY_UPTO).bind(template.due).fetch_one(&mut connection).await?;
    let started = Instant::now();
    let done = sqlx::query(AssertSqlSafe(PROSODY)).bind(upto).execute(&mut connection).await?;
    let rate = done.rows_affected() as f64 / started.elapsed().as_secs_f64();
    connection.close().await?;
    end(database).await?;
    Ok(rate)
}
