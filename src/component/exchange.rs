//! Between the stream and the workers: notices go in, requests go out, and answers find their way back.
//!
//! Everything is bounded: waiting notices, waiting requests, requests in flight, and the time of each.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::commands::Commands;
use super::outline::Outline;
use super::{Trial, companion, incoming};
use crate::archive::companion::{
    Answer, Event, Notice, OLDEST_VERSION, Request, Requests, Unanswered, VERSION, Wanted,
};
use crate::metrics::Metrics;

/// Maximum number of notices waiting for the workers, and of their bytes.
const MOST_NOTICES: usize = 1_000;
const MOST_NOTICE_BYTES: usize = 4 << 20;
/// What a notice costs beyond its stanza.
const NOTICE_BYTES: usize = 1_024;
/// What one message that was read costs beyond its chat and id.
const READING_BYTES: usize = 64;
/// Maximum requests waiting to be sent or in flight.
const MOST_WAITING: usize = 16;
const MOST_UNDER_WAY: usize = 16;
/// Timeout for an answer, including sending the request.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

type Reply = oneshot::Sender<Result<Answer, Unanswered>>;

/// What the workers want sent.
enum Outgoing {
    Request(Asked),
    Trial(Trial),
}

struct Asked {
    host: String,
    request: Request,
    reply: Reply,
}

/// The stream's side, which outlives sessions.
#[derive(Clone)]
pub struct Exchange(Arc<Inner>);

struct Inner {
    hosts: Vec<String>,
    notices: mpsc::Sender<Notice>,
    permits: Arc<Semaphore>,
    outgoing: Mutex<mpsc::Receiver<Outgoing>>,
    connection: watch::Sender<Option<u64>>,
    /// What modules shall announce of what was read; nothing before it is set.
    wanted: OnceLock<watch::Receiver<Wanted>>,
    /// What users may ask for; nothing before it is set.
    commands: OnceLock<Commands>,
    metrics: Arc<Metrics>,
}

/// The workers' side: sends requests to the modules, and trials.
#[derive(Clone)]
pub struct Link {
    outgoing: mpsc::Sender<Outgoing>,
    connection: watch::Receiver<Option<u64>>,
}

/// Both sides, and the notices. Only notices from modules on `hosts` are accepted.
pub fn exchange(
    hosts: Vec<String>,
    metrics: Arc<Metrics>,
) -> (Exchange, Link, mpsc::Receiver<Notice>) {
    let (notices, taken) = mpsc::channel(MOST_NOTICES);
    let (sender, outgoing) = mpsc::channel(MOST_WAITING);
    let (connection, connected) = watch::channel(None);
    let permits = Arc::new(Semaphore::new(MOST_NOTICE_BYTES));
    let outgoing = Mutex::new(outgoing);
    let (wanted, commands) = (OnceLock::new(), OnceLock::new());
    let inner = Inner { hosts, notices, permits, outgoing, connection, wanted, commands, metrics };
    (Exchange(Arc::new(inner)), Link { outgoing: sender, connection: connected }, taken)
}

impl Exchange {
    /// From now on modules are told at each greeting to announce this of what was read. The first call counts.
    pub fn want(&self, wanted: watch::Receiver<Wanted>) {
        let _ = self.0.wanted.set(wanted);
    }

    /// From the next session on users may ask for these commands. The first call counts.
    pub fn offer(&self, commands: Commands) {
        let _ = self.0.commands.set(commands);
    }

    /// What users may ask for.
    pub(super) fn commands(&self) -> Option<&Commands> {
        self.0.commands.get()
    }

    /// Starts a session. Requests from before it fail, as they were never sent.
    pub(super) async fn session(&self) -> Session<'_> {
        let mut outgoing = self.0.outgoing.lock().await;
        while outgoing.try_recv().is_ok() {}
        static SESSIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = SESSIONS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.connection.send_replace(Some(number));
        // Unguessable, so that nobody can answer in the module's place.
        let prefix = hex::encode(rand::random::<[u8; 8]>());
        let (under_way, versions) = (HashMap::new(), HashMap::new());
        Session { exchange: self, outgoing, prefix, sent: 0, under_way, versions }
    }

    /// Accepts a notice if it can be trusted: a headline to us, from a listed host itself, about an owner
    /// there. Above all not an error: a bounce quotes what somebody else wrote, and comes from the host that
    /// returns it.
    pub(super) fn take(&self, jid: &str, notice: &incoming::Notice) {
        let Inner { hosts, metrics, .. } = &*self.0;
        let incoming::Notice { from, to, kind, outline } = notice;
        let is_headline = kind.as_deref() == Some("headline");
        let domain = |owner: &str| owner.rsplit_once('@').map(|(_, domain)| domain.to_owned());
        let host = from.as_deref().filter(|from| hosts.iter().any(|host| host == from));
        let owned = outline.attribute("owner").and_then(domain);
        let is_ours = |host: &&str| owned.as_deref() == Some(host) && to.as_deref() == Some(jid);
        let Some(host) = host.filter(is_ours).filter(|_| is_headline) else {
            metrics.notices_refused.inc();
            return;
        };
        let taken = companion::notice(host, outline).and_then(|notice| self.keep(notice));
        if taken.is_none() {
            metrics.notices_lost.inc();
        }
    }

    fn keep(&self, mut notice: Notice) -> Option<()> {
        let bytes = match &notice.event {
            Event::Archived(shown) | Event::Remembered(shown) => {
                shown.row.xml.as_ref().map_or(0, String::len)
            }
            Event::Drained(_) => 0,
            Event::Undelivered(_, ids) | Event::Delivered(_, ids) => {
                ids.iter().map(String::len).sum()
            }
            Event::Read(_, items) => items.iter().map(|it| it.text_bytes() + READING_BYTES).sum(),
        };
        let bytes = u32::try_from(bytes + NOTICE_BYTES).ok()?;
        notice.permit = Some(Arc::clone(&self.0.permits).try_acquire_many_owned(bytes).ok()?);
        self.0.notices.try_send(notice).ok()
    }
}

