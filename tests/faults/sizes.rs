//! Much at once: due rows, unreadable rows, long stanzas, a large archive at the first start.

use std::time::Duration;

use ephemerd_lab::reliability::note;
use ephemerd_lab::rows::{ArchiveRow, Bulk, insert};
use ephemerd_lab::{Daemon, PATIENCE, Result, daemon, eventually};
use tokio::time::{Instant, sleep};

use crate::ensure;
use crate::house::{House, program, seconds};

/// Maximum memory of a daemon (design: 40 MB with a million pending; a debug build and its pages need
/// somewhat more).
const MOST_BYTES: u64 = 100 << 20;

fn mib(daemon: &Daemon) -> Result<u64> {
    Ok(daemon.usage()?.peak_bytes >> 20)
}

/// 100,000 rows that fall due in the same second.
pub(crate) async fn much_is_due_at_once(seed: u64) -> Result<()> {
    const ROWS: i64 = 100_000;
    let mut seen = Vec::new();
    for mode in ["placeholder", "delete"] {
        let mut house = House::new(seed).await?;
        house.set("erase.mode", mode);
        let daemon = house.daemon().await?;
        Bulk {
            rows: ROWS,
            marked_every: 1,
            timer_seconds: 20,
            oldest_seconds: 0,
            ..Bulk::default()
        }
        .insert(house.pool())
        .await?;
        eventually("all is recorded or gone", PATIENCE * 6, async || {
            let known = house.number("SELECT count(*) FROM ephemerd.expiries").await?;
            Ok((known >= ROWS || house.standing().await?.marked_left < ROWS).then_some(()))
        })
        .await?;
        house.load();
        sleep(Duration::from_secs(5)).await;
        let checked = house.check_within(PATIENCE * 30).await?;
        let peak = daemon.usage()?.peak_bytes;
        ensure!(peak < MOST_BYTES, "the daemon held {peak} bytes");
        seen.push(format!(
            "{mode}: slowest {} after its time, peak memory {} MiB; {checked}",
            checked.slowest(),
            peak >> 20
        ));
    }
    note(
        "100,000 due at once",
        "100,000 marked rows of one second, timer of 20 s, and the load beside them",
        &seen.join("; "),
    )
}

/// 1,000 rows that no parser accepts.
pub(crate) async fn unreadable_rows(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    let daemon = house.daemon().await?;
    house.load();
    let now = house.number("SELECT floor(extract(epoch FROM now()))::bigint").await?;
    let broken = |at: usize| match at % 4 {
        0 => format!("<message><body>{at}</body><ephemeral timer='1' cut"),
        1 => format!("<message><body>&undeclared; {at}</body></message>"),
        2 => format!("<message><body>{at}</p:body></message>"),
        _ => format!("no XML, number {at}"),
    };
    // Their text makes them candidates, but they are not what the check counts as marked.
    let rows: Vec<_> = (0..1_000)
        .map(|at| {
            ArchiveRow::archive("broken", &format!("b{at}"), now, &(broken(at) + " urn:ephemerd:0"))
        })
        .collect();
    insert(house.pool(), &rows).await?;
    daemon
        .wait_for_figure("ephemerd_unreadable_stanzas_total", &[], PATIENCE * 2, |it| it == 1_000.0)
        .await?;
    sleep(Duration::from_secs(3)).await;
    let checked = house.check().await?;
    let count = daemon.figures().await?.get("ephemerd_unreadable_stanzas_total", &[]);
    ensure!(count == Some(1_000.0), "counted {count:?} times");
    note(
        "1,000 unreadable rows",
        "1,000 rows of 4 kinds that cannot be read, in one transaction among the load",
        &format!(
            "each counted once and left as it was; slowest row {} after its time, peak memory {} MiB; {checked}",
            checked.slowest(),
            mib(&daemon)?
        ),
    )
}

/// 1,000 stanzas of 256 KB, half of them marked.
pub(crate) async fn long_stanzas(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    let daemon = house.daemon().await?;
    house.load();
    let now = house.number("SELECT floor(extract(epoch FROM now()))::bigint").await?;
    for part in 0..20 {
        let rows: Vec<_> = (0..50)
            .map(|at| {
                let mark = if at % 2 == 0 {
                    "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='2'/>"
                } else {
                    "<store xmlns='urn:xmpp:hints'/>"
                };
                let body = format!("{part}.{at} ").repeat(256 * 1024 / 5);
                let stanza = format!(
                    "<message type='chat'><body>{}</body>{mark}</message>",
                    body.get(..256 * 1024).unwrap_or(&body)
                );
                ArchiveRow::archive("long", &format!("l{part}-{at}"), now, &stanza)
            })
            .collect();
        insert(house.pool(), &rows).await?;
    }
    let checked = house.check_within(PATIENCE * 3).await?;
    let peak = daemon.usage()?.peak_bytes;
    ensure!(peak < MOST_BYTES, "the daemon held {peak} bytes");
    note(
        "1,000 stanzas of 256 KB",
        "1,000 rows of 256 KB, every second one marked with a timer of 2 s, among the load",
        &format!(
            "slowest row {} after its time, peak memory {} MiB; {checked}",
            checked.slowest(),
            peak >> 20
        ),
    )
}

