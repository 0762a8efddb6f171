//! Which daemon leads: of several on one database, one at a time may own the component's connection.
//!
//! The leader holds an advisory lock in a session of its own, which the database ends when it hears
//! nothing for a few seconds: then the lock is free for another. While the database is away the
//! leader goes on leading, for nobody else can begin to.

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    database::{self, Error, Named, Result, Session, in_time},
    metrics::Metrics,
};

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Between two questions at the most, while the database is away.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// For an answer, connecting included.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The database ends a session that has asked nothing for so long (since PostgreSQL 14).
const SILENCE_SECONDS: u8 = 5;

/// After a broken connection the lock may be held by our own last session, for so long.
const LAST_SESSION_ENDS_WITHIN: Duration = Duration::from_secs(SILENCE_SECONDS as u64 + 1);

/// The key of the lock: daemons with the same name on the same server want the same one.
pub fn key(jid: &str, server: &str) -> i64 {
    let digest = Sha256::digest(format!("ephemerd leader\n{jid}\n{server}"));
    digest.first_chunk().copied().map_or(0, i64::from_be_bytes)
}

/// Whether some daemon leads now: it has the component's connection, or is about to.
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

/// One daemon's part in deciding who leads.
pub struct Leader {
    database: database::Settings,
    key: i64,
    leads: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    lock: Option<Lock>,
    denied_since: Option<Instant>,
    failures: u32,
}

/// A session that asks for the lock, or holds it.
struct Lock {
    connection: PgConnection,
    is_ours: bool,
}

impl Leader {
    /// Starts with [`Leader::run`]; `leads` is told.
    pub fn new(
        database: database::Settings,
        key: i64,
        leads: watch::Sender<bool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { database, key, leads, metrics, lock: None, denied_since: None, failures: 0 }
    }

    /// Asks again and again until stopped, and then makes way for another at once.
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

    /// Asks once. Returns how long to wait before the next time.
    async fn round(&mut self) -> Duration {
        match in_time("lead", ANSWER_WITHIN, self.ask()).await {
            Ok(is_ours) => {
                if std::mem::take(&mut self.failures) > 0 {
                    debug!("the database tells who leads again");
                }
                self.decide(is_ours);
                ASK_EVERY
            }
            Err(error) => self.failed(&error),
        }
    }

    fn decide(&mut self, is_ours: bool) {
        if is_ours {
            self.denied_since = None;
            return self.tell(true);
        }
        let denied_for = self.denied_since.get_or_insert_with(Instant::now).elapsed();
        if !*self.leads.borrow() || denied_for >= LAST_SESSION_ENDS_WITHIN {
            self.tell(false);
        }
    }

    fn tell(&self, leads: bool) {
        self.metrics.leader.set(leads.into());
        self.leads.send_if_modified(|leading| {
            let changed = *leading != leads;
            *leading = leads;
            match (changed, leads) {
                (true, true) => info!("this daemon leads: it connects the component"),
                (true, false) => info!("another daemon leads: it connects the component"),
                (false, _) => {}
            }
            changed
        });
    }

    /// Who led goes on leading: the database may be away for everybody.
    fn failed(&mut self, error: &Error) -> Duration {
        self.metrics.database_errors.inc();
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            warn!(%error, "cannot ask the database who leads, trying again");
        } else {
            debug!(%error, failures = self.failures, "cannot ask the database who leads");
        }
        (ASK_EVERY * self.failures).min(LONGEST_WAIT)
    }

    /// Whether the lock is ours. A session that fails, or is given up half way, is dropped.
    async fn ask(&mut self) -> Result<bool> {
        let mut lock = match self.lock.take() {
            Some(lock) => lock,
            None => Lock { connection: self.connect().await?, is_ours: false },
        };
        // A session would take its own lock again, and count.
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
        let options = &self.database.options;
        let mut connection = PgConnection::connect_with(options).await.named("lead_connect")?;
        match database::session(&mut connection).await? {
            Session::Ours => {}
            Session::StandBy => return Err(Error::stand_by("lead_connect")),
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

    #[test]
    fn the_lock_is_one_for_each_name_on_each_server() {
        let keys = [key("a", "b"), key("a", "c"), key("b", "b"), key("a\nb", "")];
        assert_eq!(keys[0], key("a", "b"));
        for (at, one) in keys.iter().enumerate() {
            assert!(keys[at + 1..].iter().all(|other| other != one), "{keys:?}");
        }
    }
}
