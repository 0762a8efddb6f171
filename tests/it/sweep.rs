//! The sweep brings the ledger into line with the archive, whatever happened to either.

use std::time::Duration;

use ephemerd_lab::rows::{ArchiveRow, Bulk, insert};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, eventually};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::Instant;

use crate::sent_watch::{Watch, now};
use crate::support::{refusals, start, tail_has_passed};

const DONE: &str = "ephemerd_sweep_last_completion_timestamp_seconds";

/// After a daemon's end: what it had already sent to the database is still done.
const SESSIONS: &str =
    "pg_stat_activity WHERE datname = current_database() AND usename = 'ephemerd'";

fn value(mark: &str) -> String {
    format!(
        "<message type='chat' from='rosa@localhost/x' to='peter@localhost'><body>words</body>{mark}</message>"
    )
}

fn timer(seconds: u32) -> String {
    format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{seconds}'/>")
}

async fn count(pool: &PgPool, from_where: &str) -> Result<i64> {
    let select = format!("SELECT count(*) FROM {from_where}");
    Ok(sqlx::query_scalar(AssertSqlSafe(select)).fetch_one(pool).await?)
}

async fn wait_for_count(pool: &PgPool, from_where: &str, wanted: i64) -> Result<()> {
    eventually(&format!("{wanted} of {from_where}"), PATIENCE, async || {
        Ok((count(pool, from_where).await? == wanted).then_some(()))
    })
    .await
}

/// The sweep has repaired this: it is counted after the commit.
async fn has_repaired(daemon: &Daemon, wanted: [f64; 4]) -> Result<()> {
    let wait = eventually("repairs to be counted", PATIENCE, async || {
        let counts = repaired(daemon).await?;
        Ok((counts.iter().sum::<f64>() >= wanted.iter().sum()).then_some(counts))
    });
    assert_eq!(wait.await?, wanted);
    Ok(())
}

/// What the sweep repaired, according to the daemon's counters: added, changed, dropped, adopted.
async fn repaired(daemon: &Daemon) -> Result<[f64; 4]> {
    let figures = daemon.figures().await?;
    let of = |action| {
        let repaired = figures.get("ephemerd_sweep_repaired_total", &[("action", action)]);
        repaired.expect("each action has its count")
    };
    Ok(["added", "changed", "dropped", "adopted"].map(of))
}

/// When the last sweep ended, which [`DONE`] shows for other daemons' sweeps too.
async fn completed_at(pool: &PgPool) -> Result<f64> {
    let query = "SELECT extract(epoch FROM completed_at)::float8 FROM ephemerd.sweeps";
    Ok(sqlx::query_scalar(query).fetch_one(pool).await?)
}

/// Missing, changed, outdated and orphaned entries, each repaired and counted.
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_fault_is_repaired_and_counted() -> Result<()> {
    let lab = Lab::database_apart().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    let first =
        config.clone().set("hints.conflict", "no-permanent-store").set("hints.keep_for", "1h");
    let daemon = start(&first).await?;
    daemon.wait_for_figure(DONE, &[], PATIENCE, |at| at > 0.0).await?;
    let when = now(pool).await? as i64;
    let row = |key: String, mark: &str| ArchiveRow::archive("peter", &key, when, &value(mark));
    let mut rows: Vec<ArchiveRow> = (0..30).map(|nr| row(format!("m{nr}"), &timer(3600))).collect();
    rows.extend((0..5).map(|nr| row(format!("plain{nr}"), "")));
    let hints = "<store xmlns='urn:xmpp:hints'/><no-permanent-store xmlns='urn:xmpp:hints'/>";
    rows.push(row("hints".to_owned(), hints));
    insert(pool, &rows).await?;
    wait_for_count(pool, "ephemerd.expiries", 31).await?;
    tail_has_passed(pool).await?;
    assert!(daemon.terminate().await?.success());

    sqlx::raw_sql(
        "DELETE FROM ephemerd.expiries WHERE archive_id IN ('m0', 'm1', 'm2');
         DELETE FROM prosodyarchive WHERE key IN ('m3', 'm4');
         UPDATE prosodyarchive SET value = '<message/>' WHERE key = 'm5';
         UPDATE prosodyarchive SET value =
             '<message><expired xmlns=''urn:ephemerd:0'' until=''2040-01-01T00:00:00Z''/></message>'
          WHERE key = 'm6';",
    )
    .execute(pool)
    .await?;
    let completed = completed_at(pool).await?;
    let daemon = start(&config.set("timers.max", "30m")).await?;
    daemon.wait_for_figure(DONE, &[], PATIENCE, |at| at > completed).await?;
    // Gone: m3 and m4. No longer marked: m5, and the hints, which <store/> now overrides.
    has_repaired(&daemon, [3.0, 23.0, 4.0, 1.0]).await?;

    let half =
        "ephemerd.expiries WHERE phase = 'pending' AND due_at = stamped_at + interval '1801 s'";
    assert_eq!(count(pool, half).await?, 26, "all that stand, at their new time");
    let kept = "ephemerd.expiries WHERE phase = 'placeholder' AND due_at = '2040-01-01Z'";
    assert_eq!(count(pool, kept).await?, 1);
    assert_eq!(count(pool, "ephemerd.expiries").await?, 27);

    // Once more: there is nothing to do.
    let completed = completed_at(pool).await?;
    sqlx::query("UPDATE ephemerd.sweeps SET requested_at = now()").execute(pool).await?;
    daemon.wait_for_figure(DONE, &[], PATIENCE, |at| at > completed).await?;
    has_repaired(&daemon, [3.0, 23.0, 4.0, 1.0]).await?;
    Ok(())
}

