//! Wrong clocks: the server's, and the daemon's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ephemerd_lab::ejabberd::{Schema, rows as ejabberd_rows};
use ephemerd_lab::reliability::note;
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{Daemon, LabError, PATIENCE, Result, eventually};
use tokio::time::{Instant, sleep};

use crate::ensure;
use crate::house::{House, program, seconds};

const HOUR: i64 = 3_600;
const TIMER: Duration = Duration::from_secs(4);

/// The server's clock is an hour ahead: timers of its rows start when they are first seen, and nothing else
/// goes.
pub(crate) async fn stamps_from_the_future(seed: u64) -> Result<()> {
    let mut seen = Vec::new();
    for kind in ["Prosody", "ejabberd"] {
        let mut house = match kind {
            "Prosody" => House::new(seed).await?,
            _ => House::ejabberd(seed).await?,
        };
        let _daemon = house.daemon().await?;
        house.load();
        sleep(Duration::from_secs(2)).await;
        let now = house.number("SELECT floor(extract(epoch FROM now()))::bigint").await? + HOUR;
        let stanza = format!(
            "<message type='chat'><body>future</body><ephemeral xmlns='urn:xmpp:ephemeral:1' timer='{0}'/>\
             <ephemeral timer='{0}' xmlns='urn:xmpp:ephemeral:0'/></message>",
            TIMER.as_secs()
        );
        let archived = Instant::now();
        let (count, left) = match kind {
            "Prosody" => {
                let rows: Vec<_> = (0..50)
                    .map(|at| ArchiveRow::archive("future", &format!("f{at}"), now, &stanza))
                    .collect();
                insert(house.pool(), &rows).await?;
                (
                    "SELECT count(*) FROM prosodyarchive WHERE \"user\" = 'future' AND value LIKE '%<body>%'",
                    50,
                )
            }
            _ => {
                let rows: Vec<_> = (0..50)
                    .map(|at| {
                        ejabberd_rows::ArchiveRow::user("future", now * 1_000_000 + at, &stanza)
                    })
                    .collect();
                ejabberd_rows::insert(house.database(), Schema::Classic, &rows).await?;
                (
                    "SELECT count(*) FROM archive WHERE username = 'future' AND xml LIKE '%<body>%'",
                    50,
                )
            }
        };
        sleep(TIMER.saturating_sub(archived.elapsed() + Duration::from_millis(200))).await;
        ensure!(house.number(count).await? == left, "{kind}: some went early");
        eventually("all of the future goes", PATIENCE, async || {
            Ok((house.number(count).await? == 0).then_some(()))
        })
        .await?;
        let took = archived.elapsed();
        // By their stamps they went early, so the rest of the check is only for the others.
        house
            .sql(match kind {
                "Prosody" => "DELETE FROM shadow_prosodyarchive WHERE row ->> 'user' = 'future'",
                _ => "DELETE FROM shadow_archive WHERE row ->> 'username' = 'future'",
            })
            .await?;
        seen.push(format!(
            "{kind}: gone {} after archiving; {}",
            seconds(took),
            house.check().await?
        ));
    }
    note(
        "stamps from the future",
        "50 rows stamped an hour ahead, timer of 4 s, among the load",
        &seen.join("; "),
    )
}

/// Debian's library that gives a single process another clock.
fn faketime() -> Result<&'static str> {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    match Path::new(library).exists() {
        true => Ok(library),
        false => Err(LabError::new("libfaketime is missing: apt-get install libfaketime")),
    }
}

/// The daemon's clock is an hour off, then jumps by two, forward and back, all under load.
pub(crate) async fn the_daemons_clock_is_off(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    let folder = tempfile::tempdir()?;
    let offset = folder.path().join("offset");
    fs::write(&offset, "+3600\n")?;
    let config = house
        .config()
        .env("LD_PRELOAD", faketime()?)
        .env("FAKETIME_TIMESTAMP_FILE", &offset.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let daemon = Daemon::start(program(), &config).await?;
    house.load();
    let mut ages = Vec::new();
    for jump in ["+3600", "-3600", "+0", "+3600"] {
        fs::write(&offset, format!("{jump}\n"))?;
        if jump.contains("36") {
            ages.push((jump, overdue_for(&house, &daemon, ages.len()).await?));
        }
    }
    let checked = house.check().await?;
    // Not an hour more, and not zero.
    for (jump, age) in &ages {
        ensure!((1.0..120.0).contains(age), "with {jump} s the metric tells {age} s: {ages:?}");
    }
    note(
        "the daemon's clock is off",
        "its clock an hour ahead at the start, then back by two, then right, then forward by one, under load (libfaketime)",
        &format!("{checked}; the age of what is overdue is reported correctly each time"),
    )
}

/// What the metric says of an overdue row that another session has locked.
async fn overdue_for(house: &House, daemon: &Daemon, number: usize) -> Result<f64> {
    let mut holding = house.pool().begin().await?;
    let stanza =
        "<message><body>held</body><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/></message>";
    let now = house.number("SELECT floor(extract(epoch FROM now()))::bigint").await?;
    let row = ArchiveRow::archive("held", &format!("held-{number}"), now, stanza);
    let rows = insert(house.pool(), &[row]).await?;
    sqlx::query("SELECT FROM prosodyarchive WHERE sort_id = ANY ($1) FOR UPDATE")
        .bind(rows)
        .execute(&mut *holding)
        .await?;
    // The ledger is counted every 15 s, or less often if counting takes long.
    let age = daemon
        .wait_for_figure("ephemerd_oldest_overdue_seconds", &[], PATIENCE * 5, |age| age > 1.0)
        .await;
    holding.rollback().await?;
    // Until that is forgotten again.
    daemon
        .wait_for_figure("ephemerd_oldest_overdue_seconds", &[], PATIENCE * 5, |age| age < 1.0)
        .await?;
    age
}
