//! SIGHUP: what can change in place does, the rest is named, and an invalid file changes nothing.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::snapshot::PROSODY_ARCHIVES;
use ephemerd_lab::{
    Daemon, DaemonConfig, Lab, Load, MARKED, PATIENCE, Postgres, PostgresConfig, Result, Shadow,
    Signal, Words, eventually,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::reliability::saw;
use crate::support::{
    archive, archive_marked, gone, marked, now, number, program, refusals, run, standing, start,
    wait_for_number,
};

/// Sends the configuration and waits until it has been read this many times, with this result.
async fn reload(daemon: &mut Daemon, config: &DaemonConfig, result: &str) -> Result<()> {
    let read = ("ephemerd_config_reloads_total", [("result", result)]);
    let before = daemon.figures().await?.get(read.0, &read.1).expect("made at 0");
    daemon.reload(config)?;
    daemon.wait_for_figure(read.0, &read.1, PATIENCE, |count| count > before).await.map(drop)
}

async fn wait_for_log(daemon: &Daemon, text: &str) -> Result<()> {
    let logged = async || Ok(daemon.log()?.contains(text).then_some(()));
    eventually(&format!("the log to say {text}"), PATIENCE, logged).await
}

/// Rows that go this long after archiving: after the end of that second, or after they were seen if that was
/// sooner; the test's stamps are rounded.
const AFTER_AN_HOUR: &str = "SELECT count(*) FROM ephemerd.expiries
     WHERE due_at > stamped_at + interval '3599 s' AND due_at <= stamped_at + interval '3601 s'";
const AFTER_HALF_AN_HOUR: &str = "SELECT count(*) FROM ephemerd.expiries
     WHERE due_at > stamped_at + interval '1799 s' AND due_at <= stamped_at + interval '1801 s'";
const SWEPT: &str = "SELECT count(*) FROM ephemerd.sweeps
                      WHERE completed_at IS NOT NULL AND requested_at IS NULL AND started_at IS NULL";

/// What was recorded under the old rules is judged by the new ones, and so are new messages.
#[tokio::test(flavor = "multi_thread")]
async fn other_timers_judge_what_is_recorded_and_what_comes() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let mut daemon = start(&config).await?;
    let hour = |name: &str| (name.to_owned(), marked(name, 3_600));
    archive(pool, &[hour("one"), hour("two")]).await?;
    wait_for_number(pool, AFTER_AN_HOUR, 2).await?;
    wait_for_number(pool, SWEPT, 1).await?;
    reload(&mut daemon, &config.clone().set("timers.max", "30m"), "done").await?;
    wait_for_log(&daemon, "configuration reloaded: timers.max = \"30m\" (was \"none\")").await?;
    wait_for_number(pool, AFTER_HALF_AN_HOUR, 2).await?;
    archive(pool, &[hour("three")]).await?;
    wait_for_number(pool, AFTER_HALF_AN_HOUR, 3).await?;
    // There and back before anybody looks is no change; otherwise it is one, and swept as well.
    daemon.reload(&config)?;
    reload(&mut daemon, &config.clone().set("timers.max", "none"), "done").await?;
    wait_for_number(pool, AFTER_AN_HOUR, 3).await?;
    wait_for_number(pool, SWEPT, 1).await?;
    let completed = "SELECT (extract(epoch FROM completed_at) * 1000)::bigint FROM ephemerd.sweeps";
    let last = number(pool, completed).await?;
    reload(&mut daemon, &config.clone().set("erase.batch", 5), "done").await?;
    reload(&mut daemon, &config.set("erase.batch", 5), "done").await?;
    wait_for_log(&daemon, "configuration reloaded: nothing changes in place").await?;
    // The sweep checks every two seconds whether it is requested.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(number(pool, completed).await?, last, "other settings ask for no sweep");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_begins_and_ends() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let wet = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let dry = wet.clone().set("erase.dry_run", true);
    let mut daemon = start(&dry).await?;
    let counted = ("ephemerd_erased_total", [("mode", "dry_run")]);
    archive_marked(pool, "first", 10).await?;
    daemon.wait_for_figure(counted.0, &counted.1, PATIENCE, |count| count == 10.0).await?;
    assert_eq!(standing(pool, "first").await?, 10);
    reload(&mut daemon, &wet, "done").await?;
    gone(pool, "first", PATIENCE).await?;
    reload(&mut daemon, &dry, "done").await?;
    archive_marked(pool, "second", 10).await?;
    daemon.wait_for_figure(counted.0, &counted.1, PATIENCE, |count| count >= 20.0).await?;
    assert_eq!(standing(pool, "second").await?, 10);
    assert_eq!(daemon.figures().await?.get("ephemerd_dry_run", &[]), Some(1.0));
    Ok(())
}

