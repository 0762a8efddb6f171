//! Holds as the erasers see them. Each transaction that claims takes a lock that they share; whoever places or ends a
//! hold takes it alone. So no claim that began before a hold outlives its placing.

use std::time::Duration;

use sqlx::PgConnection;

use super::record::{notify, position};
use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// The key of the lock: "holds" in ASCII. Locks are per database, and so is our schema.
const CLAIMS_LOCK: i64 = 0x68_6f_6c_64_73;

/// Takes our share of the claims' lock, until this transaction ends. `false` while somebody places or ends a hold:
/// then nothing may be claimed. A claim must be a later statement, so that it sees the holds placed before.
pub async fn share_claims(connection: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar!(
        r#"-- share_claims
        SELECT pg_try_advisory_xact_lock_shared($1) AS "shared!""#,
        CLAIMS_LOCK,
    )
    .fetch_one(connection)
    .await
    .named("share_claims")
}

/// Waits until no transaction claims, and lets none claim until this transaction ends.
pub async fn stop_claims(connection: &mut PgConnection, patience: Duration) -> Result<()> {
    sqlx::query_scalar!(
        r#"-- stop_claims_patience
        SELECT set_config('lock_timeout', $1, true) || set_config('statement_timeout', $1, true) AS settings"#,
        format!("{}ms", patience.as_millis()),
    )
    .fetch_one(&mut *connection)
    .await
    .named("stop_claims_patience")?;
    sqlx::query!("-- stop_claims\nSELECT pg_advisory_xact_lock($1) IS NULL AS locked", CLAIMS_LOCK)
        .fetch_one(connection)
        .await
        .named("stop_claims")?;
    Ok(())
}

/// Puts claimed entries that are on hold out of the claims' sight, until the hold has ended.
pub async fn put_aside(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- put_aside
         UPDATE ephemerd.expiries SET retry_at = 'infinity' WHERE id = ANY ($1)",
        ids,
    )
    .execute(connection)
    .await
    .named("put_aside")?;
    Ok(())
}

/// Lets claims see up to `rows` entries again that are on hold no longer, after the entry `after`, and wakes all
/// daemons. Returns the last that was looked at; `None` at the end.
pub async fn take_back(
    connection: &mut PgConnection,
    after: i64,
    rows: i64,
) -> Result<Option<i64>> {
    let last = sqlx::query_scalar!(
        r#"-- take_back
        WITH page AS MATERIALIZED (
            SELECT id, on_hold FROM ephemerd.entries
             WHERE NOT backlog AND next_at = 'infinity' AND id > $1
             ORDER BY id LIMIT $2),
        free AS MATERIALIZED (
            SELECT e.id FROM page JOIN ephemerd.expiries AS e USING (id)
             WHERE NOT page.on_hold AND e.retry_at = 'infinity' ORDER BY e.id FOR UPDATE OF e),
        taken AS (
            UPDATE ephemerd.expiries AS e SET retry_at = NULL FROM free WHERE e.id = free.id)
        SELECT max(id) AS last FROM page"#,
        after,
        rows,
    )
    .fetch_one(&mut *connection)
    .await
    .named("take_back")?;
    if last.is_some() {
        notify(connection, None).await?;
    }
    Ok(last)
}

/// Deletes the holds that had ended by then, and says so in the log, unless they were released: that was said.
pub async fn forget_ended(connection: &mut PgConnection, by: Timestamp) -> Result<()> {
    sqlx::query!(
        "-- forget_ended
         WITH ended AS (DELETE FROM ephemerd.holds WHERE ends_at <= $1 RETURNING *)
         INSERT INTO ephemerd.hold_log (hold, event, by_whom, reason, scope, host, owner, peer, since, before, ends_at)
         SELECT id, 'ended', 'ephemerd', reason, scope, host, owner, peer, since, before, ends_at FROM ended AS e
          WHERE NOT EXISTS (SELECT FROM ephemerd.hold_log AS l WHERE l.hold = e.id AND l.event = 'released')
          ORDER BY id",
        by,
    )
    .execute(connection)
    .await
    .named("forget_ended")?;
    Ok(())
}

/// Which of these entries are on hold.
pub async fn entries_on_hold(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"-- entries_on_hold
        SELECT id AS "id!" FROM ephemerd.entries WHERE id = ANY ($1) AND on_hold ORDER BY id"#,
        ids,
    )
    .fetch_all(connection)
    .await
    .named("entries_on_hold")
}

/// Which of these rows of rooms, by position, are on hold: host, local part and stamp.
pub async fn rooms_on_hold(
    connection: &mut PgConnection,
    rows: &[(&str, &str, Timestamp)],
) -> Result<Vec<usize>> {
    let found = sqlx::query_scalar!(
        r#"-- rooms_on_hold
        SELECT k.position AS "position!"
          FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS k(host, owner, at, position)
         WHERE EXISTS (SELECT FROM ephemerd.holds_on(k.host, k.owner, ''::bytea, k.at))"#,
        &rows.iter().map(|it| it.0.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|it| it.1.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|it| it.2).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
    .named("rooms_on_hold")?;
    Ok(found.into_iter().filter_map(position).collect())
}

/// The keyed digests by which the ledger knows the other sides of chats: of (host, owner, the other side's bare
/// address), in the same order.
pub async fn peers(
    connection: &mut PgConnection,
    chats: &[(&str, &str, &str)],
) -> Result<Vec<Vec<u8>>> {
    if chats.is_empty() {
        return Ok(Vec::new());
    }
    let column = |of: fn(&(&str, &str, &str)) -> String| chats.iter().map(of).collect::<Vec<_>>();
    sqlx::query_scalar!(
        r#"-- peers
        SELECT ephemerd.peer_digest(c.reading_key, k.host, k.owner, k.peer) AS "digest!"
          FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k(host, owner, peer, position)
         CROSS JOIN ephemerd.control AS c
         ORDER BY k.position"#,
        &column(|it| it.0.to_owned()),
        &column(|it| it.1.to_owned()),
        &column(|it| it.2.to_owned()),
    )
    .fetch_all(connection)
    .await
    .named("peers")
}
