//! What wakes the eraser before its time: a recording, or a word of the operator.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    database::{Error, Named, in_time},
    ledger::CHANNEL,
    metrics::Metrics,
    model::Timestamp,
};

/// So often we make sure that the connection is still there: one that was cut says nothing.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// For the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A bell with a note: the earliest due time that was recorded since somebody last looked.
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

    /// Waits for the bell. A ring before the call counts.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// Listens to the database and rings, until stopped. While it cannot listen the eraser wakes by itself,
/// once a minute at the least.
pub async fn listen(pool: PgPool, wake: Arc<Wake>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut told = false;
    loop {
        let outcome = tokio::select! {
            outcome = listen_once(&pool, &wake, &mut told) => outcome,
            () = stop.cancelled() => return,
        };
        if let Err(error) = outcome {
            metrics.database_errors.inc();
            if !told {
                warn!(%error, "cannot listen to the database, trying again");
                told = true;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn listen_once(pool: &PgPool, wake: &Wake, told: &mut bool) -> Result<(), Error> {
    let named = |error| Error::new("listen", &error);
    let mut listener = PgListener::connect_with(pool).await.map_err(named)?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await.map_err(named)?;
    if std::mem::take(told) {
        info!("listening to the database again");
    }
    // What was said while nobody listened is not known: look at everything.
    wake.ring(Timestamp::UNIX_EPOCH);
    loop {
        let Ok(received) = timeout(ASK_EVERY, listener.try_recv()).await else {
            in_time("listen", ANSWER_WITHIN, ask(&mut listener)).await?;
            continue;
        };
        let Some(notification) = received.map_err(named)? else { return Ok(()) };
        let micros = notification.payload().parse().unwrap_or(0);
        wake.ring(Timestamp::from_timestamp_micros(micros).unwrap_or(Timestamp::UNIX_EPOCH));
    }
}

async fn ask(listener: &mut PgListener) -> Result<(), Error> {
    sqlx::raw_sql("-- listening").execute(listener).await.map(drop).named("listen")
}
