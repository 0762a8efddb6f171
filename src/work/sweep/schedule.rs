//! A sweep from start to finish, of tables or of owners: when it begins, what it judges by, what it did.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::sync::watch;
use tracing::info;

use crate::{
    database::Result,
    ledger::{self, Sweep, SweepCounts},
    metrics::{Metrics, Repair},
    model::{Inspected, Rules, Timestamp},
    policy,
    work::{base::count, reconcile::Reconciled},
};

/// What a sweep reports about itself.
pub struct Sweeping {
    /// Whether one is under way.
    pub under_way: watch::Sender<bool>,
    /// Whether it holds what is older than the first start.
    pub holding: watch::Sender<bool>,
}

/// What a sweep judges by.
pub(super) fn fingerprint(rules: &Rules, hosts: &[String]) -> Vec<u8> {
    let mut hosts = hosts.to_vec();
    hosts.sort_unstable();
    let mut fingerprint = policy::fingerprint(rules).to_vec();
    fingerprint.extend(hosts.join(",").into_bytes());
    fingerprint
}

/// The sweep that is requested, in progress, or was the last one, judges by other rules.
pub(super) fn is_outdated(sweep: &Sweep, fingerprint: &[u8]) -> bool {
    let rules = if sweep.started_at.is_some() { &sweep.rules } else { &sweep.completed_rules };
    !sweep.requested && rules != fingerprint
}

/// A sweep begins now: one was requested, or the last one ended `every` ago.
pub(super) fn begins(sweep: &Sweep, every: Duration) -> bool {
    let is_over = |at: Timestamp| policy::later(at, every) <= sweep.read_at;
    sweep.requested || (sweep.started_at.is_none() && sweep.completed_at.is_none_or(is_over))
}

/// Whether one is under way or begins now, as seen without a lock: taking the lock writes to the database's log.
pub(super) async fn has_work(
    connection: &mut PgConnection,
    table: &str,
    every: Duration,
) -> Result<bool> {
    let Some(sweep) = ledger::sweep(connection, table).await? else { return Ok(false) };
    Ok(sweep.started_at.is_some() || begins(&sweep, every))
}

/// Begins a sweep of the rows after `after` and up to `upto`. Returns its state then.
pub(super) async fn begin(
    connection: &mut PgConnection,
    table: &str,
    sweep: Sweep,
    (after, upto): (i64, i64),
    fingerprint: &[u8],
) -> Result<Sweep> {
    ledger::start_sweep(connection, table, (after, upto), fingerprint).await?;
    info!(table, upto, "a sweep begins");
    Ok(Sweep { after, position: 0, upto, ..sweep })
}

/// What a transaction that went through this many rows did.
pub(super) fn counts(rows: i64, reconciled: &Reconciled) -> SweepCounts {
    let unreadable = reconciled.inspected.iter().filter(|it| it.2 == Inspected::Unreadable);
    SweepCounts {
        rows,
        added: count(reconciled.recorded.len()),
        changed: count(reconciled.changed),
        dropped: count(reconciled.dropped),
        adopted: count(reconciled.adopted),
        unreadable: count(unreadable.count()),
    }
}

/// Counts what one transaction did, after its commit.
pub(super) fn report(reconciled: &Reconciled, metrics: &Metrics) {
    let repairs = [
        (Repair::Added, reconciled.recorded.len()),
        (Repair::Changed, reconciled.changed),
        (Repair::Dropped, reconciled.dropped),
        (Repair::Adopted, reconciled.adopted),
    ];
    for (repair, number) in repairs {
        metrics.sweep_repaired.of(repair).inc_by(count(number).unsigned_abs());
    }
    reconciled.count_recorded(metrics);
}

/// Reports that a sweep was completed.
pub(super) fn completed(now: Timestamp, metrics: &Metrics) {
    let seconds = now.timestamp_micros() as f64 / 1e6;
    metrics.sweep_last_completion_timestamp_seconds.set(seconds);
    info!("sweep finished");
}
