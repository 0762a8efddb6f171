//! A private Prosody.

mod config;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::User;
use rand::RngExt as _;
use tempfile::TempDir;
use tokio::sync::Mutex;

pub use config::{ProsodyConfig, Storage};

use crate::database::Database;
use crate::launch::{Launch, give, service_user};
use crate::process::Process;
use crate::server::{Endpoints, Server};
use crate::snapshot::{PROSODY_ARCHIVES, PROSODY_QUEUE, Table};
use crate::xmpp::probe;
use crate::{LabError, Result, eventually, free_address, scratch};

const START_WITHIN: Duration = Duration::from_secs(30);
const PROGRAM: &str = "/usr/bin/prosody";

/// A private Prosody of Debian's package on loopback, ended and removed when dropped.
///
/// It serves `localhost`, rooms at `conference.localhost` and the components `ephemerd.localhost` and `other.localhost`.
pub struct Prosody {
    endpoints: Endpoints,
    user: Option<User>,
    process: Mutex<Option<Process>>,
    // Dropped last: the server must have ended before its folder goes.
    folder: TempDir,
}

impl Prosody {
    /// Starts it, with its tables in this database where its storage is PostgreSQL.
    pub async fn start(config: &ProsodyConfig, database: Option<&Database>) -> Result<Self> {
        if !Path::new(PROGRAM).exists() {
            return Err(LabError::new(
                "Prosody is not installed: apt-get install prosody lua-dbi-postgresql",
            ));
        }
        let database = match config.storage {
            Storage::Postgres if database.is_none() => {
                return Err(LabError::new("Prosody's SQL storage needs a database"));
            }
            Storage::Postgres => database.map(|it| (it.postgres().as_ref(), it.name())),
            Storage::Sqlite | Storage::Files => None,
        };
        let prosody = Self {
            endpoints: endpoints()?,
            user: service_user("prosody", "prosody")?,
            process: Mutex::new(None),
            folder: scratch::folder("prosody")?,
        };
        let folder = prosody.folder.path();
        let place = config::Place { folder, endpoints: &prosody.endpoints, database };
        fs::write(prosody.config_file(), config.render(place))?;
        prosody.make_folder("data")?;
        if config.companion {
            install_companion(folder)?;
        }
        prosody.make_folder("certs")?; // stays empty: Prosody complains where it is missing
        give(folder, prosody.user.as_ref())?;
        prosody.resume().await?;
        Ok(prosody)
    }

    /// Its process id, while it runs.
    pub async fn pid(&self) -> Option<i32> {
        self.process.lock().await.as_ref().map(Process::pid)
    }

    /// Its configuration file, which a test may change before `restart`.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("prosody.cfg.lua")
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it again after `stop` or `kill`, on the same ports, with the same data.
    pub async fn resume(&self) -> Result<()> {
        let mut slot = self.process.lock().await;
        if slot.as_ref().is_some_and(|running| running.ended().is_none()) {
            return Ok(());
        }
        let process = Launch::new("Prosody", PROGRAM, Signal::SIGTERM)
            .user(self.user.as_ref())
            .args(["-F", "--config"])
            .args([self.config_file()])
            .spawn(&Server::log(self))?;
        let ready = async || {
            if process.ended().is_some() {
                return Err(process.complain("ended at its start"));
            }
            let clients = probe(self.endpoints.clients, "jabber:client", &self.endpoints.domain);
            let components = probe(
                self.endpoints.components,
                "jabber:component:accept",
                &self.endpoints.component_jid,
            );
            Ok((clients.await.is_ok() && components.await.is_ok()).then_some(()))
        };
        let answer = eventually("Prosody's first answer", START_WITHIN, ready).await;
        answer.map_err(|error| process.complain(&error.to_string()))?;
        *slot = Some(process);
        Ok(())
    }

    /// Ends it cleanly.
    pub async fn stop(&self) -> Result<()> {
        let Some(process) = self.process.lock().await.take() else { return Ok(()) };
        process.stop().await.map(drop)
    }

    /// Ends it by force.
    pub async fn kill(&self) -> Result<()> {
        let Some(process) = self.process.lock().await.take() else { return Ok(()) };
        process.kill().await.map(drop)
    }

    /// Sends a signal, for example SIGSTOP and SIGCONT.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let slot = self.process.lock().await;
        slot.as_ref().ok_or_else(|| LabError::new("Prosody is not running"))?.signal(signal)
    }

    /// Makes an account on another of its hosts, see `ProsodyConfig::hosts`.
    pub fn register_at(&self, host: &str, user: &str) -> Result<()> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if user.is_empty() || !user.bytes().all(plain) {
            return Err(LabError::new(format!(
                "{user:?} is no user name for the lab: a-z and 0-9"
            )));
        }
        let accounts = self.make_folder(&format!("data/{}/accounts", host.replace('.', "%2e")))?;
        let file = accounts.join(format!("{user}.dat"));
        let account = format!("return {{ [\"password\"] = {:?}; }};\n", self.endpoints.password);
        fs::write(&file, account)?;
        give(&file, self.user.as_ref())
    }

    fn make_folder(&self, below: &str) -> Result<PathBuf> {
        let mut path = self.folder.path().to_owned();
        for part in below.split('/') {
            path.push(part);
            if !path.exists() {
                fs::create_dir(&path)?;
                give(&path, self.user.as_ref())?;
            }
        }
        Ok(path)
    }
}

impl Server for Prosody {
    const NAME: &'static str = "Prosody";
    const KIND: &'static str = "prosody";
    const TABLES: &'static [Table] = &[PROSODY_ARCHIVES, PROSODY_QUEUE];

    fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.resume().await
    }

    async fn register(&self, user: &str) -> Result<()> {
        self.register_at(&self.endpoints.domain, user)
    }
}

/// Copies the module, for Prosody's own user may not read where we are built.
fn install_companion(folder: &Path) -> Result<()> {
    let module = format!("mod_{}", config::COMPANION);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prosody").join(&module);
    let to = folder.join(config::PLUGINS).join(module);
    fs::create_dir_all(&to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

fn endpoints() -> Result<Endpoints> {
    Ok(Endpoints {
        domain: "localhost".to_owned(),
        rooms: "conference.localhost".to_owned(),
        clients: free_address()?,
        components: free_address()?,
        component_jid: "ephemerd.localhost".to_owned(),
        other_component: "other.localhost".to_owned(),
        component_secret: format!("{:016x}", rand::rng().random::<u64>()),
        password: format!("{:016x}", rand::rng().random::<u64>()),
    })
}
