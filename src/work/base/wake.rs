//! What wakes workers early. New entries in the ledger and operators' commands wake the eraser; what somebody has read in
//! a room wakes the worker that asks for its members.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use super::Retry;
use crate::{
    database::{Error, Named, in_time},
    ledger::{CHANNEL, READERS_CHANNEL},
    metrics::Metrics,
    model::Timestamp,
};

/// How often to check that the connection still works: one that was cut gives no sign.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// Interval between attempts to listen.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// Maximum time for the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A bell with a note: the earliest due time recorded since the note was last taken.
#[derive(Debug, Default)]
pub struct Wake {
    bell: Notify,
    earliest: Mutex<Option<Timestamp>>,
}

impl Wake {
    /// Something due at `earliest` was recorded.
    pub fn ring(&self, earliest: Timestamp) {
        let mut noted = self.earliest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *noted = Some(noted.map_or(earliest, |noted| noted.min(earliest)));
        drop(noted);
        self.bell.notify_one();
    }

    /// Takes the note.
    pub fn take(&self) -> Option<Timestamp> {
        self.earliest.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Waits for the bell. A ring before this call counts.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// Waits for the bell, but at least for `rest`: notifications come in bursts. A ring in the meantime counts.
pub async fn rung(bell: &Notify, rest: Duration) {
    tokio::time::sleep(rest).await;
    bell.notified().await;
}

/// The bells of a daemon.
#[derive(Debug, Clone, Default)]
pub struct Bells {
    /// The eraser's.
    pub wake: Arc<Wake>,
    /// Somebody has read what waits for every member of a room.
    pub readers: Arc<Notify>,
}

/// Listens to the database and rings the bells, until stopped. While it cannot listen, the eraser wakes by itself at
/// least once a minute, and rooms are looked at every second.
pub async fn listen(pool: PgPool, bells: Bells, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut retry = Retry::new("listening to the database", RETRY_EVERY, 1);
    loop {
        let listening = listen_once(&pool, &bells, &mut retry);
        let pause = match stop.run_until_cancelled(listening).await {
            None => return,
            Some(Ok(())) => RETRY_EVERY,
            Some(Err(error)) => retry.failed(&error, &metrics),
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn listen_once(pool: &PgPool, bells: &Bells, retry: &mut Retry) -> Result<(), Error> {
    let named = |error| Error::new("listen", &error);
    let mut listener = PgListener::connect_with(pool).await.map_err(named)?;
    listener.eager_reconnect(false);
    listener.listen_all([CHANNEL, READERS_CHANNEL]).await.map_err(named)?;
    retry.succeeded();
    // Notifications sent meanwhile are lost, so look at everything.
    bells.wake.ring(Timestamp::UNIX_EPOCH);
    bells.readers.notify_one();
    loop {
        let Ok(received) = timeout(ASK_EVERY, listener.try_recv()).await else {
            let asking = sqlx::raw_sql("-- listening").execute(&mut listener);
            in_time("listen", ANSWER_WITHIN, async { asking.await.named("listen") }).await?;
            continue;
        };
        let Some(notification) = received.map_err(named)? else { return Ok(()) };
        if notification.channel() == READERS_CHANNEL {
            bells.readers.notify_one();
            continue;
        }
        let micros = notification.payload().parse().unwrap_or(0);
        bells.wake.ring(Timestamp::from_timestamp_micros(micros).unwrap_or(Timestamp::UNIX_EPOCH));
    }
}
