//! A private Prosody.

mod config;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::User;
use tempfile::TempDir;

pub use config::{ProsodyConfig, Storage};

use crate::database::Database;
use crate::launch::{Launch, give, give_all};
use crate::server::{Endpoints, Server};
use crate::slot::Slot;
use crate::snapshot::{PROSODY_ARCHIVES, PROSODY_QUEUE, Table};
use crate::{LabError, Release, Result, scratch};

const START_WITHIN: Duration = Duration::from_secs(60);
const PROGRAM: &str = "/usr/bin/prosody";

/// A private Prosody of Debian's package on loopback, ended and removed when dropped.
///
/// It serves `localhost`, rooms at `conference.localhost` and the components `ephemerd.localhost` and `other.localhost`.
pub struct Prosody {
    endpoints: Endpoints,
    release: Release,
    user: Option<User>,
    slot: Slot,
    // Dropped last: the server must have stopped before its folder is removed.
    folder: TempDir,
}

impl Prosody {
    /// Starts it, with its tables in this database if its storage is PostgreSQL.
    pub async fn start(config: &ProsodyConfig, database: Option<&Database>) -> Result<Self> {
        config.release.installed_file(PROGRAM, "prosody lua-dbi-postgresql")?;
        let database = match config.storage {
            Storage::Postgres if database.is_none() => {
                return Err(LabError::new("Prosody's SQL storage needs a database"));
            }
            Storage::Postgres => database.map(|it| (it.postgres().as_ref(), it.name())),
            Storage::Sqlite | Storage::Files => None,
        };
        let prosody = Self {
            endpoints: Endpoints::new()?,
            release: config.release.clone(),
            user: config.release.service_user("prosody", "prosody")?,
            slot: Slot::default(),
            folder: scratch::folder("prosody")?,
        };
        let folder = prosody.folder.path();
        let place = config::Place { folder, endpoints: &prosody.endpoints, database };
        fs::write(prosody.config_file(), config.render(place))?;
        prosody.make_folder("data")?;
        if config.companion {
            install_companion(folder)?;
        }
        prosody.make_folder("certs")?; // stays empty: Prosody complains if it is missing
        give(folder, prosody.user.as_ref())?;
        prosody.resume().await?;
        Ok(prosody)
    }

    /// Its configuration file, which a test may change before `restart`.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("prosody.cfg.lua")
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Continues as another release's Prosody, on the same ports, with the same data and configuration.
    pub async fn upgrade(&mut self, release: &Release) -> Result<()> {
        self.stop().await?;
        self.release = release.clone();
        self.user = release.service_user("prosody", "prosody")?;
        give_all(self.folder.path(), self.user.as_ref())?;
        self.resume().await
    }

    /// Creates an account on another of its hosts, see `ProsodyConfig::hosts`.
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

    fn slot(&self) -> &Slot {
        &self.slot
    }

    async fn resume(&self) -> Result<()> {
        let launch = Launch::new("Prosody", PROGRAM, Signal::SIGTERM)
            .of(&self.release)
            .user(self.user.as_ref())
            .args(["-F", "--config"])
            .args([self.config_file()]);
        self.endpoints.start(&self.slot, launch, &self.log(), START_WITHIN).await
    }

    async fn register(&self, user: &str) -> Result<()> {
        self.register_at(&self.endpoints.domain, user)
    }
}

/// Copies the module, because Prosody's own user may not read the build directory.
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
