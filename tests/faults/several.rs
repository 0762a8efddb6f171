//! Several daemons, which are killed, stopped, and cut off from the database one at a time.

use std::time::Duration;

use ephemerd_lab::reliability::note;
use ephemerd_lab::{Daemon, Gate, LabError, PATIENCE, Result, Signal, eventually};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;

use crate::ensure;
use crate::house::{House, program};

struct Member {
    gate: Gate,
    daemon: Daemon,
}

async fn leader(members: &[Member]) -> Result<Option<usize>> {
    for (at, member) in members.iter().enumerate() {
        let figures = member.daemon.figures().await?;
        if figures.get("ephemerd_leader", &[]) == Some(1.0) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

async fn tormented(count: usize, seed: u64) -> Result<String> {
    let mut house = House::new(seed).await?;
    house.set("erase.batch", 50);
    let mut members = Vec::new();
    for _ in 0..count {
        let gate = Gate::to(house.database().postgres().address()).await?;
        let url = format!("postgres://ephemerd@{}/{}", gate.address(), house.database().name());
        let daemon = Daemon::start(program(), &house.config().set("database.url", url)).await?;
        members.push(Member { gate, daemon });
    }
    house.load();
    let mut random = StdRng::seed_from_u64(seed);
    let mut done = [0, 0, 0];
    for round in 0..9 {
        let found = eventually("one leads", PATIENCE, async || leader(&members).await).await?;
        // The leader, and now and then another one.
        let at = if round % 3 == 2 { random.random_range(0..count) } else { found };
        let member = members.get_mut(at).ok_or_else(|| LabError::new("no such daemon"))?;
        let away = Duration::from_millis(random.random_range(500..8_000));
        let what = round / 3;
        match what {
            0 => {
                member.daemon.kill().await?;
                sleep(away / 4).await;
                member.daemon.resume().await?;
            }
            1 => {
                member.daemon.signal(Signal::SIGSTOP)?;
                sleep(away).await;
                member.daemon.signal(Signal::SIGCONT)?;
            }
            _ => {
                member.gate.freeze();
                sleep(away).await;
                member.gate.reopen();
            }
        }
        if let Some(count) = done.get_mut(what) {
            *count += 1;
        }
    }
    let checked = house.check().await?;
    let mut erased = Vec::new();
    for member in &members {
        member.daemon.wait_ready(PATIENCE).await?;
        let figures = member.daemon.figures().await?;
        erased.push(figures.get("ephemerd_erased_total", &[]).unwrap_or_default());
    }
    let leaders = eventually("exactly one leads", PATIENCE, async || {
        let mut leaders = 0;
        for member in &members {
            let figures = member.daemon.figures().await?;
            leaders += usize::from(figures.get("ephemerd_leader", &[]) == Some(1.0));
        }
        Ok((leaders == 1).then_some(leaders))
    });
    ensure!(leaders.await? == 1, "several lead");
    Ok(format!(
        "{} kills, {} stops, {} cuts; one leads afterwards; slowest row {} after its time; {checked}",
        done[0],
        done[1],
        done[2],
        checked.slowest()
    ))
}

const DONE: &str = "the leader, and now and then another, is killed and started, stopped and continued, cut off from the database, each for up to 8 s, under load";

pub(crate) async fn two_daemons(seed: u64) -> Result<()> {
    note("two daemons tormented", DONE, &tormented(2, seed).await?)
}

pub(crate) async fn four_daemons(seed: u64) -> Result<()> {
    note("four daemons tormented", DONE, &tormented(4, seed).await?)
}
