//! Releases the backlog in short transactions: it may hold millions of entries.

use sqlx::{Connection as _, PgConnection};

use crate::{
    database::{Named, Result},
    ledger,
};

/// Entries released by one transaction.
const ENTRIES: i64 = 10_000;

/// The operator accepts the backlog: nothing is held from now on, and what is held is released. `report` gets the
/// number released so far. Returns the total.
pub async fn accept(connection: &mut PgConnection, report: impl FnMut(i64)) -> Result<i64> {
    let mut transaction = connection.begin().await.named("accept_begin")?;
    ledger::accept_backlog(&mut transaction).await?;
    transaction.commit().await.named("accept_commit")?;
    release(connection, report).await
}

/// Releases what is held now.
pub async fn release(connection: &mut PgConnection, mut report: impl FnMut(i64)) -> Result<i64> {
    let (mut after, mut count, mut quotes) = (0, 0, false);
    loop {
        let mut transaction = connection.begin().await.named("release_begin")?;
        let released = match quotes {
            false => ledger::release_held(&mut transaction, after, ENTRIES).await?,
            true => ledger::release_held_quotes(&mut transaction, after, ENTRIES).await?,
        };
        transaction.commit().await.named("release_commit")?;
        match released {
            Some((released, last)) => {
                (after, count) = (last, count + released);
                report(count);
            }
            None if quotes => return Ok(count),
            None => (after, quotes) = (0, true),
        }
    }
}
