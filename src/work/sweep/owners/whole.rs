//! The sweep: everything, store by store of each host.

use std::time::Duration;

use sqlx::Connection as _;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Purpose, STORES, Walked, Walker};
use crate::{
    archive::companion::Requests,
    database::{self, Named as _, in_time},
    ledger::{self, Sweep, SweepCounts},
    work::{TRANSACTION_LIMIT, base::presence::SWEEP, sweep::schedule},
};

/// How long a sweep waits for a host whose module does not answer, before it continues without it.
const ABSENT_FOR: Duration = Duration::from_secs(60);

/// Owners that a sweep lists before a catch-up gets its turn.
const OWNERS_A_TURN: usize = 10;

impl<R: Requests> Walker<R> {
    /// Requests a sweep if hosts, timers or hints have changed. Returns whether that is known yet.
    pub(super) async fn request_if_rules_changed(&self) -> Walked<bool> {
        let mut connection = self.connection().await?;
        let Some(sweep) = ledger::sweep(&mut connection, SWEEP).await? else { return Ok(false) };
        if schedule::is_outdated(&sweep, &self.fingerprint()) {
            info!("a sweep is due: hosts, timers or hints have changed");
            ledger::request_sweep(&mut connection, SWEEP).await?;
        }
        Ok(true)
    }

    fn fingerprint(&self) -> Vec<u8> {
        schedule::fingerprint(&self.settings.rules, &self.settings.hosts)
    }

    /// The sweep that is under way, or begins now. Its positions are the stores of each host.
    pub(super) async fn sweep_due(&self) -> Walked<Option<Sweep>> {
        let beginning = async {
            let mut connection = self.pool.acquire().await.named("sweep_connect")?;
            if !schedule::has_work(&mut connection, SWEEP, self.settings.every).await? {
                return database::Result::Ok(None);
            }
            let mut transaction = connection.begin().await.named("sweep_begin")?;
            let Some(sweep) = ledger::lock_sweep(&mut transaction, SWEEP).await? else {
                return Ok(None);
            };
            if !schedule::begins(&sweep, self.settings.every) {
                return Ok(sweep.started_at.is_some().then_some(sweep));
            }
            let parts = i64::try_from(self.settings.hosts.len() * STORES.len()).unwrap_or(i64::MAX);
            let (span, fingerprint) = ((0, parts), self.fingerprint());
            let sweep = schedule::begin(&mut transaction, SWEEP, sweep, span, &fingerprint).await?;
            transaction.commit().await.named("sweep_commit")?;
            Ok(Some(sweep))
        };
        Ok(in_time("sweep", TRANSACTION_LIMIT, beginning).await?)
    }

    /// The next owners of one store of one host. Returns whether it can continue at once.
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
            warn!(host, "the sweep continues without this host: no companion module answers there");
            return self.next_part(sweep.position).await;
        }
        self.absent_since = None;
        let after = ledger::sweep_owner(&mut *self.connection().await?, SWEEP).await?;
        let owners = self.all_owners(&host, store, &after).await?;
        for (nr, owner) in owners.found.iter().enumerate() {
            let purpose = Purpose { since: None, sweep: Some((sweep.position, owner)) };
            if !self.list((&host, owner), store, purpose).await? {
                self.sweep_after(owner).await?;
            }
            // A timer that is to start does not wait for the whole sweep.
            let hosts = self.present.hosts();
            self.relists(&hosts).await?;
            let may_turn = nr % OWNERS_A_TURN == OWNERS_A_TURN - 1;
            if may_turn && self.catch_up_due(&hosts).await?.is_some() {
                return Ok(true);
            }
        }
        match owners.last.filter(|_| !owners.complete) {
            Some(last) => self.sweep_after(&last).await.map(|()| true),
            None => self.next_part(sweep.position).await,
        }
    }

    async fn sweep_after(&self, owner: &str) -> Walked<()> {
        Ok(ledger::move_sweep_to_owner(&mut *self.connection().await?, SWEEP, owner).await?)
    }

    async fn next_part(&mut self, position: i64) -> Walked<bool> {
        let mut transaction = self.pool.begin().await.named("sweep_begin")?;
        let nothing = SweepCounts::default();
        ledger::move_sweep(&mut transaction, SWEEP, position + 1, nothing).await?;
        ledger::move_sweep_to_owner(&mut transaction, SWEEP, "").await?;
        transaction.commit().await.named("sweep_commit")?;
        Ok(true)
    }

    async fn complete_sweep(&self) -> Walked<()> {
        let mut connection = self.connection().await?;
        ledger::complete_sweep(&mut connection, SWEEP).await?;
        schedule::completed(database::now(&mut connection).await?, &self.metrics);
        Ok(())
    }
}
