use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// Forgets entries: their rows are gone.
pub async fn forget(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    sqlx::query!("-- forget\nDELETE FROM ephemerd.expiries WHERE id = ANY ($1)", ids)
        .execute(connection)
        .await
        .named("forget")?;
    Ok(())
}

/// Turns entries into placeholders, whose rows go at `until`.
pub async fn keep_placeholders(
    connection: &mut PgConnection,
    ids: &[i64],
    until: Timestamp,
) -> Result<()> {
    sqlx::query!(
        "-- keep_placeholders
         UPDATE ephemerd.expiries
            SET phase = 'placeholder', due_at = $2, retry_at = NULL, attempts = 0, copy_of = NULL
          WHERE id = ANY ($1)",
        ids,
        until,
    )
    .execute(connection)
    .await
    .named("keep_placeholders")?;
    Ok(())
}

/// Takes entries out of others' reach for so many seconds: what is done with them takes longer than one
/// transaction. When the time is over they are claimed again, whatever became of us.
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

/// Ends the leases of an earlier life that run for so many seconds yet: nobody works on these entries any more.
/// Those that were put off for no longer are tried again as well.
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

/// Gives leased entries back: nothing was done with them.
pub async fn give_back(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
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

/// Puts entries off, each alone: 1 s, doubling to 5 min.
pub async fn put_off(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
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