/// The ledger is lost: placeholders are recognised by their element and go in time, from archive and queue;
/// text that had not gone yet is held as backlog.
#[tokio::test(flavor = "multi_thread")]
async fn placeholders_outlive_their_ledger() -> Result<()> {
    // Longer than it takes to start another daemon.
    const PLACEHOLDER: f64 = 20.0;
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?
        .set("offline.undelivered_for", "0s")
        .set("erase.placeholder_for", format!("{PLACEHOLDER}s"));
    let daemon = start(&config).await?;
    let watch = Watch::prosody(pool);
    let when = now(pool).await? as i64;
    // Long enough to be seen first.
    let short = value(&timer(3));
    insert(
        pool,
        &[
            ArchiveRow::archive("peter", "short", when, &short),
            ArchiveRow::room("den", "room", when, &short),
            ArchiveRow::archive("ada", "away", when, &short),
            ArchiveRow::queue("ada", "queued", when, &short, "away"),
            ArchiveRow::archive("peter", "plain", when, &value("")),
            ArchiveRow::archive("peter", "long", when, &value(&timer(3600))),
        ],
    )
    .await?;
    wait_for_count(pool, "prosodyarchive WHERE value LIKE '%urn:ephemerd:0%'", 4).await?;
    assert!(daemon.terminate().await?.success());

    sqlx::query("DROP SCHEMA ephemerd CASCADE").execute(pool).await?;
    lab.database.apply_grants().await?;
    let daemon = start(&config).await?;
    daemon.wait_for_figure(DONE, &[], PATIENCE, |at| at > 0.0).await?;
    // One is new, four are adopted.
    has_repaired(&daemon, [1.0, 0.0, 0.0, 4.0]).await?;
    assert_eq!(count(pool, "ephemerd.expiries WHERE backlog AND archive_id = 'long'").await?, 1);
    assert_eq!(count(pool, "ephemerd.expiries WHERE phase = 'placeholder'").await?, 4);

    wait_for_count(pool, "prosodyarchive", 2).await?;
    eventually("the watch sees them go", PATIENCE, async || {
        let gone = watch.rows().into_values().filter(|row| row.gone_at.is_some()).count();
        Ok((gone == 4).then_some(()))
    })
    .await?;
    for row in watch.rows().into_values() {
        match (&*row.key, row.changed_at, row.gone_at) {
            ("plain" | "long", None, None) => {}
            ("short" | "room" | "away" | "queued", Some(_), Some(_)) => {
                assert!(row.stood_blank(PLACEHOLDER), "{row:?}");
            }
            _ => panic!("{row:?}"),
        }
    }
    assert_eq!(count(pool, "ephemerd.expiries").await?, 1);
    Ok(())
}

