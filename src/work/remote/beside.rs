//! Where archives are in SQL the companion module is optional and makes things instant: its notice wakes the
//! tail, and it takes erased messages out of what rooms replay to joiners, which only the server's memory
//! holds. Best effort: nothing waits for either.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    archive::remote::{MOST_ITEMS, Notice, Request, Requests},
    model::Store,
};

/// Rooms whose histories wait to be scrubbed; beyond, they are not.
pub const MOST_SCRUBS: usize = 256;
/// A host that did not say what it can is asked again after so long.
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

impl Scrub {
    /// What is to be scrubbed once these rows, by store, host, owner and archive id, are erased.
    pub fn of<'a>(erased: impl Iterator<Item = (Store, &'a str, &'a str, &'a str)>) -> Vec<Self> {
        let mut rooms: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for (_, host, owner, id) in erased.filter(|it| it.0 == Store::Room) {
            rooms.entry((host, owner)).or_default().push(id.to_owned());
        }
        let scrubs = rooms.into_iter().flat_map(|((host, owner), mut ids)| {
            // One request names no id twice.
            ids.sort_unstable();
            ids.dedup();
            let parts: Vec<Vec<String>> = ids.chunks(MOST_ITEMS).map(<[String]>::to_vec).collect();
            parts.into_iter().map(move |ids| Self {
                host: host.to_owned(),
                owner: owner.to_owned(),
                ids,
            })
        });
        scrubs.collect()
    }
}

/// Rings for each notice, until stopped.
pub async fn wake_the_tail(
    mut notices: mpsc::Receiver<Notice>,
    bell: Arc<Notify>,
    stop: CancellationToken,
) {
    while let Some(Some(_)) = stop.run_until_cancelled(notices.recv()).await {
        bell.notify_one();
    }
    stop.cancelled().await;
}

/// Asks the rooms' modules to scrub, until stopped. Which of them can is asked once a connection, and again where
/// there was no answer.
pub async fn scrub<R: Requests>(
    requests: R,
    mut scrubs: mpsc::Receiver<Scrub>,
    stop: CancellationToken,
) {
    let connection = requests.connection();
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    let mut silent: BTreeMap<String, Instant> = BTreeMap::new();
    let mut number = None;
    while let Some(Some(scrub)) = stop.run_until_cancelled(scrubs.recv()).await {
        let now = *connection.borrow();
        if std::mem::replace(&mut number, now) != now {
            known.clear();
            silent.clear();
        }
        if now.is_none() {
            continue;
        }
        let scrubbing = async {
            let host = &scrub.host;
            let is_silent = silent.get(host).is_some_and(|since| since.elapsed() < ASK_AGAIN);
            let can = match known.get(host) {
                Some(can) => *can,
                None if is_silent => false,
                None => match requests.companion(host).await {
                    Ok(companion) => *known.entry(host.clone()).or_insert(companion.can.scrub),
                    Err(why) => {
                        debug!(host, "who scrubs rooms is not known: {why}");
                        silent.insert(host.clone(), Instant::now());
                        false
                    }
                },
            };
            if can {
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
    use std::sync::Mutex;

    use tokio::{sync::watch, task::yield_now};

    use super::*;
    use crate::archive::remote::{Abilities, Answer, Companion, Unanswered};

    /// A module that does not answer its first question. What it was asked for is kept.
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
                })),
                false => Ok(Answer::Scrubbed(1)),
            }
        }

        fn connection(&self) -> watch::Receiver<Option<u64>> {
            watch::channel(Some(1)).1
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_did_not_answer_once_is_asked_again() {
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
        // Silent; not asked again at once; nor a moment before its time; then it is, and scrubs.
        assert_eq!(went, [(1, 0), (1, 0), (1, 0), (2, 1)]);
        stop.cancel();
    }
}
