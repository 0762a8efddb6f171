//! Holds as the operator sees them: placing, listing, releasing, and the log of who did so.

use sqlx::PgConnection;

use super::record::notify;
use crate::{
    database::{Error, Named, Result},
    model::{HoldOn, Timestamp},
};

/// More holds than this are refused: `hold list` shows them all.
const MOST_HOLDS: i64 = 100_000;

/// A hold to be placed.
#[derive(Debug, Clone)]
pub struct NewHold {
    /// What it is on.
    pub on: HoldOn,
    /// Only rows archived from here on.
    pub since: Option<Timestamp>,
    /// Only rows archived before then.
    pub before: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// Who places it.
    pub by: String,
    /// When it ends by itself.
    pub ends_at: Option<Timestamp>,
}

/// A hold.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Its number.
    pub id: i64,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// It has not ended.
    pub in_force: bool,
    /// What was asked for.
    pub what: NewHold,
}

/// One line of the log.
#[derive(Debug, Clone)]
pub struct HoldEvent {
    /// When it happened.
    pub at: Timestamp,
    /// The hold's number.
    pub hold: i64,
    /// `placed`, `released` or `ended`.
    pub event: String,
    /// Who did it.
    pub by: String,
    /// The database role that did it.
    pub role: String,
    /// Why.
    pub reason: String,
    /// What the hold is on.
    pub on: HoldOn,
    /// The hold's span.
    pub since: Option<Timestamp>,
    /// The hold's span.
    pub before: Option<Timestamp>,
    /// When the hold ends or ended.
    pub ends_at: Option<Timestamp>,
}

/// What a hold keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The ledger's entries that it covers.
    pub entries: i64,
    /// Those of them that are due: without a hold they would go.
    pub due: i64,
}

/// Places a hold and returns its number; `None` if there are too many. It is in force once this transaction is
/// committed. The claims' lock must be ours ([`stop_claims`](super::stop_claims)).
pub async fn add_hold(connection: &mut PgConnection, new: &NewHold) -> Result<Option<i64>> {
    let NewHold { on, since, before, reason, by, ends_at } = new;
    let id = sqlx::query_scalar!(
        r#"-- add_hold
        WITH placed AS (
            INSERT INTO ephemerd.holds (scope, host, owner, peer, peer_digest, since, before, reason, placed_by, ends_at)
            SELECT $1, $2::text, $3::text, $4::text,
                   CASE WHEN $4::text IS NOT NULL THEN ephemerd.peer_digest(reading_key, $2, $3, $4) END,
                   date_trunc('second', $5::timestamptz), $6, $7, $8, $9
              FROM ephemerd.control
             WHERE (SELECT count(*) FROM ephemerd.holds) < $10
            RETURNING *)
        INSERT INTO ephemerd.hold_log (hold, event, by_whom, reason, scope, host, owner, peer, since, before, ends_at)
        SELECT id, 'placed', placed_by, reason, scope, host, owner, peer, since, before, ends_at FROM placed
        RETURNING hold"#,
        on.scope().as_str(),
        on.host(),
        on.owner(),
        on.peer(),
        since.as_ref(),
        before.as_ref(),
        reason,
        by,
        ends_at.as_ref(),
        MOST_HOLDS,
    )
    .fetch_optional(&mut *connection)
    .await
    .named("add_hold")?;
    // The erasers wait for its end.
    notify(connection, None).await?;
    Ok(id)
}

/// Lets PostgreSQL know how many holds there are now: plans depend on it.
pub async fn count_holds(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("-- count_holds\nANALYZE ephemerd.holds")
        .execute(connection)
        .await
        .named("count_holds")?;
    Ok(())
}

