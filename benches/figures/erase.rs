//! Erasing a backlog, compared with one plain statement by key on the same data.

use std::time::Duration;

use ephemerd_lab::{Daemon, Database, LabError, Result};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use crate::data::{PATIENCE, Scale, Tables, Template, end, program};
use crate::meter::{Cost, Meter};
use crate::progress::Progress;
use crate::report::{Figure, Target};

const PLAIN_DELETE: &str =
    "DELETE FROM prosodyarchive AS a USING doomed AS d WHERE a.sort_id = d.sort_id";
const PLAIN_UPDATE: &str =
    "UPDATE prosodyarchive AS a SET value = d.value FROM doomed AS d WHERE a.sort_id = d.sort_id";

/// The alternative gets a list of what is due and only has to delete it.
const DOOMED: &str = "CREATE TABLE doomed AS SELECT sort_id,
    '<message><expired xmlns=''urn:ephemerd:0'' until=''2027-01-01T00:00:00Z''/></message>'::text AS value
    FROM prosodyarchive WHERE value LIKE '%urn:xmpp:ephemeral:0%'";

/// Polling costs the daemon something, too.
const POLL: Duration = Duration::from_millis(20);

pub(crate) const fn steps(scale: Scale) -> usize {
    4 * scale.runs
}

/// Adds the figures of both modes.
pub(crate) async fn measure(
    template: &Template,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    for (mode, against, sql) in [
        ("delete", "one plain DELETE by key", PLAIN_DELETE),
        ("placeholder", "one plain UPDATE by key", PLAIN_UPDATE),
    ] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut plan = String::new();
        for _ in 0..scale.runs {
            progress.step(&format!("{mode}: one plain statement"));
            let (rate, its_plan) = plain(template, sql).await?;
            theirs.push(rate);
            plan = its_plan;
            progress.step(&format!("{mode}: ephemerd"));
            let database = template.copy().await?;
            let cost = template.erased(&database, mode).await?.cost;
            ours.push(template.due as f64 / cost.seconds);
            end(database).await?;
        }
        let (due, rows) = (template.due, template.rows);
        figures.push(Figure {
            what: format!("erasing {due} due of {rows} rows, {mode}"),
            against: against.to_owned(),
            unit: "rows/s".to_owned(),
            ours,
            theirs,
            target: Target::AtLeast(0.5, 0.8),
            sql: format!("{DOOMED};\n{sql};\n{plan}"),
        });
    }
    Ok(())
}

/// Rows per second of one statement, and its plan.
async fn plain(template: &Template, sql: &'static str) -> Result<(f64, String)> {
    let database = template.copy().await?;
    let mut connection = PgConnection::connect(&database.superuser_url()).await?;
    sqlx::query(DOOMED).execute(&mut connection).await?;
    sqlx::query("ALTER TABLE doomed ADD PRIMARY KEY (sort_id)").execute(&mut connection).await?;
    sqlx::query("ANALYZE doomed").execute(&mut connection).await?;
    let plan = plan(&mut connection, sql).await?;
    // Everything just written is on disk before the clock starts.
    sqlx::query("CHECKPOINT").execute(&mut connection).await?;
    let started = Instant::now();
    let done = sqlx::query(sql).execute(&mut connection).await?.rows_affected();
    let took = started.elapsed();
    if i64::try_from(done) != Ok(template.due) {
        return Err(LabError::new(format!("the plain statement took {done} rows")));
    }
    connection.close().await?;
    end(database).await?;
    Ok((done as f64 / took.as_secs_f64(), plan))
}

/// PostgreSQL's plan for a statement.
pub(crate) async fn plan(connection: &mut PgConnection, sql: &str) -> Result<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN {sql}"));
    let lines: Vec<String> = sqlx::query_scalar(explain).fetch_all(connection).await?;
    Ok(lines.join("\n"))
}

/// The cost of erasing.
pub(crate) struct Erasing {
    pub(crate) cost: Cost,
    /// The daemon's peak memory.
    pub(crate) peak_bytes: u64,
}

/// Has the daemon erase what is due: paused until it is ready, then resumed.
pub(crate) async fn erased(
    database: &Database,
    tables: Tables,
    mode: &str,
    due: i64,
) -> Result<Erasing> {
    let pause = "UPDATE ephemerd.control SET paused_until = 'infinity'";
    sqlx::query(pause).execute(database.superuser()).await?;
    let config =
        tables.daemon_config(database)?.set("erase.mode", mode).set("erase.backlog", "erase");
    let daemon = Daemon::start(program(), &config).await?;
    sqlx::query("CHECKPOINT").execute(database.superuser()).await?;
    let mut meter = Meter::start(database, Some(&daemon)).await?;
    let started = Instant::now();
    sqlx::raw_sql("UPDATE ephemerd.control SET paused_until = NULL; NOTIFY ephemerd, '0'")
        .execute(database.superuser())
        .await?;
    loop {
        if started.elapsed() > PATIENCE {
            return Err(LabError::new("the daemon did not stop"));
        }
        let erased = daemon.figures().await?.get("ephemerd_erased_total", &[]);
        if erased.is_some_and(|erased| erased >= due as f64) {
            break;
        }
        sleep(POLL).await;
    }
    meter.stop().await?;
    let peak_bytes = daemon.usage()?.peak_bytes;
    daemon.terminate().await?;
    let cost = meter.cost().await?;
    // The daemon only reports when it is done; the table shows whether that is true.
    let words: i64 =
        sqlx::query_scalar(tables.count_marked()).fetch_one(database.superuser()).await?;
    if words != 0 {
        return Err(LabError::new(format!("{words} rows were counted as erased but still exist")));
    }
    Ok(Erasing { cost, peak_bytes })
}