/// A held backlog is released once the configuration says so; from then on nothing is held.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_backlog_goes_when_it_is_no_longer_held() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let old = now(pool).await? - 1_000;
    let row = |key: &str| ArchiveRow::archive("peter", key, old, &marked(key, 1));
    insert(pool, &[row("old-1"), row("old-2"), row("old-3")]).await?;
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let mut daemon = start(&config).await?;
    let held = "SELECT count(*) FROM ephemerd.expiries WHERE backlog";
    wait_for_number(pool, held, 3).await?;
    archive_marked(pool, "live", 3).await?;
    gone(pool, "live", PATIENCE).await?;
    assert_eq!(standing(pool, "old-").await?, 3, "held");
    reload(&mut daemon, &config.set("erase.backlog", "erase"), "done").await?;
    gone(pool, "old-", PATIENCE).await?;
    assert_eq!(number(pool, held).await?, 0);
    Ok(())
}

/// The same message as at the start, at level error, and everything continues as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_file_changes_nothing() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?
        .set("archive.poll", "50ms")
        .set("erase.dry_run", true);
    let mut daemon = start(&config).await?;
    let faulty = config.clone().set("erase.dry_run", false).set("timers.max", "2months");
    reload(&mut daemon, &faulty, "refused").await?;
    std::fs::write(daemon.config_file(), "[archive]\npoll = 1s\n")?;
    daemon.signal(Signal::SIGHUP)?;
    let refused = ("ephemerd_config_reloads_total", [("result", "refused")]);
    daemon.wait_for_figure(refused.0, &refused.1, PATIENCE, |count| count == 2.0).await?;
    let log = daemon.log()?;
    let told: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    let at_start = run(&faulty, &["config"]).await?.stderr;
    let (what, help) = at_start.trim_end().split_once("\nhelp: ").expect("it says what to do");
    let (help, _) = help.split_once("\nsee: ").expect("it names the page to read");
    // Each run has its own folder.
    let (what, _) = what.trim_start_matches("error: ").rsplit_once(" (").unwrap_or_default();
    assert!(what.starts_with("timers.max "), "{at_start}");
    assert_eq!(told.len(), 2, "{log}");
    assert!(told[0].contains(&format!("the configuration is unchanged: {what} (")), "{log}");
    assert!(told[0].contains(help), "{log}");
    assert!(told[1].contains("ephemerd.toml, line 2: ") && told[1].contains("help"), "{log}");
    let figures = daemon.figures().await?;
    assert_eq!(figures.get("ephemerd_config_last_reload_successful", &[]), Some(0.0));

    let counted = ("ephemerd_erased_total", [("mode", "dry_run")]);
    archive_marked(pool, "stands", 5).await?;
    daemon.wait_for_figure(counted.0, &counted.1, PATIENCE, |count| count == 5.0).await?;
    assert_eq!(standing(pool, "stands").await?, 5, "it still runs dry");
    reload(&mut daemon, &config, "done").await?;
    let figures = daemon.figures().await?;
    assert_eq!(figures.get("ephemerd_config_last_reload_successful", &[]), Some(1.0));
    Ok(())
}

