//! Archives that only the companion module can reach, while the daemon, its database, the server and the
//! connections break. Judged by what a client finds: there is no table to inspect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::ejabberd::{self, EjabberdConfig};
use ephemerd_lab::prosody::{ProsodyConfig, Storage};
use ephemerd_lab::reliability::note;
use ephemerd_lab::xmpp::{Element, MamItem, MamQuery};
use ephemerd_lab::{
    Daemon, DaemonConfig, Ejabberd, Gate, Lab, Load, PATIENCE, Postgres, PostgresConfig, Prosody,
    Result, Server, eventually,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use crate::ensure;
use crate::house::{program, seconds};
use crate::servers::torment;

const KILLS: u32 = 20;

/// What a client found in its archive: the unmarked messages by id.
#[derive(Default)]
struct Found {
    unmarked: BTreeMap<String, Element>,
    placeholders: usize,
    /// Bodies of marked messages that still exist.
    words: usize,
}

impl Found {
    async fn by<S: Server + 'static>(lab: &Lab<S>, user: &str) -> Result<Self> {
        let mut found = Self::default();
        for MamItem { id, xml, .. } in lab.archive(user, &MamQuery::default()).await? {
            if xml.contains("urn:ephemerd:0") {
                found.placeholders += 1;
            } else if xml.contains("urn:xmpp:ephemeral:0") {
                found.words += 1;
            } else {
                found.unmarked.insert(id, without_spans(Element::parse(&xml)?));
            }
        }
        Ok(found)
    }

    /// A killed Mnesia may come back without some data, even with neither module nor daemon.
    fn forget_what_is_missing(&mut self, now: &Self) {
        self.unmarked.retain(|id, _| now.unmarked.contains_key(id));
    }

    /// Everything unmarked that was found before is found now, unchanged.
    fn keeps(&self, before: &Self) -> bool {
        before.unmarked.iter().all(|(id, stanza)| self.unmarked.get(id) == Some(stanza))
    }
}

/// Prosody changes the order of attributes at each start.
fn without_spans(element: Element) -> Element {
    let children = element.children.into_iter().map(without_spans).collect();
    Element { span: 0..0, children, ..element }
}

/// Two people chat while everything breaks, one thing at a time.
async fn tormented<S: Server + 'static>(
    postgres: Arc<Postgres>,
    lab: Lab<S>,
    (faults, is_mnesia): (&[&str], bool),
    seed: u64,
) -> Result<String> {
    let lab = Arc::new(lab);
    let gate = Gate::to(lab.endpoints().components).await?;
    let config = lab
        .daemon_config()
        .set("archive.kind", "component")
        .set("component.server", gate.address().to_string());
    let mut random = StdRng::seed_from_u64(seed);
    let mut daemon = Some(Daemon::start(program(), &config).await?);
    let load = Load::chats(&lab, seed);
    let mut before = Found::default();
    for what in faults.iter().copied() {
        sleep(Duration::from_millis(random.random_range(2_000..4_000))).await;
        match what {
            "leased" | "asked" => {
                drop(daemon.take());
                let crashes = Daemon::spawn(program(), &config.clone().env("LAB_CRASH_AT", what))?;
                let ended = crashes.wait(PATIENCE * 3).await?;
                ensure!(ended.code().is_none(), "{what}: {ended}: {}", crashes.log()?);
            }
            "kills" => {
                drop(daemon.take());
                killed_often(&config, &mut random).await?;
            }
            "database" => {
                postgres.stop().await?;
                sleep(Duration::from_secs(5)).await;
                postgres.resume().await?;
            }
            of_the_server => torment(of_the_server, &lab.server, &gate).await?,
        }
        if daemon.is_none() {
            daemon = Some(Daemon::start(program(), &config).await?);
        }
        let now = chat_goes_on(&lab, &before).await?;
        if what == "kill" && is_mnesia {
            before.forget_what_is_missing(&now);
        }
        ensure!(now.keeps(&before), "{what}: unmarked messages were harmed");
        before = now;
    }
    let over = Instant::now();
    load.stop().await?;
    // A message that arrived just as she left waits in her queue, as it should, until she receives it.
    let _rosa = lab.online("rosa").await?;
    for user in ["rosa", "peter"] {
        eventually("all that is marked goes", PATIENCE * 6, async || {
            Ok((Found::by(&lab, user).await?.words == 0).then_some(()))
        })
        .await?;
    }
    let took = over.elapsed();
    let now = Found::by(&lab, "rosa").await?;
    ensure!(now.keeps(&before), "unmarked messages were harmed at the end");
    Ok(format!(
        "{} marked and {} unmarked messages at the end, all as they must be {} after",
        now.placeholders,
        now.unmarked.len(),
        seconds(took)
    ))
}

async fn killed_often(config: &DaemonConfig, random: &mut StdRng) -> Result<()> {
    for _ in 0..KILLS {
        let daemon = Daemon::spawn(program(), config)?;
        sleep(Duration::from_millis(random.random_range(50..2_000))).await;
        daemon.kill().await?;
    }
    Ok(())
}

/// Waits for new unmarked messages; returns what rosa finds then.
async fn chat_goes_on<S: Server + 'static>(lab: &Lab<S>, before: &Found) -> Result<Found> {
    eventually("people to chat again", PATIENCE * 3, async || {
        let Ok(now) = Found::by(lab, "rosa").await else { return Ok(None) };
        let new = now.unmarked.keys().filter(|id| !before.unmarked.contains_key(*id)).count();
        Ok((new >= 5).then_some(now))
    })
    .await
}

const FAULTS: [&str; 8] =
    ["leased", "asked", "kills", "restart", "kill", "cut", "frozen", "database"];

const DONE: &str = "two clients chat; only the module reaches the archives; the daemon dies after a lease and after an answer, and 20 times at random; the server is restarted, and killed for 3 s; the component's connection is cut, and freezes for 5 s; PostgreSQL is away for 5 s";

pub(crate) async fn prosodys_module_tormented(seed: u64) -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let mut config = ProsodyConfig::default().storage_in(Storage::Files).with_companion();
    // Otherwise it would keep the silent connection for as long as TCP does, and refuse the next one.
    config.globals.push("component_conflict_resolve = \"kick_old\"".to_owned());
    let lab: Lab<Prosody> = Lab::prosody_on(Arc::clone(&postgres), &config).await?;
    let faults = [&FAULTS[..], &["silent"]].concat();
    let seen = tormented(postgres, lab, (&faults, false), seed).await?;
    note(
        "Prosody's module tormented",
        &format!("{DONE}; then the connection falls silent for ever"),
        &seen,
    )
}

pub(crate) async fn ejabberds_module_tormented(seed: u64) -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let storage = ejabberd::Storage::Mnesia;
    let config = EjabberdConfig { storage, companion: true, ..EjabberdConfig::default() };
    let lab: Lab<Ejabberd> = Lab::ejabberd_on(Arc::clone(&postgres), &config).await?;
    let done = format!("{DONE} (what Mnesia itself loses when it is killed does not count)");
    note(
        "ejabberd's module tormented",
        &done,
        &tormented(postgres, lab, (&FAULTS, true), seed).await?,
    )
}
