//! Erasing a backlog, against one plain statement by key on the same data.

use std::time::Duration;

use ephemerd_lab::{Daemon, DaemonConfig, Database, LabError, Result};
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use crate::data::{Scale, Template, program};
use crate::report::{Figure, Report};

const PLAIN_DELETE: &str =
    "DELETE FROM prosodyarchive AS a USING doomed AS d WHERE a.sort_id = d.sort_id";
const PLAIN_UPDATE: &str =
    "UPDATE prosodyarchive AS a SET value = d.value FROM doomed AS d WHERE a.sort_id = d.sort_id";

/// The alternative is told beforehand what is due: it only has to do it.
const DOOMED: &str = "CREATE TABLE doomed AS SELECT sort_id,
    '<message><expired xmlns=''urn:ephemerd:0'' until=''2027-01-01T00:00:00Z''/></message>'::text AS value
    FROM prosodyarchive WHERE value LIKE '%urn:xmpp:ephemeral:0%'";

const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(300);

/// Adds the figures of both modes.
pub(crate) async fn measure(scale: Scale, report: &mut Report) -> Result<()> {
    let steps = 1 + 4 * scale.runs as u64;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    let bar =
        ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message("filling the archive");
    let template = Template::make(scale).await?;
    bar.inc(1);
    for (mode, what, against, sql, target) in [
        ("delete", "erasing a backlog, delete", "one plain DELETE by key", PLAIN_DELETE, 0.5),
        (
            "placeholder",
            "erasing a backlog, placeholder",
            "one plain UPDATE by key",
            PLAIN_UPDATE,
            0.5,
        ),
    ] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..scale.runs {
            bar.set_message(format!("{mode}: plain"));
            theirs.push(plain(&template.copy().await?, sql, scale).await?);
            bar.inc(1);
            bar.set_message(format!("{mode}: ephemerd"));
            ours.push(erased(&template.copy().await?, mode, scale).await?);
            bar.inc(1);
        }
        report.figures.push(Figure { what, against, sql, ours, theirs, target });
    }
    bar.finish_and_clear();
    Ok(())
}

/// Rows per second of one statement.
async fn plain(database: &Database, sql: &'static str, scale: Scale) -> Result<f64> {
    let mut connection = PgConnection::connect(&database.superuser_url()).await?;
    sqlx::query(DOOMED).execute(&mut connection).await?;
    sqlx::query("ALTER TABLE doomed ADD PRIMARY KEY (sort_id)").execute(&mut connection).await?;
    sqlx::query("ANALYZE doomed").execute(&mut connection).await?;
    let started = Instant::now();
    let done = sqlx::query(sql).execute(&mut connection).await?.rows_affected();
    let took = started.elapsed();
    if i64::try_from(done) != Ok(scale.due) {
        return Err(LabError::new(format!("the plain statement took {done} rows")));
    }
    Ok(done as f64 / took.as_secs_f64())
}

/// Rows per second of the daemon: paused until it is ready, then let go.
async fn erased(database: &Database, mode: &str, scale: Scale) -> Result<f64> {
    let pause = "UPDATE ephemerd.control SET paused_until = 'infinity'";
    sqlx::query(pause).execute(database.superuser()).await?;
    let config =
        DaemonConfig::for_database(database)?.set("erase.mode", mode).set("erase.backlog", "erase");
    let daemon = Daemon::start(program(), &config).await?;
    let started = Instant::now();
    sqlx::raw_sql("UPDATE ephemerd.control SET paused_until = NULL; NOTIFY ephemerd, '0'")
        .execute(database.superuser())
        .await?;
    let due = scale.due as f64;
    loop {
        if started.elapsed() > PATIENCE {
            return Err(LabError::new("the daemon did not come to its end"));
        }
        let erased = daemon.figures().await?.get("ephemerd_erased_total", &[]);
        if erased.is_some_and(|erased| erased >= due) {
            break;
        }
        sleep(POLL).await;
    }
    let rate = due / started.elapsed().as_secs_f64();
    daemon.terminate().await?;
    let words: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%urn:xmpp:ephemeral:0%'",
    )
    .fetch_one(database.superuser())
    .await?;
    if words != 0 {
        return Err(LabError::new(format!("{words} rows were counted as erased and stand")));
    }
    Ok(rate)
}
