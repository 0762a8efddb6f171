//! What Prosody delivers and archives per second, with and without a tailing daemon.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{Daemon, Lab, Postgres, ProsodyConfig, Result, Server as _};
use tokio::time::Instant;

use crate::data::{Scale, end, program};
use crate::progress::Progress;
use crate::report::{Figure, Target};

/// Every nth message is marked, with a timer that expires while we measure.
const MARKED_EVERY: usize = 20;
const MARK: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='2'/>";
const BODY: &str =
    "Meet me at the bridge, the one with the lamps, an hour after the rain has ended.";

/// A longer burst has failed.
const BURST_WITHIN: Duration = Duration::from_secs(300);

/// The two sides differ little, so this takes more pairs than other figures.
const fn pairs(scale: Scale) -> usize {
    2 * scale.runs - 1
}

/// How long a burst should take.
const fn seconds(scale: Scale) -> f64 {
    if scale.runs > 1 { 5.0 } else { 2.0 }
}

const WARM_UP: usize = 100;

pub(crate) const fn steps(scale: Scale) -> usize {
    1 + pairs(scale)
}

/// Adds the figure.
pub(crate) async fn measure(
    postgres: &Arc<Postgres>,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    progress.step("starting Prosody");
    let config = ProsodyConfig { log_level: "error".to_owned(), ..ProsodyConfig::default() };
    let lab = Lab::prosody_on(Arc::clone(postgres), &config).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    // Warms up, and measures how fast this machine is.
    let rate = burst(&mut peter, &mut rosa, WARM_UP).await?;
    let messages = ((rate * seconds(scale)) as usize).max(WARM_UP);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..pairs(scale) {
        progress.step("Prosody with the daemon, and without");
        // Alternating, so that growth during the run favours neither side.
        for with in [pair % 2 == 0, pair % 2 == 1] {
            let daemon = if with {
                Some(Daemon::start(program(), &lab.daemon_config()).await?)
            } else {
                None
            };
            let rate = burst(&mut peter, &mut rosa, messages).await?;
            if let Some(daemon) = daemon {
                daemon.terminate().await?;
                ours.push(rate);
            } else {
                theirs.push(rate);
            }
        }
    }
    figures.push(Figure {
        what: "Prosody, 1:1 messages, with the daemon beside it".to_owned(),
        against: "the same without".to_owned(),
        unit: "messages/s".to_owned(),
        ours,
        theirs,
        target: Target::AtLeast(0.97, 0.99),
        sql: String::new(),
    });
    peter.close().await?;
    rosa.close().await?;
    let Lab { server, database } = lab;
    server.stop().await?;
    end(database).await
}

/// Messages per second, from the first one sent to the last one received.
async fn burst(peter: &mut Client, rosa: &mut Client, messages: usize) -> Result<f64> {
    let to = rosa.bare_jid().to_owned();
    let started = Instant::now();
    let send = async {
        for nr in 1..=messages {
            let extra = if nr % MARKED_EVERY == 0 { MARK } else { "" };
            peter.chat(&to, BODY, extra).await?;
        }
        peter.chat(&to, "the last", "").await
    };
    let last = rosa.wait_for("the last message", BURST_WITHIN, |it| it.body() == Some("the last"));
    tokio::try_join!(send, last)?;
    let rate = messages as f64 / started.elapsed().as_secs_f64();
    rosa.take(|_| true);
    Ok(rate)
}
