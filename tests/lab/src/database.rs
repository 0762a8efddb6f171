use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::postgres::{DAEMON_ROLE, Postgres, SERVER_ROLE};
use crate::wait::PATIENCE;
use crate::{Result, eventually};

const POOL_SIZE: u32 = 4;

/// One database in a private PostgreSQL, as an XMPP server would have it.
#[derive(Clone)]
pub struct Database {
    name: String,
    postgres: Arc<Postgres>,
    superuser: PgPool,
}

impl Database {
    /// A new, empty database; its name is new in this process.
    pub async fn create(postgres: Arc<Postgres>) -> Result<Self> {
        Self::create_as(postgres, "").await
    }

    /// The same with more clauses of CREATE DATABASE.
    pub async fn create_as(postgres: Arc<Postgres>, clauses: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("lab_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        postgres.create_database_as(&name, clauses).await?;
        let superuser = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(postgres.superuser_options(&name));
        Ok(Self { name, postgres, superuser })
    }

    /// A new database with everything in this one. Nobody may be connected to this one meanwhile.
    pub async fn copy(&self) -> Result<Self> {
        let copy = Self::create(Arc::clone(&self.postgres)).await?;
        let postgres = &self.postgres;
        postgres.execute(&format!("DROP DATABASE {}", copy.name)).await?;
        let (name, template) = (&copy.name, &self.name);
        postgres.execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        Ok(copy)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server that holds it.
    pub fn postgres(&self) -> &Arc<Postgres> {
        &self.postgres
    }

    /// A few superuser connections for the tests' own statements. Belongs to the runtime that created the
    /// database.
    pub fn superuser(&self) -> &PgPool {
        &self.superuser
    }

    /// The daemon's URL, without its password.
    pub fn url_without_password(&self) -> String {
        format!("postgres://{DAEMON_ROLE}@{}/{}", self.postgres.address(), self.name)
    }

    /// The daemon's URL with its password.
    pub fn daemon_url(&self) -> String {
        self.postgres.url(DAEMON_ROLE, &self.name)
    }

    /// The URL of the role that the XMPP server uses.
    pub fn server_url(&self) -> String {
        self.postgres.url(SERVER_ROLE, &self.name)
    }

    /// The superuser's URL.
    pub fn superuser_url(&self) -> String {
        self.postgres.superuser_url(&self.name)
    }

    /// A pool of connections of the daemon's role, for tests of our own statements.
    pub async fn daemon_pool(&self, connections: u32) -> Result<PgPool> {
        let options = self.postgres.options(DAEMON_ROLE, &self.name);
        Ok(PgPoolOptions::new().max_connections(connections).connect_with(options).await?)
    }

    /// Runs `deploy/grants.sql` here.
    pub async fn apply_grants(&self) -> Result<()> {
        self.postgres.apply_grants(&self.name).await
    }

    /// Waits until the XMPP server has created this table.
    pub async fn wait_for_table(&self, table: &str) -> Result<()> {
        eventually(&format!("the table {table}"), PATIENCE, async || {
            let found: Option<String> = sqlx::query_scalar("SELECT to_regclass($1)::text")
                .bind(table)
                .fetch_one(&self.superuser)
                .await?;
            Ok(found)
        })
        .await
        .map(drop)
    }
}
