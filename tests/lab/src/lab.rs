use std::sync::Arc;

use crate::database::Database;
use crate::ejabberd::{self, Ejabberd, EjabberdConfig};
use crate::postgres::{Postgres, PostgresConfig};
use crate::prosody::{Prosody, ProsodyConfig, Storage};
use crate::server::{Endpoints, Server};
use crate::snapshot::Snapshot;
use crate::xmpp::{Client, MamItem, MamQuery};
use crate::{Result, rows};

/// One test's environment: a database of its own, and the XMPP server `S` with its archives in it.
pub struct Lab<S = ()> {
    /// The XMPP server; nothing for tests that need only its tables. First, so that it stops before its
    /// database.
    pub server: S,
    /// The server's database, with `deploy/grants.sql` applied.
    pub database: Database,
}

impl Lab {
    /// A database with Prosody's empty tables, without Prosody, in the PostgreSQL that all tests share.
    pub async fn database_only() -> Result<Self> {
        Self::database_only_on(Postgres::shared().await?).await
    }

    /// The same in a PostgreSQL of its own: an open transaction in any database holds back the tail's cursor,
    /// and the shared one always has some.
    pub async fn database_apart() -> Result<Self> {
        Self::database_only_on(Arc::new(Postgres::start(PostgresConfig::default()).await?)).await
    }

    /// The same in another PostgreSQL.
    pub async fn database_only_on(postgres: Arc<Postgres>) -> Result<Self> {
        Self::database_only_as(postgres, "").await
    }

    /// The same with more clauses of CREATE DATABASE, such as an encoding.
    pub async fn database_only_as(postgres: Arc<Postgres>, clauses: &str) -> Result<Self> {
        let database = Database::create_as(postgres, clauses).await?;
        rows::create_prosody_tables(&database).await?;
        database.apply_grants().await?;
        Ok(Self { server: (), database })
    }

    /// A Prosody with SQL storage in the PostgreSQL that all tests share.
    pub async fn prosody() -> Result<Lab<Prosody>> {
        Self::prosody_with(&ProsodyConfig::default()).await
    }

    /// The same, with another configuration.
    pub async fn prosody_with(config: &ProsodyConfig) -> Result<Lab<Prosody>> {
        Self::prosody_on(Postgres::shared().await?, config).await
    }

    /// The same in another PostgreSQL.
    pub async fn prosody_on(
        postgres: Arc<Postgres>,
        config: &ProsodyConfig,
    ) -> Result<Lab<Prosody>> {
        let database = Database::create(postgres).await?;
        let server = Prosody::start(config, Some(&database)).await?;
        // Prosody opens its database, and creates its tables, when something is first looked up in it.
        server.register("first").await?;
        let mut client = Client::login(server.endpoints(), "first", "lab").await?;
        client.query(&MamQuery::default()).await?;
        client.close().await?;
        if config.storage == Storage::Postgres {
            database.wait_for_table("prosodyarchive").await?;
        }
        database.apply_grants().await?;
        Ok(Lab { server, database })
    }
}

impl Lab {
    /// An ejabberd with SQL storage in the PostgreSQL that all tests share.
    pub async fn ejabberd(config: &EjabberdConfig) -> Result<Lab<Ejabberd>> {
        Self::ejabberd_on(Postgres::shared().await?, config).await
    }

    /// The same in another PostgreSQL.
    pub async fn ejabberd_on(
        postgres: Arc<Postgres>,
        config: &EjabberdConfig,
    ) -> Result<Lab<Ejabberd>> {
        let database = Database::create(postgres).await?;
        let server = Ejabberd::start(config, &database).await?;
        database.apply_grants().await?;
        Ok(Lab { server, database })
    }

    /// A database with ejabberd's empty tables, without ejabberd.
    pub async fn ejabberd_tables(config: &EjabberdConfig) -> Result<Self> {
        Self::ejabberd_tables_on(Postgres::shared().await?, config).await
    }

    /// The same in another PostgreSQL.
    pub async fn ejabberd_tables_on(
        postgres: Arc<Postgres>,
        config: &EjabberdConfig,
    ) -> Result<Self> {
        let database = Database::create(postgres).await?;
        ejabberd::create_tables(config, &database).await?;
        database.apply_grants().await?;
        Ok(Self { server: (), database })
    }
}

impl<S: Server> Lab<S> {
    /// Where the server is found.
    pub fn endpoints(&self) -> &Endpoints {
        self.server.endpoints()
    }

    /// A client of this user, whose account is created if it does not exist. It has sent no presence.
    pub async fn client(&self, user: &str) -> Result<Client> {
        self.server.register(user).await?;
        Client::login(self.endpoints(), user, "lab").await
    }

    /// A client that is available and receives messages.
    pub async fn online(&self, user: &str) -> Result<Client> {
        let mut client = self.client(user).await?;
        client.send_presence().await?;
        client.sync().await?;
        Ok(client)
    }

    /// The server's archives as they are now, for a `Checker`; not its offline queues, which it empties
    /// itself.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let mut snapshots = Vec::new();
        for table in S::TABLES.iter().filter(|table| !table.is_queue) {
            snapshots.push(Snapshot::take(&self.database, *table).await?);
        }
        Ok(snapshots)
    }

    /// What a fresh client of this user finds in an archive, page by page.
    pub async fn archive(&self, user: &str, query: &MamQuery) -> Result<Vec<MamItem>> {
        let resource = "fresh"; // sends no presence, so it receives no offline messages
        let mut client = Client::login(self.endpoints(), user, resource).await?;
        let items = client.query_all(query).await?;
        client.close().await?;
        Ok(items)
    }
}
