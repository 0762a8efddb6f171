//! A private PgBouncer, for testing behind a pooler.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::database::Database;
use crate::launch::{Launch, give};
use crate::postgres::DAEMON_ROLE;
use crate::process::Process;
use crate::{LabError, PATIENCE, Release, Result, eventually, free_address, scratch};

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// Debian's PgBouncer in front of one database, in transaction mode.
pub struct PgBouncer {
    address: SocketAddr,
    database: String,
    _process: Process,
    // Dropped last: the program must have stopped before its folder is removed.
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts it with these lines added to its section `[pgbouncer]`.
    pub async fn start(database: &Database, settings: &str) -> Result<Self> {
        if !Path::new(PROGRAM).exists() {
            return Err(LabError::new("PgBouncer is not installed: apt-get install pgbouncer"));
        }
        let (address, folder) = (free_address()?, scratch::folder("pgbouncer")?);
        let user = Release::installed().service_user("postgres", "postgresql")?;
        let (postgres, at) = (database.postgres(), folder.path().display());
        let password = postgres.password();
        fs::write(folder.path().join("users"), format!("\"{DAEMON_ROLE}\" \"{password}\"\n"))?;
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {at}/users\n\
             pool_mode = transaction\n{settings}\n",
            postgres.address().port(),
            address.port(),
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, config)?;
        for path in [folder.path(), &file, &folder.path().join("users")] {
            give(path, user.as_ref())?;
        }
        let process = Launch::new("PgBouncer", PROGRAM, Signal::SIGTERM)
            .user(user.as_ref())
            .args([&file])
            .spawn(&folder.path().join("log"))?;
        eventually("PgBouncer's port", PATIENCE, async || match process.ended() {
            Some(_) => Err(process.complain("ended at its start")),
            None => Ok(TcpStream::connect(address).await.ok()),
        })
        .await?;
        let database = database.name().to_owned();
        Ok(Self { address, database, _process: process, _folder: folder })
    }

    /// The daemon's URL through it, without its password.
    pub fn url_without_password(&self) -> String {
        format!("postgres://{DAEMON_ROLE}@{}/{}", self.address, self.database)
    }
}
