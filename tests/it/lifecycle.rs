//! How the daemon stops, and what it reports to whatever started it.

use std::time::Duration;

use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, Signal, eventually};
use sqlx::PgPool;
use tokio::net::UnixDatagram;
use tokio::time::{Instant, timeout};

use crate::reliability::saw;
use crate::support::{archive_marked, program, seconds, standing, start};

/// So long that half of it is a margin for a busy machine.
const WATCHDOG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_notified() -> Result<()> {
    let lab = Lab::database_only().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    let config = DaemonConfig::for_database(&lab.database)?
        .env("NOTIFY_SOCKET", &path.display().to_string())
        .env("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string());
    let daemon = start(&config).await?;
    let mut bytes = [0; 512];
    let (mut is_ready, mut fed) = (false, 0);
    while !is_ready || fed < 2 {
        let told = timeout(WATCHDOG * 3 / 4, socket.recv(&mut bytes)).await;
        let length = told.expect("every half of its time")?;
        match String::from_utf8_lossy(&bytes[..length]).trim() {
            "READY=1" if !is_ready => is_ready = true,
            "WATCHDOG=1" => fed += 1,
            other => panic!("{other}"),
        }
    }
    daemon.signal(Signal::SIGTERM)?;
    let stopping = async {
        loop {
            let length = socket.recv(&mut bytes).await.unwrap();
            if bytes[..length].starts_with(b"STOPPING=1") {
                return;
            }
        }
    };
    timeout(PATIENCE, stopping).await.expect("systemd is told of the stop");
    assert!(daemon.wait(PATIENCE).await?.success());
    saw(
        "systemd",
        "the daemon started with systemd's socket and a watchdog of 20 s, then SIGTERM",
        "READY, WATCHDOG every half of that, STOPPING; exit code 0",
    );
    Ok(())
}

const SLOW: &str = "
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(100); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE UPDATE ON prosodyarchive FOR EACH ROW EXECUTE FUNCTION slow();";

async fn in_the_middle(lab: &Lab) -> Result<Daemon> {
    let pool = lab.database.superuser();
    let daemon = Daemon::start(program(), &DaemonConfig::for_database(&lab.database)?).await?;
    archive_marked(pool, "slow", 5).await?;
    eventually("an erasing statement hangs", PATIENCE, async || {
        let hanging = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event = 'PgSleep'";
        let hanging: i64 = sqlx::query_scalar(hanging).fetch_one(pool).await?;
        Ok((hanging > 0).then_some(()))
    })
    .await?;
    Ok(daemon)
}

/// It sleeps on without its daemon, and no tail's cursor on this PostgreSQL passes an open transaction.
async fn end_the_statement(pool: &PgPool) -> Result<()> {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event = 'PgSleep'";
    sqlx::query(end).execute(pool).await?;
    Ok(())
}

/// The first signal waits for what has begun, the second does not; what was begun is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_what_hangs() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    sqlx::raw_sql(SLOW).execute(pool).await?;
    let daemon = in_the_middle(&lab).await?;
    daemon.signal(Signal::SIGTERM)?;
    let soft = daemon.wait(Duration::from_secs(2)).await;
    assert!(soft.is_err(), "a transaction that has begun is waited for");
    let second = Instant::now();
    daemon.signal(Signal::SIGTERM)?;
    // The first one alone ends it 20 s after it.
    let status = daemon.wait(Duration::from_secs(15)).await?;
    let took = second.elapsed();
    assert!(status.success(), "{status}: {}", daemon.log()?);
    assert_eq!(standing(pool, "<body>slow").await?, 5, "nothing was done by halves");
    end_the_statement(pool).await?;
    saw(
        "a statement hangs at the stop",
        "an erasing statement takes 100 s; SIGTERM, and another 2 s later",
        &format!(
            "waits after the first; ends {} after the second, exit code 0, no row changed",
            seconds(took)
        ),
    );
    Ok(())
}

/// Without a second signal the soft stop has a timeout of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_soft_stop_has_an_end() -> Result<()> {
    let lab = Lab::database_only().await?;
    sqlx::raw_sql(SLOW).execute(lab.database.superuser()).await?;
    let daemon = in_the_middle(&lab).await?;
    let stopped = Instant::now();
    daemon.signal(Signal::SIGTERM)?;
    let status = daemon.wait(Duration::from_secs(50)).await?;
    assert!(status.success() && stopped.elapsed() > Duration::from_secs(19), "{status}");
    assert_eq!(standing(lab.database.superuser(), "<body>slow").await?, 5);
    end_the_statement(lab.database.superuser()).await?;
    saw(
        "a statement hangs at one SIGTERM",
        "an erasing statement takes 100 s; one SIGTERM",
        &format!("ends after {}, exit code 0, no row changed", seconds(stopped.elapsed())),
    );
    Ok(())
}

/// A failure ends with its exit code, whatever a signal would have given.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_has_its_exit_code() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    let daemon = start(&config).await?;
    let taken = config.clone().set("http.listen", daemon.http().to_string());
    let second = Daemon::spawn(program(), &taken)?;
    assert_eq!(second.wait(PATIENCE).await?.code(), Some(1), "the port is taken");
    let rename = "UPDATE ephemerd._sqlx_migrations SET version = 9999
                   WHERE version = (SELECT max(version) FROM ephemerd._sqlx_migrations)";
    sqlx::query(rename).execute(lab.database.superuser()).await?;
    let third = Daemon::spawn(program(), &config)?;
    assert_eq!(third.wait(PATIENCE).await?.code(), Some(3), "the schema is newer");
    assert!(third.log()?.contains("newer"), "{}", third.log()?);
    assert!(daemon.terminate().await?.success());
    saw(
        "faults at the start",
        "the HTTP port taken; our schema newer than the program",
        "exit codes 1 and 3, each with what to do; SIGTERM to the first daemon: 0",
    );
    Ok(())
}

/// A panic during work: one line names the task and the place, none the message; and the daemon stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_names_its_task() -> Result<()> {
    for (point, task) in [("claimed", "erase"), ("recorded", "inspect"), ("swept", "sweep")] {
        let lab = Lab::database_only().await?;
        let config = DaemonConfig::for_database(&lab.database)?.env("LAB_PANIC_AT", point);
        let daemon = Daemon::spawn(program(), &config)?;
        let started = Instant::now();
        eventually("its end", PATIENCE, async || {
            let key = format!("{point}-{}", started.elapsed().as_micros());
            archive_marked(lab.database.superuser(), &key, 1).await?;
            let ended = daemon.wait(Duration::from_millis(200)).await.is_ok();
            Ok(ended.then_some(()))
        })
        .await?;
        assert_eq!(daemon.wait(PATIENCE).await?.code(), Some(1), "{point}");
        let log = daemon.log()?;
        let told: Vec<_> = log.lines().filter(|line| line.contains("a panic: ")).collect();
        let [line] = told[..] else { panic!("{point}: {log}") };
        assert!(line.contains(&format!("task={task}")) && line.contains("crash.rs:"), "{line}");
        assert!(!log.contains("peter"), "{log}");
    }
    Ok(())
}
