//! Erasing by age, compared with one plain statement over the same range.

use std::time::Duration;

use ephemerd_lab::{Daemon, LabError, Result, eventually};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use crate::data::{PATIENCE, Scale, Tables, Template, end, program};
use crate::erase::plan;
use crate::progress::Progress;
use crate::report::{Figure, Target};

/// The rows are spread evenly over thirty days: a tenth of them is older.
const DAYS: i64 = 27;
const PLAIN: &str = r#"DELETE FROM prosodyarchive
  WHERE store = 'archive' AND "when" < extract(epoch FROM now() - interval '27 days')"#;
/// Between looks at how far the daemon has come.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) const fn steps(scale: Scale) -> usize {
    2 * scale.runs
}

/// Adds the figure.
pub(crate) async fn measure(
    template: &Template,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut sql = String::new();
    for _ in 0..scale.runs {
        progress.step("by age: one plain statement");
        let (rate, its_plan) = plain(template).await?;
        theirs.push(rate);
        sql = format!("{PLAIN};\n{its_plan}");
        progress.step("by age: ephemerd");
        ours.push(by_age(template).await?);
    }
    figures.push(Figure {
        what: format!("erasing the oldest tenth of {} rows by age", template.rows),
        against: "one plain DELETE by age".to_owned(),
        unit: "rows/s".to_owned(),
        ours,
        theirs,
        target: Target::None,
        sql,
    });
    Ok(())
}

/// Rows per second of one statement, and its plan.
async fn plain(template: &Template) -> Result<(f64, String)> {
    let database = template.copy().await?;
    let mut connection = PgConnection::connect(&database.superuser_url()).await?;
    let plan = plan(&mut connection, PLAIN).await?;
    let started = Instant::now();
    let done = sqlx::query(PLAIN).execute(&mut connection).await?.rows_affected();
    let took = started.elapsed();
    connection.close().await?;
    end(database).await?;
    Ok((done as f64 / took.as_secs_f64(), plan))
}

/// Rows per second of the daemon, from the first batch that is seen: before that it rests between two looks.
async fn by_age(template: &Template) -> Result<f64> {
    let database = template.copy().await?;
    let pool = database.superuser();
    let pause = "UPDATE ephemerd.control SET paused_until = 'infinity'";
    sqlx::query(pause).execute(pool).await?;
    // Nothing goes by its timer meanwhile; entries of rows that go by their age are to be forgotten.
    let later = "UPDATE ephemerd.expiries SET due_at = due_at + interval '1 year'";
    sqlx::query(later).execute(pool).await?;
    sqlx::query("VACUUM ANALYZE ephemerd.expiries").execute(pool).await?;
    let config = Tables::Prosody
        .daemon_config(&database)?
        .set("retention.archive_for", format!("{DAYS}d"))
        .set("retention.grace", "0s")
        .set("retention.confirm_above", 10_000_000);
    let daemon = Daemon::start(program(), &config).await?;
    eventually("the policy to be announced", PATIENCE, async || {
        let announced = "SELECT count(*) FROM ephemerd.retention";
        let announced: i64 = sqlx::query_scalar(announced).fetch_one(pool).await?;
        Ok((announced == 1).then_some(()))
    })
    .await?;
    sqlx::query("CHECKPOINT").execute(pool).await?;
    sqlx::query("UPDATE ephemerd.control SET paused_until = NULL").execute(pool).await?;
    let all = template.rows as f64 / 10.0 * 0.999;
    let (began, first) = erased_above(&daemon, 0.0).await?;
    let (ended, last) = erased_above(&daemon, all).await?;
    daemon.terminate().await?;
    end(database).await?;
    Ok((last - first) / (ended - began).as_secs_f64())
}

/// When more rows than this had gone, and how many then.
async fn erased_above(daemon: &Daemon, rows: f64) -> Result<(Instant, f64)> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let erased = daemon.figures().await?.get("ephemerd_age_erased_total", &[]).unwrap_or(0.0);
        if erased > rows {
            return Ok((Instant::now(), erased));
        }
        sleep(LOOK).await;
    }
    Err(LabError::new("the daemon does not erase by age"))
}