/// A sweep that was killed continues where it was; two daemons at once sweep each row once.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sweep_goes_on_where_it_was() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let bulk = Bulk { rows: 200_000, marked_every: 20, ..Bulk::default() };
    bulk.insert(pool).await?;
    let config = DaemonConfig::for_database(&lab.database)?.set("sweep.rows_per_second", 25_000);
    let daemon = start(&config).await?;
    let position = "SELECT position FROM ephemerd.sweeps";
    eventually("the sweep to come to its middle", PATIENCE, async || {
        let position: Option<i64> = sqlx::query_scalar(position).fetch_optional(pool).await?;
        Ok(position.filter(|at| *at > 60_000).map(drop))
    })
    .await?;
    daemon.kill().await?;
    wait_for_count(pool, SESSIONS, 0).await?;
    let at: i64 = sqlx::query_scalar(position).fetch_one(pool).await?;
    assert!((60_000..195_000).contains(&at), "the kill came in the middle: {at}");
    let recorded = count(pool, "ephemerd.expiries").await?;
    assert_eq!(recorded, at / 20, "all up to there, and nothing beyond");

    // A sweep from the start would find these missing.
    let lost = "DELETE FROM ephemerd.expiries WHERE row_number <= 1000";
    let lost = sqlx::query(lost).execute(pool).await?.rows_affected();
    assert_eq!(lost, 50);
    let (one, other) = tokio::try_join!(start(&config), start(&config))?;
    wait_for_count(pool, "ephemerd.sweeps WHERE completed_at IS NOT NULL", 1).await?;
    // Counted after the commit.
    eventually("each row to be added once, by one of the two", PATIENCE, async || {
        let added = repaired(&one).await?[0] + repaired(&other).await?[0];
        Ok((added == (bulk.marked() - recorded) as f64).then_some(()))
    })
    .await?;
    assert_eq!(count(pool, "ephemerd.expiries").await?, bulk.marked() - 50);
    assert_eq!(count(pool, "ephemerd.expiries WHERE NOT backlog").await?, 0, "all is held");
    assert_eq!(refusals(&lab.database)?, [""; 0], "they keep out of each other's way");
    Ok(())
}

/// After a restore numbers are reused: an entry must not be taken for a row with another archive id.
#[tokio::test(flavor = "multi_thread")]
async fn entries_of_numbers_used_again_are_dropped() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    let daemon = start(&config).await?;
    let when = now(pool).await? as i64;
    insert(pool, &[ArchiveRow::archive("peter", "old", when, &value(&timer(1)))]).await?;
    wait_for_count(pool, "ephemerd.expiries WHERE phase = 'placeholder'", 1).await?;
    assert!(daemon.terminate().await?.success());
    let again = "UPDATE prosodyarchive SET key = 'new', value = $1";
    sqlx::query(again).bind(value(&timer(3600))).execute(pool).await?;
    sqlx::query("UPDATE ephemerd.sweeps SET requested_at = now()").execute(pool).await?;
    let _daemon = start(&config).await?;
    wait_for_count(pool, "ephemerd.expiries WHERE archive_id = 'new' AND phase = 'pending'", 1)
        .await?;
    wait_for_count(pool, "ephemerd.expiries WHERE archive_id = 'old'", 0).await
}

/// A sweep that was killed and resumes under other rules judges everything by these.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sweep_starts_anew_by_other_rules() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let bulk = Bulk { rows: 10_000, marked_every: 5, ..Bulk::default() };
    bulk.insert(pool).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    let daemon = start(&config.clone().set("sweep.rows_per_second", 1_000)).await?;
    wait_for_count(pool, "ephemerd.sweeps WHERE position > 0", 1).await?;
    daemon.kill().await?;
    wait_for_count(pool, SESSIONS, 0).await?;
    let due_in = |seconds: u32| {
        format!("ephemerd.expiries WHERE due_at = stamped_at + interval '{seconds} s'")
    };
    let recorded = count(pool, &due_in(61)).await?;
    assert!((1..bulk.marked()).contains(&recorded), "the kill came in the middle: {recorded}");
    let daemon = start(&config.set("timers.max", "30s")).await?;
    daemon.wait_for_figure(DONE, &[], PATIENCE, |at| at > 0.0).await?;
    assert_eq!(count(pool, &due_in(31)).await?, bulk.marked());
    let missing = (bulk.marked() - recorded) as f64;
    has_repaired(&daemon, [missing, recorded as f64, 0.0, 0.0]).await
}

/// `sweep.rows_per_second` counts rows of the archive, however many are marked.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_keeps_to_its_rate() -> Result<()> {
    let lab = Lab::database_only().await?;
    let bulk = Bulk { rows: 10_000, marked_every: 5, ..Bulk::default() };
    bulk.insert(lab.database.superuser()).await?;
    let config = DaemonConfig::for_database(&lab.database)?.set("sweep.rows_per_second", 2_500);
    let started = Instant::now();
    let daemon = start(&config).await?;
    daemon.wait_for_figure(DONE, &[], PATIENCE, |at| at > 0.0).await?;
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(3), "10,000 rows in {took:?}");
    Ok(())
}

