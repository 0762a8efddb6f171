//! Wishes as those who carry them out see them: the walk through one owner's archive, again and again.

use std::time::Duration;

use sqlx::PgConnection;

use super::wishes::seconds;
use crate::{
    database::{Named, Result},
    model::{Address, Timestamp},
};

/// The wishes about how long messages stay, of owners on these hosts, that are to be looked at first, at most `rows`: each
/// with how long until then.
pub async fn due_wishes(
    connection: &mut PgConnection,
    hosts: &[String],
    rows: i64,
) -> Result<Vec<(i64, Duration)>> {
    let rows = sqlx::query!(
        r#"-- due_wishes
        SELECT id, greatest(extract(epoch FROM greatest(next_at, 'epoch') - clock_timestamp()), 0)::float8 AS "due_in!"
          FROM ephemerd.wishes WHERE archive_for IS NOT NULL AND host = ANY ($1) ORDER BY next_at, id LIMIT $2"#,
        hosts,
        rows,
    )
    .fetch_all(connection)
    .await
    .named("due_wishes")?;
    let due_in = |it: f64| Duration::try_from_secs_f64(it).unwrap_or_default();
    Ok(rows.into_iter().map(|row| (row.id, due_in(row.due_in))).collect())
}

/// A wish whose walk is ours, until the transaction ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WishWalk {
    /// Whose archive.
    pub owner: Address,
    /// Only the chat with this bare address.
    pub with: Option<String>,
    /// How long messages stay.
    pub archive_for: Duration,
    /// All up to this stamp and number was looked at.
    pub place: (i64, i64),
    /// Rows of this walk that could not be erased.
    pub failed: i64,
    /// The database's clock.
    pub now: Timestamp,
}

/// Locks a wish. `None` if another daemon has it, it was taken back, or it is not to be looked at now.
pub async fn lock_wish(connection: &mut PgConnection, id: i64) -> Result<Option<WishWalk>> {
    let row = sqlx::query!(
        r#"-- lock_wish
        SELECT host, owner, peer, archive_for AS "archive_for!", stamp, row_number, failed, clock_timestamp() AS "now!"
          FROM ephemerd.wishes WHERE id = $1 AND archive_for IS NOT NULL AND next_at <= clock_timestamp()
           FOR UPDATE SKIP LOCKED"#,
        id,
    )
    .fetch_optional(connection)
    .await
    .named("lock_wish")?;
    Ok(row.map(|row| WishWalk {
        owner: Address { host: row.host, local: row.owner },
        with: Some(row.peer).filter(|it| !it.is_empty()),
        archive_for: seconds(row.archive_for),
        place: (row.stamp, row.row_number),
        failed: row.failed,
        now: row.now,
    }))
}

/// The walk has come to this stamp and number; `failed` more rows could not be erased.
pub async fn move_wish(
    connection: &mut PgConnection,
    id: i64,
    (stamp, row_number): (i64, i64),
    failed: i64,
) -> Result<()> {
    sqlx::query!(
        "-- move_wish
         UPDATE ephemerd.wishes SET stamp = $2, row_number = $3, failed = failed + $4 WHERE id = $1",
        id,
        stamp,
        row_number,
        failed,
    )
    .execute(connection)
    .await
    .named("move_wish")?;
    Ok(())
}

/// The walk has come to its end: the next one begins after this rest.
pub async fn end_wish(connection: &mut PgConnection, id: i64, rest: Duration) -> Result<()> {
    sqlx::query!(
        "-- end_wish
         UPDATE ephemerd.wishes
            SET stamp = DEFAULT, row_number = DEFAULT, failed = 0, next_at = clock_timestamp() + make_interval(secs => $2)
          WHERE id = $1",
        id,
        rest.as_secs_f64(),
    )
    .execute(connection)
    .await
    .named("end_wish")?;
    Ok(())
}
