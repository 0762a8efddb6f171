use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    model::{StartedBy, Timestamp},
};

/// Deletes entries whose rows are gone.
pub async fn forget(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("-- forget\nDELETE FROM ephemerd.expiries WHERE id = ANY ($1)", ids)
        .execute(connection)
        .await
        .named("forget")?;
    Ok(())
}

/// Turns entries into placeholders, whose rows go at `until`. When the message was read is forgotten with its words.
pub async fn keep_placeholders(
    connection: &mut PgConnection,
    ids: &[i64],
    until: Timestamp,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let by_reading: Vec<String> = StartedBy::ALL
        .iter()
        .filter(|it| it.may_tell_of_reading())
        .map(ToString::to_string)
        .collect();
    sqlx::query!(
        "-- keep_placeholders
         UPDATE ephemerd.expiries
            SET phase = 'placeholder', due_at = $2, retry_at = NULL, attempts = 0, copy_of = NULL,
                runs_from = CASE WHEN started_by = ANY ($3) THEN stamped_at ELSE runs_from END,
                started_by = CASE WHEN started_by = ANY ($3) THEN 'archived' ELSE started_by END,
                chat = NULL, message = NULL, timer_us = NULL,
                sender_nick = NULL, sender_jid = NULL, sender_id = NULL,
                readers = NULL, read_at = NULL, read_by = NULL, judged = false,
                name = NULL, sender = NULL, follows = NULL, links = NULL
          WHERE id = ANY ($1)",
        ids,
        until,
        &by_reading,
    )
    .execute(connection)
    .await
    .named("keep_placeholders")?;
    Ok(())
}

/// Leases entries: nobody else claims them for this many seconds, because the work takes longer than one
/// transaction. Afterwards they can be claimed again, whatever happened to us.
pub async fn lease(connection: &mut PgConnection, ids: &[i64], seconds: f64) -> Result<()> {
    sqlx::query!(
        "-- lease
         UPDATE ephemerd.expiries
            SET retry_at = clock_timestamp() + make_interval(secs => $2)
          WHERE id = ANY ($1)",
        ids,
        seconds,
    )
    .execute(connection)
    .await
    .named("lease")?;
    Ok(())
}

/// Ends old leases with at most this many seconds left: nobody is working on these entries any more. Entries
/// that would be retried within that time are retried now as well.
pub async fn end_leases(connection: &mut PgConnection, seconds: f64) -> Result<()> {
    sqlx::query!(
        "-- end_leases
         WITH leased AS MATERIALIZED (
             SELECT id FROM ephemerd.expiries
              WHERE NOT backlog AND retry_at = next_at
                AND next_at > clock_timestamp()
                AND next_at <= clock_timestamp() + make_interval(secs => $1)
              ORDER BY id FOR UPDATE SKIP LOCKED)
         UPDATE ephemerd.expiries AS e SET retry_at = NULL FROM leased WHERE e.id = leased.id",
        seconds,
    )
    .execute(connection)
    .await
    .named("end_leases")?;
    Ok(())
}

/// Returns leased entries: nothing was done with them.
pub async fn give_back(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- give_back
         UPDATE ephemerd.expiries SET retry_at = NULL WHERE id = ANY ($1)",
        ids,
    )
    .execute(connection)
    .await
    .named("give_back")?;
    Ok(())
}

/// Schedules a retry of each entry on its own: after 1 s, doubling up to 5 min.
pub async fn put_off(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- put_off
         UPDATE ephemerd.expiries
            SET retry_at = clock_timestamp() + least(interval '5 min', interval '1 s' * 2 ^ attempts),
                attempts = least(attempts + 1, 30)
          WHERE id = ANY ($1)",
        ids,
    )
    .execute(connection)
    .await
    .named("put_off")?;
    Ok(())
}
