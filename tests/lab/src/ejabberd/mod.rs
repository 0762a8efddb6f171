//! A private ejabberd.

mod companion;
mod config;
pub mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::User;
use rand::RngExt as _;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tokio::sync::Mutex;

pub use config::{EjabberdConfig, Schema, Storage};

use crate::database::Database;
use crate::error::Context as _;
use crate::launch::{Launch, give, service_user};
use crate::postgres::SERVER_ROLE;
use crate::process::Process;
use crate::server::{Endpoints, Server};
use crate::snapshot::{EJABBERD_ARCHIVES, EJABBERD_QUEUE, Table};
use crate::xmpp::probe;
use crate::{LabError, Result, eventually, free_address, scratch};

const START_WITHIN: Duration = Duration::from_secs(60);

/// Debian's package puts ejabberd and its libraries here, beside Erlang's own.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// A private ejabberd of Debian's package on loopback, ended and removed when dropped.
///
/// It serves `localhost`, rooms at `conference.localhost` and the components `ephemerd.localhost` and `other.localhost`. It runs as a lone Erlang
/// node without a name: no epmd, no distribution, one process with one pid.
pub struct Ejabberd {
    endpoints: Endpoints,
    database: Database,
    schema: Schema,
    user: Option<User>,
    /// Where compiled modules are that it does not bring itself.
    code: Option<PathBuf>,
    process: Mutex<Option<Process>>,
    // Dropped last: the server must have ended before its folder goes.
    folder: TempDir,
}

impl Ejabberd {
    /// Makes its tables in this database and starts it.
    pub async fn start(config: &EjabberdConfig, database: &Database) -> Result<Self> {
        create_tables(config, database).await?;
        Self::start_on_tables(config, database).await
    }

    /// Starts it on a database that has its tables.
    pub async fn start_on_tables(config: &EjabberdConfig, database: &Database) -> Result<Self> {
        let ejabberd = Self {
            endpoints: endpoints()?,
            database: database.clone(),
            schema: config.schema,
            user: service_user("ejabberd", "ejabberd")?,
            code: match config.companion {
                true => Some(companion::build().await?),
                false => config.code.clone(),
            },
            process: Mutex::new(None),
            folder: scratch::folder("ejabberd")?,
        };
        let folder = ejabberd.folder.path();
        fs::write(ejabberd.config_file(), config.render(&ejabberd.endpoints, database)?)?;
        give(folder, ejabberd.user.as_ref())?;
        for below in ["data", "logs"] {
            fs::create_dir(folder.join(below))?;
            give(&folder.join(below), ejabberd.user.as_ref())?;
        }
        ejabberd.resume().await?;
        Ok(ejabberd)
    }

    /// Which schema its tables have.
    pub fn schema(&self) -> Schema {
        self.schema
    }

    /// Its process id, while it runs.
    pub async fn pid(&self) -> Option<i32> {
        self.process.lock().await.as_ref().map(Process::pid)
    }

    /// Its configuration file, which a test may change before `restart`.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("ejabberd.yml")
    }

    /// Starts it again after `stop` or `kill`, on the same ports, with the same data.
    pub async fn resume(&self) -> Result<()> {
        let mut slot = self.process.lock().await;
        if slot.as_ref().is_some_and(|running| running.ended().is_none()) {
            return Ok(());
        }
        let folder = self.folder.path();
        let process = Launch::new("ejabberd", "erl", Signal::SIGTERM)
            .user(self.user.as_ref())
            .env("ERL_LIBS", LIBRARIES)
            .env("ERL_CRASH_DUMP_BYTES", "0")
            .env("EJABBERD_CONFIG_PATH", self.config_file())
            .env("EJABBERD_LOG_PATH", self.log())
            .args(["-noinput", "+sbwt", "none", "-mnesia", "dir"])
            .args([format!("{:?}", folder.join("data").display().to_string())])
            .args(self.code.iter().flat_map(|code| [Path::new("-pa"), code]))
            .args(["-s", "ejabberd"])
            .spawn(&folder.join("output"))?;
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
        let answer = eventually("ejabberd's first answer", START_WITHIN, ready).await;
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
}

impl Server for Ejabberd {
    const NAME: &'static str = "ejabberd";
    const KIND: &'static str = "ejabberd";
    const TABLES: &'static [Table] = &[EJABBERD_ARCHIVES, EJABBERD_QUEUE];

    fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("logs/ejabberd.log")
    }

    async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.resume().await
    }

    async fn register(&self, user: &str) -> Result<()> {
        let insert = match self.schema {
            Schema::Classic => {
                "INSERT INTO users (username, password) SELECT $1, $2 WHERE $3 <> '' ON CONFLICT DO NOTHING"
            }
            Schema::MultiHost => {
                "INSERT INTO users (username, password, server_host) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
            }
        };
        sqlx::query(insert)
            .bind(user)
            .bind(&self.endpoints.password)
            .bind(&self.endpoints.domain)
            .execute(self.database.superuser())
            .await?;
        Ok(())
    }
}

/// Makes ejabberd's tables as its package's file has them; the XMPP server's role owns them.
pub async fn create_tables(config: &EjabberdConfig, database: &Database) -> Result<()> {
    let file: &Path = config.schema_file();
    if !file.exists() {
        return Err(LabError::new("ejabberd is not installed: apt-get install ejabberd"));
    }
    let tables = fs::read_to_string(file).context(format!("reading {}", file.display()))?;
    let origin_id = match config.origin_id {
        true => "ALTER TABLE archive ADD COLUMN origin_id text NOT NULL DEFAULT '';",
        false => "",
    };
    let statements = format!("SET LOCAL ROLE {SERVER_ROLE}; {tables}; {origin_id}");
    let mut transaction = database.superuser().begin().await?;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *transaction).await?;
    transaction.commit().await?;
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
