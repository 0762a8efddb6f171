use std::net::SocketAddr;
use std::path::PathBuf;

use crate::Result;
use crate::snapshot::Table;

/// Where an XMPP server of the laboratory is found, and what it knows.
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
    /// Another component's JID, which has the same secret and no business with the daemon.
    pub other_component: String,
    /// The password of every account.
    pub password: String,
}

impl Endpoints {
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
    /// What people call it.
    const NAME: &'static str;

    /// The archive kind in the daemon's configuration, `archive.kind`.
    const KIND: &'static str;

    /// Its tables that hold stanzas.
    const TABLES: &'static [Table];

    /// Where it is found.
    fn endpoints(&self) -> &Endpoints;

    /// Its log.
    fn log(&self) -> PathBuf;

    /// Ends it cleanly and starts it again, on the same ports, with the same data.
    fn restart(&self) -> impl Future<Output = Result<()>>;

    /// Makes an account, or leaves it as it is.
    fn register(&self, user: &str) -> impl Future<Output = Result<()>> + Send;
}
