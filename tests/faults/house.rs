//! What all faults share: tables, a shadow of them, a daemon, a load, and the exact check.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::snapshot::{EJABBERD_ARCHIVES, PROSODY_ARCHIVES, Table};
use ephemerd_lab::{
    Daemon, DaemonConfig, Database, Lab, Load, MARKED, Postgres, Result, Shadow, Standing,
    eventually,
};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::Instant;

use crate::ensure;

/// How long a marked message may exist after a fault has ended: its timer of at most 2 s, the end of its
/// second, the wait between two attempts (5 s), and a margin for a busy machine.
pub(crate) const ON_TIME: Duration = Duration::from_secs(20);

/// The program, as cargo built it for these tests.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ephemerd"))
}

/// The environment of one fault.
pub(crate) struct House {
    database: Database,
    shadow: Shadow,
    table: Table,
    config: DaemonConfig,
    seed: u64,
    load: Option<Load>,
}

impl House {
    /// Prosody's tables in the PostgreSQL that the faults share.
    pub(crate) async fn new(seed: u64) -> Result<Self> {
        Self::on(Postgres::shared().await?, seed).await
    }

    /// Prosody's tables in a PostgreSQL of its own.
    pub(crate) async fn on(postgres: Arc<Postgres>, seed: u64) -> Result<Self> {
        let lab = Lab::database_only_on(postgres).await?;
        let config = DaemonConfig::for_database(&lab.database)?;
        let database = lab.database.clone();
        Self::around(database, PROSODY_ARCHIVES, config, seed).await
    }

    /// ejabberd's tables.
    pub(crate) async fn ejabberd(seed: u64) -> Result<Self> {
        let lab = Lab::ejabberd_tables(&EjabberdConfig::default()).await?;
        let config = DaemonConfig::for_ejabberd_tables(&lab.database)?;
        let database = lab.database.clone();
        Self::around(database, EJABBERD_ARCHIVES, config, seed).await
    }

    /// Prosody's tables that already contain rows, which the check ignores.
    pub(crate) async fn beside(
        database: Database,
        config: DaemonConfig,
        seed: u64,
    ) -> Result<Self> {
        let house = Self::around(database, PROSODY_ARCHIVES, config, seed).await?;
        house.sql("TRUNCATE shadow_prosodyarchive").await?;
        Ok(house)
    }

    /// Existing tables of a server.
    pub(crate) async fn around(
        database: Database,
        table: Table,
        config: DaemonConfig,
        seed: u64,
    ) -> Result<Self> {
        let shadow = Shadow::cast(&database, table).await?;
        let config = config.set("archive.poll", "250ms");
        Ok(Self { database, shadow, table, config, seed, load: None })
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.superuser()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The daemon's configuration in this house.
    pub(crate) fn config(&self) -> DaemonConfig {
        self.config.clone()
    }

    /// Sets a key for all daemons that start from now on.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<serde_json::Value>) {
        self.config = self.config.clone().set(key, value);
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) async fn daemon(&self) -> Result<Daemon> {
        Daemon::start(program(), &self.config).await
    }

    /// Starts archiving messages continuously.
    pub(crate) fn load(&mut self) {
        self.load = Some(match self.table == EJABBERD_ARCHIVES {
            true => Load::ejabberd_rows(&self.database, Schema::Classic, self.seed),
            false => Load::prosody_rows(&self.database, self.seed),
        });
    }

    /// The same, with another load.
    pub(crate) fn load_by(&mut self, load: Load) {
        self.load = Some(load);
    }

    /// The fault is over: stops the load, waits until everything marked is gone, and compares everything.
    pub(crate) async fn check(&mut self) -> Result<Checked> {
        self.check_within(ON_TIME).await
    }

    pub(crate) async fn check_within(&mut self, within: Duration) -> Result<Checked> {
        let over = Instant::now();
        if let Some(load) = self.load.take() {
            load.stop().await?;
        }
        let waited = eventually("all that is marked goes", within, async || {
            let standing = self.standing().await?;
            Ok((standing.marked_left == 0).then_some(()))
        });
        let (waited, took) = (waited.await, over.elapsed());
        let standing = self.standing().await?;
        ensure!(waited.is_ok(), "marked messages stand after {within:?}: {standing:?}");
        ensure!(standing.unmarked_harmed == 0, "unmarked messages were harmed: {standing:?}");
        ensure!(standing.early == 0, "messages went early: {standing:?}");
        ensure!(standing.archived > 0, "nothing was archived: {standing:?}");
        // A sweep or the eraser forgets what others removed.
        let empty = eventually("the ledger forgets what is gone", within, async || {
            Ok((self.wrong_in_ledger().await? == 0).then_some(()))
        });
        let empty = empty.await;
        ensure!(empty.is_ok(), "the ledger holds {} wrong entries", self.wrong_in_ledger().await?);
        Ok(Checked { standing, took })
    }

    /// All rows compared with their copies.
    pub(crate) async fn standing(&self) -> Result<Standing> {
        self.shadow.compare(&self.database, MARKED).await
    }

    /// Entries without a row, or whose text is gone, or that are overdue.
    async fn wrong_in_ledger(&self) -> Result<i64> {
        let (join, words) = match self.table == EJABBERD_ARCHIVES {
            true => ("archive a ON a.timestamp::text = e.archive_id", "xml"),
            false => {
                ("prosodyarchive a ON a.sort_id = e.row_number AND a.key = e.archive_id", "value")
            }
        };
        let wrong = format!(
            "SELECT count(*) FROM ephemerd.expiries e
              WHERE e.store <> 'queue'
                AND (e.phase = 'pending' AND e.due_at < now() + interval '10 s'
                     OR NOT EXISTS (SELECT FROM (SELECT 1) one JOIN {join}
                          WHERE e.phase = 'pending' OR a.{words} LIKE '%urn:ephemerd:0%'))"
        );
        Ok(sqlx::query_scalar(AssertSqlSafe(wrong)).fetch_one(self.pool()).await?)
    }

    /// Archives one message that falls due in an hour.
    pub(crate) async fn long_timer(&self) -> Result<()> {
        let now = self.number("SELECT floor(extract(epoch FROM now()))::bigint").await?;
        let stanza = "<message><body>later</body><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3600'/></message>";
        let row = ArchiveRow::archive("later", "later", now, stanza);
        insert(self.pool(), &[row]).await.map(drop)
    }

    /// Runs statements as superuser.
    pub(crate) async fn sql(&self, statements: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(self.pool()).await?;
        Ok(())
    }

    /// One number as superuser.
    pub(crate) async fn number(&self, query: &str) -> Result<i64> {
        Ok(sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(self.pool()).await?)
    }
}

/// What the check saw.
pub(crate) struct Checked {
    standing: Standing,
    took: Duration,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages, exact {} after", self.standing.archived, seconds(self.took))
    }
}

impl Checked {
    /// How long after its due time the slowest message's text went.
    pub(crate) fn slowest(&self) -> String {
        format!("{:.1} s", self.standing.slowest_seconds)
    }
}

/// For docs/evidence.md.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
