//! Holds, placed and released through the database.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::{Error, connect};
use crate::{
    config::Config,
    database,
    ledger::{self, Hold, HoldEvent, Kept, NewHold, UnderWay},
    work::holds,
};

/// How long placing a hold may take before we say what it waits for.
const SILENT_FOR: Duration = Duration::from_secs(2);
/// How often to look whether the modules have answered.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What placing a hold waits for.
#[derive(Debug, Clone, Copy)]
pub enum HoldWaits {
    /// A transaction that erases.
    ForTransaction,
    /// Companion modules that were asked to erase before the hold was in force, which it is by now.
    ForModules(UnderWay),
}

/// A hold in force.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The hold.
    pub hold: Hold,
    /// What the ledger has of it.
    pub kept: Kept,
    /// Requests to modules that may still be carried out, though we waited as long as we may.
    pub open: Option<UnderWay>,
}

/// Places a hold, and waits up to `wait` for modules that were asked to erase before. `None` if there are too many holds.
pub async fn add_hold(
    config: &Config,
    new: &NewHold,
    wait: Duration,
    mut report: impl FnMut(HoldWaits),
) -> Result<Option<Placed>, Error> {
    let mut connection = connect(config).await?;
    let placed = async {
        let Some(id) = place(&mut connection, new, &mut report).await? else { return Ok(None) };
        let shown = shown(&mut connection, id, new, wait, &mut report).await;
        shown.map(Some).map_err(|error| Error::AfterPlacing(id, error))
    };
    let placed = placed.await;
    let _ = connection.close().await;
    placed
}

async fn place(
    connection: &mut PgConnection,
    new: &NewHold,
    report: &mut impl FnMut(HoldWaits),
) -> Result<Option<i64>, Error> {
    let placing = holds::place(connection, new);
    tokio::pin!(placing);
    let placed = tokio::select! {
        placed = &mut placing => placed,
        () = sleep(SILENT_FOR) => {
            report(HoldWaits::ForTransaction);
            placing.await
        }
    };
    placed.map_err(|error| if error.is_contention() { Error::NotPlaced } else { error.into() })
}

/// What the hold that was just placed keeps, and the requests that are still open after the wait.
async fn shown(
    connection: &mut PgConnection,
    id: i64,
    new: &NewHold,
    wait: Duration,
    report: &mut impl FnMut(HoldWaits),
) -> database::Result<Placed> {
    // Before the wait: a short hold may have ended after it.
    let found = show(connection, id).await?;
    let (hold, kept) = found.ok_or_else(|| database::Error::unexpected("holds", "it has ended"))?;
    let open = wait_for_modules(connection, new, wait, report).await?;
    Ok(Placed { hold, kept, open })
}

async fn wait_for_modules(
    connection: &mut PgConnection,
    new: &NewHold,
    wait: Duration,
    report: &mut impl FnMut(HoldWaits),
) -> database::Result<Option<UnderWay>> {
    let (began, mut is_said) = (Instant::now(), false);
    loop {
        let Some(open) = ledger::under_way(connection, &new.on).await? else { return Ok(None) };
        if began.elapsed() >= wait {
            return Ok(Some(open));
        }
        if !is_said && began.elapsed() >= SILENT_FOR {
            report(HoldWaits::ForModules(open));
            is_said = true;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn show(connection: &mut PgConnection, id: i64) -> database::Result<Option<(Hold, Kept)>> {
    let Some(hold) = ledger::holds(connection, Some(id)).await?.pop() else { return Ok(None) };
    Ok(Some((hold, ledger::kept_by(connection, id).await?)))
}

/// All holds that have not been let go.
pub async fn holds(config: &Config) -> Result<Vec<Hold>, Error> {
    let mut connection = connect(config).await?;
    let holds = ledger::holds(&mut connection, None).await;
    let _ = connection.close().await;
    Ok(holds?)
}

/// One hold, and what it keeps.
pub async fn hold(config: &Config, id: i64) -> Result<Option<(Hold, Kept)>, Error> {
    let mut connection = connect(config).await?;
    let shown = show(&mut connection, id).await;
    let _ = connection.close().await;
    Ok(shown?)
}

/// Releases a hold and lets go what it kept. `false` if there is none, or it has ended.
pub async fn release_hold(config: &Config, id: i64, by: &str, reason: &str) -> Result<bool, Error> {
    let mut connection = connect(config).await?;
    let released = holds::release(&mut connection, id, by, reason).await;
    let _ = connection.close().await;
    Ok(released?)
}

/// The newest lines of the log, oldest first.
pub async fn hold_log(
    config: &Config,
    hold: Option<i64>,
    lines: i64,
) -> Result<Vec<HoldEvent>, Error> {
    let mut connection = connect(config).await?;
    let log = ledger::hold_log(&mut connection, hold, lines).await;
    let _ = connection.close().await;
    Ok(log?)
}
