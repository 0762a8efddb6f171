//! Several daemons on one database: they share the work, and one of them owns the component.

use std::time::Duration;

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{
    Daemon, DaemonConfig, Gate, Lab, PATIENCE, Prosody, ProsodyConfig, Result, Server as _, Signal,
    eventually,
};
use tokio::time::Instant;

use crate::reliability::saw;
use crate::support::{answered, archive_marked, gone, ping, refusals, seconds, start};

/// The design's limit for a takeover by another daemon is 10 s, which a unit test of its intervals holds. Here the machine may be busy.
/// Without a takeover these would wait for ever.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);

/// A Prosody with its archives elsewhere, so that it does not depend on the database.
struct House {
    lab: Lab,
    prosody: Prosody,
    client: Client,
}

impl House {
    async fn new() -> Result<Self> {
        let lab = Lab::database_only().await?;
        let files = ProsodyConfig { storage: Storage::Files, ..ProsodyConfig::default() };
        let prosody = Prosody::start(&files, None).await?;
        prosody.register("rosa").await?;
        let mut client = Client::login(prosody.endpoints(), "rosa", "x").await?;
        client.send_presence().await?;
        Ok(Self { lab, prosody, client })
    }

    fn config(&self) -> DaemonConfig {
        DaemonConfig::for_server(&self.prosody, &self.lab.database)
    }

    fn component(&self) -> &str {
        &self.prosody.endpoints().component_jid
    }

    async fn answered(&mut self, within: Duration) -> Result<Duration> {
        let component = self.component().to_owned();
        answered(&mut self.client, &component, within).await
    }
}

async fn leads(daemon: &Daemon) -> Result<bool> {
    Ok(daemon.figures().await?.get("ephemerd_leader", &[]) == Some(1.0))
}

async fn connected(daemon: &Daemon) -> Result<bool> {
    Ok(daemon.figures().await?.get("ephemerd_component_connected", &[]) == Some(1.0))
}

