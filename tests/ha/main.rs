//! Failovers of a cluster of three PostgreSQL servers under Patroni, with etcd and HAProxy of Debian 13, while messages are archived
//! and erased. `./dev test --ha`; its root is made by tests/roots.sh. SCALING=write draws the table of docs/scaling.md.

mod writer;

use std::path::Path;
use std::time::Duration;

use ephemerd_lab::snapshot::PROSODY_ARCHIVES;
use ephemerd_lab::{
    Daemon, DaemonConfig, Lab, LabError, MARKED, PATIENCE, Patroni, Release, Result, Shadow,
    eventually,
};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use writer::{Archived, Writer};

/// How soon after the first insert that succeeds its message must go: 5 s, and its own timer of one.
const ERASED_WITHIN: Duration = Duration::from_secs(6);
/// A failover takes at most this long: Patroni's lock must expire, and HAProxy notice.
const FAILS_OVER_WITHIN: Duration = Duration::from_secs(90);
/// How long messages are archived before and after each.
const AROUND: Duration = Duration::from_secs(5);

/// What happens to the server that leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    SwitchedOver,
    Killed,
    CutOff,
    KilledAhead,
}

const FAULTS: [(Fault, &str); 4] = [
    (Fault::SwitchedOver, "a planned switchover"),
    (Fault::Killed, "the leader's machine fails"),
    (Fault::CutOff, "the leader is cut off from etcd"),
    (Fault::KilledAhead, "it fails, and the standbys lack its last transactions"),
];

/// What was seen in one failover.
struct Seen {
    what: &'static str,
    /// Nothing could be archived for this long.
    outage: Duration,
    /// Confirmed inserts that the new leader does not have.
    lost: usize,
    /// From the first insert on the new leader until its message was gone.
    erased: Duration,
    archived: i64,
}

/// The cluster, and the daemons beside it.
struct Scene {
    cluster: Patroni,
    lab: Lab,
    shadow: Shadow,
    /// One goes through HAProxy, one has all servers in its URL.
    daemons: [Daemon; 2],
}

macro_rules! ensure {
    ($holds:expr, $($seen:tt)+) => {
        if !$holds {
            return Err(LabError::new(format!($($seen)+)));
        }
    };
}

impl Scene {
    async fn set() -> Result<Self> {
        let cluster = Patroni::start(&Release::of("trixie")).await?;
        let lab = Lab::database_only_on(cluster.proxied().clone()).await?;
        let shadow = Shadow::cast(&lab.database, PROSODY_ARCHIVES).await?;
        let config = DaemonConfig::for_database(&lab.database)?;
        let servers: Vec<String> = cluster.servers().iter().map(ToString::to_string).collect();
        let (servers, name) = (servers.join(","), lab.database.name());
        let url = format!("postgres://ephemerd@{servers}/{name}?target_session_attrs=read-write");
        let program = Path::new(env!("CARGO_BIN_EXE_ephemerd"));
        let daemons = [
            Daemon::start(program, &config).await?,
            Daemon::start(program, &config.set("database.url", url)).await?,
        ];
        Ok(Self { cluster, lab, shadow, daemons })
    }

    fn port(&self, at: usize) -> Result<u16> {
        let servers = self.cluster.servers();
        servers.get(at).map(|it| it.port()).ok_or_else(|| LabError::new("no such server"))
    }

    /// Does this to the leader; returns once another one has taken over.
    async fn strike(&self, fault: Fault, leader: usize) -> Result<()> {
        match fault {
            Fault::SwitchedOver => self.cluster.switch_over().await,
            Fault::Killed => self.cluster.kill(leader).await,
            Fault::CutOff => self.cluster.cut_off(leader),
            Fault::KilledAhead => {
                self.cluster.hold_back(leader)?;
                // The daemons see this, too: numbers that will be given out again.
                sleep(AROUND).await;
                self.cluster.kill(leader).await
            }
        }
    }

