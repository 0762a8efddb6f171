//! Lets the backlog go, in short transactions: it may hold millions of entries.

use sqlx::{Connection as _, PgConnection};

use crate::{
    database::{Named, Result},
    ledger,
};

/// Entries that one transaction releases.
const ENTRIES: i64 = 10_000;

/// The operator accepts the backlog: nothing is held back any more, and what is held goes. `told` hears
/// how many have been released so far. Returns how many that were.
pub async fn accept(connection: &mut PgConnection, told: impl FnMut(i64)) -> Result<i64> {
    let mut transaction = connection.begin().await.named("accept_begin")?;
    ledger::accept_backlog(&mut transaction).await?;
    transaction.commit().await.named("accept_commit")?;
    release(connection, told).await
}

/// Lets go what is held now.
pub async fn release(connection: &mut PgConnection, mut told: impl FnMut(i64)) -> Result<i64> {
    let (mut after, mut count) = (0, 0);
    loop {
        let mut transaction = connection.begin().await.named("release_begin")?;
        let released = ledger::release_held(&mut transaction, after, ENTRIES).await?;
        transaction.commit().await.named("release_commit")?;
        let Some((released, last)) = released else { return Ok(count) };
        (after, count) = (last, count + released);
        told(count);
    }
}
