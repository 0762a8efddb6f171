//! Which daemon is the leader: of several on one database, one at a time may own the component's connection.
//!
//! The leader holds an advisory lock in a session of its own. The database ends that session if it is silent for a few
//! seconds, and another daemon can take the lock. While the database is unreachable the leader keeps leading, because
//! no other daemon can take over.

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Retry, replace};
use crate::{
    database::{self, DatabaseSettings, Error, Named, Result, Session, in_time},
    metrics::Metrics,
};

/// Interval between two attempts to become the leader.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Interval at which the leader asks whether it still holds the lock: often enough for [`SILENCE_SECONDS`].
const CONFIRM_EVERY: Duration = Duration::from_secs(2);

/// Maximum time for an answer once connected.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The database ends a session that was idle for this long (since PostgreSQL 14).
const SILENCE_SECONDS: u8 = 5;

/// After a broken connection, our own last session may hold the lock for this long.
const LAST_SESSION_ENDS_WITHIN: Duration = Duration::from_secs(SILENCE_SECONDS as u64 + 1);

/// The key of the lock: the same for all daemons with the same component name on the same server.
pub fn key(jid: &str, server: &str) -> i64 {
    let digest = Sha256::digest(format!("ephemerd leader\n{jid}\n{server}"));
    digest.first_chunk().copied().map_or(0, i64::from_be_bytes)
}

/// Whether some daemon is the leader now: it has the component's connection, or is about to.
pub async fn somebody_leads(connection: &mut PgConnection, key: i64) -> Result<bool> {
    sqlx::query_scalar(
        "-- somebody_leads
         SELECT NOT (CASE WHEN pg_try_advisory_lock($1) THEN pg_advisory_unlock($1) ELSE false END)",
    )
    .bind(key)
    .fetch_one(connection)
    .await
    .named("somebody_leads")
}

/// One daemon's part in deciding which leads.
pub struct Leader {
    database: DatabaseSettings,
    key: i64,
    leads: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    lock: Option<Lock>,
    denied_since: Option<Instant>,
    retry: Retry,
}

/// A session that asks for the lock, or holds it.
struct Lock {
    connection: PgConnection,
    is_ours: bool,
}

impl Leader {
    /// Starts with [`Leader::run`]. `leads` says whether this daemon is the leader.
    pub fn new(
        database: DatabaseSettings,
        key: i64,
        leads: watch::Sender<bool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            database,
            key,
            leads,
            metrics,
            lock: None,
            denied_since: None,
            retry: Retry::new("asking who leads", ASK_EVERY, 5),
        }
    }

    /// Keeps asking until stopped, and then makes way for another daemon at once.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(wait) = stop.run_until_cancelled(self.round()).await {
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                break;
            }
        }
        self.metrics.leader.set(0);
        if let Some(Lock { connection, .. }) = self.lock {
            let _ = timeout(ANSWER_WITHIN, connection.close()).await;
        }
    }

    /// Asks once. Returns how long to wait before asking again.
    async fn round(&mut self) -> Duration {
        let limit = match self.lock {
            Some(_) => ANSWER_WITHIN,
            None => ANSWER_WITHIN + self.database.connects_within(),
        };
        match in_time("lead", limit, self.ask()).await {
            Ok(is_ours) => {
                self.retry.succeeded();
                self.decide(is_ours);
                if is_ours { CONFIRM_EVERY } else { ASK_EVERY }
            }
            // The leader keeps leading: the database may be unreachable for everyone.
            Err(error) => self.retry.failed(&error, &self.metrics),
        }
    }

    fn decide(&mut self, is_ours: bool) {
        if is_ours {
            self.denied_since = None;
            return self.set(true);
        }
        let denied_for = self.denied_since.get_or_insert_with(Instant::now).elapsed();
        if !*self.leads.borrow() || denied_for >= LAST_SESSION_ENDS_WITHIN {
            self.set(false);
        }
    }

    fn set(&self, leads: bool) {
        self.metrics.leader.set(leads.into());
        match (replace(&self.leads, leads), leads) {
            (true, true) => info!("this daemon leads: it connects the component"),
            (true, false) => info!("another daemon leads: it connects the component"),
            (false, _) => {}
        }
    }

    /// Whether the lock is ours. A session that fails, or is abandoned half way, is dropped.
    async fn ask(&mut self) -> Result<bool> {
        let mut lock = match self.lock.take() {
            Some(lock) => lock,
            None => Lock { connection: self.connect().await?, is_ours: false },
        };
        // A session can take its own lock again, which would then have to be released twice.
        let wanted = (!lock.is_ours).then_some(self.key);
        lock.is_ours =
            sqlx::query_scalar("-- lead\nSELECT coalesce(pg_try_advisory_lock($1), true)")
                .bind(wanted)
                .fetch_one(&mut lock.connection)
                .await
                .named("lead")?;
        Ok(self.lock.insert(lock).is_ours)
    }

    async fn connect(&self) -> Result<PgConnection> {
        let mut connection = self.database.connect().await?;
        match database::session(&mut connection).await? {
            Session::Ours => {}
            Session::Standby => return Err(Error::standby("lead_connect")),
            Session::Pooled => return Err(Error::unexpected("lead_connect", "a pooler answers")),
        }
        sqlx::query(
            "-- lead_silence
             SELECT set_config('idle_session_timeout', $1, false)
              WHERE current_setting('server_version_num')::int >= 140000",
        )
        .bind(format!("{SILENCE_SECONDS}s"))
        .execute(&mut connection)
        .await
        .named("lead_silence")?;
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leader that falls silent: its session ends, and another daemon asks next.
    #[test]
    fn another_leads_within_the_ten_seconds_of_the_design() {
        let silence = Duration::from_secs(SILENCE_SECONDS.into());
        assert!(silence + ASK_EVERY + ANSWER_WITHIN < Duration::from_secs(10));
    }

    #[test]
    fn each_name_on_each_server_has_its_own_lock() {
        let keys = [key("a", "b"), key("a", "c"), key("b", "b"), key("a\nb", "")];
        assert_eq!(keys[0], key("a", "b"));
        for (at, one) in keys.iter().enumerate() {
            assert!(keys[at + 1..].iter().all(|other| other != one), "{keys:?}");
        }
    }
}
