//! A private cluster as operators of large servers run it: three PostgreSQL servers under Patroni, with etcd and HAProxy.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use tempfile::TempDir;

use crate::launch::{Launch, give};
use crate::process::Process;
use crate::slot::Slot;
use crate::{
    Gate, LabError, PATIENCE, Postgres, Release, Result, eventually, free_address, http, scratch,
};

const NODES: usize = 3;

/// How long Patroni's lock in etcd outlives its holder, in seconds: the shortest that Patroni allows.
pub const TTL_SECONDS: u64 = 20;

/// A cluster takes this long to elect, rewind or copy at most.
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

/// Patroni, etcd and HAProxy of a release, with three servers of its PostgreSQL on loopback; all stopped and removed when
/// dropped. Only root can start it: the release is another Debian's root.
pub struct Patroni {
    nodes: Vec<Node>,
    proxied: Arc<Postgres>,
    release: Release,
    user: Option<User>,
    // In the order in which they end: the nodes before what they need.
    _proxy: Process,
    _etcd: Process,
    _folder: TempDir,
}

/// One server and its Patroni.
struct Node {
    name: String,
    folder: PathBuf,
    server: SocketAddr,
    api: SocketAddr,
    /// Its way to etcd.
    to_etcd: Gate,
    /// The other servers' way to this one.
    replication: Gate,
    agent: Slot,
}

impl Patroni {
    /// Starts everything, and waits for a leader with two standbys that stream from it.
    pub async fn start(release: &Release) -> Result<Self> {
        let (folder, release) = (scratch::folder("patroni")?, release.clone());
        let user = release.service_user("postgres", "postgresql")?;
        give(folder.path(), user.as_ref())?;
        let (etcd, at) = etcd(&release, user.as_ref(), folder.path()).await?;
        let address = free_address()?;
        let proxied = Arc::new(Postgres::elsewhere(&release, address)?);
        let mut nodes = Vec::new();
        for number in 1..=NODES {
            let folder = folder.path().join(format!("node{number}"));
            fs::create_dir(&folder)?;
            give(&folder, user.as_ref())?;
            let (server, api) = (free_address()?, free_address()?);
            let (to_etcd, replication) = (Gate::to(at).await?, Gate::to(server).await?);
            let (name, agent) = (format!("node{number}"), Slot::default());
            nodes.push(Node { name, folder, server, api, to_etcd, replication, agent });
        }
        for node in &nodes {
            let config = node.config(&release, proxied.password())?;
            fs::write(node.folder.join("patroni.yml"), config)?;
        }
        let proxy = haproxy(&release, user.as_ref(), folder.path(), address, &nodes)?;
        let (_proxy, _etcd, _folder) = (proxy, etcd, folder);
        let cluster = Self { nodes, proxied, release, user, _proxy, _etcd, _folder };
        for at in 0..NODES {
            cluster.resume(at).await?;
        }
        cluster.settled().await?;
        cluster.proxied.create_server_role().await?;
        Ok(cluster)
    }

    /// The cluster as HAProxy shows it: whoever leads. It is neither started nor stopped by this handle.
    pub fn proxied(&self) -> &Arc<Postgres> {
        &self.proxied
    }

