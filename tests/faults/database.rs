//! PostgreSQL is away, frozen, full, or refusing.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::reliability::note;
use ephemerd_lab::{
    Context as _, Daemon, Gate, LabError, PATIENCE, Postgres, PostgresConfig, Result, eventually,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use crate::ensure;
use crate::house::{House, seconds};

/// A house with its own PostgreSQL.
async fn apart(seed: u64, config: PostgresConfig) -> Result<(Arc<Postgres>, House)> {
    let postgres = Arc::new(Postgres::start(config).await?);
    let house = House::on(Arc::clone(&postgres), seed).await?;
    Ok((postgres, house))
}

/// Stopped fast, stopped immediately, restarted, repeatedly.
pub(crate) async fn postgresql_stopped_and_started(seed: u64) -> Result<()> {
    const ROUNDS: u32 = 4;
    let (postgres, mut house) = apart(seed, PostgresConfig::default()).await?;
    let _daemon = house.daemon().await?;
    let mut random = StdRng::seed_from_u64(seed);
    house.load();
    for _ in 0..ROUNDS {
        for how in ["fast", "immediate", "restart"] {
            sleep(Duration::from_millis(random.random_range(1_000..3_000))).await;
            match how {
                "fast" => postgres.stop().await?,
                "immediate" => postgres.kill().await?,
                _ => postgres.restart().await?,
            }
            if how != "restart" {
                sleep(Duration::from_millis(random.random_range(0..3_000))).await;
                postgres.resume().await?;
            }
        }
    }
    let checked = house.check().await?;
    note(
        "PostgreSQL stopped and started under load",
        "stopped fast, stopped immediate, restarted, 4 times each at random moments, away for up to 3 s",
        &checked.to_string(),
    )
}

/// All its processes are frozen for a minute.
pub(crate) async fn postgresql_paused(seed: u64) -> Result<()> {
    let (postgres, mut house) = apart(seed, PostgresConfig::default()).await?;
    let daemon = house.daemon().await?;
    house.load();
    sleep(Duration::from_secs(5)).await;
    postgres.freeze().await?;
    sleep(Duration::from_secs(60)).await;
    let (ready, alive) =
        (daemon.get("/readyz").await?.status, daemon.get("/healthz").await?.status);
    postgres.thaw().await?;
    ensure!((ready, alive) == (503, 200), "/readyz says {ready}, /healthz {alive}");
    let checked = house.check_within(PATIENCE * 2).await?;
    // The gauges must be refreshed as soon as possible, because alerts depend on them.
    house.long_timer().await?;
    let pending = |it: f64| it >= 1.0;
    daemon
        .wait_for_figure("ephemerd_pending_expiries", &[], PATIENCE * 3, pending)
        .await
        .context("the gauges are stale")?;
    note(
        "PostgreSQL paused",
        "all processes of PostgreSQL stopped (SIGSTOP) for 60 s under load, then continued",
        &format!("alive and not ready meanwhile; {checked}"),
    )
}

/// Slow enough that a cut hits a batch.
const SLOW: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(0.002); RETURN coalesce(NEW, OLD); END $$;
    CREATE TRIGGER slow BEFORE UPDATE OR DELETE ON prosodyarchive
       FOR EACH ROW EXECUTE FUNCTION slow();";

/// A proxy cuts all connections while a batch's statement is running.
pub(crate) async fn connections_cut_in_a_batch(seed: u64) -> Result<()> {
    const CUTS: u32 = 30;
    let mut house = House::new(seed).await?;
    house.sql(SLOW).await?;
    let gate = Gate::to(house.database().postgres().address()).await?;
    let url = format!("postgres://ephemerd@{}/{}", gate.address(), house.database().name());
    house.set("database.url", url);
    let daemon = house.daemon().await?;
    let mut random = StdRng::seed_from_u64(seed);
    house.load();
    for _ in 0..CUTS {
        eventually("a batch is under way", PATIENCE, async || {
            let erasing = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                              AND usename = 'ephemerd' AND query LIKE '-- prosody_blank%' AND state = 'active'";
            Ok((house.number(erasing).await? > 0).then_some(()))
        })
        .await?;
        sleep(Duration::from_millis(random.random_range(0..30))).await;
        gate.reopen();
    }
    let checked = house.check().await?;
    ensure!(daemon.get("/readyz").await?.status == 200, "not ready afterwards");
    note(
        "connections cut in a batch",
        "a proxy cuts all connections 30 times while rows are being blanked, under load",
        &checked.to_string(),
    )
}

/// Others take all connections; the daemon's own are ended, and it cannot get new ones.
pub(crate) async fn too_many_connections(seed: u64) -> Result<()> {
    let settings = vec!["max_connections = 24".to_owned()];
    let (_postgres, mut house) =
        apart(seed, PostgresConfig { settings, ..PostgresConfig::default() }).await?;
    let daemon = house.daemon().await?;
    house.load();
    sleep(Duration::from_secs(2)).await;
    let mut others = Vec::new();
    let until = Instant::now() + Duration::from_secs(15);
    let mut refused = 0;
    while Instant::now() < until {
        house
            .sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ephemerd'",
            )
            .await?;
        while let Ok(connection) = PgConnection::connect(&house.database().server_url()).await {
            others.push(connection);
        }
        refused += 1;
        sleep(Duration::from_millis(200)).await;
    }
    // A daemon that starts now waits for its turn.
    let late = Daemon::spawn(crate::house::program(), &house.config())?;
    sleep(Duration::from_secs(3)).await;
    let (ready, alive) = (daemon.get("/readyz").await?.status, late.get("/healthz").await?.status);
    let log = daemon.log()? + &late.log()?;
    ensure!((ready, alive) == (503, 200), "/readyz says {ready}, /healthz {alive}");
    ensure!(log.contains("53300"), "no word of it in the log: {log}");
    drop(others);
    late.wait_ready(PATIENCE).await?;
    let checked = house.check().await?;
    ensure!(refused > 5, "the connections were taken only {refused} times");
    note(
        "too many connections",
        "others take every connection for 18 s, the daemon's are ended; a second daemon starts meanwhile",
        &format!("alive and not ready, the log says why; both ready again, {checked}"),
    )
}

