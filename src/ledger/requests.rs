//! What somebody asked to be erased of one owner: asking, listing, withdrawing, and the log of who did so.

use sqlx::PgConnection;

use super::record::notify;
use crate::{
    database::{Named, Result},
    model::{Address, Timestamp},
};

/// More standing requests than this are refused, …
const MOST_REQUESTS: i64 = 100_000;
/// … and of one owner more than this: each is about another chat.
const MOST_OF_OWNER: i64 = 1_000;

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// Whose rows: a user, or a room.
    pub owner: Address,
    /// Only the chat with this bare address.
    pub with: Option<String>,
    /// Only rows archived before then: no later than when it is asked for; …
    pub before: Timestamp,
    /// … and, in a queue whose times are not exact, rows up to this number.
    pub queued_upto: i64,
    /// Who asks.
    pub by: String,
}

/// A request that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: i64,
    /// When it was asked for, the last time.
    pub asked_at: Timestamp,
    /// What is to be erased.
    pub what: NewRequest,
    /// A daemon has begun with it.
    pub has_begun: bool,
    /// Rows that went.
    pub erased: i64,
    /// How often all of it was looked at.
    pub walks: i64,
    /// Rows that were on hold when all of it was last looked at.
    pub on_hold: i64,
    /// Rows that could not be erased then.
    pub failed: i64,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEvent {
    /// When it happened.
    pub at: Timestamp,
    /// The request's number.
    pub request: i64,
    /// `asked`, `done` or `withdrawn`.
    pub event: String,
    /// Who did it.
    pub by: String,
    /// The database role that did it.
    pub role: String,
    /// Whose rows.
    pub owner: Address,
    /// Only the chat with this bare address.
    pub with: Option<String>,
    /// Only rows archived before then.
    pub before: Timestamp,
    /// Rows that went by then.
    pub erased: i64,
}

/// Records a request, logs it and wakes the daemons; returns its number, or `None` if too many stand. One that stands for
/// the same owner and chat becomes this one, and reaches as far as the later of both.
pub async fn ask_to_erase(connection: &mut PgConnection, new: &NewRequest) -> Result<Option<i64>> {
    let NewRequest { owner, with, before, queued_upto, by } = new;
    let with = with.as_deref().unwrap_or_default();
    let id = sqlx::query_scalar!(
        r#"-- ask_to_erase
        WITH asked AS (
            INSERT INTO ephemerd.requests AS r (host, owner, peer, before, by_whom, queued_upto)
            SELECT $1, $2, $3, $4, $5, $8
             WHERE EXISTS (SELECT FROM ephemerd.requests WHERE owner = $2 AND host = $1 AND peer = $3)
                OR ((SELECT count(*) FROM ephemerd.requests) < $6
                    AND (SELECT count(*) FROM ephemerd.requests WHERE owner = $2 AND host = $1) < $7)
            ON CONFLICT (owner, host, peer) DO UPDATE
               SET before = greatest(r.before, EXCLUDED.before),
                   queued_upto = greatest(r.queued_upto, EXCLUDED.queued_upto), asked_at = EXCLUDED.asked_at,
                   by_whom = EXCLUDED.by_whom, next_at = '-infinity',
                   at_host = '', at_owner = '', store = '', stamp = 0, row_number = 0, on_hold = 0, failed = 0,
                   walks = 0, left_on_hold = 0, left_failed = 0
            RETURNING *)
        INSERT INTO ephemerd.request_log (request, event, by_whom, host, owner, peer, before, erased)
        SELECT id, 'asked', by_whom, host, owner, peer, before, erased FROM asked
        RETURNING request"#,
        owner.host,
        owner.local,
        with,
        before,
        by,
        MOST_REQUESTS,
        MOST_OF_OWNER,
        queued_upto,
    )
    .fetch_optional(&mut *connection)
    .await
    .named("ask_to_erase")?;
    notify(connection, None).await?;
    Ok(id)
}

/// Ends a request, and says so in the log. What went is gone. `false` if there is none.
pub async fn withdraw_request(connection: &mut PgConnection, id: i64, by: &str) -> Result<bool> {
    let withdrawn = sqlx::query!(
        "-- withdraw_request
         WITH withdrawn AS (DELETE FROM ephemerd.requests WHERE id = $1 RETURNING *)
         INSERT INTO ephemerd.request_log (request, event, by_whom, host, owner, peer, before, erased)
         SELECT id, 'withdrawn', $2, host, owner, peer, before, erased FROM withdrawn",
        id,
        by,
    )
    .execute(connection)
    .await
    .named("withdraw_request")?;
    Ok(withdrawn.rows_affected() > 0)
}

/// The requests that stand, or one, by number.
pub async fn requests(connection: &mut PgConnection, id: Option<i64>) -> Result<Vec<Request>> {
    let rows = sqlx::query!(
        r#"-- requests
        SELECT id, host, owner, peer, before, queued_upto, asked_at, by_whom, begun_at IS NOT NULL AS "has_begun!", erased, walks,
               left_on_hold, left_failed
          FROM ephemerd.requests WHERE $1::bigint IS NULL OR id = $1 ORDER BY id"#,
        id,
    )
    .fetch_all(connection)
    .await
    .named("requests")?;
    let request = rows.into_iter().map(|row| Request {
        id: row.id,
        asked_at: row.asked_at,
        what: NewRequest {
            owner: Address { host: row.host, local: row.owner },
            with: Some(row.peer).filter(|it| !it.is_empty()),
            before: row.before,
            queued_upto: row.queued_upto,
            by: row.by_whom,
        },
        has_begun: row.has_begun,
        erased: row.erased,
        walks: row.walks,
        on_hold: row.left_on_hold,
        failed: row.left_failed,
    });
    Ok(request.collect())
}

/// The newest lines of the log, at most `rows`, oldest first; of one request if its number is given.
pub async fn request_log(
    connection: &mut PgConnection,
    request: Option<i64>,
    rows: i64,
) -> Result<Vec<RequestEvent>> {
    let rows = sqlx::query!(
        r#"-- request_log
        SELECT id, at, request, event, by_whom, role, host, owner, peer, before, erased
          FROM ephemerd.request_log WHERE $1::bigint IS NULL OR request = $1
         ORDER BY id DESC LIMIT $2"#,
        request,
        rows,
    )
    .fetch_all(connection)
    .await
    .named("request_log")?;
    let event = rows.into_iter().rev().map(|row| RequestEvent {
        at: row.at,
        request: row.request,
        event: row.event,
        by: row.by_whom,
        role: row.role,
        owner: Address { host: row.host, local: row.owner },
        with: Some(row.peer).filter(|it| !it.is_empty()),
        before: row.before,
        erased: row.erased,
    });
    Ok(event.collect())
}
