//! Now and then everything: the sweep, store by store of each host.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Purpose, STORES, Walked, Walker};
use crate::{
    archive::remote::Requests,
    database::{self, Named as _, in_time},
    ledger::{self, Found, Sweep},
    metrics::Repair,
    model::Timestamp,
    policy,
    work::{TRANSACTION_LIMIT, remote::SWEEP, sweep::fingerprint},
};

/// A sweep waits so long for a host whose module does not answer, and then goes on without it.
const ABSENT_FOR: Duration = Duration::from_secs(60);

/// Owners that a sweep lists before a catch-up has its turn.
const OWNERS_A_TURN: usize = 10;

impl<R: Requests> Walker<R> {
    /// Other hosts, timers or hints judge otherwise. Returns whether that is known now.
    pub(super) async fn request_if_rules_changed(&self) -> Walked<bool> {
        let mut connection = self.pool.acquire().await.named("walk_connect")?;
        let Some(sweep) = ledger::sweep(&mut connection, SWEEP).await? else { return Ok(false) };
        let rules = if sweep.started_at.is_some() { &sweep.rules } else { &sweep.completed_rules };
        if !sweep.requested && *rules != self.fingerprint() {
            info!("a sweep is due: hosts, timers or hints are new");
            ledger::request_sweep(&mut connection, SWEEP).await?;
        }
        Ok(true)
    }

    fn fingerprint(&self) -> Vec<u8> {
        fingerprint(&self.settings.rules, &self.settings.hosts)
    }

    /// The parts of a sweep: each store of each host.
    fn parts(&self) -> i64 {
        i64::try_from(self.settings.hosts.len() * STORES.len()).unwrap_or(i64::MAX)
    }

    /// The sweep that is under way, or begins now.
    pub(super) async fn sweep_due(&self) -> Walked<Option<Sweep>> {
        let beginning = async {
            let mut transaction = self.pool.begin().await.named("sweep_begin")?;
            let Some(sweep) = ledger::lock_sweep(&mut transaction, SWEEP).await? else {
                return database::Result::Ok(None);
            };
            let now: Timestamp = sqlx::query_scalar("-- sweep_now\nSELECT clock_timestamp()")
                .fetch_one(&mut *transaction)
                .await
                .named("sweep_now")?;
            let over = |at: Timestamp| policy::later(at, self.settings.every) <= now;
            if !sweep.requested && sweep.started_at.is_some() {
                return Ok(Some(sweep));
            }
            if !sweep.requested && !sweep.completed_at.is_none_or(over) {
                return Ok(None);
            }
            let span = (0, self.parts());
            ledger::start_sweep(&mut transaction, SWEEP, span, &self.fingerprint()).await?;
            transaction.commit().await.named("sweep_commit")?;
            info!("a sweep begins");
            Ok(Some(Sweep { position: 0, upto: self.parts(), ..sweep }))
        };
        Ok(in_time("sweep", TRANSACTION_LIMIT, beginning).await?)
    }

    /// The next owners of one store of one host. Whether it is worth going on at once.
    pub(super) async fn sweep_part(&mut self, sweep: &Sweep) -> Walked<bool> {
        let at = usize::try_from(sweep.position).unwrap_or(usize::MAX);
        let host = self.settings.hosts.get(at / STORES.len()).cloned();
        let store = STORES.get(at % STORES.len()).copied();
        let (Some(host), Some(store)) = (host, store) else {
            self.complete_sweep().await?;
            return Ok(true);
        };
        if self.present.of(&host).is_none() {
            if self.absent_since.get_or_insert_with(Instant::now).elapsed() < ABSENT_FOR {
                return Ok(false);
            }
            warn!(host, "the sweep goes on without this host: no companion module answers there");
            return self.next_part(sweep.position).await;
        }
        self.absent_since = None;
        let mut connection = self.pool.acquire().await.named("walk_connect")?;
        let after = ledger::sweep_owner(&mut connection, SWEEP).await?;
        drop(connection);
        let owners = self.all_owners(&host, store, &after).await?;
        for (nr, owner) in owners.found.iter().enumerate() {
            let purpose = Purpose { since: None, sweep: Some((sweep.position, owner)) };
            if !self.list((&host, owner), store, purpose).await? {
                let mut connection = self.pool.acquire().await.named("walk_connect")?;
                ledger::move_sweep_to_owner(&mut connection, SWEEP, owner).await?;
            }
            // Who waits for a timer does not wait for the whole sweep.
            let hosts = self.present.hosts();
            self.relists(&hosts).await?;
            let may_turn = nr % OWNERS_A_TURN == OWNERS_A_TURN - 1;
            if may_turn && self.catch_up_due(&hosts).await?.is_some() {
                return Ok(true);
            }
        }
        match owners.last.filter(|_| !owners.complete) {
            Some(last) => {
                let mut connection = self.pool.acquire().await.named("walk_connect")?;
                ledger::move_sweep_to_owner(&mut connection, SWEEP, &last).await?;
                Ok(true)
            }
            None => self.next_part(sweep.position).await,
        }
    }

    async fn next_part(&mut self, position: i64) -> Walked<bool> {
        let mut transaction = self.pool.begin().await.named("sweep_begin")?;
        ledger::move_sweep(&mut transaction, SWEEP, position + 1, Found::default()).await?;
        ledger::move_sweep_to_owner(&mut transaction, SWEEP, "").await?;
        transaction.commit().await.named("sweep_commit")?;
        Ok(true)
    }

    async fn complete_sweep(&self) -> Walked<()> {
        let mut connection = self.pool.acquire().await.named("walk_connect")?;
        ledger::complete_sweep(&mut connection, SWEEP).await?;
        let now: Timestamp = sqlx::query_scalar("-- sweep_now\nSELECT clock_timestamp()")
            .fetch_one(&mut *connection)
            .await
            .named("sweep_now")?;
        let seconds = now.timestamp_micros() as f64 / 1e6;
        self.metrics.sweep_last_completion_timestamp_seconds.set(seconds);
        info!("the sweep has come to its end");
        Ok(())
    }

    pub(super) fn count(&self, found: Found) {
        let repairs = [
            (Repair::Added, found.added),
            (Repair::Changed, found.changed),
            (Repair::Dropped, found.dropped),
            (Repair::Adopted, found.adopted),
        ];
        for (repair, count) in repairs {
            self.metrics.sweep_repaired.of(repair).inc_by(count.unsigned_abs());
        }
    }
}
