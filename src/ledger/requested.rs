//! Requests as those who carry them out see them: the walk through one owner's stores.

use std::time::Duration;

use sqlx::PgConnection;

use super::{WalkPlace, record::notify};
use crate::{
    database::{Error, Named, Result},
    model::{Address, Store, Timestamp},
};

/// A request that waits to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRequest {
    /// Its number.
    pub id: i64,
    /// The store that is to be looked at next; `None` at the beginning.
    pub within: Option<Store>,
    /// How long until it is looked at.
    pub due_in: Duration,
}

/// The requests about owners on these hosts that are to be looked at first, at most `rows`; and how many stand.
pub async fn due_requests(
    connection: &mut PgConnection,
    hosts: &[String],
    rows: i64,
) -> Result<(Vec<DueRequest>, i64)> {
    const NAME: &str = "due_requests";
    let rows = sqlx::query!(
        r#"-- due_requests
        SELECT id, store, greatest(extract(epoch FROM greatest(next_at, 'epoch') - clock_timestamp()), 0)::float8 AS "due_in!",
               count(*) OVER () AS "standing!"
          FROM ephemerd.requests WHERE host = ANY ($1) ORDER BY next_at, id LIMIT $2"#,
        hosts,
        rows,
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    let standing = rows.first().map_or(0, |it| it.standing);
    let due = rows.into_iter().map(|row| {
        let due_in = Duration::try_from_secs_f64(row.due_in).unwrap_or_default();
        Ok(DueRequest { id: row.id, within: within(NAME, &row.store)?, due_in })
    });
    Ok((due.collect::<Result<_>>()?, standing))
}

fn within(statement: &'static str, store: &str) -> Result<Option<Store>> {
    let unknown = |_| Error::unexpected(statement, "the ledger contains an unknown name");
    if store.is_empty() { Ok(None) } else { store.parse().map(Some).map_err(unknown) }
}

/// A request whose walk is ours, until the transaction ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestWalk {
    /// Whose rows.
    pub owner: Address,
    /// Only the chat with this bare address.
    pub with: Option<String>,
    /// Only rows archived before then, …
    pub before: Timestamp,
    /// … and in the queue also those up to this number.
    pub queued_upto: i64,
    /// How far the walk has come.
    pub place: WalkPlace,
    /// Rows of this walk that could not be erased.
    pub failed: i64,
}

/// Locks a request. `None` if another daemon has it, or it is not to be looked at now.
pub async fn lock_request(connection: &mut PgConnection, id: i64) -> Result<Option<RequestWalk>> {
    const NAME: &str = "lock_request";
    let row = sqlx::query!(
        "-- lock_request
         SELECT host, owner, peer, before, queued_upto, at_host, at_owner, store, stamp, row_number, failed
           FROM ephemerd.requests WHERE id = $1 AND next_at <= clock_timestamp()
            FOR UPDATE SKIP LOCKED",
        id,
    )
    .fetch_optional(connection)
    .await
    .named(NAME)?;
    let Some(row) = row else { return Ok(None) };
    let (within, stamp, row_number) = (within(NAME, &row.store)?, row.stamp, row.row_number);
    Ok(Some(RequestWalk {
        owner: Address { host: row.host, local: row.owner },
        with: Some(row.peer).filter(|it| !it.is_empty()),
        before: row.before,
        queued_upto: row.queued_upto,
        place: WalkPlace { host: row.at_host, owner: row.at_owner, within, stamp, row_number },
        failed: row.failed,
    }))
}

/// What one transaction did with a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows that went.
    pub erased: i64,
    /// Rows that are on hold.
    pub on_hold: i64,
    /// Rows that could not be erased.
    pub failed: i64,
}

/// The walk has come to this place.
pub async fn move_request(
    connection: &mut PgConnection,
    id: i64,
    place: &WalkPlace,
    progress: Progress,
) -> Result<()> {
    sqlx::query!(
        "-- move_request
         UPDATE ephemerd.requests
            SET at_host = $2, at_owner = $3, store = $4, stamp = $5, row_number = $6, erased = erased + $7,
                on_hold = on_hold + $8, failed = failed + $9, begun_at = coalesce(begun_at, clock_timestamp())
          WHERE id = $1",
        id,
        place.host,
        place.owner,
        place.within.map_or("", Store::as_str),
        place.stamp,
        place.row_number,
        progress.erased,
        progress.on_hold,
        progress.failed,
    )
    .execute(connection)
    .await
    .named("move_request")?;
    Ok(())
}

/// The walk has come to its end. If nothing was left the request is done, which the log says; else it is looked at again
/// after this rest.
pub async fn end_request(
    connection: &mut PgConnection,
    id: i64,
    progress: Progress,
    rest: Duration,
) -> Result<()> {
    let Progress { erased, on_hold, failed } = progress;
    sqlx::query!(
        "-- end_request
         WITH done AS (
             DELETE FROM ephemerd.requests WHERE id = $1 AND on_hold + $3 = 0 AND failed + $4 = 0 RETURNING *)
         INSERT INTO ephemerd.request_log (request, event, by_whom, host, owner, peer, before, erased)
         SELECT id, 'done', 'ephemerd', host, owner, peer, before, erased + $2 FROM done",
        id,
        erased,
        on_hold,
        failed,
    )
    .execute(&mut *connection)
    .await
    .named("end_request")?;
    sqlx::query!(
        "-- rest_request
         UPDATE ephemerd.requests
            SET at_host = '', at_owner = '', store = '', stamp = 0, row_number = 0, on_hold = 0, failed = 0,
                erased = erased + $2, left_on_hold = on_hold + $3, left_failed = failed + $4, walks = walks + 1,
                begun_at = coalesce(begun_at, clock_timestamp()),
                next_at = clock_timestamp() + make_interval(secs => $5)
          WHERE id = $1",
        id,
        erased,
        on_hold,
        failed,
        rest.as_secs_f64(),
    )
    .execute(connection)
    .await
    .named("rest_request")?;
    Ok(())
}

/// A hold has ended: every request is gone through again from its beginning, because it may have kept something of it.
pub async fn walk_requests_again(connection: &mut PgConnection) -> Result<()> {
    let again = sqlx::query!(
        "-- walk_requests_again
         WITH standing AS MATERIALIZED (
             SELECT id FROM ephemerd.requests WHERE on_hold > 0 OR left_on_hold > 0 ORDER BY id FOR UPDATE)
         UPDATE ephemerd.requests AS r
            SET next_at = '-infinity', at_host = '', at_owner = '', store = '', stamp = 0, row_number = 0, on_hold = 0,
                failed = 0
           FROM standing AS s WHERE r.id = s.id",
    )
    .execute(&mut *connection)
    .await
    .named("walk_requests_again")?;
    if again.rows_affected() > 0 {
        notify(connection, None).await?;
    }
    Ok(())
}
