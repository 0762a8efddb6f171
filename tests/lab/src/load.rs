//! A steady load of marked and unmarked messages, for tests that break things meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::database::Database;
use crate::ejabberd::{Schema, rows as ejabberd_rows};
use crate::lab::Lab;
use crate::rows::{ArchiveRow, insert};
use crate::server::Server;
use crate::xmpp::Client;
use crate::{LabError, Result};

/// Wait after an archive could not be written to, as a server does.
const AFTER_A_FAILURE: Duration = Duration::from_millis(200);

/// A condition on `xml` that only the load's marked messages satisfy, for
/// [`Shadow::compare`](crate::Shadow::compare).
pub const MARKED: &str = "xml LIKE '%urn:xmpp:ephemeral:0%'";

/// Archives messages continuously, about half of them with timers of 1 or 2 s, until stopped. What cannot be
/// archived is skipped: servers that are broken on purpose lose some.
pub struct Load {
    stop: watch::Sender<bool>,
    task: JoinHandle<usize>,
}

impl Load {
    /// Rows in Prosody's table, a few hundred per second, of users and of a room.
    pub fn prosody_rows(database: &Database, seed: u64) -> Self {
        Self::start(Rows::new(database, None, seed))
    }

    /// Rows in ejabberd's table.
    pub fn ejabberd_rows(database: &Database, schema: Schema, seed: u64) -> Self {
        Self::start(Rows::new(database, Some(schema), seed))
    }

    /// Chats from one client to another through the XMPP server, surviving its restarts.
    pub fn chats<S: Server + 'static>(lab: &Arc<Lab<S>>, seed: u64) -> Self {
        let (lab, random) = (Arc::clone(lab), StdRng::seed_from_u64(seed));
        Self::start(Chats { lab, random, number: 0, pair: None })
    }

    fn start(mut source: impl Source) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut archived = 0;
            loop {
                let done = tokio::select! {
                    done = source.archive() => done,
                    _ = stopped.wait_for(|stopped| *stopped) => return archived,
                };
                match done {
                    Ok(count) => archived += count,
                    Err(_) => tokio::time::sleep(AFTER_A_FAILURE).await,
                }
            }
        });
        Self { stop, task }
    }

    /// Stops it; returns how many messages were archived, as far as that was confirmed.
    pub async fn stop(self) -> Result<usize> {
        self.stop.send_replace(true);
        self.task.await.map_err(|_| LabError::new("the load came to a bad end"))
    }
}

trait Source: Send + 'static {
    /// Archives some messages; returns how many.
    fn archive(&mut self) -> impl Future<Output = Result<usize>> + Send;
}

/// Rows without an XMPP server.
struct Rows {
    database: Database,
    /// ejabberd's; else Prosody's table.
    schema: Option<Schema>,
    random: StdRng,
    /// No two loads of a run use the same archive ids.
    load: u32,
    number: u64,
}

impl Rows {
    fn new(database: &Database, schema: Option<Schema>, seed: u64) -> Self {
        static LOADS: AtomicU32 = AtomicU32::new(1);
        let (database, random) = (database.clone(), StdRng::seed_from_u64(seed));
        let load = LOADS.fetch_add(1, Ordering::Relaxed);
        Self { database, schema, random, load, number: 0 }
    }

    fn prosody_row(&mut self, now: i64) -> ArchiveRow {
        let stanza = stanza(&mut self.random, self.number);
        let key = format!("key-{}-{}", self.load, self.number);
        match self.random.random_bool(0.3) {
            true => ArchiveRow::room("den", &key, now / 1_000_000, &stanza),
            false => ArchiveRow::archive("peter", &key, now / 1_000_000, &stanza),
        }
    }

    fn ejabberd_row(&mut self, now: i64) -> ejabberd_rows::ArchiveRow {
        let stanza = stanza(&mut self.random, self.number);
        match self.random.random_bool(0.3) {
            true => ejabberd_rows::ArchiveRow::room("den", now, &stanza),
            false => ejabberd_rows::ArchiveRow::user("peter", now, &stanza),
        }
    }
}

impl Source for Rows {
    async fn archive(&mut self) -> Result<usize> {
        pause(&mut self.random).await;
        let now = unix_time(self.database.superuser()).await?;
        let count = self.random.random_range(1..30);
        let (mut prosody, mut ejabberd) = (Vec::new(), Vec::new());
        for at in 0..count {
            self.number += 1;
            match self.schema {
                None => prosody.push(self.prosody_row(now)),
                Some(_) => ejabberd.push(self.ejabberd_row(now + at)),
            }
        }
        Ok(match self.schema {
            None => insert(self.database.superuser(), &prosody).await?.len(),
            Some(schema) => ejabberd_rows::insert(&self.database, schema, &ejabberd).await?.len(),
        })
    }
}

/// Two clients of an XMPP server.
struct Chats<S> {
    lab: Arc<Lab<S>>,
    random: StdRng,
    number: u64,
    /// Recipient and sender.
    pair: Option<(Client, Client)>,
}

impl<S: Server + 'static> Source for Chats<S> {
    async fn archive(&mut self) -> Result<usize> {
        pause(&mut self.random).await;
        let (mut rosa, mut peter) = match self.pair.take() {
            Some(pair) => pair,
            // The recipient comes online first, so that nothing waits in the offline queue.
            None => (self.lab.online("rosa").await?, self.lab.online("peter").await?),
        };
        self.number += 1;
        let (words, to) = (format!("n{}", self.number), rosa.bare_jid().to_owned());
        peter.chat(&to, &words, &mark(&mut self.random)).await?;
        peter.sync().await?;
        rosa.sync().await?;
        rosa.take(|_| true);
        self.pair = Some((rosa, peter));
        Ok(1)
    }
}

async fn pause(random: &mut StdRng) {
    tokio::time::sleep(Duration::from_millis(random.random_range(5..60))).await;
}

/// The database's clock, in microseconds.
async fn unix_time(pool: &PgPool) -> Result<i64> {
    let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    Ok(sqlx::query_scalar(now).fetch_one(pool).await?)
}

fn mark(random: &mut StdRng) -> String {
    match random.random_range(0..6) {
        0..3 => format!(
            "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{}'/>",
            random.random_range(1..3)
        ),
        3 => "<store xmlns='urn:xmpp:hints'/>".to_owned(),
        _ => String::new(),
    }
}

fn stanza(random: &mut StdRng, number: u64) -> String {
    let mark = mark(random);
    format!(
        "<message type='chat' from='a@localhost/x' to='b@localhost'><body>n{number}</body>{mark}</message>"
    )
}