/// The volume fills to the last byte: first the tables cannot grow, then PostgreSQL itself aborts.
pub(crate) async fn the_disk_is_full(seed: u64) -> Result<()> {
    let settings = vec!["max_wal_size = '64MB'".to_owned(), "min_wal_size = '32MB'".to_owned()];
    let config = PostgresConfig { settings, volume_mib: Some(220), ..PostgresConfig::default() };
    let (postgres, mut house) = apart(seed, config).await?;
    let daemon = house.daemon().await?;
    house.load();
    sleep(Duration::from_secs(3)).await;
    let volume = postgres.volume().ok_or_else(|| LabError::new("no volume"))?;
    let ballast = volume.join("ballast");
    let full = Instant::now();
    let mut filled = 0;
    while full.elapsed() < Duration::from_secs(20) {
        filled += fill(&ballast)?;
        sleep(Duration::from_millis(100)).await;
    }
    let alive = daemon.get("/healthz").await?.status;
    let crashed = postgres.log_text()?.contains("PANIC");
    let refused = postgres.log_text()?.matches("No space left on device").count();
    fs::remove_file(&ballast)?;
    ensure!(alive == 200 && refused > 0, "/healthz {alive}, {refused} refused");
    // If PostgreSQL stopped by itself, an operator starts it again.
    postgres.resume().await?;
    let checked = house.check_within(PATIENCE * 2).await?;
    note(
        "a full disk",
        "the volume of PostgreSQL's data is filled to its last byte for 20 s under load, then freed",
        &format!(
            "{} MiB of ballast, PostgreSQL {}; the daemon alive meanwhile; {checked}",
            filled >> 20,
            if crashed { "broke off and was started again" } else { "refused what needed space" }
        ),
    )
}

/// Writes until the volume is full; returns how many bytes.
fn fill(ballast: &std::path::Path) -> Result<u64> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(ballast)?;
    let mut written = 0;
    for size in [1 << 20, 4 << 10] {
        let zeros = vec![0; size];
        while file.write_all(&zeros).is_ok() {
            written += size as u64;
        }
    }
    Ok(written)
}

/// Somebody cancels the daemon's statements, or ends its sessions.
pub(crate) async fn statements_cancelled(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    house.sql(SLOW).await?;
    let daemon = house.daemon().await?;
    house.load();
    let (mut cancelled, mut ended) = (0, 0);
    let until = Instant::now() + Duration::from_secs(15);
    while Instant::now() < until {
        for (what, count) in
            [("pg_cancel_backend", &mut cancelled), ("pg_terminate_backend", &mut ended)]
        {
            let share = if what == "pg_cancel_backend" { "1" } else { "0.05" };
            *count += house
                .number(&format!(
                    "SELECT count({what}(pid)) FROM pg_stat_activity WHERE datname = current_database()
                        AND usename = 'ephemerd' AND state = 'active' AND random() < {share}"
                ))
                .await?;
        }
        sleep(Duration::from_millis(30)).await;
    }
    // A row that was cancelled alone each time waits for up to 5 minutes: here for as long as it was tried.
    let checked = house.check_within(PATIENCE * 2).await?;
    ensure!(cancelled > 20, "only {cancelled} statements were cancelled");
    let put_off =
        daemon.figures().await?.get("ephemerd_erase_failures_total", &[]).unwrap_or_default();
    note(
        "statements cancelled",
        "for 15 s every statement of ours that runs is cancelled each 30 ms, and some sessions are ended, under load",
        &format!(
            "{cancelled} cancelled, {ended} sessions ended, {put_off} rows put off; slowest row {} after its time; {checked}",
            checked.slowest()
        ),
    )
}

