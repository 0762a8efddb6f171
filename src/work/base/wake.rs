//! What wakes workers early. New entries in the ledger wake the eraser, commands wake whoever erases; what somebody has read
//! in a room wakes the worker that asks for its members.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::Retry;
use crate::{
    database::{Error, Named, in_time},
    ledger::{self, CHANNEL, DaemonState, FILES_CHANNEL, READERS_CHANNEL, TRIAL_CHANNEL},
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
    sleep(rest).await;
    bell.notified().await;
}

/// The bells of a daemon.
#[derive(Debug, Clone, Default)]
pub struct Bells {
    /// The eraser's.
    pub wake: Arc<Wake>,
    /// An operator or a user has given a command.
    pub commands: Arc<Notify>,
    /// Somebody has read what waits for every member of a room.
    pub readers: Arc<Notify>,
    /// A message has gone that named an uploaded file.
    pub files: Arc<Notify>,
    /// Takes the trials that operators ask for. What it has no room for is dropped: nobody waits for long.
    pub trials: Option<mpsc::Sender<String>>,
}

impl Bells {
    fn pass_on(&self, channel: &str, payload: &str) {
        match channel {
            READERS_CHANNEL => self.readers.notify_one(),
            FILES_CHANNEL => self.files.notify_one(),
            TRIAL_CHANNEL => {
                let _ = self.trials.as_ref().map(|it| it.try_send(payload.to_owned()));
            }
            _ => {
                let micros = payload.parse().unwrap_or(0);
                if micros == 0 {
                    self.commands.notify_one();
                }
                self.wake.ring(
                    Timestamp::from_timestamp_micros(micros).unwrap_or(Timestamp::UNIX_EPOCH),
                );
            }
        }
    }
}

/// Listens to the database and rings the bells, until stopped. While it cannot listen, the eraser wakes by itself at
/// least once a minute, and rooms are looked at every second. The session's name says what the daemon does.
pub async fn listen(
    pool: PgPool,
    bells: Bells,
    mut state: watch::Receiver<DaemonState>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut retry = Retry::new("listening to the database", RETRY_EVERY, 1);
    loop {
        let listening = listen_once(&pool, &bells, &mut state, &mut retry);
        let pause = match stop.run_until_cancelled(listening).await {
            None => return,
            Some(Ok(())) => RETRY_EVERY,
            Some(Err(error)) => retry.failed(&error, &metrics),
        };
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn listen_once(
    pool: &PgPool,
    bells: &Bells,
    state: &mut watch::Receiver<DaemonState>,
    retry: &mut Retry,
) -> Result<(), Error> {
    let named = |error| Error::new("listen", &error);
    let mut listener = PgListener::connect_with(pool).await.map_err(named)?;
    listener.eager_reconnect(false);
    listener
        .listen_all([CHANNEL, FILES_CHANNEL, READERS_CHANNEL, TRIAL_CHANNEL])
        .await
        .map_err(named)?;
    retry.succeeded();
    // Notifications sent meanwhile are lost, so look at everything.
    bells.wake.ring(Timestamp::UNIX_EPOCH);
    bells.commands.notify_one();
    bells.readers.notify_one();
    bells.files.notify_one();
    state.mark_changed();
    loop {
        let received = tokio::select! {
            received = listener.try_recv() => received.map_err(named)?,
            changed = state.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let now = state.borrow_and_update().clone();
                let naming = ledger::name_session(&mut listener, &now);
                in_time("listen", ANSWER_WITHIN, naming).await?;
                continue;
            }
            () = sleep(ASK_EVERY) => {
                let asking = sqlx::raw_sql("-- listening").execute(&mut listener);
                in_time("listen", ANSWER_WITHIN, async { asking.await.named("listen") }).await?;
                continue;
            }
        };
        let Some(notification) = received else { return Ok(()) };
        bells.pass_on(notification.channel(), notification.payload());
    }
}
