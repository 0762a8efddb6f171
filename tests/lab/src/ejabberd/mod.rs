//! A private ejabberd.

mod companion;
mod config;
mod mnesia;
pub mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::User;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;

pub use companion::evaluate;
pub use config::{EjabberdConfig, Schema, Storage};

use crate::database::Database;
use crate::error::Context as _;
use crate::launch::{Launch, give, give_all};
use crate::postgres::SERVER_ROLE;
use crate::server::{Endpoints, Server};
use crate::slot::Slot;
use crate::snapshot::{EJABBERD_ARCHIVES, EJABBERD_QUEUE, Table};
use crate::{Release, Result, scratch};

const START_WITHIN: Duration = Duration::from_secs(120);

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
    release: Release,
    user: Option<User>,
    /// Where additional compiled modules are.
    code: Option<PathBuf>,
    slot: Slot,
    // Dropped last: the server must have stopped before its folder is removed.
    folder: TempDir,
}

impl Ejabberd {
    /// Creates its tables in this database and starts it.
    pub async fn start(config: &EjabberdConfig, database: &Database) -> Result<Self> {
        create_tables(config, database).await?;
        Self::start_on_tables(config, database).await
    }

    /// Starts it on a database that has its tables.
    pub async fn start_on_tables(config: &EjabberdConfig, database: &Database) -> Result<Self> {
        let ejabberd = Self {
            endpoints: Endpoints::new()?,
            database: database.clone(),
            schema: config.schema,
            release: config.release.clone(),
            user: config.release.service_user("ejabberd", "ejabberd")?,
            code: match config.companion {
                true => Some(companion::build(&config.release).await?),
                false => config.code.clone(),
            },
            slot: Slot::default(),
            folder: scratch::folder("ejabberd")?,
        };
        let folder = ejabberd.folder.path();
        let rendered = config.render(&ejabberd.endpoints, database)?;
        let data = ejabberd.data().display().to_string();
        fs::write(ejabberd.config_file(), rendered.replace("@DATA@", &data))?;
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

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its configuration file, which a test may change before `restart`.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("ejabberd.yml")
    }

    /// Continues as another release's ejabberd, on the same ports, with the same data and configuration, and with the
    /// module rebuilt.
    pub async fn upgrade(&mut self, release: &Release) -> Result<()> {
        self.stop().await?;
        self.release = release.clone();
        self.user = release.service_user("ejabberd", "ejabberd")?;
        if self.code.is_some() {
            self.code = Some(companion::build(release).await?);
        }
        give_all(self.folder.path(), self.user.as_ref())?;
        self.resume().await
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

    fn slot(&self) -> &Slot {
        &self.slot
    }

    async fn resume(&self) -> Result<()> {
        let folder = self.folder.path();
        let launch = Launch::new("ejabberd", "erl", Signal::SIGTERM)
            .of(&self.release)
            .user(self.user.as_ref())
            .env("ERL_LIBS", LIBRARIES)
            .env("ERL_CRASH_DUMP_BYTES", "0")
            .env("EJABBERD_CONFIG_PATH", self.config_file())
            .env("EJABBERD_LOG_PATH", self.log())
            .args(["-noinput", "+sbwt", "none", "-mnesia", "dir"])
            .args([format!("{:?}", folder.join("data").display().to_string())])
            .args(self.code.iter().flat_map(|code| [Path::new("-pa"), code]))
            .args(["-s", "ejabberd"]);
        self.endpoints.start(&self.slot, launch, &folder.join("output"), START_WITHIN).await
    }

    async fn register(&self, user: &str) -> Result<()> {
        // Newer ones keep several forms of a password side by side; 1 is the plain one.
        let typed = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'type')";
        let typed: bool = sqlx::query_scalar(typed).fetch_one(self.database.superuser()).await?;
        let (column, value) = if typed { (", type", ", 1") } else { ("", "") };
        let (host, at) = match self.schema {
            Schema::Classic => ("", ""),
            Schema::MultiHost => (", server_host", ", $3"),
        };
        let insert = format!(
            "INSERT INTO users (username, password{column}{host})
             SELECT $1, $2{value}{at} WHERE $3 <> '' ON CONFLICT DO NOTHING"
        );
        sqlx::query(AssertSqlSafe(insert))
            .bind(user)
            .bind(&self.endpoints.password)
            .bind(&self.endpoints.domain)
            .execute(self.database.superuser())
            .await?;
        Ok(())
    }
}

/// Creates ejabberd's tables from its package's file; the XMPP server's role owns them.
pub async fn create_tables(config: &EjabberdConfig, database: &Database) -> Result<()> {
    let file = config.release.installed_file(config.schema_file(), "ejabberd")?;
    let tables = fs::read_to_string(&file).context(format!("reading {}", file.display()))?;
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
