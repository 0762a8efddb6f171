//! How to reach the database: its hosts, session settings and the pool.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{Error, LOCK_TIMEOUT, Named as _, READ_ONLY, Result, Session, in_time, session};

/// Maximum connections per daemon, not counting the one that holds the leader's lock.
const MAX_CONNECTIONS: u32 = 6;

/// A connection that is taken from the pool is asked first if it was idle for longer. What breaks within this time fails
/// one statement, which is retried.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// A returned connection that does not answer within this time is closed.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);

/// Connect timeout per host if there are several: the next one may be right.
const ONE_OF_SEVERAL_WITHIN: Duration = Duration::from_secs(2);

/// How to reach the database, made from the configuration. Not `Debug`: it contains the password.
#[derive(Clone)]
pub struct DatabaseSettings {
    hosts: Hosts,
    /// Maximum wait for a connection.
    pub acquire_timeout: Duration,
}

impl DatabaseSettings {
    /// Our sessions never wait long for a lock, never sit idle in a transaction, and name themselves.
    ///
    /// `lock_timeout` is shorter than `deadlock_timeout` (1 s), so that the server never becomes the victim
    /// of a deadlock with us.
    pub fn new(hosts: Vec<PgConnectOptions>) -> Self {
        let hosts = hosts.into_iter().map(session_settings).collect();
        Self { hosts: Hosts::new(hosts), acquire_timeout: Duration::from_secs(5) }
    }

    /// One connection, in bounded time: to the first host that accepts writes, or to the only one.
    pub async fn connect(&self) -> Result<PgConnection> {
        let limit =
            if self.hosts.are_several() { ONE_OF_SEVERAL_WITHIN } else { self.acquire_timeout };
        self.hosts.connect(limit).await
    }

    /// The longest that [`DatabaseSettings::connect`] takes.
    pub fn connects_within(&self) -> Duration {
        match self.hosts.are_several() {
            true => ONE_OF_SEVERAL_WITHIN * self.hosts.count(),
            false => self.acquire_timeout,
        }
    }

    /// A pool that connects when first used: a database that is down only delays us. Of several hosts it uses the one
    /// that was found last by [`DatabaseSettings::connect`].
    pub fn pool(&self) -> PgPool {
        let several = self.hosts.are_several();
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(self.acquire_timeout)
            .max_lifetime(Duration::from_secs(600))
            // A former primary may have come back as a standby.
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    match several && session(connection).await == Ok(Session::Standby) {
                        true => Err(sqlx::Error::PoolTimedOut),
                        false => Ok(()),
                    }
                })
            })
            .test_before_acquire(false)
            .before_acquire(|connection, it| {
                Box::pin(
                    async move { Ok(it.idle_for < TRUSTED_FOR || connection.ping().await.is_ok()) },
                )
            })
            // sqlx would wait for ever for a connection that was cut silently, and would log the database's
            // message.
            .after_release(|connection, _| {
                Box::pin(async move {
                    let answer = tokio::time::timeout(GIVEN_UP_AFTER, connection.ping()).await;
                    Ok(answer.is_ok_and(|answer| answer.is_ok()))
                })
            })
            .connect_lazy_with(self.hosts.current());
        self.hosts.let_follow(pool.clone());
        pool
    }
}

fn session_settings(options: PgConnectOptions) -> PgConnectOptions {
    let name = options.get_application_name().unwrap_or("ephemerd").to_owned();
    let options = options.application_name(&name).options([
        ("lock_timeout", LOCK_TIMEOUT),
        ("statement_timeout", "60s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
        ("timezone", "UTC"),
        // What holds a lock must see what was committed before it got the lock.
        ("default_transaction_isolation", "read committed"),
        // Statements are short: compiling one takes longer than running it.
        ("jit", "off"),
    ]);
    // sqlx would log slow statements in full; our own log lines name the statement.
    options.disable_statement_logging()
}

/// The hosts of one database. If there are several, at most one accepts writes; they are tried in order.
#[derive(Clone)]
struct Hosts(Arc<Inner>);

struct Inner {
    all: Vec<PgConnectOptions>,
    /// The index of the host that was found last.
    at: AtomicUsize,
    /// Switched to the new host when it changes.
    pools: Mutex<Vec<PgPool>>,
}

impl Hosts {
    fn new(all: Vec<PgConnectOptions>) -> Self {
        Self(Arc::new(Inner { all, at: AtomicUsize::new(0), pools: Mutex::default() }))
    }

    fn count(&self) -> u32 {
        u32::try_from(self.0.all.len()).unwrap_or(u32::MAX)
    }

    fn are_several(&self) -> bool {
        self.0.all.len() > 1
    }

    fn current(&self) -> PgConnectOptions {
        self.0.all.get(self.0.at.load(Ordering::Relaxed)).cloned().unwrap_or_default()
    }

    /// Returns a standby's error if there is one, otherwise the first host's.
    async fn connect(&self, limit: Duration) -> Result<PgConnection> {
        let mut failed: Option<Error> = None;
        for (at, options) in self.0.all.iter().enumerate() {
            let is_only = !self.are_several();
            let connecting = async {
                let mut connection = PgConnection::connect_with(options).await.named("connect")?;
                match is_only || session(&mut connection).await? != Session::Standby {
                    true => Ok(connection),
                    false => Err(Error::standby("connect")),
                }
            };
            match in_time("connect", limit, connecting).await {
                Ok(connection) => {
                    self.found(at);
                    return Ok(connection);
                }
                Err(error) if error.sqlstate() == Some(READ_ONLY) => failed = Some(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| Error::unexpected("connect", "no host is configured")))
    }

    fn found(&self, at: usize) {
        if self.0.at.swap(at, Ordering::Relaxed) != at {
            let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
            for pool in pools.iter() {
                pool.set_connect_options(self.current());
            }
        }
    }

    fn let_follow(&self, pool: PgPool) {
        if self.are_several() {
            let mut pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
            pools.retain(|pool| !pool.is_closed());
            pools.push(pool);
        }
    }
}