/// Ways to corrupt a stanza, as SQL over `value`.
const SPOILT: [&str; 4] = [
    "left(value, length(value) - 3)",
    "replace(value, '</body>', '&nbsp;</body>')",
    "replace(value, '<ephemeral', '<e:ephemeral')",
    "replace(value, '</body>', '<!-- --></body>')",
];

/// A large archive: every readable marked row is found, others are left alone, and nothing in the archive
/// changes. `LAB_HEAVY=1` makes it large: a million rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_archive_with_unreadable_rows_is_swept() -> Result<()> {
    let is_heavy = std::env::var("LAB_HEAVY").is_ok_and(|it| it == "1");
    let rows = if is_heavy { 1_000_000 } else { 50_000 };
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let bulk = Bulk { rows, ..Bulk::default() };
    bulk.insert(pool).await?;
    let each = rows / 1_000;
    for (nr, spoilt) in SPOILT.iter().enumerate() {
        let spoil = format!(
            "UPDATE prosodyarchive SET value = {spoilt} WHERE sort_id % {each} = 0 AND sort_id / {each} % 4 = {nr}"
        );
        sqlx::query(AssertSqlSafe(spoil)).execute(pool).await?;
    }
    let oversized = "UPDATE prosodyarchive SET value = replace(value, '</body>', repeat('x', 4194304) || '</body>')
                      WHERE sort_id = 20";
    sqlx::query(oversized).execute(pool).await?;
    sqlx::raw_sql("VACUUM ANALYZE prosodyarchive").execute(pool).await?;
    let digest = "SELECT md5(string_agg(md5(t::text), '' ORDER BY sort_id)) FROM prosodyarchive t";
    let before: String = sqlx::query_scalar(digest).fetch_one(pool).await?;

    let config = DaemonConfig::for_database(&lab.database)?.set("sweep.rows_per_second", 0);
    let started = Instant::now();
    let daemon = start(&config).await?;
    daemon.wait_for_figure(DONE, &[], Duration::from_secs(600), |at| at > 0.0).await?;
    let took = started.elapsed();

    let expected = format!(
        "prosodyarchive a WHERE sort_id % 10 = 0 AND sort_id % {each} <> 0 AND sort_id <> 20"
    );
    let wanted = count(pool, &expected).await?;
    assert_eq!(wanted, bulk.marked() - 1_000 - 1);
    assert_eq!(count(pool, "ephemerd.expiries WHERE backlog AND phase = 'pending'").await?, wanted);
    let found = format!(
        "{expected} AND EXISTS (SELECT FROM ephemerd.expiries e WHERE e.row_number = sort_id AND e.archive_id = key)"
    );
    assert_eq!(count(pool, &found).await?, wanted, "each stands for its row");
    let told = format!("ephemerd.sweeps WHERE unreadable = 1001 AND rows_read = {rows}");
    assert_eq!(count(pool, &told).await?, 1, "what it could not read is counted");
    let after: String = sqlx::query_scalar(digest).fetch_one(pool).await?;
    assert_eq!(before, after, "nothing in the archive has changed");
    let peak = peak_kib(daemon.pid())?;
    #[expect(clippy::print_stderr, reason = "the figures that the heavy run is for")]
    {
        eprintln!("swept {rows} rows in {took:?}, {peak} KiB at the most");
    }
    assert!(peak < 80 * 1024, "{peak} KiB");
    Ok(())
}

/// A process's peak resident memory.
fn peak_kib(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse().ok());
    Ok(kib.expect("Linux tells the peak"))
}

/// A restarted daemon knows about earlier sweeps, including other daemons': otherwise each restart would look
/// like days without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_remembers_the_last_sweep() -> Result<()> {
    let lab = Lab::database_only().await?;
    let mut daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    let at = daemon.wait_for_figure(DONE, &[], PATIENCE, |at| at > 0.0).await?;
    assert!(daemon.terminate().await?.success());
    daemon.resume().await?;
    daemon.wait_for_figure(DONE, &[], PATIENCE, |again| (again - at).abs() < 1.0).await?;
    Ok(())
}