    async fn fail_over(&self, (fault, what): (Fault, &'static str), first: i64) -> Result<Seen> {
        let leader = self.cluster.settled().await?;
        let old = self.port(leader)?;
        let writer = Writer::start(self.lab.database.server_url(), first);
        sleep(AROUND).await;
        self.strike(fault, leader).await?;
        let is_new = |it: &&Archived| it.server != old;
        let back = eventually("another server takes inserts", FAILS_OVER_WITHIN, async || {
            Ok(writer.archived().iter().find(is_new).copied())
        })
        .await?;
        let erased = self.erased_after(back).await?;
        if fault == Fault::KilledAhead {
            self.commits_late(back.server).await?;
        }
        sleep(AROUND).await;
        let archived = writer.stop().await;
        let before = archived.iter().filter(|it| !is_new(it)).map(|it| it.at).max();
        let outage = back.at - before.unwrap_or(back.at);
        self.cluster.reconnect();
        if matches!(fault, Fault::Killed | Fault::KilledAhead) {
            self.cluster.resume(leader).await?;
        }
        self.cluster.settled().await?;
        let (lost, count) = self.judge(&archived).await?;
        ensure!(fault != Fault::SwitchedOver || lost == 0, "{what}: {lost} inserts are lost");
        Ok(Seen { what, outage, lost, erased, archived: count })
    }

    async fn session(&self, server: u16) -> Result<PgConnection> {
        let servers = self.cluster.servers();
        let at = servers.iter().find(|it| it.port() == server);
        let at = at.ok_or_else(|| LabError::new("no such server"))?;
        let password = self.cluster.proxied().password();
        let name = self.lab.database.name();
        Ok(PgConnection::connect(&format!("postgres://postgres:{password}@{at}/{name}")).await?)
    }

    /// Until this message is gone from the new leader.
    async fn erased_after(&self, first: Archived) -> Result<Duration> {
        let mut session = self.session(first.server).await?;
        let key = format!("goes-{}", first.number);
        eventually("the first message goes", PATIENCE, async || {
            let stands =
                "SELECT count(*) FROM prosodyarchive WHERE key = $1 AND value LIKE '%<body>%'";
            let stands: i64 = sqlx::query_scalar(stands).bind(&key).fetch_one(&mut session).await?;
            Ok((stands == 0).then_some(()))
        })
        .await?;
        let took = first.at.elapsed();
        ensure!(took <= ERASED_WITHIN, "the first message took {took:?} to go");
        Ok(took)
    }

    /// A row that commits long after its number was drawn, on a server whose numbers and transactions began again: what was
    /// seen of the old one must not let the tail pass it.
    async fn commits_late(&self, server: u16) -> Result<()> {
        let mut session = self.session(server).await?;
        let mut late = session.begin().await?;
        let insert = r#"INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
            SELECT 'localhost', 'peter', 'archive', 'goes-late', floor(extract(epoch FROM clock_timestamp()))::bigint, '', 'xml',
                   '<message><body>late</body><ephemeral xmlns=''urn:xmpp:ephemeral:0'' timer=''1''/></message>'"#;
        sqlx::raw_sql(insert).execute(&mut *late).await?;
        sleep(AROUND * 2).await;
        late.commit().await?;
        Ok(())
    }

    /// All that is marked of what stands goes, nothing else does, and one daemon leads. Returns how many confirmed inserts are
    /// lost, and how many rows were compared.
    async fn judge(&self, archived: &[Archived]) -> Result<(usize, i64)> {
        let compared = || self.shadow.compare(&self.lab.database, MARKED);
        let standing = eventually("all that is marked goes", PATIENCE, async || {
            // A pool notices only by an error that its sessions were cut.
            Ok(compared().await.ok().filter(|it| it.marked_left == 0))
        })
        .await?;
        ensure!(standing.unmarked_harmed == 0, "unmarked rows were harmed: {standing:?}");
        ensure!(standing.early == 0, "rows went early: {standing:?}");
        let numbers: Vec<String> =
            archived.iter().map(|it| format!("stays-{}", it.number)).collect();
        let lost = "SELECT count(*) FROM unnest($1::text[]) AS said(key)
                     WHERE NOT EXISTS (SELECT FROM prosodyarchive AS a WHERE a.key = said.key)";
        let lost: i64 =
            sqlx::query_scalar(lost).bind(numbers).fetch_one(self.lab.database.superuser()).await?;
        ensure!(self.cluster.leaders().await.len() == 1, "several servers lead");
        eventually("both daemons are ready, and one leads", PATIENCE, async || {
            let mut leading = 0.0;
            for daemon in &self.daemons {
                daemon.wait_ready(PATIENCE).await?;
                leading += daemon.figures().await?.get("ephemerd_leader", &[]).unwrap_or(0.0);
            }
            Ok((leading == 1.0).then_some(()))
        })
        .await?;
        Ok((usize::try_from(lost).unwrap_or(usize::MAX), standing.archived))
    }
}

fn table(all: &[Seen]) -> String {
    let seconds = |it: Duration| format!("{:.1} s", it.as_secs_f64());
    let rows = all.iter().map(|it| {
        let lost = if it.lost == 0 { "none".to_owned() } else { it.lost.to_string() };
        format!("| {} | {} | {lost} | {} |\n", it.what, seconds(it.outage), seconds(it.erased))
    });
    let count = all.last().map_or(0, |it| it.archived);
    format!(
        "| what happens | nothing can be archived for | confirmed messages lost | the first message after that, timer 1 s, is gone after |\n\
         |---|---|---|---|\n{}\n\
         In the end the tables and their copies, made by triggers, were compared: {count} messages.\n\
         Each marked one was gone, each other one was there byte for byte, none had gone early,\n\
         one server led, both daemons were ready, and one of them led.\n",
        rows.collect::<String>()
    )
}

/// Prints the table; with SCALING=write it replaces the page's.
#[expect(clippy::print_stdout, reason = "this is what the suite is run for")]
fn tell(table: &str) -> Result<()> {
    println!("{table}");
    if std::env::var("SCALING").is_ok_and(|it| it == "write") {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scaling.md");
        let text = std::fs::read_to_string(&page)?;
        let missing = || LabError::new("docs/scaling.md has no place for the table");
        let (start, rest) = text.split_once("ha: begin -->\n").ok_or_else(missing)?;
        let (_, end) = rest.split_once("<!-- drawn by ./dev test --ha: end").ok_or_else(missing)?;
        let text = format!("{start}ha: begin -->\n{table}<!-- drawn by ./dev test --ha: end{end}");
        std::fs::write(&page, text)?;
    }
    Ok(())
}

/// Protects what operators of clusters are promised: a failover costs seconds, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn failovers_cost_seconds_and_nothing_else() -> Result<()> {
    let scene = Scene::set().await?;
    let mut all = Vec::new();
    let started = Instant::now();
    for (at, fault) in FAULTS.into_iter().enumerate() {
        let first = i64::try_from(at).unwrap_or_default() * 1_000_000;
        let seen = scene.fail_over(fault, first).await.map_err(|error| {
            let (after, words) = (started.elapsed(), scene.cluster.last_words());
            LabError::new(format!("{}, after {after:.0?}: {error}\n{words}", fault.1))
        });
        all.push(seen?);
    }
    for daemon in &scene.daemons {
        ensure!(daemon.terminate().await?.success(), "a daemon ended badly: {}", daemon.log()?);
    }
    tell(&table(&all))
}