/// Ends a hold now, and says so in the log. `false` if there is none, or it has ended.
pub async fn release_hold(
    connection: &mut PgConnection,
    id: i64,
    by: &str,
    reason: &str,
) -> Result<bool> {
    let released = sqlx::query!(
        "-- release_hold
         WITH released AS (
             UPDATE ephemerd.holds SET ends_at = clock_timestamp()
              WHERE id = $1 AND (ends_at IS NULL OR ends_at > clock_timestamp())
             RETURNING *)
         INSERT INTO ephemerd.hold_log (hold, event, by_whom, reason, scope, host, owner, peer, since, before, ends_at)
         SELECT id, 'released', $2, $3, scope, host, owner, peer, since, before, ends_at FROM released",
        id,
        by,
        reason,
    )
    .execute(connection)
    .await
    .named("release_hold")?;
    Ok(released.rows_affected() > 0)
}

/// All holds, or one, by number.
pub async fn holds(connection: &mut PgConnection, id: Option<i64>) -> Result<Vec<Hold>> {
    const NAME: &str = "holds";
    let rows = sqlx::query!(
        r#"-- holds
        SELECT id, scope, host, owner, peer, since, before, reason, placed_by, placed_at, ends_at,
               (ends_at IS NULL OR ends_at > clock_timestamp()) AS "in_force!"
          FROM ephemerd.holds WHERE $1::bigint IS NULL OR id = $1 ORDER BY id"#,
        id,
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    rows.into_iter()
        .map(|row| {
            let on = hold_on(NAME, &row.scope, (row.host, row.owner), row.peer)?;
            let (since, before, ends_at) = (row.since, row.before, row.ends_at);
            let (reason, by) = (row.reason, row.placed_by);
            let what = NewHold { on, since, before, reason, by, ends_at };
            Ok(Hold { id: row.id, placed_at: row.placed_at, in_force: row.in_force, what })
        })
        .collect()
}

/// The newest lines of the log, at most `rows`, oldest first; of one hold if its number is given.
pub async fn hold_log(
    connection: &mut PgConnection,
    hold: Option<i64>,
    rows: i64,
) -> Result<Vec<HoldEvent>> {
    const NAME: &str = "hold_log";
    let rows = sqlx::query!(
        r#"-- hold_log
        SELECT id, at, hold, event, by_whom, role, reason, scope, host, owner, peer, since, before, ends_at
          FROM ephemerd.hold_log WHERE $1::bigint IS NULL OR hold = $1
         ORDER BY id DESC LIMIT $2"#,
        hold,
        rows,
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    let event = rows.into_iter().rev().map(|row| {
        Ok(HoldEvent {
            at: row.at,
            hold: row.hold,
            event: row.event,
            by: row.by_whom,
            role: row.role,
            reason: row.reason,
            on: hold_on(NAME, &row.scope, (row.host, row.owner), row.peer)?,
            since: row.since,
            before: row.before,
            ends_at: row.ends_at,
        })
    });
    event.collect()
}

fn hold_on(
    statement: &'static str,
    scope: &str,
    owner: (String, String),
    peer: Option<String>,
) -> Result<HoldOn> {
    let unknown = |_| Error::unexpected(statement, "the ledger contains an unknown name");
    let scope = scope.parse().map_err(unknown)?;
    HoldOn::from_parts(scope, owner, peer).map_err(unknown)
}

/// Counts what a hold covers. Reads the whole ledger.
pub async fn kept_by(connection: &mut PgConnection, id: i64) -> Result<Kept> {
    sqlx::query_as!(
        Kept,
        r#"-- kept_by
        SELECT count(*) AS "entries!", count(*) FILTER (WHERE e.due_at <= now() AND NOT e.backlog) AS "due!"
          FROM ephemerd.holds AS h JOIN ephemerd.expiries AS e
            ON h.owner IN (e.owner, '') AND h.host IN (e.host, '')
           AND (h.peer_digest IS NULL OR e.peer IS NULL OR h.peer_digest = e.peer)
           AND (h.since IS NULL OR h.since <= e.stamped_at)
           AND (h.before IS NULL OR h.before > e.stamped_at)
         WHERE h.id = $1"#,
        id,
    )
    .fetch_one(connection)
    .await
    .named("kept_by")
}