/// The log only names secrets; what needs a restart stays as it was, however often the file is read.
#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named_and_stays() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let mut daemon = start(&config).await?;
    let other = config
        .set_file("component.secret_file", "a-new-secret-of-ours")
        .set_file("database.password_file", "a-new-password-of-ours")
        .set("archive.hosts", vec!["localhost"])
        .set("log.level", "debug");
    reload(&mut daemon, &other, "done").await?;
    reload(&mut daemon, &other, "done").await?;
    wait_for_log(&daemon, "configuration reloaded: log.level = \"debug\" (was \"info\")").await?;
    let log = daemon.log()?;
    let named = "these changes take effect only after a restart: \
                 archive.hosts = [\"localhost\"] (was [\"localhost\",\"conference.localhost\"]), \
                 component.secret, database.password";
    assert_eq!(log.matches(named).count(), 2, "{log}");
    assert!(!log.contains("of-ours"), "{log}");
    // It still works with the old password, and for the old hosts.
    let pool = lab.database.superuser();
    let now = now(pool).await?;
    insert(pool, &[ArchiveRow::room("den", "room", now, &marked("room", 1))]).await?;
    gone(pool, "<body>room", PATIENCE).await?;
    let lines = |level: &str, log: &str| log.lines().filter(|it| it.contains(level)).count();
    assert_eq!(lines("DEBUG", log.split("configuration reloaded").next().unwrap_or_default()), 0);
    daemon.reload(&other.set("log.format", "json"))?;
    wait_for_log(&daemon, "{\"timestamp\":").await
}

/// Before the database is up for the first time, while it is away, twice at once, while we stop.
#[tokio::test(flavor = "multi_thread")]
async fn it_may_come_at_any_time() -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::database_only_on(Arc::clone(&postgres)).await?;
    let pool = lab.database.superuser();
    let wet = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let dry = wet.clone().set("erase.dry_run", true);
    start(&wet).await?.terminate().await?;
    archive_marked(pool, "early", 5).await?;
    postgres.stop().await?;
    let mut daemon = Daemon::spawn(program(), &wet)?;
    eventually("its pages", PATIENCE, async || Ok(daemon.get("/healthz").await.ok())).await?;
    reload(&mut daemon, &dry, "done").await?;
    postgres.resume().await?;
    let counted = ("ephemerd_erased_total", [("mode", "dry_run")]);
    daemon.wait_for_figure(counted.0, &counted.1, PATIENCE, |count| count == 5.0).await?;
    assert_eq!(standing(pool, "early").await?, 5, "it began with what it was told meanwhile");

    postgres.stop().await?;
    daemon.reload(&dry)?;
    reload(&mut daemon, &wet, "done").await?;
    postgres.resume().await?;
    gone(pool, "early", PATIENCE).await?;

    daemon.signal(Signal::SIGTERM)?;
    for _ in 0..3 {
        // It may have ended by then.
        let _ = daemon.reload(&wet);
    }
    assert!(daemon.wait(PATIENCE).await?.success());
    saw(
        "SIGHUP at a bad time",
        "before the database is there, while it is away, twice at once, and after SIGTERM",
        "the new settings apply as soon as the database is back; the daemon stops cleanly",
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_notified() -> Result<()> {
    let lab = Lab::database_only().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    let config = DaemonConfig::for_database(&lab.database)?
        .env("NOTIFY_SOCKET", &path.display().to_string());
    let daemon = start(&config).await?;
    let mut bytes = [0; 512];
    let mut told = async || {
        let length = timeout(PATIENCE, socket.recv(&mut bytes)).await.expect("systemd hears");
        std::io::Result::Ok(String::from_utf8_lossy(&bytes[..length?]).trim().to_owned())
    };
    assert_eq!(told().await?, "READY=1");
    let mut last = 0;
    for _ in 0..2 {
        daemon.signal(Signal::SIGHUP)?;
        let reloading = told().await?;
        let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("since when");
        let at: i64 = at.parse().expect("a number");
        assert!(at > last, "{reloading} after {last}");
        last = at;
        assert_eq!(told().await?, "READY=1");
    }
    Ok(())
}

/// Records each change of a row.
const TOUCHES: &str = "
    CREATE TABLE touches (sort_id bigint NOT NULL, marked boolean NOT NULL);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.touches VALUES (OLD.sort_id, OLD.value LIKE '%urn:xmpp:ephemeral:0%');
        RETURN NULL;
    END $$;
    CREATE TRIGGER touch AFTER UPDATE OR DELETE ON prosodyarchive
       FOR EACH ROW EXECUTE FUNCTION touch();";

/// How long.
const LOAD: Duration = Duration::from_secs(8);

/// SIGHUP again and again under load, each time with other settings: every marked row is erased once,
/// whichever settings were in force, and no other row is touched.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_nothing_and_double_nothing() -> Result<()> {
    let seed = Words::random().seed();
    let mut random = StdRng::seed_from_u64(seed);
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser().clone();
    let shadow = Shadow::cast(&lab.database, PROSODY_ARCHIVES).await?;
    sqlx::raw_sql(TOUCHES).execute(&pool).await?;
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let mut daemon = start(&config).await?;
    let load = Load::prosody_rows(&lab.database, seed);
    let since = tokio::time::Instant::now();
    let mut reloads = 0;
    let archived = "SELECT count(*) FROM shadow_prosodyarchive";
    while since.elapsed() < LOAD || reloads <= 50 || number(&pool, archived).await? <= 500 {
        daemon.reload(&any(&config, &mut random))?;
        reloads += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(1..120))).await;
    }
    load.stop().await?;
    reload(&mut daemon, &config, "done").await?;
    eventually("all that is marked goes", PATIENCE, async || {
        let standing = shadow.compare(&lab.database, MARKED).await?;
        Ok((standing.marked_left == 0).then_some(()))
    })
    .await?;
    let standing = shadow.compare(&lab.database, MARKED).await?;
    assert_eq!(standing.unmarked_harmed, 0, "seed {seed}: {standing:?}");
    assert!(standing.archived > 500 && reloads > 50, "{reloads} reloads, {standing:?}");
    let [rows, doubled, unmarked, both_ways] = touched(&pool).await?;
    let was_marked = "SELECT count(*) FROM shadow_prosodyarchive
                       WHERE row ->> 'value' LIKE '%urn:xmpp:ephemeral:0%'";
    assert_eq!(rows, number(&pool, was_marked).await?, "seed {seed}: every marked row");
    assert_eq!((doubled, unmarked), (0, 0), "seed {seed}: once, and no other");
    assert_eq!(both_ways, 2, "some were blanked, some deleted");
    let figures = daemon.figures().await?;
    let refused = figures.get("ephemerd_config_reloads_total", &[("result", "refused")]);
    assert_eq!(refused, Some(0.0));
    assert_eq!(refusals(&lab.database)?, [""; 0]);
    saw(
        "SIGHUP under load",
        "for 8 s, each time with another erase.mode, erase.batch, rates, timers.max and log level",
        &format!(
            "{reloads} reloads, {} rows: each of the {rows} marked ones erased once, the others untouched",
            standing.archived
        ),
    );
    Ok(())
}

