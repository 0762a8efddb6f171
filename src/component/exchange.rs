//! Between the stream and the workers: notices go in, requests go out, answers find their way back.
//!
//! Everything is bounded: notices that wait, requests that wait, requests that are under way, and the time
//! of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::companion;
use super::outline::Outline;
use crate::archive::remote::{Answer, Notice, Request, Requests, Unanswered};
use crate::metrics::Metrics;

/// Notices that wait for the workers at the most, and their bytes.
const MOST_NOTICES: usize = 1_000;
const MOST_NOTICE_BYTES: usize = 4 << 20;
/// What a notice takes beside its stanza.
const NOTICE_BYTES: usize = 1_024;
/// Requests that wait to be sent, and that wait for their answers.
const MOST_WAITING: usize = 16;
const MOST_UNDER_WAY: usize = 16;
/// For an answer, sending included.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

type Reply = oneshot::Sender<Result<Answer, Unanswered>>;

struct Asked {
    host: String,
    request: Request,
    reply: Reply,
}

/// The stream's side: it outlives sessions.
#[derive(Clone)]
pub struct Exchange(Arc<Inner>);

struct Inner {
    hosts: Vec<String>,
    notices: mpsc::Sender<Notice>,
    room: Arc<Semaphore>,
    asked: Mutex<mpsc::Receiver<Asked>>,
    connection: watch::Sender<Option<u64>>,
    metrics: Arc<Metrics>,
}

/// The workers' side: the way to the modules.
#[derive(Clone)]
pub struct Link {
    asked: mpsc::Sender<Asked>,
    connection: watch::Receiver<Option<u64>>,
}

/// Both sides, and the notices. Only those of modules on `hosts` are taken.
pub fn exchange(
    hosts: Vec<String>,
    metrics: Arc<Metrics>,
) -> (Exchange, Link, mpsc::Receiver<Notice>) {
    let (notices, taken) = mpsc::channel(MOST_NOTICES);
    let (sender, asked) = mpsc::channel(MOST_WAITING);
    let (connection, connected) = watch::channel(None);
    let room = Arc::new(Semaphore::new(MOST_NOTICE_BYTES));
    let asked = Mutex::new(asked);
    let inner = Inner { hosts, notices, room, asked, connection, metrics };
    (Exchange(Arc::new(inner)), Link { asked: sender, connection: connected }, taken)
}

impl Exchange {
    /// A session begins. What was asked before it is answered: it was never sent.
    pub(super) async fn session(&self) -> Session<'_> {
        let mut asked = self.0.asked.lock().await;
        while asked.try_recv().is_ok() {}
        static SESSIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = SESSIONS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.connection.send_replace(Some(number));
        // Nobody can guess an id and answer in the module's place.
        let prefix = hex::encode(rand::random::<[u8; 8]>());
        Session { exchange: self, asked, prefix, sent: 0, under_way: HashMap::new() }
    }

    /// Takes a notice, if it is one that may be believed: from a listed host itself, about an owner there, to us.
    pub(super) fn take(&self, jid: &str, from: Option<&str>, to: Option<&str>, outline: &Outline) {
        let Inner { hosts, metrics, .. } = &*self.0;
        let domain = |owner: &str| owner.rsplit_once('@').map(|(_, domain)| domain.to_owned());
        let host = from.filter(|from| hosts.iter().any(|host| host == from));
        let owned = outline.attribute("owner").and_then(domain);
        let Some(host) = host.filter(|host| owned.as_deref() == Some(host) && to == Some(jid))
        else {
            metrics.notices_refused.inc();
            return;
        };
        let taken = companion::notice(host, outline).and_then(|notice| self.keep(notice));
        if taken.is_none() {
            metrics.notices_lost.inc();
        }
    }

    fn keep(&self, mut notice: Notice) -> Option<()> {
        let bytes = match &notice.told {
            crate::archive::remote::Told::Archived(shown) => {
                shown.row.xml.as_ref().map_or(0, String::len)
            }
            crate::archive::remote::Told::Drained(_) => 0,
        };
        let bytes = u32::try_from(bytes + NOTICE_BYTES).ok()?;
        notice.held = Some(Arc::clone(&self.0.room).try_acquire_many_owned(bytes).ok()?);
        self.0.notices.try_send(notice).ok()
    }
}

/// One session of the stream. When it ends, everything that is under way is answered.
pub(super) struct Session<'a> {
    exchange: &'a Exchange,
    asked: MutexGuard<'a, mpsc::Receiver<Asked>>,
    prefix: String,
    sent: u64,
    under_way: HashMap<String, Asked>,
}

impl Session<'_> {
    /// The next request to send, once there is room for it. Nothing is lost when the caller stops waiting.
    pub(super) async fn next_request(&mut self, jid: &str) -> String {
        self.under_way.retain(|_, asked| !asked.reply.is_closed());
        if self.under_way.len() >= MOST_UNDER_WAY {
            // The workers give up long before that; then the next stanza or second brings us back here.
            tokio::time::sleep(Duration::from_secs(1)).await;
            return String::new();
        }
        let Some(asked) = self.asked.recv().await else {
            return std::future::pending().await;
        };
        self.sent += 1;
        let id = format!("{}-{}", self.prefix, self.sent);
        let text = companion::request(jid, &asked.host, &id, &asked.request);
        self.under_way.insert(id, asked);
        text
    }

    /// Hands an answer to whoever asked: by its id and its sender, both exactly. Whether anybody did.
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
        let _ = asked.reply.send(companion::answer(&asked.host, &asked.request, outline));
        true
    }

    pub(super) fn exchange(&self) -> &Exchange {
        self.exchange
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        while self.asked.try_recv().is_ok() {}
        self.exchange.0.connection.send_replace(None);
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
            self.asked.send(asked).await.map_err(|_| Unanswered::Disconnected)?;
            answer.await.unwrap_or(Err(Unanswered::Disconnected))
        };
        timeout(ANSWER_WITHIN, asking).await.unwrap_or(Err(Unanswered::Silent))
    }

    fn connection(&self) -> watch::Receiver<Option<u64>> {
        self.connection.clone()
    }
}
