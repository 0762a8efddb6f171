//! How costs grow with the archive, of which 1% is due, whatever its size.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::{Database, Postgres, Result};
use serde::{Deserialize, Serialize};

use crate::data::{Template, end};
use crate::flat::old_snapshot;
use crate::instead::idle;
use crate::progress::Progress;

const SIZES: [i64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const MARKED_EVERY: i64 = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// One size of archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) rows: i64,
    pub(crate) due: i64,
    pub(crate) plain: Costs,
    /// The same with an old snapshot held open, so that dead rows cannot be removed.
    pub(crate) under_snapshot: Costs,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Costs {
    /// Wall-clock time per erased row.
    pub(crate) erased_row_micros: f64,
    /// Processor time of server and daemon per erased row.
    pub(crate) erased_row_cpu_micros: f64,
    /// Processor time of server and daemon in one idle minute.
    pub(crate) idle_minute_cpu_millis: f64,
    /// Pages touched in one idle minute.
    pub(crate) idle_minute_buffers: f64,
    /// The daemon's peak memory.
    pub(crate) peak_bytes: u64,
    /// The ledger with its indexes, before and after, once vacuumed.
    pub(crate) ledger_bytes_before: i64,
    pub(crate) ledger_bytes_after: i64,
}

fn sizes(most: i64) -> impl Iterator<Item = i64> {
    SIZES.into_iter().filter(move |size| *size <= most)
}

pub(crate) fn steps(most: i64) -> usize {
    3 * sizes(most).count()
}

/// Measures each size up to `most` rows.
pub(crate) async fn measure(
    postgres: &Arc<Postgres>,
    most: i64,
    progress: &Progress,
) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for rows in sizes(most) {
        progress.step(&format!("filling {rows} rows"));
        let template = Template::make(postgres, rows, MARKED_EVERY).await?;
        progress.step(&format!("{rows} rows"));
        let plain = costs(&template, false).await?;
        progress.step(&format!("{rows} rows, under an old snapshot"));
        let under_snapshot = costs(&template, true).await?;
        points.push(Point { rows, due: template.due, plain, under_snapshot });
        template.end().await?;
    }
    Ok(points)
}

async fn costs(template: &Template, under_snapshot: bool) -> Result<Costs> {
    let database = template.copy().await?;
    let snapshot = if under_snapshot { Some(old_snapshot(&database).await?) } else { None };
    let ledger_bytes_before = ledger_bytes(&database).await?;
    let erasing = template.erased(&database, "delete").await?;
    let ledger_bytes_after = ledger_bytes(&database).await?;
    let minute = idle(&database, MINUTE).await?;
    drop(snapshot);
    end(database).await?;
    let (cost, due) = (erasing.cost, template.due as f64);
    Ok(Costs {
        erased_row_micros: cost.seconds / due * 1e6,
        erased_row_cpu_micros: (cost.server_seconds + cost.daemon_seconds) / due * 1e6,
        idle_minute_cpu_millis: (minute.server_seconds + minute.daemon_seconds) * 1e3,
        idle_minute_buffers: minute.buffers,
        peak_bytes: erasing.peak_bytes,
        ledger_bytes_before,
        ledger_bytes_after,
    })
}

async fn ledger_bytes(database: &Database) -> Result<i64> {
    sqlx::query("VACUUM ephemerd.expiries").execute(database.superuser()).await?;
    let bytes = "SELECT pg_total_relation_size('ephemerd.expiries')";
    Ok(sqlx::query_scalar(bytes).fetch_one(database.superuser()).await?)
}