async fn until_it_leads(daemon: &Daemon, within: Duration) -> Result<Duration> {
    let started = Instant::now();
    eventually("the other leads", within, async || Ok(leads(daemon).await?.then_some(()))).await?;
    Ok(started.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_takes_over_when_the_leader_is_killed() -> Result<()> {
    let mut house = House::new().await?;
    let first = start(&house.config()).await?;
    until_it_leads(&first, PATIENCE).await?;
    house.answered(PATIENCE).await?;
    let second = start(&house.config()).await?;
    assert!(!leads(&second).await? && !connected(&second).await?, "one leads at a time");

    let killed = Instant::now();
    first.kill().await?;
    house.answered(TAKEN_OVER_WITHIN).await?;
    let took = killed.elapsed();
    assert!(leads(&second).await?, "who answers leads");

    let third = start(&house.config()).await?;
    let stopped = Instant::now();
    assert!(second.terminate().await?.success());
    house.answered(TAKEN_OVER_WITHIN).await?;
    assert!(leads(&third).await?);
    let handed_over = stopped.elapsed();
    saw(
        "the leader is killed",
        "two daemons, SIGKILL to the one that leads; then a third, and SIGTERM",
        &format!(
            "a client's ping answered by the other {} after SIGKILL, {} after SIGTERM",
            seconds(took),
            seconds(handed_over)
        ),
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leads_when_the_leader_is_cut_off_from_the_database() -> Result<()> {
    let mut house = House::new().await?;
    let gate = Gate::to(house.lab.database.postgres().address()).await?;
    let url = format!("postgres://ephemerd@{}/{}", gate.address(), house.lab.database.name());
    let first = start(&house.config().set("database.url", url)).await?;
    until_it_leads(&first, PATIENCE).await?;
    house.answered(PATIENCE).await?;
    let second = start(&house.config()).await?;

    let cut_off = Instant::now();
    gate.freeze();
    eventually(
        "another leads, and the component answers meanwhile",
        TAKEN_OVER_WITHIN,
        async || {
            ping(&mut house.client, &house.prosody.endpoints().component_jid).await?;
            Ok(leads(&second).await?.then_some(()))
        },
    )
    .await?;
    let took = cut_off.elapsed();
    assert!(connected(&first).await?, "it keeps the component while it cannot ask");
    archive_marked(house.lab.database.superuser(), "meanwhile", 20).await?;
    let erased = gone(house.lab.database.superuser(), "meanwhile", PATIENCE).await?;

    let healed = Instant::now();
    gate.reopen();
    eventually("the component changes hands", PATIENCE, async || {
        Ok((!connected(&first).await? && connected(&second).await?).then_some(()))
    })
    .await?;
    house.answered(PATIENCE).await?;
    let changed_hands = healed.elapsed();
    assert!(!leads(&first).await? && leads(&second).await?);
    saw(
        "the leader is cut off from the database",
        "two daemons, the leader's connections to PostgreSQL fall silent, and are cut later",
        &format!(
            "the other holds the lock after {}; the component answered all the time; rows archived meanwhile gone {} after archiving; the component changed hands {} after the network was back",
            seconds(took),
            seconds(erased),
            seconds(changed_hands)
        ),
    );
    Ok(())
}

/// PostgreSQL ends its silent session, so the lock moves; but the XMPP server still has its connection, whose
/// name nobody else can take until the process ends or continues.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leader_loses_the_lock_and_gives_up_when_it_goes_on() -> Result<()> {
    let mut house = House::new().await?;
    let first = start(&house.config()).await?;
    until_it_leads(&first, PATIENCE).await?;
    house.answered(PATIENCE).await?;
    let second = start(&house.config()).await?;

    first.signal(Signal::SIGSTOP)?;
    let took = until_it_leads(&second, TAKEN_OVER_WITHIN).await?;
    archive_marked(house.lab.database.superuser(), "meanwhile", 20).await?;
    let erased = gone(house.lab.database.superuser(), "meanwhile", PATIENCE).await?;
    assert!(!connected(&second).await?, "the server holds the stopped one's connection");

    first.signal(Signal::SIGCONT)?;
    let went_on = Instant::now();
    eventually("the component changes hands", PATIENCE, async || {
        Ok((!connected(&first).await? && connected(&second).await?).then_some(()))
    })
    .await?;
    house.answered(PATIENCE).await?;
    saw(
        "the leader is stopped",
        "two daemons, SIGSTOP to the leader, later SIGCONT",
        &format!(
            "the other holds the lock after {}, and erases: rows gone {} after archiving; the XMPP server keeps the stopped one's connection, and pings wait, until it continues or is killed; {} after SIGCONT the component has changed hands",
            seconds(took),
            seconds(erased),
            seconds(went_on.elapsed())
        ),
    );
    Ok(())
}

/// The database itself records each erasing statement.
const AUDIT: &str = "
    CREATE TABLE audit (sort_id bigint);
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN INSERT INTO public.audit VALUES (OLD.sort_id); RETURN NULL; END $$;
    CREATE TRIGGER audit AFTER UPDATE OR DELETE ON prosodyarchive
       FOR EACH ROW EXECUTE FUNCTION audit();";

/// What all of them together have erased, recorded, and found marked.
async fn counted(daemons: &[Daemon]) -> Result<[f64; 3]> {
    let names = [
        ("ephemerd_erased_total", &[][..]),
        ("ephemerd_expiries_recorded_total", &[]),
        ("ephemerd_stanzas_inspected_total", &[("outcome", "marked")]),
    ];
    let mut sums = [0.0; 3];
    for daemon in daemons {
        let figures = daemon.figures().await?;
        for (sum, (name, labels)) in sums.iter_mut().zip(names) {
            *sum += figures.get(name, labels).unwrap_or_default();
        }
    }
    Ok(sums)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_daemons_share_the_work() -> Result<()> {
    const ROWS: usize = 2_000;
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    sqlx::raw_sql(AUDIT).execute(pool).await?;
    let config = DaemonConfig::for_database(&lab.database)?
        .set("archive.poll", "50ms")
        .set("erase.batch", 7);
    // All at once: they also migrate and create the cursor at the same time.
    let daemons = [(); 3].map(|()| Daemon::spawn(crate::support::program(), &config));
    let mut running = Vec::new();
    for daemon in daemons {
        running.push(daemon?);
    }
    for daemon in &running {
        daemon.wait_ready(PATIENCE).await?;
    }
    for part in 0..20 {
        archive_marked(pool, &format!("part{part}"), ROWS / 20).await?;
    }
    gone(pool, "<body>", PATIENCE).await?;
    let (touched, rows): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT sort_id) FROM audit")
            .fetch_one(pool)
            .await?;
    assert_eq!((touched, rows), (ROWS as i64, ROWS as i64), "each row is erased once");

    // Counted after the commits.
    eventually("all are counted", PATIENCE, async || {
        Ok(counted(&running).await?.iter().all(|sum| *sum >= ROWS as f64).then_some(()))
    })
    .await?;
    let sums = counted(&running).await?;
    let mut parts = Vec::new();
    for daemon in &running {
        let figures = daemon.figures().await?;
        parts.push(figures.get("ephemerd_erased_total", &[]).unwrap_or_default().to_string());
        assert_eq!(figures.get("ephemerd_already_gone_total", &[]), Some(0.0));
    }
    assert_eq!(refusals(&lab.database)?, [""; 0], "they keep out of each other's way");
    assert_eq!(sums, [ROWS as f64; 3], "erased, recorded and inspected are counted once");
    saw(
        "several daemons",
        "three daemons started at once on an empty database, batches of 7, 2,000 rows",
        &format!(
            "each row erased once by the database's own count; counters {} add up to it",
            parts.join(" + ")
        ),
    );
    Ok(())
}