/// One session of the stream. When it ends, all requests in flight fail.
pub(super) struct Session<'a> {
    exchange: &'a Exchange,
    outgoing: MutexGuard<'a, mpsc::Receiver<Outgoing>>,
    prefix: String,
    sent: u64,
    under_way: HashMap<String, Asked>,
    /// The protocol versions of the modules that have identified themselves, by host.
    versions: HashMap<String, u32>,
}

impl Session<'_> {
    /// The next request or trial to send, as soon as a permit is free. Cancel-safe.
    pub(super) async fn next_outgoing(&mut self, jid: &str) -> Vec<u8> {
        self.under_way.retain(|_, asked| !asked.reply.is_closed());
        if self.under_way.len() >= MOST_UNDER_WAY {
            // The workers give up long before that; then the next stanza, or a second, brings us back here.
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Vec::new();
        }
        let asked = match self.outgoing.recv().await {
            Some(Outgoing::Request(asked)) => asked,
            Some(Outgoing::Trial(trial)) => return trial.write(jid),
            None => return std::future::pending().await,
        };
        self.sent += 1;
        let id = format!("{}-{}", self.prefix, self.sent);
        // A module of any version answers when asked to identify itself.
        let known = self.versions.get(&asked.host).filter(|_| asked.request != Request::Companion);
        let to = (asked.host.as_str(), known.copied().unwrap_or(VERSION));
        let wanted = self.exchange.0.wanted.get().map_or(Wanted::NOTHING, |it| *it.borrow());
        let text = companion::request(jid, to, &id, (&asked.request, wanted));
        self.under_way.insert(id, asked);
        text.into_bytes()
    }

    /// Passes an answer to its request, matched exactly by id and sender. Returns whether there was one.
    pub(super) fn answered(
        &mut self,
        from: Option<&str>,
        id: Option<&str>,
        outline: Option<Outline>,
    ) -> bool {
        let Some(id) = id else { return false };
        if self.under_way.get(id).is_none_or(|asked| Some(asked.host.as_str()) != from) {
            return false;
        }
        let Some(asked) = self.under_way.remove(id) else { return false };
        let answer = companion::answer(&asked.host, &asked.request, outline);
        if let Ok(Answer::Companion(companion)) = &answer {
            let version = companion.version.clamp(OLDEST_VERSION, VERSION);
            self.versions.insert(asked.host, version);
        }
        let _ = asked.reply.send(answer);
        true
    }

    pub(super) fn exchange(&self) -> &Exchange {
        self.exchange
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        while self.outgoing.try_recv().is_ok() {}
        self.exchange.0.connection.send_replace(None);
    }
}

impl Link {
    /// Hands a trial over to the connection. `false` if there is none, or if it does not keep up.
    pub fn try_out(&self, trial: Trial) -> bool {
        self.connection.borrow().is_some() && self.outgoing.try_send(Outgoing::Trial(trial)).is_ok()
    }
}

impl Requests for Link {
    async fn ask(&self, host: &str, request: Request) -> Result<Answer, Unanswered> {
        if self.connection.borrow().is_none() {
            return Err(Unanswered::Disconnected);
        }
        let (reply, answer) = oneshot::channel();
        let asked = Asked { host: host.to_owned(), request, reply };
        let asking = async {
            let outgoing = Outgoing::Request(asked);
            self.outgoing.send(outgoing).await.map_err(|_| Unanswered::Disconnected)?;
            answer.await.unwrap_or(Err(Unanswered::Disconnected))
        };
        timeout(ANSWER_WITHIN, asking).await.unwrap_or(Err(Unanswered::Silent))
    }

    fn connection(&self) -> watch::Receiver<Option<u64>> {
        self.connection.clone()
    }
}
