//! Where archives are in SQL the companion module is optional and makes things instant: its notice wakes the
//! tail, and it takes erased messages out of what rooms replay to joiners, which only the server's memory
//! holds. Best effort: nothing waits for either.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    archive::remote::{MOST_ITEMS, Notice, Request, Requests},
    model::Store,
};

/// Rooms whose histories wait to be scrubbed; beyond, they are not.
pub const MOST_SCRUBS: usize = 256;

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

/// Asks the rooms' modules to scrub, until stopped. Which of them can is asked once a connection.
pub async fn scrub<R: Requests>(
    requests: R,
    mut scrubs: mpsc::Receiver<Scrub>,
    stop: CancellationToken,
) {
    let connection = requests.connection();
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
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
            let can = match known.get(&scrub.host) {
                Some(can) => *can,
                None => {
                    let can = requests.companion(&scrub.host).await.is_ok_and(|it| it.can.scrub);
                    known.insert(scrub.host.clone(), can);
                    can
                }
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
