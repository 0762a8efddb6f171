//! With archives in SQL, the companion module removes erased messages from what rooms replay to people who join, which
//! only the server's memory holds. Best effort: nothing waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::count::Batch;
use crate::{
    archive::companion::{MOST_ITEMS, Request, Requests},
    ledger::Phase,
    model::Store,
};

/// Maximum number of scrubs waiting; any beyond that are dropped.
pub const MOST_SCRUBS: usize = 256;
/// How long until a host that did not say what it can do is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Messages of one room that were erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrub {
    /// The rooms' domain.
    pub host: String,
    /// The room's local part.
    pub owner: String,
    /// The archive ids.
    pub ids: Vec<String>,
}

/// Archive ids by the room's host and local part. One request must not name an id twice.
pub(super) type Rooms = BTreeMap<(String, String), BTreeSet<String>>;

impl Scrub {
    /// What is to be scrubbed after this batch.
    pub(super) fn after(batch: &Batch) -> Vec<Self> {
        let mut rooms = Rooms::new();
        for (expiry, fate) in batch.entries() {
            let row = &expiry.row;
            let is_in_room = row.store == Store::Room && expiry.phase == Phase::Pending;
            if is_in_room && fate.erased().is_some() {
                let room = rooms.entry((row.host.clone(), row.owner.clone())).or_default();
                room.insert(row.archive_id.clone());
            }
        }
        Self::of(rooms)
    }

    /// Requests of at most [`MOST_ITEMS`] ids.
    pub(super) fn of(rooms: Rooms) -> Vec<Self> {
        let mut scrubs = Vec::new();
        for ((host, owner), ids) in rooms {
            let ids: Vec<String> = ids.into_iter().collect();
            let part = |ids: &[String]| {
                let (host, owner) = (host.clone(), owner.clone());
                Self { host, owner, ids: ids.to_vec() }
            };
            scrubs.extend(ids.chunks(MOST_ITEMS).map(part));
        }
        scrubs
    }
}

/// Asks the rooms' modules to scrub, until stopped. Each host is asked once per connection whether it can, and again
/// if it did not answer.
pub async fn scrub<R: Requests>(
    requests: R,
    mut scrubs: mpsc::Receiver<Scrub>,
    stop: CancellationToken,
) {
    let connection = requests.connection();
    // Whether a host can, or since when it has been silent.
    let mut known: BTreeMap<String, Result<bool, Instant>> = BTreeMap::new();
    let mut number = None;
    while let Some(Some(scrub)) = stop.run_until_cancelled(scrubs.recv()).await {
        let now = *connection.borrow();
        if std::mem::replace(&mut number, now) != now {
            known.clear();
        }
        if now.is_none() {
            continue;
        }
        let scrubbing = async {
            let host = &scrub.host;
            if known.get(host).is_none_or(|it| it.is_err_and(|at| at.elapsed() >= ASK_AGAIN)) {
                let can = requests.companion(host).await.map(|it| it.can.scrub);
                let can = can.map_err(|why| {
                    debug!(host, "cannot tell whether its module scrubs rooms: {why}");
                    Instant::now()
                });
                known.insert(host.clone(), can);
            }
            if known.get(host) == Some(&Ok(true)) {
                let Scrub { host, owner, ids } = scrub;
                if let Err(why) = requests.ask(&host, Request::Scrub { owner, ids }).await {
                    debug!(host, "a room's history was not scrubbed: {why}");
                }
            }
        };
        stop.run_until_cancelled(scrubbing).await;
    }
    stop.cancelled().await;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::{sync::watch, task::yield_now};

    use super::*;
    use crate::archive::companion::{Abilities, Answer, Companion, Unanswered};

    /// A module that does not answer the first question. It keeps what it was asked.
    #[derive(Clone)]
    struct Slow(Arc<Mutex<Vec<Request>>>);

    impl Slow {
        fn asked(&self, is: impl Fn(&Request) -> bool) -> usize {
            self.0.lock().unwrap().iter().filter(|it| is(it)).count()
        }
    }

    impl Requests for Slow {
        async fn ask(&self, _: &str, request: Request) -> Result<Answer, Unanswered> {
            let is_question = request == Request::Companion;
            self.0.lock().unwrap().push(request);
            let questions = self.asked(|it| *it == Request::Companion);
            match is_question {
                true if questions == 1 => Err(Unanswered::Silent),
                true => Ok(Answer::Companion(Companion {
                    version: 1,
                    module: String::new(),
                    server: String::new(),
                    boot: String::new(),
                    number: 0,
                    now: None,
                    can: Abilities { scrub: true, ..Abilities::default() },
                    drops_unacknowledged: false,
                    halted: false,
                })),
                false => Ok(Answer::Scrubbed(1)),
            }
        }

        fn connection(&self) -> watch::Receiver<Option<u64>> {
            watch::channel(Some(1)).1
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_module_that_did_not_answer_is_asked_again() {
        let (module, stop) = (Slow(Arc::default()), CancellationToken::new());
        let (scrubs, waiting) = mpsc::channel(8);
        tokio::spawn(scrub(module.clone(), waiting, stop.clone()));
        let room = || Scrub { host: "h".into(), owner: "den".into(), ids: vec!["1".into()] };
        let is_scrub = |it: &Request| matches!(it, Request::Scrub { .. });
        let mut went = Vec::new();
        for pause in [1, 1, 60, 1] {
            scrubs.send(room()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(pause)).await;
            yield_now().await;
            went.push((module.asked(|it| *it == Request::Companion), module.asked(is_scrub)));
        }
        // Silent; not asked again at once, nor a moment too early; then it is asked, and scrubs.
        assert_eq!(went, [(1, 0), (1, 0), (1, 0), (2, 1)]);
        stop.cancel();
    }
}
