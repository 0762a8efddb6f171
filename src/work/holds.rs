//! Holds: placing one so that nothing of it goes any more, and letting go what an ended one kept.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tracing::debug;

use crate::{
    database::{self, Named, Result},
    ledger::{self, NewHold},
};

/// Maximum wait for transactions that erase: longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(150);
/// The same for a daemon, which tries again.
const LITTLE_PATIENCE: Duration = Duration::from_secs(5);
/// Entries that one transaction lets go.
const ENTRIES: i64 = 10_000;

/// Places a hold. Nothing that it covers is claimed afterwards, and no transaction that claimed before is still under
/// way. `None` if there are too many holds.
pub async fn place(connection: &mut PgConnection, new: &NewHold) -> Result<Option<i64>> {
    let mut transaction = connection.begin().await.named("hold_begin")?;
    ledger::stop_claims(&mut transaction, PATIENCE).await?;
    let id = ledger::add_hold(&mut transaction, new).await?;
    transaction.commit().await.named("hold_commit")?;
    // The hold is in force. Plans are a little worse until autovacuum counts holds.
    if let Err(error) = ledger::count_holds(connection).await {
        debug!(%error, "holds could not be counted");
    }
    Ok(id)
}

/// Ends a hold, and lets go what it kept. `false` if there is none, or it has ended.
pub async fn release(
    connection: &mut PgConnection,
    id: i64,
    by: &str,
    reason: &str,
) -> Result<bool> {
    let released = ledger::release_hold(connection, id, by, reason).await?;
    if released {
        let_go_within(connection, PATIENCE).await?;
    }
    Ok(released)
}

/// Lets go what ended holds kept, and forgets these holds. Whoever is interrupted leaves the rest to the daemons.
pub(super) async fn let_go(connection: &mut PgConnection) -> Result<()> {
    let_go_within(connection, LITTLE_PATIENCE).await
}

async fn let_go_within(connection: &mut PgConnection, patience: Duration) -> Result<()> {
    // Who still saw these holds in force may put entries aside until its transaction ends.
    let mut transaction = connection.begin().await.named("let_go_begin")?;
    let ended_by = database::now(&mut transaction).await?;
    ledger::stop_claims(&mut transaction, patience).await?;
    // Nobody carries out a request meanwhile, so none misses this.
    ledger::walk_requests_again(&mut transaction).await?;
    transaction.commit().await.named("let_go_alone")?;
    let mut after = 0;
    loop {
        let mut transaction = connection.begin().await.named("let_go_page")?;
        let last = ledger::take_back(&mut transaction, after, ENTRIES).await?;
        transaction.commit().await.named("let_go_commit")?;
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    let mut after = 0;
    loop {
        let mut transaction = connection.begin().await.named("let_go_page")?;
        let last = ledger::take_quotes_back(&mut transaction, after, ENTRIES).await?;
        transaction.commit().await.named("let_go_commit")?;
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    ledger::forget_ended(connection, ended_by).await
}
