//! The data that all sides of a comparison share: a filled archive with its ledger, copied for each run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::rows::Bulk;
use ephemerd_lab::{
    Daemon, DaemonConfig, Database, Lab, Postgres, PostgresConfig, Result, eventually,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::erase::{Erasing, erased};

/// How much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) rows: i64,
    pub(crate) runs: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self { rows: 1_000_000, runs: 3 };
    pub(crate) const QUICK: Self = Self { rows: 50_000, runs: 1 };
}

/// Whose tables.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tables {
    Prosody,
    Ejabberd,
}

impl Tables {
    pub(crate) fn daemon_config(self, database: &Database) -> Result<DaemonConfig> {
        match self {
            Self::Prosody => DaemonConfig::for_database(database),
            Self::Ejabberd => DaemonConfig::for_ejabberd_tables(database),
        }
    }

    /// How many tables are swept: ejabberd's offline queue is a table of its own.
    const fn swept(self) -> i64 {
        match self {
            Self::Prosody => 1,
            Self::Ejabberd => 2,
        }
    }

    /// Counts the rows that are still as they were sent, with a timer.
    pub(crate) const fn count_marked(self) -> &'static str {
        match self {
            Self::Prosody => {
                "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%urn:xmpp:ephemeral:0%'"
            }
            Self::Ejabberd => {
                "SELECT count(*) FROM archive WHERE xml LIKE '%urn:xmpp:ephemeral:0%'"
            }
        }
    }
}

/// A database that serves only as a template.
pub(crate) struct Template {
    database: Database,
    tables: Tables,
    pub(crate) rows: i64,
    pub(crate) due: i64,
}

/// Timeout for what takes long on a busy machine. A measurement that hangs ends with it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1_800);

/// What an operator would set on a small server, plus commit timestamps, from which the delay is computed.
const SETTINGS: [&str; 3] =
    ["shared_buffers = '512MB'", "max_wal_size = '8GB'", "track_commit_timestamp = on"];

/// The PostgreSQL used by all sides, with its default durability.
pub(crate) async fn postgres() -> Result<Arc<Postgres>> {
    let settings = SETTINGS.map(str::to_owned).to_vec();
    let config = PostgresConfig { fsync: true, settings, ..PostgresConfig::default() };
    Postgres::start(config).await.map(Arc::new)
}

impl Template {
    /// Fills an archive, every nth row marked and due, and has the daemon record them without erasing anything.
    pub(crate) async fn make(
        postgres: &Arc<Postgres>,
        rows: i64,
        marked_every: i64,
    ) -> Result<Self> {
        let database = Lab::database_only_on(Arc::clone(postgres)).await?.database;
        let bulk = Bulk { rows, marked_every, timer_seconds: 1, ..Bulk::default() };
        bulk.insert(database.superuser()).await?;
        Self::record(database, Tables::Prosody, rows, bulk.marked()).await
    }

    /// Has the daemon record what is due in a filled archive.
    pub(crate) async fn record(
        database: Database,
        tables: Tables,
        rows: i64,
        due: i64,
    ) -> Result<Self> {
        let daemon = Daemon::start(program(), &recording(tables, &database)?).await?;
        swept(tables, &database).await?;
        daemon.terminate().await?;
        let template = Self { database, tables, rows, due };
        template.settle().await?;
        Ok(template)
    }

    /// The same with this many more ledger entries, due in a year.
    pub(crate) async fn with_pending(&self, pending: i64) -> Result<Self> {
        let database = self.copy().await?;
        sqlx::query(
            r#"INSERT INTO ephemerd.expiries (store, host, owner, archive_id, row_number, stamped_at,
                                              runs_from, due_at, reason)
               SELECT 'archive', host, "user", key, sort_id, to_timestamp("when"),
                      to_timestamp("when"), now() + interval '1 year', 'timer'
                 FROM prosodyarchive WHERE value NOT LIKE '%urn:xmpp:ephemeral:0%'
                ORDER BY sort_id LIMIT $1"#,
        )
        .bind(pending)
        .execute(database.superuser())
        .await?;
        let template = Self { database, ..*self };
        template.settle().await?;
        Ok(template)
    }

    async fn settle(&self) -> Result<()> {
        sqlx::query("VACUUM ANALYZE").execute(self.database.superuser()).await?;
        self.database.superuser().close().await;
        Ok(())
    }

    /// A copy for one run. All its pages are clean: the first change of each is logged in full, on either side.
    pub(crate) async fn copy(&self) -> Result<Database> {
        let copy = self.database.copy().await?;
        sqlx::query("CHECKPOINT").execute(copy.superuser()).await?;
        Ok(copy)
    }

    /// Has the daemon erase what is due in a copy.
    pub(crate) async fn erased(&self, copy: &Database, mode: &str) -> Result<Erasing> {
        erased(copy, self.tables, mode, self.due).await
    }

    /// Frees its disk space.
    pub(crate) async fn end(self) -> Result<()> {
        end(self.database).await
    }
}

/// Drops a database even if there are still connections.
pub(crate) async fn end(database: Database) -> Result<()> {
    database.superuser().close().await;
    let mut connection =
        PgConnection::connect(&database.postgres().superuser_url("postgres")).await?;
    let drop = format!("DROP DATABASE {} WITH (FORCE)", database.name());
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// A daemon that records everything at full speed, and erases nothing.
pub(crate) fn recording(tables: Tables, database: &Database) -> Result<DaemonConfig> {
    Ok(tables
        .daemon_config(database)?
        .set("erase.backlog", "erase")
        .set("erase.dry_run", true)
        .set("sweep.rows_per_second", 0))
}

/// Waits for the end of each table's last requested sweep. Returns its duration in seconds by the database's
/// clock.
pub(crate) async fn swept(tables: Tables, database: &Database) -> Result<f64> {
    let mut began = f64::NAN;
    let ended = eventually("the sweep", PATIENCE, async || {
        let standing = "SELECT extract(epoch FROM min(started_at))::float8,
                               extract(epoch FROM max(completed_at))::float8,
                               count(*) = $1 AND bool_and(requested_at IS NULL AND started_at IS NULL
                                                         AND completed_at IS NOT NULL) IS TRUE
                          FROM ephemerd.sweeps";
        let (started, completed, is_over): (Option<f64>, Option<f64>, bool) =
            sqlx::query_as(standing).bind(tables.swept()).fetch_one(database.superuser()).await?;
        began = started.unwrap_or(began);
        Ok(completed.filter(|_| is_over))
    })
    .await?;
    Ok(ended - began)
}

/// The program, as cargo built it for this bench.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ephemerd"))
}
