//! A private PostgreSQL.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use rand::RngExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};

use crate::launch::{Launch, give};
use crate::slot::Slot;
use crate::{LabError, Release, Result, free_address, scratch};

/// The role that the XMPP servers use and that owns their databases.
pub const SERVER_ROLE: &str = "prosody";
/// The role that `deploy/grants.sql` creates and the daemon uses.
pub const DAEMON_ROLE: &str = "ephemerd";

const SUPERUSER: &str = "postgres";
const START_WITHIN: Duration = Duration::from_secs(30);

/// How a private PostgreSQL is set up.
#[derive(Debug, Clone, Default)]
pub struct PostgresConfig {
    /// Whose PostgreSQL.
    pub release: Release,
    /// `fsync`: off by default, since a lab's data need not outlive a power cut.
    pub fsync: bool,
    /// More lines for `postgresql.conf`, for example `log_statement = 'all'`.
    pub settings: Vec<String>,
    /// Its data is on a volume of this many MiB, in memory. Only root can mount one.
    pub volume_mib: Option<u32>,
}

/// A private PostgreSQL from Debian's packages on loopback, stopped and removed when dropped. It asks for
/// passwords (SCRAM) as a real one does.
pub struct Postgres {
    release: Release,
    bin: PathBuf,
    user: Option<User>,
    address: SocketAddr,
    password: String,
    slot: Slot,
    // Roles belong to the whole server: parallel tests must not create one at the same time.
    roles: Mutex<()>,
    // Dropped last: the server must have stopped before its folder is removed.
    volume: Option<Volume>,
    folder: TempDir,
}

static SHARED: OnceCell<Arc<Postgres>> = OnceCell::const_new();

impl Postgres {
    /// One PostgreSQL for all tests of this process; it ends with the process.
    pub async fn shared() -> Result<Arc<Self>> {
        let start = async || Self::start(PostgresConfig::default()).await.map(Arc::new);
        SHARED.get_or_try_init(start).await.cloned()
    }

    /// A PostgreSQL of its own, for tests that stop it or need other settings.
    pub async fn start(config: PostgresConfig) -> Result<Self> {
        let folder = scratch::folder("postgres")?;
        let volume = match config.volume_mib {
            Some(mib) => Some(Volume::mount(folder.path().join("volume"), mib).await?),
            None => None,
        };
        let postgres = Self {
            release: config.release.clone(),
            bin: config.release.postgres_programs()?,
            user: config.release.service_user("postgres", "postgresql")?,
            address: free_address()?,
            password: format!("{:032x}", rand::rng().random::<u128>()),
            slot: Slot::default(),
            roles: Mutex::new(()),
            volume,
            folder,
        };
        postgres.initdb(&config).await?;
        postgres.resume().await?;
        postgres.create_server_role().await?;
        Ok(postgres)
    }

    /// A server that somebody else starts and stops, at this address, with a new password for its roles.
    pub(crate) fn elsewhere(release: &Release, address: SocketAddr) -> Result<Self> {
        Ok(Self {
            release: release.clone(),
            bin: release.postgres_programs()?,
            user: release.service_user("postgres", "postgresql")?,
            address,
            password: format!("{:032x}", rand::rng().random::<u128>()),
            slot: Slot::default(),
            roles: Mutex::new(()),
            volume: None,
            folder: scratch::folder("postgres")?,
        })
    }

    pub(crate) async fn create_server_role(&self) -> Result<()> {
        let password = &self.password;
        let role = format!("CREATE ROLE {SERVER_ROLE} LOGIN PASSWORD '{password}'");
        self.execute(&role).await
    }

    /// A hot standby of this server, which is read-only until [`Postgres::promote`].
    pub async fn standby(&self) -> Result<Self> {
        let standby = Self {
            release: self.release.clone(),
            bin: self.bin.clone(),
            user: self.user.clone(),
            address: free_address()?,
            password: self.password.clone(),
            slot: Slot::default(),
            roles: Mutex::new(()),
            volume: None,
            folder: scratch::folder("standby")?,
        };
        give(standby.folder.path(), standby.user.as_ref())?;
        Launch::new("pg_basebackup", self.bin.join("pg_basebackup"), Signal::SIGTERM)
            .of(&self.release)
            .user(self.user.as_ref())
            .env("PGPASSWORD", &self.password)
            .args(["--host", "127.0.0.1", "--port", &self.address.port().to_string()])
            .args([
                "--username",
                SUPERUSER,
                "--checkpoint=fast",
                "--no-sync",
                "--write-recovery-conf",
            ])
            .args(["--pgdata".as_ref(), standby.data().as_os_str()])
            .run()
            .await?;
        let settings =
            fs::OpenOptions::new().append(true).open(standby.data().join("postgresql.auto.conf"));
        settings?.write_all(standby.settings(&PostgresConfig::default()).as_bytes())?;
        standby.resume().await?;
        Ok(standby)
    }

