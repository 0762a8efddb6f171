//! Servers that become newer under a running daemon: what was recorded before goes after, what was not marked stays, and what is said then
//! goes too. `./dev test --versions`; its roots are made by tests/roots.sh.

use std::path::Path;
use std::time::Duration;

use ephemerd_lab::ejabberd::{self, EjabberdConfig};
use ephemerd_lab::prosody::{ProsodyConfig, Storage};
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{
    Daemon, DaemonConfig, Lab, PATIENCE, Postgres, PostgresConfig, Release, Result, Server,
    eventually,
};
use std::sync::Arc;

const OLD: &str = "bookworm";
const NEW: &str = "unstable";
/// The timer of what is said before, in seconds: longer than a server takes to come back.
const LONG: u32 = 40;
const SHORT: u32 = 3;
/// Servers that have just started are slow, and so are clients that wait for them.
const LATEST: Duration = Duration::from_secs(90);

async fn start(config: &DaemonConfig) -> Result<Daemon> {
    let config = config.clone().set("archive.poll", "200ms");
    Daemon::start(Path::new(env!("CARGO_BIN_EXE_ephemerd")), &config).await
}

/// Peter says this to Rosa, marked, and something else that nobody marked.
async fn say<S: Server>(lab: &Lab<S>, word: &str, timer: u32) -> Result<()> {
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    let timer = format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{timer}'/>");
    let to = lab.endpoints().jid("rosa");
    peter.chat(&to, &format!("kept-{word}"), "").await?;
    peter.chat(&to, &format!("goes-{word}"), &timer).await?;
    rosa.wait_for_body(&format!("goes-{word}")).await?;
    peter.close().await?;
    rosa.close().await
}

/// How many messages of both archives say this.
async fn said<S: Server>(lab: &Lab<S>, word: &str) -> Result<usize> {
    let mut count = 0;
    for user in ["peter", "rosa"] {
        let items = lab.archive(user, &MamQuery::default()).await?;
        count += items.iter().filter(|it| it.xml.contains(word)).count();
    }
    Ok(count)
}

async fn until_gone<S: Server>(lab: &Lab<S>, word: &str) -> Result<()> {
    let gone = async || Ok((said(lab, word).await? == 0).then_some(()));
    eventually(&format!("{word} is gone"), LATEST, gone).await
}

/// Before: one message that waits for its timer. The database knows of both copies.
async fn before<S: Server>(lab: &Lab<S>) -> Result<()> {
    say(lab, "before", LONG).await?;
    eventually("both copies are recorded", PATIENCE, async || {
        let recorded: i64 = sqlx::query_scalar("SELECT count(*) FROM ephemerd.expiries")
            .fetch_one(lab.database.superuser())
            .await?;
        Ok((recorded == 2).then_some(()))
    })
    .await
}

async fn after<S: Server>(lab: &Lab<S>, daemon: &Daemon) -> Result<()> {
    say(lab, "after", SHORT).await?;
    until_gone(lab, "goes-after").await?;
    until_gone(lab, "goes-before").await?;
    assert_eq!((said(lab, "kept-before").await?, said(lab, "kept-after").await?), (2, 2));
    let figures = daemon.figures().await?;
    assert_eq!(figures.get("ephemerd_erase_failures_total", &[]), Some(0.0));
    Ok(())
}

async fn prosody(storage: Storage) -> Result<()> {
    let release = Release::of(OLD);
    let config = ProsodyConfig { release, ..ProsodyConfig::default() };
    let mut lab = Lab::prosody_with(&config.storage_in(storage).with_companion()).await?;
    let config = lab.daemon_config();
    let daemon = match storage {
        Storage::Postgres => start(&config).await?,
        Storage::Sqlite | Storage::Files => start(&config.set("archive.kind", "component")).await?,
    };
    before(&lab).await?;
    lab.server.upgrade(&Release::of(NEW)).await?;
    after(&lab, &daemon).await
}

async fn ejabberd(storage: ejabberd::Storage) -> Result<()> {
    let config = EjabberdConfig {
        release: Release::of(OLD),
        storage,
        companion: true,
        ..EjabberdConfig::default()
    };
    let mut lab = Lab::ejabberd(&config).await?;
    let config = lab.daemon_config();
    let daemon = match storage {
        ejabberd::Storage::Sql => start(&config).await?,
        ejabberd::Storage::Mnesia => start(&config.set("archive.kind", "component")).await?,
    };
    before(&lab).await?;
    lab.server.upgrade(&Release::of(NEW)).await?;
    after(&lab, &daemon).await
}

#[tokio::test(flavor = "multi_thread")]
async fn prosody_becomes_newer() -> Result<()> {
    tokio::try_join!(
        prosody(Storage::Postgres),
        prosody(Storage::Files),
        prosody(Storage::Sqlite)
    )?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ejabberd_becomes_newer() -> Result<()> {
    tokio::try_join!(ejabberd(ejabberd::Storage::Sql), ejabberd(ejabberd::Storage::Mnesia))?;
    Ok(())
}

/// By a dump of all, as most small servers are upgraded.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_becomes_newer() -> Result<()> {
    let config = PostgresConfig { release: Release::of(OLD), ..PostgresConfig::default() };
    let old = Arc::new(Postgres::start(config).await?);
    let lab = Lab::prosody_on(Arc::clone(&old), &ProsodyConfig::default()).await?;
    let daemon = start(&lab.daemon_config()).await?;
    before(&lab).await?;
    // Prosody would go on writing into what has been dumped.
    lab.server.stop().await?;
    let new = old.succeeded_by(&Release::of(NEW)).await?;
    lab.server.resume().await?;
    after(&lab, &daemon).await?;
    new.stop().await
}
