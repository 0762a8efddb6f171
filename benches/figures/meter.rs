//! The cost of a period: wall-clock time, processor time on both sides, buffers.

use std::time::Duration;

use ephemerd_lab::{Daemon, Database, LabError, Result, Usage};
use serde::Serialize;
use tokio::time::Instant;

/// An idle session reports to PostgreSQL's statistics within this time.
pub(crate) const TOLD_WITHIN: Duration = Duration::from_secs(11);

/// The cost of a period.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Cost {
    /// Wall-clock time.
    pub(crate) seconds: f64,
    /// Processor time of all PostgreSQL processes.
    pub(crate) server_seconds: f64,
    /// Processor time of the daemon.
    pub(crate) daemon_seconds: f64,
    /// Pages that statements in this database touched, cached or not.
    pub(crate) buffers: f64,
}

/// Reads the counters at both ends of a period.
pub(crate) struct Meter<'a> {
    database: &'a Database,
    daemon: Option<&'a Daemon>,
    began: Instant,
    buffers_before: f64,
    cost: Cost,
}

impl<'a> Meter<'a> {
    pub(crate) async fn start(database: &'a Database, daemon: Option<&'a Daemon>) -> Result<Self> {
        let buffers_before = buffers(database).await?;
        let cost = used(database, daemon).await?;
        Ok(Self { database, daemon, began: Instant::now(), buffers_before, cost })
    }

    /// Ends the period.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        let (before, after) = (self.cost, used(self.database, self.daemon).await?);
        self.cost = Cost {
            seconds,
            server_seconds: after.server_seconds - before.server_seconds,
            daemon_seconds: after.daemon_seconds - before.daemon_seconds,
            buffers: 0.0,
        };
        Ok(())
    }

    /// The cost. All workers have disconnected: only then is everything that they touched counted.
    pub(crate) async fn cost(self) -> Result<Cost> {
        let buffers = buffers(self.database).await? - self.buffers_before;
        Ok(Cost { buffers, ..self.cost })
    }
}

async fn used(database: &Database, daemon: Option<&Daemon>) -> Result<Cost> {
    let postmaster = database.postgres().pid().await;
    let postmaster = postmaster.ok_or_else(|| LabError::new("PostgreSQL is not running"))?;
    let daemon = daemon.map(Daemon::usage).transpose()?;
    Ok(Cost {
        seconds: 0.0,
        server_seconds: Usage::cpu_of_family(postmaster)?.as_secs_f64(),
        daemon_seconds: daemon.map_or(0.0, |usage| usage.cpu.as_secs_f64()),
        buffers: 0.0,
    })
}

async fn buffers(database: &Database) -> Result<f64> {
    let touched = "SELECT (blks_hit + blks_read)::float8 FROM pg_stat_database \
                    WHERE datname = current_database()";
    Ok(sqlx::query_scalar(touched).fetch_one(database.superuser()).await?)
}