/// A different configuration. With each, everything marked is due within seconds.
fn any(config: &DaemonConfig, random: &mut StdRng) -> DaemonConfig {
    let mut pick = |choices: [&'static str; 2]| choices[random.random_range(0..2)];
    let config = config
        .clone()
        .set("erase.mode", pick(["placeholder", "delete"]))
        .set("timers.max", pick(["none", "1s"]))
        .set("log.level", pick(["info", "debug"]))
        .set("log.format", pick(["human", "json"]));
    config
        .set("erase.batch", random.random_range(1..50))
        .set("erase.rows_per_second", random.random_range(0..3) * 200)
        .set("sweep.rows_per_second", random.random_range(0..3) * 1_000)
}

/// Rows touched, rows touched more than once, unmarked rows touched, and the modes used.
async fn touched(pool: &PgPool) -> Result<[i64; 4]> {
    let query = "
        SELECT count(DISTINCT t.sort_id), count(*) - count(DISTINCT t.sort_id),
               count(*) FILTER (WHERE NOT marked), count(DISTINCT a.sort_id IS NULL)
          FROM touches t LEFT JOIN prosodyarchive a USING (sort_id)";
    let (rows, doubled, unmarked, ways) = sqlx::query_as(query).fetch_one(pool).await?;
    Ok([rows, doubled, unmarked, ways])
}
