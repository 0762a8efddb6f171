//! What somebody asks to be erased of one owner: counted, recorded, and followed until the daemons have done it.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::{Error, archive_kind, connect, count_in_peace, open_archive};
use crate::{
    config::Config,
    database,
    ledger::{self, NewRequest, Pause, Request, RequestEvent},
    model::{Address, Timestamp},
    ops::{self, Erasable},
    work::base::leader,
};

/// How often to look how far a request has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Of daemons that run, one leads within this time.
const LED_WITHIN: Duration = Duration::from_secs(10);
/// A daemon that runs begins with a request within this time.
const BEGUN_WITHIN: Duration = Duration::from_secs(90);
/// If rows could not be erased in so many walks, somebody has to look why.
const MOST_WALKS: i64 = 3;

/// How far a request has come.
#[derive(Debug, Clone, Copy)]
pub struct RequestState {
    /// Rows that went.
    pub erased: i64,
    /// Whether erasing is paused: then nothing goes.
    pub pause: Pause,
}

/// How following a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// All of it is gone: so many rows.
    Done(i64),
    /// Somebody has withdrawn it after so many rows.
    Withdrawn(i64),
    /// All of it was looked at; the request stands.
    Left {
        /// Rows that went.
        erased: i64,
        /// Rows that stay until holds end.
        on_hold: i64,
        /// Rows that could not be erased, which is tried again.
        failed: i64,
    },
}

/// Counts what would go. Fails where nothing would be erased: an unlisted host, an archive out of reach or that we may not
/// change, or no daemon.
pub async fn erasable(
    config: &Config,
    owner: &Address,
    with: Option<&str>,
    before: Option<Timestamp>,
) -> Result<Erasable, Error> {
    if !config.archive.hosts.contains(&owner.host) {
        return Err(Error::Unlisted(owner.host.clone()));
    }
    if archive_kind(config).is_none() {
        return Err(Error::OutOfReach(
            "requests are for archives in PostgreSQL; the server's own commands can remove what is in its storage",
        ));
    }
    let mut connection = connect(config).await?;
    let counted = async {
        let (archive, _) = open_archive(&mut connection, config).await?;
        wait_for_a_daemon(&mut connection, config).await?;
        count_in_peace(&mut connection).await?;
        let whom = ((owner.host.as_str(), owner.local.as_str()), with);
        Ok(ops::erasable(&mut connection, &archive, whom, before, i64::MAX).await?)
    };
    let counted = counted.await;
    let _ = connection.close().await;
    counted
}

async fn wait_for_a_daemon(connection: &mut PgConnection, config: &Config) -> Result<(), Error> {
    let key = leader::key(&config.component.jid, &config.component.server.to_string());
    let began = Instant::now();
    while !leader::somebody_leads(connection, key).await? {
        if began.elapsed() > LED_WITHIN {
            return Err(Error::NoDaemon);
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Records a request. Returns its number, or `None` if too many stand.
pub async fn ask_to_erase(config: &Config, new: &NewRequest) -> Result<Option<i64>, Error> {
    let mut connection = connect(config).await?;
    let asked = ledger::ask_to_erase(&mut connection, new).await;
    let _ = connection.close().await;
    Ok(asked?)
}

/// Waits until a request is done, or nothing is left of it but what cannot go now.
pub async fn follow_request(
    config: &Config,
    id: i64,
    report: impl FnMut(RequestState),
) -> Result<Followed, Error> {
    let mut connection = connect(config).await?;
    let followed = follow(&mut connection, id, report).await;
    let _ = connection.close().await;
    followed
}

async fn follow(
    connection: &mut PgConnection,
    id: i64,
    mut report: impl FnMut(RequestState),
) -> Result<Followed, Error> {
    let mut waits_since = Instant::now();
    loop {
        let Some(request) = ledger::requests(connection, Some(id)).await?.pop() else {
            return Ok(ended(connection, id).await?);
        };
        let pause = ledger::paused(connection).await?;
        report(RequestState { erased: request.erased, pause });
        if let Some(left) = left(&request) {
            return Ok(left);
        }
        if request.has_begun || pause != Pause::None {
            waits_since = Instant::now();
        }
        if waits_since.elapsed() > BEGUN_WITHIN {
            return Err(Error::NotBegun(id));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// All of the request was looked at, and what is left cannot go now.
fn left(request: &Request) -> Option<Followed> {
    let Request { erased, walks, on_hold, failed, .. } = *request;
    let is_tried = if failed == 0 { walks > 0 } else { walks >= MOST_WALKS };
    is_tried.then_some(Followed::Left { erased, on_hold, failed })
}

async fn ended(connection: &mut PgConnection, id: i64) -> database::Result<Followed> {
    let last = ledger::request_log(connection, Some(id), 1).await?.pop();
    let last = last.ok_or_else(|| database::Error::unexpected("requests", "it was never asked"))?;
    Ok(match last.event.as_str() {
        "done" => Followed::Done(last.erased),
        _ => Followed::Withdrawn(last.erased),
    })
}

/// The requests that stand.
pub async fn requests(config: &Config) -> Result<Vec<Request>, Error> {
    let mut connection = connect(config).await?;
    let requests = ledger::requests(&mut connection, None).await;
    let _ = connection.close().await;
    Ok(requests?)
}

/// The newest lines of the log, oldest first.
pub async fn request_log(config: &Config, lines: i64) -> Result<Vec<RequestEvent>, Error> {
    let mut connection = connect(config).await?;
    let log = ledger::request_log(&mut connection, None, lines).await;
    let _ = connection.close().await;
    Ok(log?)
}

/// Withdraws a request. `false` if there is none.
pub async fn withdraw_request(config: &Config, id: i64, by: &str) -> Result<bool, Error> {
    let mut connection = connect(config).await?;
    let withdrawn = ledger::withdraw_request(&mut connection, id, by).await;
    let _ = connection.close().await;
    Ok(withdrawn?)
}
