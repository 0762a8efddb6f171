//! The daemon dies at every step of its work, and at random moments.

use std::time::Duration;

use ephemerd_lab::reliability::note;
use ephemerd_lab::{Daemon, PATIENCE, Result};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::ensure;
use crate::house::{House, program};

/// Where `src/work/base/crash.rs` lets it die.
const POINTS: [&str; 7] =
    ["claimed", "erased", "settled", "committed", "recorded", "inspected", "swept"];

const KILLS: u32 = 200;

/// At each point, in each mode and on both servers' tables, under load; all four at once.
pub(crate) async fn killed_at_each_step(seed: u64) -> Result<()> {
    let seen = tokio::try_join!(
        dies_everywhere("prosody", "placeholder", seed),
        dies_everywhere("prosody", "delete", seed),
        dies_everywhere("ejabberd", "placeholder", seed),
        dies_everywhere("ejabberd", "delete", seed),
    )?;
    note(
        "killed at each step",
        "the daemon dies at each of 7 points under load: after a claim, after erasing, before and after the commit, before and after recording, after a sweep's step",
        &[seen.0, seen.1, seen.2, seen.3].join("; "),
    )
}

async fn dies_everywhere(kind: &str, mode: &str, seed: u64) -> Result<String> {
    let mut house = match kind {
        "prosody" => House::new(seed).await?,
        _ => House::ejabberd(seed).await?,
    };
    house.set("erase.mode", mode);
    ensure!(house.daemon().await?.terminate().await?.success(), "the first start failed");
    house.load();
    for point in POINTS {
        house.sql("UPDATE ephemerd.sweeps SET requested_at = now()").await?;
        let daemon = Daemon::spawn(program(), &house.config().env("LAB_CRASH_AT", point))?;
        let ended = daemon.wait(PATIENCE).await?;
        ensure!(ended.code().is_none(), "{point}: {ended}: {}", daemon.log()?);
    }
    let _daemon = house.daemon().await?;
    Ok(format!("{kind}, {mode}: {}", house.check().await?))
}

/// kill -9, 200 times.
pub(crate) async fn killed_at_random(seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut house = House::new(seed).await?;
    house.set("erase.batch", random.random_range(5..200));
    house.set("archive.poll", "50ms");
    ensure!(house.daemon().await?.terminate().await?.success(), "the first start failed");
    house.load();
    for _ in 0..KILLS {
        let daemon = Daemon::spawn(program(), &house.config())?;
        tokio::time::sleep(Duration::from_millis(random.random_range(50..1_000))).await;
        daemon.kill().await?;
    }
    let _daemon = house.daemon().await?;
    let checked = house.check_within(PATIENCE * 3).await?;
    note(
        "killed at random",
        "kill -9 at 200 random moments within a second of the start, under load",
        &checked.to_string(),
    )
}
