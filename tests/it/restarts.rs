//! Servers come and go: the daemon copes.

use std::sync::Arc;
use std::time::Duration;

use ephemerd::database::{self, Named as _};
use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{
    Daemon, DaemonConfig, Gate, Lab, PATIENCE, Postgres, PostgresConfig, Prosody, ProsodyConfig,
    Result, Server as _, eventually,
};
use tokio::time::Instant;

use crate::reliability::saw;
use crate::support::{answered, archive_marked, gone, ping, program, seconds, standing, start};

/// Longer than any connection timeout.
const AWAY: Duration = Duration::from_secs(8);

/// Prosody with its archives in files, so that it does not depend on the database.
async fn prosody() -> Result<Prosody> {
    let files = ProsodyConfig { storage: Storage::Files, ..ProsodyConfig::default() };
    let prosody = Prosody::start(&files, None).await?;
    prosody.register("rosa").await?;
    Ok(prosody)
}

async fn client(prosody: &Prosody) -> Result<Client> {
    Client::login(prosody.endpoints(), "rosa", "x").await
}

#[tokio::test(flavor = "multi_thread")]
async fn prosody_comes_and_goes() -> Result<()> {
    let (lab, prosody) = (Lab::database_only().await?, prosody().await?);
    let component = prosody.endpoints().component_jid.clone();
    let daemon = start(&DaemonConfig::for_server(&prosody, &lab.database)).await?;
    answered(&mut client(&prosody).await?, &component, PATIENCE).await?;
    let mut back = Vec::new();
    for how in ["stop", "kill"] {
        match how {
            "stop" => prosody.stop().await?,
            _ => prosody.kill().await?,
        }
        archive_marked(lab.database.superuser(), how, 10).await?;
        gone(lab.database.superuser(), how, PATIENCE).await?;
        prosody.resume().await?;
        let resumed = Instant::now();
        answered(&mut client(&prosody).await?, &component, PATIENCE).await?;
        back.push(seconds(resumed.elapsed()));
    }
    assert!(daemon.get("/readyz").await?.status == 200);
    saw(
        "Prosody restarts",
        "Prosody stopped and started, then killed and started; rows fall due meanwhile",
        &format!(
            "they go on time; a client's ping is answered {} after the first start, {} after the second",
            back[0], back[1]
        ),
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_comes_and_goes() -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::database_only_on(Arc::clone(&postgres)).await?;
    let (prosody, pool) = (prosody().await?, lab.database.superuser());
    let component = prosody.endpoints().component_jid.clone();
    let daemon = start(&DaemonConfig::for_server(&prosody, &lab.database)).await?;
    let mut client = client(&prosody).await?;
    answered(&mut client, &component, PATIENCE).await?;

    archive_marked(pool, "away", 50).await?;
    postgres.stop().await?;
    let (since, mut pings) = (Instant::now(), 0);
    while since.elapsed() < AWAY {
        ping(&mut client, &component).await?;
        pings += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(daemon.get("/readyz").await?.status, 503);
    assert_eq!(daemon.get("/healthz").await?.status, 200);
    let overdue = daemon.figures().await?;
    assert_eq!(overdue.get("ephemerd_leader", &[]), Some(1.0), "it is kept while nobody can ask");
    postgres.resume().await?;
    let took = gone(pool, "away", PATIENCE).await?;
    daemon.wait_ready(PATIENCE).await?;

    archive_marked(pool, "crash", 50).await?;
    postgres.kill().await?;
    postgres.resume().await?;
    let crashed = gone(pool, "crash", PATIENCE).await?;
    ping(&mut client, &component).await?;
    let figures = daemon.figures().await?;
    assert_eq!(figures.get("ephemerd_component_reconnects_total", &[]), Some(0.0));
    saw(
        "PostgreSQL is away",
        "PostgreSQL stopped for 8 s while rows fall due; later killed and started at once",
        &format!(
            "{pings} pings answered while it was away, no reconnect, not ready; overdue rows gone {} after its start, {} after its crash",
            seconds(took),
            seconds(crashed)
        ),
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_may_come_first() -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::database_only_on(Arc::clone(&postgres)).await?;
    let prosody = prosody().await?;
    postgres.stop().await?;
    prosody.stop().await?;
    let config = DaemonConfig::for_server(&prosody, &lab.database);
    let daemon = Daemon::spawn(program(), &config)?;
    eventually("its pages", PATIENCE, async || Ok(daemon.get("/healthz").await.ok())).await?;
    tokio::time::sleep(AWAY).await;
    assert_eq!(daemon.get("/readyz").await?.status, 503);
    prosody.resume().await?;
    postgres.resume().await?;
    let started = Instant::now();
    daemon.wait_ready(PATIENCE).await?;
    let ready = started.elapsed();
    let component = prosody.endpoints().component_jid.clone();
    answered(&mut client(&prosody).await?, &component, PATIENCE).await?;
    let connected = started.elapsed();
    archive_marked(lab.database.superuser(), "first", 10).await?;
    gone(lab.database.superuser(), "first", PATIENCE).await?;
    assert_eq!(standing(lab.database.superuser(), "urn:ephemerd:0").await?, 10);
    assert!(daemon.terminate().await?.success());
    saw(
        "the daemon starts first",
        "the daemon started 8 s before PostgreSQL and Prosody",
        &format!(
            "alive and not ready; ready {} and answering {} after they were up, and rows go",
            seconds(ready),
            seconds(connected)
        ),
    );
    Ok(())
}

/// A firewall may forget connections: they stay open, and nothing arrives any more. Each wait of ours ends,
/// and a connection that waited in vain does not take the place of a new one.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_stay_silent_are_given_up() -> Result<()> {
    let lab = Lab::database_only().await?;
    let gate = Gate::to(lab.database.postgres().address()).await?;
    let url = lab.database.daemon_url();
    let url =
        url.replace(&lab.database.postgres().address().to_string(), &gate.address().to_string());
    let pool = database::DatabaseSettings::new(vec![url.parse()?]).pool();
    let ask = async |seconds: f64| {
        database::in_time("ask", Duration::from_secs(3), async {
            let mut transaction = pool.begin().await.named("begin")?;
            let sleep = sqlx::query("SELECT pg_sleep($1)").bind(seconds);
            sleep.execute(&mut *transaction).await.named("sleep").map(drop)
        })
        .await
    };
    ask(0.0).await.expect("there is a way to the database");
    // All connections are in use.
    let all = async { tokio::join!(ask(5.0), ask(5.0), ask(5.0), ask(5.0), ask(5.0), ask(5.0)) };
    let silence = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.freeze();
    };
    let (all, ()) = tokio::join!(all, silence);
    assert!(all.0.is_err() && all.5.is_err(), "they are silent");
    gate.forget();
    let since = Instant::now();
    eventually("a new connection", PATIENCE, async || Ok(ask(0.0).await.ok())).await?;
    saw(
        "connections fall silent for ever",
        "all connections of the pool fall silent in the middle of a statement; new ones work",
        &format!("given up; a new connection serves after {}", seconds(since.elapsed())),
    );
    Ok(())
}
