//! `sweep` goes through the whole archive, alone or alongside a daemon, and may be interrupted.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ephemerd_lab::rows::{ArchiveRow, Bulk, insert};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, Result};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::support::{marked, now, number, printed, program, start, told, wait_for_number};

const RECORDED: &str = "SELECT count(*) FROM ephemerd.expiries";
const READ: &str = "SELECT rows_read FROM ephemerd.sweeps";
const A_PART: &str = "SELECT coalesce(min(least(rows_read, 10000)), 0) FROM ephemerd.sweeps
                        WHERE started_at IS NOT NULL";
const UNDER_WAY: &str =
    "SELECT count(*) FROM ephemerd.sweeps WHERE started_at IS NOT NULL AND requested_at IS NULL";

async fn lab(rows: i64) -> Result<(Lab, DaemonConfig)> {
    let lab = Lab::database_only().await?;
    Bulk { rows, timer_seconds: 86_400 * 90, ..Bulk::default() }
        .insert(lab.database.superuser())
        .await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    Ok((lab, config))
}

fn found(rows: i64, added: i64, changed: i64, dropped: i64) -> Value {
    json!({
        "rows": rows, "added": added, "changed": changed, "dropped": dropped, "adopted": 0,
        "unreadable": 0,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_it_did() -> Result<()> {
    let (lab, config) = lab(12_345).await?;
    let pool = lab.database.superuser();
    let swept = told(&config, &["sweep"]).await?;
    let whole = json!({
        "completed": true, "resumed_at": null, "share": 1.0, "found": found(12_345, 1_234, 0, 0),
    });
    assert_eq!(swept, whole);
    assert_eq!(number(pool, RECORDED).await?, 1_234);

    sqlx::query("DELETE FROM prosodyarchive WHERE sort_id <= 100").execute(pool).await?;
    let shorter = config.clone().set("timers.max", "30d");
    let text = printed(&shorter, &["sweep"]).await?;
    assert_eq!(
        text,
        "Sweep finished.\n\
         rows        12,245  read\n\
         added            0  expiries that were missing\n\
         changed      1,224  expiries that were recalculated\n\
         dropped         10  expiries whose message is gone\n\
         adopted          0  placeholders that were not in the ledger\n\
         unreadable       0  messages that were left alone\n"
    );
    let later =
        "SELECT count(*) FROM ephemerd.expiries WHERE due_at > runs_from + interval '30 days'";
    assert_eq!(number(pool, later).await?, 0);
    Ok(())
}

/// A daemon's step keeps the sweep's state locked, on a busy machine for longer than the 100 ms that workers wait for locks.
#[tokio::test(flavor = "multi_thread")]
async fn it_waits_until_a_step_of_a_daemon_is_over() -> Result<()> {
    let (lab, config) = lab(100).await?;
    let pool = lab.database.superuser();
    printed(&config, &["sweep"]).await?;
    let mut step = pool.begin().await?;
    sqlx::query("SELECT FROM ephemerd.sweeps FOR UPDATE").execute(&mut *step).await?;
    let end = async {
        let waits = "SELECT count(*) FROM pg_stat_activity
                      WHERE wait_event_type = 'Lock' AND query LIKE '-- request_sweep%'";
        wait_for_number(pool, waits, 1).await?;
        sleep(Duration::from_millis(300)).await;
        Ok(step.commit().await?)
    };
    let (swept, ()) = tokio::try_join!(told(&config, &["sweep"]), end)?;
    assert_eq!(swept["found"], found(100, 0, 0, 0));
    Ok(())
}

/// A configuration file on disk, for a command that is interrupted.
async fn on_disk(config: &DaemonConfig) -> Result<Daemon> {
    let daemon = Daemon::spawn(program(), config)?;
    daemon.kill().await?;
    Ok(daemon)
}

/// A command that ends with the test, however the test ends.
struct Running(Option<Child>);

impl Running {
    fn slow_sweep(daemon: &Daemon) -> Self {
        let mut command = Command::new(program());
        command.arg("--config").arg(daemon.config_file()).args(["sweep", "--json"]);
        // Seconds are left to interrupt it.
        command.env("EPHEMERD__SWEEP__ROWS_PER_SECOND", "4000").stdout(Stdio::piped());
        Self(Some(command.spawn().expect("the command starts")))
    }

    fn interrupt(mut self) -> (Option<i32>, Value) {
        let child = self.0.take().expect("it runs");
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        let output = child.wait_with_output().expect("the command ends");
        (output.status.code(), serde_json::from_slice(&output.stdout).expect("it prints JSON"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn interrupted(pool: &PgPool, on_disk: &Daemon) -> Result<Value> {
    let sweep = Running::slow_sweep(on_disk);
    wait_for_number(pool, A_PART, 10_000).await?;
    let (code, told) = sweep.interrupt();
    assert_eq!(code, Some(1));
    assert_eq!(told["completed"], false);
    assert_eq!(told["found"]["rows"], number(pool, READ).await?);
    Ok(told)
}

/// What Ctrl-C stopped is continued, row by row from where it was; other rules start from the beginning.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_one_is_gone_on_with() -> Result<()> {
    let (lab, config) = lab(40_000).await?;
    let pool = lab.database.superuser();
    let on_disk = on_disk(&config).await?;
    let stopped = interrupted(pool, &on_disk).await?;
    assert_eq!(stopped["resumed_at"], Value::Null);
    let recorded = number(pool, RECORDED).await?;
    assert_eq!(recorded, number(pool, READ).await? / 10, "each row that was read is recorded");

    let swept = told(&config, &["sweep"]).await?;
    assert_eq!(swept["resumed_at"], stopped["share"]);
    assert_eq!(swept["found"], found(40_000, 4_000, 0, 0), "no row was read twice");
    assert_eq!(number(pool, RECORDED).await?, 4_000);

    interrupted(pool, &on_disk).await?;
    let swept = told(&config.set("timers.max", "1d"), &["sweep"]).await?;
    assert_eq!(swept["resumed_at"], Value::Null);
    assert_eq!(swept["found"], found(40_000, 0, 4_000, 0), "all are judged anew");
    Ok(())
}

/// A daemon and the command share one sweep, and the command reports what both did.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_takes_part() -> Result<()> {
    let (lab, config) = lab(60_000).await?;
    let pool = lab.database.superuser();
    let config = config.set("sweep.rows_per_second", 10_000);
    let daemon = start(&config).await?;
    wait_for_number(pool, UNDER_WAY, 1).await?;
    let swept = told(&config, &["sweep"]).await?;
    assert_eq!(swept["completed"], true);
    assert_eq!(swept["found"]["rows"], 60_000);
    assert_eq!(swept["found"]["added"], 6_000);
    assert_eq!(number(pool, UNDER_WAY).await?, 0);
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// A daemon that starts with other rules restarts the sweep in progress.
#[tokio::test(flavor = "multi_thread")]
async fn other_rules_begin_again() -> Result<()> {
    let (lab, config) = lab(40_000).await?;
    let pool = lab.database.superuser();
    let on_disk = on_disk(&config).await?;
    interrupted(pool, &on_disk).await?;
    let config = config.set("timers.max", "1d").set("sweep.rows_per_second", 0);
    let _daemon = start(&config).await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.sweeps WHERE completed_at IS NOT NULL", 1)
        .await?;
    let older =
        "SELECT count(*) FROM ephemerd.expiries WHERE due_at > runs_from + interval '1 day'";
    assert_eq!(number(pool, older).await?, 0);
    assert_eq!(number(pool, RECORDED).await?, 4_000);
    Ok(())
}

/// Rows archived between the operator's sweep and the first start are found by that start.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_falls_between_the_sweep_and_the_first_start() -> Result<()> {
    let (lab, config) = lab(100).await?;
    let pool = lab.database.superuser();
    printed(&config, &["sweep"]).await?;
    let row = ArchiveRow::archive("peter", "between", now(pool).await?, &marked("between", 9_999));
    insert(pool, &[row]).await?;
    let _daemon = start(&config).await?;
    let between = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'between' AND backlog";
    wait_for_number(pool, between, 1).await
}
