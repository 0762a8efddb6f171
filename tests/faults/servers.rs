//! The XMPP server restarts, dies, or is cut off from the daemon, while people chat.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::reliability::note;
use ephemerd_lab::{Gate, Lab, LabError, PATIENCE, Result, Server, eventually};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use crate::ensure;
use crate::house::{House, seconds};

/// Does this to the server, or to the connection to it.
pub(crate) async fn torment<S: Server + 'static>(
    what: &str,
    server: &S,
    gate: &Gate,
) -> Result<()> {
    match what {
        "restart" => server.restart().await?,
        "kill" => {
            server.kill().await?;
            sleep(Duration::from_secs(3)).await;
            server.resume().await?;
        }
        "cut" => gate.reopen(),
        "silent" => gate.forget(),
        "frozen" => {
            gate.freeze();
            sleep(Duration::from_secs(5)).await;
            gate.reopen();
        }
        unknown => return Err(LabError::new(format!("no such fault: {unknown}"))),
    }
    Ok(())
}

/// Restarts, kills, and connections that are silenced or cut.
async fn tormented<S: Server + 'static>(lab: Lab<S>, seed: u64) -> Result<String> {
    let lab = Arc::new(lab);
    let gate = Gate::to(lab.endpoints().components).await?;
    let config = lab.daemon_config().set("component.server", gate.address().to_string());
    let table = *S::TABLES.first().ok_or_else(|| LabError::new("a server without tables"))?;
    let mut house = House::around(lab.database.clone(), table, config, seed).await?;
    let daemon = house.daemon().await?;
    let connected = async || {
        daemon
            .wait_for_figure("ephemerd_component_connected", &[], PATIENCE * 3, |it| it == 1.0)
            .await
    };
    house.load_by(ephemerd_lab::Load::chats(&lab, seed));
    let mut random = StdRng::seed_from_u64(seed);
    let mut reconnected = Vec::new();
    for what in ["restart", "kill", "cut", "silent", "frozen"] {
        sleep(Duration::from_millis(random.random_range(2_000..4_000))).await;
        connected().await?;
        torment(what, &lab.server, &gate).await?;
        // A silenced connection is only found dead by a ping, which takes its time; nothing waits for that.
        if what != "silent" {
            let back = Instant::now();
            connected().await?;
            reconnected.push(back.elapsed());
        }
        let before = house.standing().await?.archived;
        eventually("people chat again", PATIENCE * 2, async || {
            Ok((house.standing().await?.archived > before + 10).then_some(()))
        })
        .await?;
    }
    let longest = reconnected.iter().max().copied().unwrap_or_default();
    let checked = house.check().await?;
    ensure!(daemon.get("/readyz").await?.status == 200, "not ready afterwards");
    Ok(format!(
        "connected again within {} each time; slowest message {} after its time; {checked}",
        seconds(longest),
        checked.slowest()
    ))
}

const DONE: &str = "two clients chat; the server is restarted, killed and started after 3 s; the component's connection is cut, falls silent, freezes for 5 s";

pub(crate) async fn prosody_tormented(seed: u64) -> Result<()> {
    let seen = tormented(Lab::prosody().await?, seed).await?;
    note("Prosody restarted and cut off", DONE, &seen)
}

pub(crate) async fn ejabberd_tormented(seed: u64) -> Result<()> {
    let seen = tormented(Lab::ejabberd(&EjabberdConfig::default()).await?, seed).await?;
    note("ejabberd restarted and cut off", DONE, &seen)
}
