use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::RngExt as _;

use crate::launch::Launch;
use crate::slot::Slot;
use crate::snapshot::Table;
use crate::xmpp::{NS_CLIENT, NS_COMPONENT, probe};
use crate::{Result, free_address};

/// The addresses and names of one of the laboratory's XMPP servers.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// The host of the accounts.
    pub domain: String,
    /// The host of the rooms.
    pub rooms: String,
    /// Where clients connect, without TLS.
    pub clients: SocketAddr,
    /// Where components connect (XEP-0114).
    pub components: SocketAddr,
    /// The daemon's JID as a component.
    pub component_jid: String,
    /// The component's secret.
    pub component_secret: String,
    /// Another component's JID, which has the same secret but nothing to do with the daemon.
    pub other_component: String,
    /// The password of every account.
    pub password: String,
}

impl Endpoints {
    /// New ones: the usual names, free ports on loopback, and random passwords.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
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

    /// Fills this slot with a server, and waits until it answers clients and components.
    pub(crate) async fn start(
        &self,
        slot: &Slot,
        launch: Launch,
        log: &Path,
        within: Duration,
    ) -> Result<()> {
        let answers = async || {
            probe(self.clients, NS_CLIENT, &self.domain).await.is_ok()
                && probe(self.components, NS_COMPONENT, &self.component_jid).await.is_ok()
        };
        slot.fill(launch, log, within, answers).await
    }

    /// The bare JID of an account.
    pub fn jid(&self, user: &str) -> String {
        format!("{user}@{}", self.domain)
    }

    /// The JID of a room.
    pub fn room(&self, name: &str) -> String {
        format!("{name}@{}", self.rooms)
    }
}

/// An XMPP server that the laboratory runs.
pub trait Server: Send + Sync {
    /// Its usual name.
    const NAME: &'static str;

    /// The archive kind in the daemon's configuration, `archive.kind`.
    const KIND: &'static str;

    /// Its tables that hold stanzas.
    const TABLES: &'static [Table];

    /// Where it is found.
    fn endpoints(&self) -> &Endpoints;

    /// Its log.
    fn log(&self) -> PathBuf;

    /// Creates an account, or leaves it as it is.
    fn register(&self, user: &str) -> impl Future<Output = Result<()>> + Send;

    /// The place of its process.
    fn slot(&self) -> &Slot;

    /// Starts it again after `stop` or `kill`, on the same ports, with the same data.
    fn resume(&self) -> impl Future<Output = Result<()>>;

    /// Its process id, while it runs.
    fn pid(&self) -> impl Future<Output = Option<i32>> + Send {
        self.slot().pid()
    }

    /// Ends it cleanly.
    fn stop(&self) -> impl Future<Output = Result<()>> + Send {
        self.slot().stop()
    }

    /// Ends it by force.
    fn kill(&self) -> impl Future<Output = Result<()>> + Send {
        self.slot().kill()
    }

    /// Sends a signal, for example SIGSTOP and SIGCONT.
    fn signal(&self, signal: Signal) -> impl Future<Output = Result<()>> + Send {
        self.slot().signal(signal)
    }

    /// `stop`, then `resume`.
    fn restart(&self) -> impl Future<Output = Result<()>> {
        async {
            self.stop().await?;
            self.resume().await
        }
    }
}
