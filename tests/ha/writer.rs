//! What stands for an XMPP server: it archives messages all the time, through HAProxy, and tries again when that fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ephemerd_lab::{LabError, Result};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Wait between two inserts, and after one that failed.
const BETWEEN: Duration = Duration::from_millis(50);
/// What takes longer is given up, as a server's driver would.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);

/// One marked message with a timer of a second and one without, in one transaction. It returns the port of the server
/// that archived them.
const INSERT: &str = r#"
    WITH archived AS (
        INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
        SELECT 'localhost', 'peter', 'archive', kind || '-' || $1, floor(extract(epoch FROM clock_timestamp()))::bigint,
               'rosa@localhost', 'xml',
               '<message type=''chat'' to=''rosa@localhost''><body>' || kind || '</body>' || mark || '</message>'
          FROM (VALUES ('goes', '<ephemeral xmlns=''urn:xmpp:ephemeral:0'' timer=''1''/>'), ('stays', '')) AS said(kind, mark)
        RETURNING 1)
    SELECT inet_server_port() FROM archived LIMIT 1"#;

/// An insert that was confirmed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Archived {
    pub(crate) number: i64,
    pub(crate) at: Instant,
    /// The server that has it, by its port.
    pub(crate) server: u16,
}

pub(crate) struct Writer {
    archived: Arc<Mutex<Vec<Archived>>>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Numbers messages from `first` on.
    pub(crate) fn start(url: String, first: i64) -> Self {
        let archived = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(write(url, first, Arc::clone(&archived)));
        Self { archived, task }
    }

    /// The confirmed inserts so far.
    pub(crate) fn archived(&self) -> Vec<Archived> {
        self.archived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops it, and returns all confirmed inserts.
    pub(crate) async fn stop(self) -> Vec<Archived> {
        self.task.abort();
        let archived = self.archived();
        let _ = self.task.await;
        archived
    }
}

async fn write(url: String, first: i64, archived: Arc<Mutex<Vec<Archived>>>) {
    let mut session = None;
    for number in first.. {
        // A number that failed is not used again: its transaction may have been committed.
        if let Ok(Ok(server)) = timeout(GIVEN_UP_AFTER, insert(&url, &mut session, number)).await {
            let done = Archived { number, at: Instant::now(), server };
            archived.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        } else {
            session = None;
        }
        sleep(BETWEEN).await;
    }
}

async fn insert(url: &str, session: &mut Option<PgConnection>, number: i64) -> Result<u16> {
    let connection = match session {
        Some(connection) => connection,
        None => session.insert(PgConnection::connect(url).await?),
    };
    let port: i32 =
        sqlx::query_scalar(INSERT).bind(number.to_string()).fetch_one(connection).await?;
    u16::try_from(port).map_err(|_| LabError::new("that is no port"))
}
