//! What the companion module costs Prosody: messages per second, and processor time per message, with it and without it.
//!
//! Two Prosodys that differ in nothing else get the same messages in turns, so that any other load on
//! the machine affects both. Medians are reported, of the ratios of adjacent rounds too; the spread is that of the
//! middle half.
//!
//! ```sh
//! cargo run --release -p ephemerd-lab --bin companion_cost -- [ROUNDS] [MESSAGES]
//! ```

#![expect(clippy::print_stdout, reason = "it prints its table")]

use std::process::ExitCode;

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Client, Component};
use ephemerd_lab::{Lab, PATIENCE, Prosody, ProsodyConfig, Result, Server as _, Usage};
use tokio::time::Instant;

/// Every nth message is marked; 0 for none.
const MIXES: [(usize, &str); 2] = [(0, "none marked"), (20, "5% marked")];

/// A Prosody and two people who talk through it; with the module there is also a component.
struct Side {
    lab: Lab<Prosody>,
    sender: Client,
    receiver: Client,
    component: Option<Component>,
}

/// One round: messages per second, and microseconds of processor time per message.
type Round = (f64, f64);

impl Side {
    async fn start(with_module: bool) -> Result<Self> {
        let config = ProsodyConfig {
            archive_item_limit: Some(10_000_000), // otherwise this would measure making room
            log_level: "warn".to_owned(),
            companion: with_module,
            ..ProsodyConfig::default().storage_in(Storage::Files)
        };
        let lab = Lab::prosody_with(&config).await?;
        let component = match with_module {
            true => Some(Component::connect(lab.endpoints()).await?),
            false => None,
        };
        let (sender, receiver) = (lab.online("peter").await?, lab.online("rosa").await?);
        Ok(Self { lab, sender, receiver, component })
    }

    async fn round(&mut self, messages: usize, marked_every: usize) -> Result<Round> {
        let text: String = (0..messages).map(|nr| message(nr, marked_every)).collect();
        let last = (messages - 1).to_string();
        let before = self.cpu().await?;
        let started = Instant::now();
        let (sent, received) = tokio::join!(
            self.sender.send(&text),
            self.receiver.wait_for("the last", PATIENCE, |it| it.attribute("id") == Some(&last)),
        );
        sent.and(received.map(drop))?;
        let seconds = started.elapsed().as_secs_f64();
        let cpu = self.cpu().await? - before;
        self.receiver.take(|_| true);
        if let Some(component) = &mut self.component {
            component.sync("localhost").await?;
            let notices = component.take(|it| it.name == "message").len();
            let marked = if marked_every == 0 { 0 } else { messages.div_ceil(marked_every) };
            assert_eq!(notices, marked * 2, "both archives are announced");
        }
        let messages = messages as f64;
        Ok((messages / seconds, cpu * 1e6 / messages))
    }

    /// Processor time so far, in seconds.
    async fn cpu(&self) -> Result<f64> {
        let pid = self.lab.server.pid().await.unwrap_or_default();
        Ok(Usage::of(pid)?.cpu.as_secs_f64())
    }
}

fn message(nr: usize, marked_every: usize) -> String {
    let is_marked = marked_every > 0 && nr.is_multiple_of(marked_every);
    let extra = if is_marked { "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>" } else { "" };
    format!(
        "<message to='rosa@localhost' type='chat' id='{nr}'><body>Number {nr} of many that say nothing \
         much, but are about as long as people's messages are</body>{extra}</message>"
    )
}

/// The median and the middle half.
fn summary(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |share: usize| values.get(values.len() * share / 4).copied().unwrap_or(f64::NAN);
    (at(2), at(1), at(3))
}

async fn run(rounds: usize, messages: usize) -> Result<()> {
    let mut sides = [Side::start(false).await?, Side::start(true).await?];
    println!("Prosody with archives in files, {rounds} rounds of {messages} messages each:");
    for (marked_every, name) in MIXES {
        let mut measured: [Vec<Round>; 2] = Default::default();
        for round in 0..=rounds {
            // The sides take turns in going first; the first round only warms up.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for index in order {
                if let (Some(side), Some(rounds)) = (sides.get_mut(index), measured.get_mut(index))
                {
                    let measured = side.round(messages, marked_every).await?;
                    rounds.extend((round > 0).then_some(measured));
                }
            }
        }
        let [without, with] = measured;
        for (what, of) in [("messages/s", 0), ("µs of CPU per message", 1)] {
            let pick = |rounds: &[Round]| {
                summary(rounds.iter().map(|it| if of == 0 { it.0 } else { it.1 }).collect())
            };
            let pairs = without.iter().zip(&with);
            let ratios = pairs.map(|(a, b)| if of == 0 { b.0 / a.0 } else { b.1 / a.1 });
            let ratio = summary(ratios.collect());
            let (without, with) = (pick(&without), pick(&with));
            println!(
                "{name:12} {what:22} without {:.0} ({:.0} to {:.0}), with {:.0} ({:.0} to {:.0})",
                without.0, without.1, without.2, with.0, with.1, with.2
            );
            println!("{:35} ratio of pairs {:.3} ({:.3} to {:.3})", "", ratio.0, ratio.1, ratio.2);
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|it| it.parse().ok());
    let (rounds, messages) = (args.next().unwrap_or(Some(20)), args.next().unwrap_or(Some(500)));
    let (Some(rounds), Some(messages @ 1..)) = (rounds, messages) else {
        println!("companion_cost [ROUNDS] [MESSAGES]: two numbers");
        return ExitCode::from(2);
    };
    match run(rounds, messages).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
