//! What cannot be erased now is retried on its own; everything else goes on time, and nothing spins.

use std::time::Duration;

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, eventually};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::Instant;

use crate::reliability::saw;
use crate::support::{
    archive_marked, gone, marked, now, seconds, standing, start, wait_for_number,
};

/// A timer of 1 s, the stamp's second, a poll, and a margin for a busy machine. What waited for the row that cannot go would wait for ever.
const ON_TIME: Duration = PATIENCE;

/// Of one core, in a debug build, polling every second.
const IDLE_CPU: f64 = 0.15;

/// The daemon's current share of one core.
async fn cpu_share(daemon: &Daemon) -> Result<f64> {
    let (before, started) = (daemon.usage()?.cpu, Instant::now());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let used = daemon.usage()?.cpu.saturating_sub(before);
    Ok(used.as_secs_f64() / started.elapsed().as_secs_f64())
}

async fn recorded(pool: &PgPool, rows: i64) -> Result<()> {
    eventually("all is recorded", PATIENCE, async || {
        let count = "SELECT count(*) FROM ephemerd.expiries";
        let count: i64 = sqlx::query_scalar(count).fetch_one(pool).await?;
        Ok((count == rows).then_some(()))
    })
    .await
}

async fn failures(daemon: &Daemon, cause: &str) -> Result<f64> {
    let labels = [("cause", cause)];
    Ok(daemon.figures().await?.get("ephemerd_erase_failures_total", &labels).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_is_put_off_alone() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    let mut other = PgConnection::connect(&lab.database.server_url()).await?;
    let locked = archive_marked(pool, "locked", 1).await?;
    let mut holding = other.begin().await?;
    sqlx::query("SELECT FROM prosodyarchive WHERE sort_id = $1 FOR UPDATE")
        .bind(locked[0])
        .execute(&mut *holding)
        .await?;
    archive_marked(pool, "other", 500).await?;
    let took = gone(pool, "<body>other", ON_TIME).await?;
    archive_marked(pool, "later", 100).await?;
    gone(pool, "<body>later", ON_TIME).await?;
    let share = cpu_share(&daemon).await?;
    assert!(share < IDLE_CPU, "it spins: {share}");
    assert_eq!(standing(pool, "<body>locked").await?, 1);
    let put_off = failures(&daemon, "locked").await?;
    assert!((1.0..10.0).contains(&put_off), "put off {put_off} times");
    holding.rollback().await?;
    let freed = gone(pool, "<body>locked", PATIENCE).await?;
    saw(
        "a locked row",
        "another session locks a row that is due; 600 others fall due",
        &format!(
            "the others gone {} after archiving, timer of 1 s; the locked one put off {put_off} times, gone {} after its lock; {:.0}% of a core meanwhile",
            seconds(took),
            seconds(freed),
            share * 100.0
        ),
    );
    Ok(())
}

const REFUSING: &str = "
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'not this: %', OLD.value; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON prosodyarchive
       FOR EACH ROW WHEN (OLD.key LIKE 'refused%') EXECUTE FUNCTION refuse();";

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_is_put_off_alone() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    sqlx::raw_sql(REFUSING).execute(pool).await?;
    for mode in ["placeholder", "delete"] {
        // Batches so small that two transactions are in flight while the culprit is looked for.
        let config = DaemonConfig::for_database(&lab.database)?
            .set("erase.mode", mode)
            .set("erase.batch", 40);
        let daemon = start(&config).await?;
        sqlx::query("ALTER TABLE prosodyarchive ENABLE TRIGGER refuse").execute(pool).await?;
        for part in 0..3 {
            archive_marked(pool, &format!("{mode}{part}"), 200).await?;
            archive_marked(pool, &format!("refused-{mode}{part}"), 1).await?;
        }
        let took = gone(pool, &format!("<body>{mode}"), ON_TIME).await?;
        let share = cpu_share(&daemon).await?;
        assert!(share < IDLE_CPU, "it spins: {share}");
        assert_eq!(standing(pool, "<body>refused").await?, 3);
        let put_off = failures(&daemon, "refused").await?;
        assert!((3.0..20.0).contains(&put_off), "put off {put_off} times");
        sqlx::query("ALTER TABLE prosodyarchive DISABLE TRIGGER refuse").execute(pool).await?;
        let freed = gone(pool, "<body>refused", PATIENCE).await?;
        if mode == "placeholder" {
            saw(
                "a refused row",
                "a trigger refuses 3 rows among 600 that fall due, in each mode",
                &format!(
                    "the others gone {} after archiving, timer of 1 s; the refused ones put off {put_off} times, gone {} after the trigger; {:.0}% of a core meanwhile",
                    seconds(took),
                    seconds(freed),
                    share * 100.0
                ),
            );
        }
        assert!(daemon.terminate().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_is_waited_for() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    archive_marked(pool, "row", 1_000).await?;
    recorded(pool, 1_000).await?;
    let mut holding = pool.begin().await?;
    sqlx::query("LOCK TABLE prosodyarchive IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *holding)
        .await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    holding.rollback().await?;
    let took = gone(pool, "<body>row", PATIENCE).await?;
    let put_off = failures(&daemon, "locked").await?;
    assert!(put_off < 10.0, "{put_off} rows were put off for the table");
    let errors = daemon.figures().await?.get("ephemerd_database_errors_total", &[]);
    let log = daemon.log()?;
    // A machine so busy that no connection is made in time is one.
    let is_starved = log.contains("no connection in time");
    assert!(is_starved || errors == Some(0.0), "a lock is no error of the database: {log}");
    saw(
        "a locked table",
        "another session locks the whole archive for 6 s while 1,000 rows fall due, as VACUUM FULL does",
        &format!("all gone {} after the lock; {put_off} rows put off for it", seconds(took)),
    );
    Ok(())
}

/// Starts a daemon on a database with this many overdue rows, recorded while it was paused.
async fn overdue(
    rows: usize,
    change: impl Fn(DaemonConfig) -> DaemonConfig,
) -> Result<(Lab, Daemon)> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    let daemon = start(&config).await?;
    sqlx::query("UPDATE ephemerd.control SET paused_until = 'infinity'").execute(pool).await?;
    archive_marked(pool, "due", rows).await?;
    recorded(pool, rows as i64).await?;
    let due = "SELECT count(*) FROM ephemerd.expiries WHERE due_at < now()";
    wait_for_number(pool, due, rows as i64).await?;
    assert!(daemon.terminate().await?.success());
    let daemon = start(&change(config)).await?;
    Ok((lab, daemon))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_spins_over_what_it_may_not_erase() -> Result<()> {
    const ROWS: usize = 300;
    let resume = "UPDATE ephemerd.control SET paused_until = NULL";
    let (paused_lab, paused) = overdue(ROWS, |config| config).await?;
    let (dry_lab, dry) = overdue(ROWS, |config| config.set("erase.dry_run", true)).await?;
    let elsewhere = |config: DaemonConfig| config.set("archive.hosts", vec!["elsewhere.example"]);
    let (unlisted_lab, unlisted) = overdue(ROWS, elsewhere).await?;
    sqlx::query(resume).execute(dry_lab.database.superuser()).await?;
    sqlx::query(resume).execute(unlisted_lab.database.superuser()).await?;
    sqlx::query("NOTIFY ephemerd, '0'").execute(dry_lab.database.superuser()).await?;
    let labels = [("mode", "dry_run")];
    dry.wait_for_figure("ephemerd_erased_total", &labels, PATIENCE, |it| it == ROWS as f64).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let shares = tokio::try_join!(cpu_share(&paused), cpu_share(&dry), cpu_share(&unlisted))?;
    let shares = [shares.0, shares.1, shares.2];
    assert!(shares.iter().all(|share| *share < IDLE_CPU), "it spins: {shares:?}");
    for lab in [&paused_lab, &dry_lab, &unlisted_lab] {
        assert_eq!(standing(lab.database.superuser(), "<body>due").await?, ROWS as i64);
    }
    // Once each.
    dry.counts("ephemerd_erased_total", &labels, ROWS as f64).await?;
    sqlx::query(resume).execute(paused_lab.database.superuser()).await?;
    sqlx::query("NOTIFY ephemerd, '0'").execute(paused_lab.database.superuser()).await?;
    let took = gone(paused_lab.database.superuser(), "<body>due", PATIENCE).await?;
    let [paused, dry, unlisted] = shares.map(|share| format!("{:.0}%", share * 100.0));
    saw(
        "overdue rows that may not go",
        "300 overdue rows each: paused, in a dry run, of hosts that are not listed any more",
        &format!(
            "all are left alone; {paused}, {dry} and {unlisted} of a core; the dry run counts each once; gone {} after the pause",
            seconds(took)
        ),
    );
    Ok(())
}

/// The rate also holds while new rows are recorded: they wake the worker only from its sleep.
#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_erasing_holds_whatever_is_recorded() -> Result<()> {
    const RATE: i64 = 10;
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?
        .set("archive.poll", "50ms")
        .set("erase.rows_per_second", RATE);
    let _daemon = start(&config).await?;
    archive_marked(pool, "first", 1).await?;
    gone(pool, "<body>first", ON_TIME).await?;
    let started = Instant::now();
    let before = now(pool).await? - 10;
    for at in 0..40 {
        let due =
            |nr| ArchiveRow::archive("peter", &format!("row{at}-{nr}"), before, &marked("row", 1));
        insert(pool, &[0, 1, 2].map(due)).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let gone_so_far = 120 - standing(pool, "<body>row").await?;
    // A batch is a second's worth, and one may just have begun.
    let most = (started.elapsed().as_secs_f64().ceil() as i64 + 1) * RATE;
    assert!(gone_so_far <= most, "{gone_so_far} of 120 are gone, at most {most} should be");
    gone(pool, "<body>row", PATIENCE).await?;
    Ok(())
}