    /// The servers' own addresses.
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.server).collect()
    }

    /// All nodes that say that they lead, by position.
    pub async fn leaders(&self) -> Vec<usize> {
        let mut leaders = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            if node.answers("/primary").await {
                leaders.push(at);
            }
        }
        leaders
    }

    /// Waits for one leader with two standbys that stream from it, and for HAProxy to pass connections on.
    pub async fn settled(&self) -> Result<usize> {
        eventually("one leads and two follow", SETTLES_WITHIN, async || {
            let [leader] = self.leaders().await[..] else { return Ok(None) };
            let Some(node) = self.nodes.get(leader) else { return Ok(None) };
            let cluster = http::get(node.api, "/cluster").await.map(|it| it.body);
            let streaming = cluster.unwrap_or_default().matches(r#""state": "streaming""#).count();
            let passes = self.proxied.execute("SELECT 1").await.is_ok();
            Ok((streaming + 1 == NODES && passes).then_some(leader))
        })
        .await
    }

    /// Asks the leader to hand over, as before maintenance.
    pub async fn switch_over(&self) -> Result<()> {
        let [leader] = self.leaders().await[..] else { return Err(LabError::new("none leads")) };
        let node = self.node(leader)?;
        let asked = format!(r#"{{"leader": "{}"}}"#, node.name);
        let answer = http::post(node.api, "/switchover", &asked, PATIENCE).await?;
        match answer.status {
            200 | 202 => Ok(()),
            status => Err(LabError::new(format!("switchover: {status} {}", answer.body))),
        }
    }

    /// Kills a node's Patroni and its server at once, as when a machine fails.
    pub async fn kill(&self, at: usize) -> Result<()> {
        let node = self.node(at)?;
        let agent = node.agent.take().await;
        let agent = agent.ok_or_else(|| LabError::new("this node is down already"))?;
        agent.kill().await?;
        node.end_server(Signal::SIGKILL);
        Ok(())
    }

    /// Starts a node's Patroni, which starts its server.
    pub async fn resume(&self, at: usize) -> Result<()> {
        let node = self.node(at)?;
        let launch = Launch::new("Patroni", "/usr/bin/patroni", Signal::SIGTERM)
            .of(&self.release)
            .death(Signal::SIGTERM) // so that it ends its server
            .user(self.user.as_ref())
            .args([node.folder.join("patroni.yml")]);
        let answers = async || node.answers("/liveness").await;
        node.agent.fill(launch, &node.folder.join("log"), PATIENCE, answers).await
    }

    /// From now on this node does not reach etcd.
    pub fn cut_off(&self, at: usize) -> Result<()> {
        self.node(at).map(|node| node.to_etcd.freeze())
    }

    /// From now on the other nodes receive nothing from this one.
    pub fn hold_back(&self, at: usize) -> Result<()> {
        self.node(at).map(|node| node.replication.freeze())
    }

    /// Undoes [`Patroni::cut_off`] and [`Patroni::hold_back`].
    pub fn reconnect(&self) {
        for node in &self.nodes {
            node.to_etcd.reopen();
            node.replication.reopen();
        }
    }

    /// The end of each node's log, for messages of failed tests.
    pub fn last_words(&self) -> String {
        let end = |node: &Node| {
            let log = fs::read_to_string(node.folder.join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(8).collect();
            format!("{}: {}\n", node.name, lines.join("\n    "))
        };
        self.nodes.iter().map(end).collect()
    }

    fn node(&self, at: usize) -> Result<&Node> {
        self.nodes.get(at).ok_or_else(|| LabError::new("there is no such node"))
    }
}

impl Node {
    async fn answers(&self, path: &str) -> bool {
        http::get(self.api, path).await.is_ok_and(|answer| answer.status == 200)
    }

    /// Ends the server itself if Patroni cannot: after a kill, and when a test panics.
    fn end_server(&self, signal: Signal) {
        let data = self.folder.join("data");
        let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let Some(pid) = file.lines().next().and_then(|line| line.parse().ok()) else { return };
        // The file may be older than the process that has its number now.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(data.to_string_lossy().as_ref()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn config(&self, release: &Release, password: &str) -> Result<String> {
        let (bin, folder) = (release.postgres_programs()?, self.folder.display());
        let (name, api, server) = (&self.name, self.api, self.server);
        let (etcd, seen) = (self.to_etcd.address(), self.replication.address());
        let authentication: String =
            ["superuser: postgres", "replication: replicator", "rewind: rewinder"]
                .iter()
                .filter_map(|it| it.split_once(": "))
                .map(|(role, user)| {
                    format!("    {role}: {{username: {user}, password: '{password}'}}\n")
                })
                .collect();
        Ok(format!(
            "scope: lab\nname: {name}\n\
             restapi: {{listen: '{api}', connect_address: '{api}'}}\n\
             etcd3: {{hosts: ['{etcd}'], use_proxies: true}}\n\
             bootstrap:\n  dcs:\n    ttl: {TTL_SECONDS}\n    loop_wait: 2\n    retry_timeout: 5\n\
             \x20   maximum_lag_on_failover: 104857600\n\
             \x20   postgresql: {{use_pg_rewind: true, remove_data_directory_on_diverged_timelines: true}}\n\
             \x20 initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}, data-checksums]\n\
             postgresql:\n  listen: '{server}'\n  connect_address: '{seen}'\n  data_dir: {folder}/data\n\
             \x20 bin_dir: {}\n  pgpass: {folder}/pgpass\n  authentication:\n{authentication}\
             \x20 parameters: {{unix_socket_directories: '{folder}', fsync: 'off', max_connections: 60, wal_log_hints: 'on'}}\n\
             \x20 pg_hba: ['local all all trust', 'host all all 127.0.0.1/32 scram-sha-256', 'host replication all 127.0.0.1/32 scram-sha-256']\n",
            bin.display()
        ))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end_server(Signal::SIGQUIT);
    }
}

async fn etcd(
    release: &Release,
    user: Option<&User>,
    folder: &Path,
) -> Result<(Process, SocketAddr)> {
    let (client, peer) = (free_address()?, free_address()?);
    let [at, by] = [client, peer].map(|it| format!("http://{it}"));
    let process = Launch::new("etcd", "/usr/bin/etcd", Signal::SIGTERM)
        .of(release)
        .user(user)
        .args(["--data-dir".as_ref(), folder.join("etcd").as_os_str()])
        .args(["--unsafe-no-fsync", "--listen-client-urls", &at, "--advertise-client-urls", &at])
        .args(["--listen-peer-urls", &by, "--initial-advertise-peer-urls", &by])
        .args(["--initial-cluster", &format!("default={by}")])
        .spawn(&folder.join("etcd.log"))?;
    eventually("etcd answers", PATIENCE, async || match process.ended() {
        Some(_) => Err(process.complain("ended at its start")),
        None => Ok(http::get(client, "/health").await.ok().filter(|it| it.status == 200)),
    })
    .await?;
    Ok((process, client))
}

/// As Patroni's own template for HAProxy has it.
fn haproxy(
    release: &Release,
    user: Option<&User>,
    folder: &Path,
    address: SocketAddr,
    nodes: &[Node],
) -> Result<Process> {
    let servers: String = nodes
        .iter()
        .map(|it| format!("    server {} {} check port {}\n", it.name, it.server, it.api.port()))
        .collect();
    let config = format!(
        "global\n    maxconn 200\n\
         defaults\n    mode tcp\n    retries 2\n    timeout client 30m\n    timeout connect 4s\n    timeout server 30m\n    timeout check 5s\n\
         listen primary\n    bind {address}\n    option httpchk OPTIONS /primary\n    http-check expect status 200\n\
         \x20   default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions\n{servers}"
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, config)?;
    give(&file, user)?;
    Launch::new("HAProxy", "/usr/sbin/haproxy", Signal::SIGTERM)
        .of(release)
        .user(user)
        .args(["-db".as_ref(), "-f".as_ref(), file.as_os_str()])
        .spawn(&folder.join("haproxy.log"))
}
