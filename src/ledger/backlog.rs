//! Entries from before the first start, held until the operator accepts them.

use sqlx::PgConnection;

use super::record::notify;
use crate::{
    database::{Error, Named, Result},
    model::{Reason, Store, Timestamp},
};

/// Held entries of one store and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The store that the rows are in.
    pub store: Store,
    /// Why they would go.
    pub reason: Reason,
    /// How many there are.
    pub entries: i64,
    /// How many of them are already due.
    pub due: i64,
    /// When the oldest was archived.
    pub oldest: Timestamp,
    /// When the newest was archived.
    pub newest: Timestamp,
}

/// What is held, by store and reason.
pub async fn held(connection: &mut PgConnection) -> Result<Vec<Held>> {
    const NAME: &str = "held";
    let rows = sqlx::query!(
        r#"-- held
        SELECT store AS "store!", reason AS "reason!", count(*) AS "entries!",
               count(*) FILTER (WHERE due_at <= now()) AS "due!",
               min(stamped_at) AS "oldest!", max(stamped_at) AS "newest!"
          FROM (SELECT store, reason, due_at, stamped_at FROM ephemerd.expiries WHERE backlog
                 UNION ALL
                SELECT store, 'quote', due_at, stamped_at FROM ephemerd.quotes WHERE backlog) AS held
         GROUP BY store, reason ORDER BY store, reason"#,
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    let unknown = |_| Error::unexpected(NAME, "the ledger contains an unknown name");
    rows.into_iter()
        .map(|row| {
            Ok(Held {
                store: row.store.parse().map_err(unknown)?,
                reason: row.reason.parse().map_err(unknown)?,
                entries: row.entries,
                due: row.due,
                oldest: row.oldest,
                newest: row.newest,
            })
        })
        .collect()
}

/// Records that the operator accepts the backlog: from now on sweeps hold nothing.
///
/// Waits for a sweep's current transaction, because it may still record held entries.
pub async fn accept_backlog(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("-- accept_backlog_alone\nSELECT 1 AS one FROM ephemerd.sweeps FOR UPDATE")
        .fetch_all(&mut *connection)
        .await
        .named("accept_backlog_alone")?;
    sqlx::query!(
        "-- accept_backlog
         UPDATE ephemerd.control
            SET backlog_accepted_at = coalesce(backlog_accepted_at, clock_timestamp())",
    )
    .execute(connection)
    .await
    .named("accept_backlog")?;
    Ok(())
}

/// Releases up to `rows` held entries after the entry `after`, and wakes all daemons. Returns how many
/// and the last of them; `None` at the end.
pub async fn release_held(
    connection: &mut PgConnection,
    after: i64,
    rows: i64,
) -> Result<Option<(i64, i64)>> {
    let released = sqlx::query!(
        r#"-- release_held
        WITH page AS MATERIALIZED (
            SELECT id FROM ephemerd.expiries WHERE backlog AND id > $1
             ORDER BY id LIMIT $2 FOR UPDATE),
        released AS (
            UPDATE ephemerd.expiries AS e SET backlog = false FROM page WHERE e.id = page.id
            RETURNING e.id)
        SELECT count(*) AS "count!", max(id) AS last FROM released"#,
        after,
        rows,
    )
    .fetch_one(&mut *connection)
    .await
    .named("release_held")?;
    let Some(last) = released.last else { return Ok(None) };
    notify(connection, None).await?;
    Ok(Some((released.count, last)))
}
