//! A private PgBouncer of Debian's package, between the daemon and a database.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::database::Database;
use crate::launch::{Launch, give, service_user};
use crate::postgres::DAEMON_ROLE;
use crate::process::Process;
use crate::{Result, eventually, free_address, scratch};

const START_WITHIN: Duration = Duration::from_secs(10);

/// A running PgBouncer, ended when dropped. It lets everybody in as the daemon's role.
pub struct PgBouncer {
    address: SocketAddr,
    database: String,
    _process: Process,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one before this database. `pool_mode` is `session` or `transaction`, `ignored` what it drops of a client's
    /// start-up parameters (`ignore_startup_parameters`).
    pub async fn start(database: &Database, pool_mode: &str, ignored: &str) -> Result<Self> {
        let (address, server) = (free_address()?, database.postgres().address());
        let (name, password) = (database.name(), database.postgres().password());
        let settings = format!(
            "[databases]\n\
             {name} = host={} port={} user={DAEMON_ROLE} password={password}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {pool_mode}\nignore_startup_parameters = {ignored}\n",
            server.ip(),
            server.port(),
            address.port(),
        );
        let folder = scratch::folder("pgbouncer")?;
        let user = service_user("postgres", "pgbouncer")?;
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, settings)?;
        give(folder.path(), user.as_ref())?;
        give(&file, user.as_ref())?;
        let process = Launch::new("PgBouncer", "/usr/sbin/pgbouncer", Signal::SIGTERM)
            .user(user.as_ref())
            .args([file.as_os_str()])
            .spawn(&folder.path().join("log"))?;
        eventually("PgBouncer to listen", START_WITHIN, async || {
            if process.ended().is_some() {
                return Err(process.complain("ended at its start"));
            }
            Ok(TcpStream::connect(address).await.ok())
        })
        .await?;
        Ok(Self { address, database: name.to_owned(), _process: process, _folder: folder })
    }

    /// The daemon's URL through it.
    pub fn url(&self) -> String {
        format!("postgres://{DAEMON_ROLE}@{}/{}", self.address, self.database)
    }
}