/// Migrations interrupted at any moment, by the daemon's death or the database's.
pub(crate) async fn a_migration_is_interrupted(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    let (mut killed, mut ended) = (0, 0);
    for at in 0..12_u64 {
        let daemon = Daemon::spawn(program(), &house.config())?;
        sleep(Duration::from_millis(15 * at)).await;
        match at % 2 {
            0 => {
                daemon.kill().await?;
                killed += 1;
            }
            _ => {
                house.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ephemerd' AND datname = current_database()").await?;
                ended += 1;
                daemon.kill().await?;
            }
        }
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'ephemerd' AND tablename = 'expiries'";
        let done = "SELECT count(*) FROM pg_tables WHERE schemaname = 'ephemerd' AND tablename = '_sqlx_migrations'";
        let (tables, books) = (house.number(tables).await?, house.number(done).await?);
        ensure!(tables <= books, "tables without their entry in the books");
        if at < 10 {
            // From the start each time.
            house
                .sql("DROP SCHEMA ephemerd CASCADE; CREATE SCHEMA ephemerd AUTHORIZATION ephemerd")
                .await?;
        }
    }
    // Two at once finish the rest.
    let config = house.config();
    let (one, two) = tokio::join!(
        daemon::command(program(), &config, &["migrate"]),
        daemon::command(program(), &config, &["migrate"]),
    );
    let codes = [one?.code, two?.code];
    ensure!(codes == [Some(0), Some(0)], "migrate ended with {codes:?}");
    let _daemon = house.daemon().await?;
    house.load();
    sleep(Duration::from_secs(3)).await;
    let checked = house.check().await?;
    note(
        "a migration is interrupted",
        "the first start killed, or its sessions ended, 0 to 165 ms after it began, 12 times; then two `migrate` at once",
        &format!("{killed} kills, {ended} sessions ended; both succeed; {checked}"),
    )
}

/// The first start on a large archive. `LAB_ROWS` says how many; 10,000,000 take some minutes and 8 GB.
pub(crate) async fn the_first_start_on_a_large_archive(seed: u64) -> Result<()> {
    let rows = std::env::var("LAB_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(500_000);
    let bulk = Bulk { rows, marked_every: 100, timer_seconds: 1, ..Bulk::default() };
    let lab = ephemerd_lab::Lab::database_only().await?;
    bulk.insert(lab.database.superuser()).await?;
    let plain = "SELECT coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM prosodyarchive t
                  WHERE value NOT LIKE '%urn:xmpp:ephemeral:0%' AND value NOT LIKE '%urn:ephemerd:0%'
                    AND \"user\" LIKE 'user%'";
    let hash = async || -> Result<String> {
        Ok(sqlx::query_scalar(plain).fetch_one(lab.database.superuser()).await?)
    };
    let before = hash().await?;
    let config = ephemerd_lab::DaemonConfig::for_database(&lab.database)?;
    let mut house = House::beside(lab.database.clone(), config, seed).await?;
    house.set("erase.backlog", "erase");
    let started = Instant::now();
    let daemon = house.daemon().await?;
    let ready = started.elapsed();
    house.load();
    // What is archived now goes as fast as ever, while the sweep reads what was there before.
    let swept = daemon
        .wait_for_figure(
            "ephemerd_sweep_last_completion_timestamp_seconds",
            &[],
            Duration::from_secs(1_500),
            |it| it > 0.0,
        )
        .await;
    swept?;
    let swept = started.elapsed();
    let old = "SELECT count(*) FROM prosodyarchive WHERE \"user\" LIKE 'user%' AND value LIKE '%urn:xmpp:ephemeral:0%'";
    eventually("the backlog goes", Duration::from_secs(900), async || {
        Ok((house.number(old).await? == 0).then_some(()))
    })
    .await?;
    let gone = started.elapsed();
    let checked = house.check_within(PATIENCE * 2).await?;
    ensure!(hash().await? == before, "unmarked rows of the backlog were harmed");
    let peak = daemon.usage()?.peak_bytes;
    ensure!(peak < MOST_BYTES, "the daemon held {peak} bytes");
    note(
        "the first start on a large archive",
        "an archive that was there before, every 100th row marked and overdue, `erase.backlog = \"erase\"`, the load beside it (LAB_ROWS says how many rows)",
        &format!(
            "{rows} rows: ready after {}, swept after {}, {} old messages gone after {}, the others by their hash the same; peak memory {} MiB; live messages meanwhile: slowest {} after its time; {checked}",
            seconds(ready),
            seconds(swept),
            bulk.marked(),
            seconds(gone),
            peak >> 20,
            checked.slowest()
        ),
    )
}
