//! The data that all sides of a comparison share: a filled archive with its ledger, copied for each run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::rows::Bulk;
use ephemerd_lab::{
    Daemon, DaemonConfig, Database, Lab, Postgres, PostgresConfig, Result, eventually,
};

/// How much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) rows: i64,
    pub(crate) due: i64,
    pub(crate) runs: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self { rows: 1_000_000, due: 100_000, runs: 3 };
    pub(crate) const QUICK: Self = Self { rows: 100_000, due: 10_000, runs: 1 };
}

/// A database that is only copied from.
pub(crate) struct Template {
    lab: Lab,
}

const PATIENCE: Duration = Duration::from_secs(300);

impl Template {
    /// Fills an archive and has the daemon record what is due, without erasing anything.
    pub(crate) async fn make(scale: Scale) -> Result<Self> {
        let settings = ["shared_buffers = '512MB'", "max_wal_size = '8GB'", "autovacuum = on"];
        let config = PostgresConfig {
            fsync: true,
            settings: settings.map(str::to_owned).to_vec(),
            ..PostgresConfig::default()
        };
        let postgres = Arc::new(Postgres::start(config).await?);
        let lab = Lab::database_only_on(postgres).await?;
        // The last rows are stamped now: all must be due by the time of the first run.
        let bulk = Bulk {
            rows: scale.rows,
            marked_every: scale.rows / scale.due,
            timer_seconds: 1,
            ..Bulk::default()
        };
        bulk.insert(lab.database.superuser()).await?;
        let config = DaemonConfig::for_database(&lab.database)?
            .set("erase.backlog", "erase")
            .set("erase.dry_run", true);
        let daemon = Daemon::start(program(), &config).await?;
        eventually("the sweep", PATIENCE, async || {
            let done = "SELECT count(*) FROM ephemerd.sweeps WHERE completed_at IS NOT NULL";
            let done: i64 = sqlx::query_scalar(done).fetch_one(lab.database.superuser()).await?;
            Ok((done == 1).then_some(()))
        })
        .await?;
        daemon.terminate().await?;
        sqlx::query("VACUUM ANALYZE").execute(lab.database.superuser()).await?;
        lab.database.superuser().close().await;
        Ok(Self { lab })
    }

    /// A copy of it for one run.
    pub(crate) async fn copy(&self) -> Result<Database> {
        let copy = self.lab.database.copy().await?;
        sqlx::query("CHECKPOINT").execute(copy.superuser()).await?;
        Ok(copy)
    }
}

/// The program, as cargo built it for this bench.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ephemerd"))
}