/// Maximum time that a server may wait for the daemon.
const SERVER_WAITS_AT_MOST: Duration = Duration::from_secs(1);

/// The server deletes what the daemon is about to erase, in both orders, and holds locks meanwhile: it must
/// never become the victim of a deadlock, nor wait long.
pub(crate) async fn the_servers_clean_up(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    house.set("erase.mode", "delete");
    house.sql(SLOW).await?;
    let daemon = house.daemon().await?;
    house.load();
    let mut server = PgConnection::connect(&house.database().server_url()).await?;
    let (mut statements, mut longest, mut taken) = (0, Duration::ZERO, 0);
    let until = Instant::now() + Duration::from_secs(25);
    while Instant::now() < until {
        for stores in [["archive", "muc_log"], ["muc_log", "archive"]] {
            let mut transaction = server.begin().await?;
            for store in stores {
                let begun = Instant::now();
                // As Prosody does daily, with a retention that makes both want the same rows.
                let done = sqlx::query(
                    "DELETE FROM prosodyarchive
                      WHERE host LIKE '%localhost' AND store = $1 AND value LIKE '%urn:xmpp:ephemeral:0%'
                        AND \"when\" + 1 + substring(value FROM 'timer=.(\\d+)')::int
                            <= extract(epoch FROM clock_timestamp())",
                )
                .bind(store)
                .execute(&mut *transaction)
                .await;
                let done =
                    done.map_err(|error| LabError::new(format!("the server was hurt: {error}")))?;
                taken += done.rows_affected();
                longest = longest.max(begun.elapsed());
                statements += 1;
                sleep(Duration::from_millis(20)).await;
            }
            transaction.commit().await?;
        }
        sleep(Duration::from_millis(30)).await;
    }
    let checked = house.check().await?;
    let figures = daemon.figures().await?;
    let gone = figures.get("ephemerd_already_gone_total", &[]).unwrap_or_default();
    let erased = figures.get("ephemerd_erased_total", &[]).unwrap_or_default();
    ensure!(taken > 0 && erased > 0.0, "only one took part: the server {taken}, we {erased}");
    ensure!(
        longest < SERVER_WAITS_AT_MOST + Duration::from_millis(taken.min(2_000)),
        "the server waited {longest:?}"
    );
    note(
        "the server's own clean-up",
        "the server deletes the same rows as they fall due, in two orders of its stores, in transactions that hold their locks, for 25 s under load",
        &format!(
            "{statements} statements, no deadlock, the longest took {} with {taken} rows deleted; we erased {erased}, found {gone} gone already; {checked}",
            seconds(longest)
        ),
    )
}

/// Other sessions lock rows and the table, each for up to 2 s.
pub(crate) async fn locks_on_archive_rows(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    let _daemon = house.daemon().await?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = PgConnection::connect(&house.database().server_url()).await?;
    house.load();
    let (mut rows, mut tables) = (0, 0);
    let until = Instant::now() + Duration::from_secs(25);
    while Instant::now() < until {
        let mut transaction = server.begin().await?;
        let lock = match random.random_range(0..4) {
            0 => "LOCK TABLE prosodyarchive IN SHARE MODE",
            _ => {
                "SELECT FROM prosodyarchive WHERE sort_id % 7 = 0 AND \"when\" > extract(epoch FROM now()) - 5 FOR UPDATE"
            }
        };
        match lock.starts_with("LOCK") {
            true => tables += 1,
            false => rows += 1,
        }
        sqlx::query(lock).execute(&mut *transaction).await?;
        sleep(Duration::from_millis(random.random_range(100..2_000))).await;
        transaction.rollback().await?;
    }
    let checked = house.check().await?;
    note(
        "locks under load",
        "another session locks every 7th new row, or the whole table in SHARE mode, for up to 2 s, again and again for 25 s",
        &format!(
            "{rows} times rows, {tables} times the table; slowest row {} after its time; {checked}",
            checked.slowest()
        ),
    )
}