    /// Makes a standby accept writes.
    pub async fn promote(&self) -> Result<()> {
        self.execute("SELECT pg_promote()").await
    }

    /// Another release's server with all that this one holds, by dump, at the same address; this one has ended.
    pub async fn succeeded_by(&self, release: &Release) -> Result<Self> {
        let successor = Self {
            release: release.clone(),
            bin: release.postgres_programs()?,
            user: release.service_user("postgres", "postgresql")?,
            address: self.address,
            password: self.password.clone(),
            slot: Slot::default(),
            roles: Mutex::new(()),
            volume: None,
            folder: scratch::folder("postgres")?,
        };
        let dump = successor.folder.path().join("dump.sql");
        let dump = dump.to_str().ok_or_else(|| LabError::new("a folder's name is not UTF-8"))?;
        successor.run("pg_dumpall", "dbname=postgres", &["--file", dump]).await?;
        self.stop().await?;
        successor.initdb(&PostgresConfig::default()).await?;
        successor.resume().await?;
        successor.run("psql", "postgres", &["--no-psqlrc", "--quiet", "--file", dump]).await?;
        Ok(successor)
    }

    /// `127.0.0.1` and its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The password of every role here.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The postmaster's pid, while it runs.
    pub async fn pid(&self) -> Option<i32> {
        self.slot.pid().await
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has logged so far.
    pub fn log_text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.log())?).into_owned())
    }

    /// A connection URL with the password in it.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:{}@{}/{database}", self.password, self.address)
    }

    /// The superuser's connection URL.
    pub fn superuser_url(&self, database: &str) -> String {
        self.url(SUPERUSER, database)
    }

    pub(crate) fn options(&self, role: &str, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host(&self.address.ip().to_string())
            .port(self.address.port())
            .username(role)
            .password(&self.password)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging()
    }

    pub(crate) fn superuser_options(&self, database: &str) -> PgConnectOptions {
        self.options(SUPERUSER, database)
    }

    /// Starts the server again after `stop` or `kill`, on the same port, with the same data.
    pub async fn resume(&self) -> Result<()> {
        let launch = Launch::new("PostgreSQL", self.bin.join("postgres"), Signal::SIGQUIT)
            .of(&self.release)
            .death(Signal::SIGQUIT) // so that it ends its children and frees its shared memory
            .user(self.user.as_ref())
            .args(["-D".as_ref(), self.data().as_os_str()]);
        let answers = async || self.execute("SELECT 1").await.is_ok();
        self.slot.fill(launch, &self.log(), START_WITHIN, answers).await
    }

    /// A fast shutdown: running transactions are rolled back.
    pub async fn stop(&self) -> Result<()> {
        let Some(process) = self.slot.take().await else { return Ok(()) };
        process.signal(Signal::SIGINT)?;
        process.wait(START_WITHIN).await.map(drop)
    }

    /// An immediate shutdown, as in a crash: the next start recovers from the log.
    pub async fn kill(&self) -> Result<()> {
        self.slot.stop().await
    }

    /// `stop`, then `resume`.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.resume().await
    }

    /// Freezes all its processes: connections stay open, and nobody answers.
    pub async fn freeze(&self) -> Result<()> {
        self.signal_all(Signal::SIGSTOP).await
    }

    /// Lets them continue.
    pub async fn thaw(&self) -> Result<()> {
        self.signal_all(Signal::SIGCONT).await
    }

    async fn signal_all(&self, signal: Signal) -> Result<()> {
        // First the one that creates and reaps the others.
        self.slot.signal(signal).await?;
        let pid = self.pid().await.ok_or_else(|| LabError::new("PostgreSQL has ended"))?;
        for child in children(pid)? {
            let _ = kill(Pid::from_raw(child), signal); // it may have ended already
        }
        Ok(())
    }

    /// The folder of its volume, whose space it shares with anything else written there.
    pub fn volume(&self) -> Option<&Path> {
        self.volume.as_ref().map(|volume| volume.0.as_path())
    }

    /// Runs one of PostgreSQL's programs, such as `pg_dump`, on one of its databases as superuser.
    pub async fn run(&self, program: &str, database: &str, args: &[&str]) -> Result<()> {
        Launch::new("a program of PostgreSQL", self.bin.join(program), Signal::SIGTERM)
            .of(&self.release)
            .env("PGPASSWORD", &self.password)
            .args(["--host", &self.address.ip().to_string(), "--username", SUPERUSER])
            .args(["--port", &self.address.port().to_string(), "--dbname", database])
            .args(args)
            .run()
            .await
    }

    /// Creates an empty database that the XMPP server's role owns.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        self.create_database_as(name, "").await
    }

    /// The same with more clauses of CREATE DATABASE, such as `ENCODING 'LATIN1' LOCALE 'C'`.
    pub async fn create_database_as(&self, name: &str, clauses: &str) -> Result<()> {
        // The name is checked, since an identifier cannot be a parameter.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(LabError::new(format!("{name:?} is no name for a database here")));
        }
        let owned = format!(r#"CREATE DATABASE "{name}" OWNER {SERVER_ROLE} TEMPLATE template0"#);
        self.execute(&format!("{owned} {clauses}")).await
    }

    /// Runs `deploy/grants.sql` unchanged, with psql and as superuser, as an operator does; then sets the
    /// daemon's role's password.
    pub async fn apply_grants(&self, database: &str) -> Result<()> {
        let _alone = self.roles.lock().await;
        let grants = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/grants.sql");
        Launch::new("psql", self.bin.join("psql"), Signal::SIGTERM)
            .of(&self.release)
            .env("PGPASSWORD", &self.password)
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"])
            .args(["--host", &self.address.ip().to_string(), "--username", SUPERUSER])
            .args(["--port", &self.address.port().to_string(), "--dbname", database])
            .run_on(&fs::read_to_string(grants)?)
            .await?;
        self.execute(&format!("ALTER ROLE {DAEMON_ROLE} PASSWORD '{}'", self.password)).await
    }

    /// Runs a statement as superuser, outside any database of the tests.
    pub(crate) async fn execute(&self, statement: &str) -> Result<()> {
        let mut connection =
            PgConnection::connect_with(&self.superuser_options("postgres")).await?;
        connection.execute(AssertSqlSafe(statement)).await?;
        connection.close().await?;
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.volume().unwrap_or(self.folder.path()).join("data")
    }

    async fn initdb(&self, config: &PostgresConfig) -> Result<()> {
        let user = self.user.as_ref();
        give(self.folder.path(), user)?;
        if let Some(volume) = self.volume() {
            give(volume, user)?;
        }
        let password_file = self.folder.path().join("password");
        fs::write(&password_file, &self.password)?;
        Launch::new("initdb", self.bin.join("initdb"), Signal::SIGTERM)
            .of(&self.release)
            .user(user)
            .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"])
            .args(["--username", SUPERUSER])
            .args(["--pwfile".as_ref(), password_file.as_os_str()])
            .args(["--pgdata".as_ref(), self.data().as_os_str()])
            .run()
            .await?;
        let settings = self.settings(config);
        fs::write(self.data().join("postgresql.auto.conf"), settings)?;
        Ok(())
    }

    fn settings(&self, config: &PostgresConfig) -> String {
        let fsync = if config.fsync { "on" } else { "off" };
        let ours = [
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("port = {}", self.address.port()),
            format!("unix_socket_directories = '{}'", self.folder.path().display()),
            format!("fsync = {fsync}"),
            format!("full_page_writes = {fsync}"),
            // As many tests run at once as the machine has cores, each with several programs' pools.
            "max_connections = 1000".to_owned(),
            "max_wal_size = '4GB'".to_owned(),
            // In our folder, so that nothing stays in /dev/shm when we are killed.
            "dynamic_shared_memory_type = 'mmap'".to_owned(),
            "log_line_prefix = '%m [%p] %u@%d '".to_owned(),
        ];
        ours.iter().chain(&config.settings).map(|line| format!("{line}\n")).collect()
    }
}

/// A file system of bounded size, unmounted when dropped.
struct Volume(PathBuf);

impl Volume {
    async fn mount(path: PathBuf, mib: u32) -> Result<Self> {
        fs::create_dir(&path)?;
        Launch::new("mount", "mount", Signal::SIGTERM)
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0755"), "lab"])
            .args([&path])
            .run()
            .await?;
        Ok(Self(path))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The child processes of this one.
fn children(pid: i32) -> Result<Vec<i32>> {
    let parent_of = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may contain spaces; the fields after it are counted from its end.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let entries = fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter(|it| parent_of(*it) == Some(pid)).collect())
}
