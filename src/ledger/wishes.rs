//! What users wish for their own archives: asking, setting, and what judging needs to know of it.

use std::time::Duration;

use sqlx::PgConnection;

use super::record::{notify, position};
use crate::{
    database::{Error, Named, Result},
    model::{OwnerGroups, Timestamp, Wish},
};

/// Wishes of one account: each is about another chat.
pub const MOST_WISHES: i64 = 200;

/// A wish as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingWish {
    /// Only for the chat with this bare address; `None`: for all.
    pub with: Option<String>,
    /// What is wished.
    pub wish: Wish,
    /// When it was last changed.
    pub wished_at: Timestamp,
}

/// What an owner wishes (host and local part): first for all chats, then for each.
pub async fn wishes_of_owner(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
) -> Result<Vec<StandingWish>> {
    let rows = sqlx::query!(
        r#"-- wishes_of_owner
        SELECT peer, archive_for, encrypted_for, once_since IS NOT NULL AS "once!", wished_at
          FROM ephemerd.wishes WHERE owner = $1 AND host = $2 ORDER BY peer"#,
        owner,
        host,
    )
    .fetch_all(connection)
    .await
    .named("wishes_of_owner")?;
    let wish = rows.into_iter().map(|row| StandingWish {
        with: Some(row.peer).filter(|it| !it.is_empty()),
        wish: Wish {
            archive_for: row.archive_for.map(seconds),
            encrypted_for: row.encrypted_for.map(seconds),
            once: row.once,
        },
        wished_at: row.wished_at,
    });
    Ok(wish.collect())
}

/// What an owner wishes for the chat with this bare address, or for all of them.
pub async fn wish_of(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    with: Option<&str>,
) -> Result<Wish> {
    let row = sqlx::query!(
        r#"-- wish_of
        SELECT archive_for, encrypted_for, once_since IS NOT NULL AS "once!"
          FROM ephemerd.wishes WHERE owner = $1 AND host = $2 AND peer = $3"#,
        owner,
        host,
        with.unwrap_or_default(),
    )
    .fetch_optional(connection)
    .await
    .named("wish_of")?;
    let wish = row.map(|row| Wish {
        archive_for: row.archive_for.map(seconds),
        encrypted_for: row.encrypted_for.map(seconds),
        once: row.once,
    });
    Ok(wish.unwrap_or_default())
}

/// Sets what an owner wishes, and wakes the daemons. A wish for nothing is forgotten. A shorter timer is for encrypted messages to
/// come, a longer one for all that have one by the wish. `false` if the owner has [too many](MOST_WISHES).
pub async fn set_wish(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    with: Option<&str>,
    wish: Wish,
) -> Result<bool> {
    let with = with.unwrap_or_default();
    if wish.is_none() {
        sqlx::query!(
            "-- forget_wish
             DELETE FROM ephemerd.wishes WHERE owner = $1 AND host = $2 AND peer = $3",
            owner,
            host,
            with,
        )
        .execute(connection)
        .await
        .named("forget_wish")?;
        return Ok(true);
    }
    let whole = |time: Option<Duration>| {
        let seconds = time.map(|it| i64::try_from(it.as_secs())).transpose();
        seconds.map_err(|_| Error::unexpected("set_wish", "a time is too long"))
    };
    let set = sqlx::query!(
        "-- set_wish
         INSERT INTO ephemerd.wishes AS w (host, owner, peer, archive_for, once_since, encrypted_for, encrypted_since)
         SELECT $1, $2, $3, $4, CASE WHEN $5 THEN clock_timestamp() END, $7,
                CASE WHEN $7::bigint IS NOT NULL THEN clock_timestamp() END
          WHERE EXISTS (SELECT FROM ephemerd.wishes WHERE owner = $2 AND host = $1 AND peer = $3)
             OR (SELECT count(*) FROM ephemerd.wishes WHERE owner = $2 AND host = $1) < $6
             ON CONFLICT (owner, host, peer) DO UPDATE
            SET archive_for = EXCLUDED.archive_for,
                once_since = CASE WHEN $5 THEN coalesce(w.once_since, EXCLUDED.once_since) END,
                encrypted_for = EXCLUDED.encrypted_for,
                encrypted_since = CASE WHEN w.encrypted_for <= $7 THEN w.encrypted_since ELSE EXCLUDED.encrypted_since END,
                earlier_for = CASE WHEN $7 < w.encrypted_for THEN greatest(w.earlier_for, w.encrypted_for)
                                   WHEN w.earlier_for IS NOT NULL AND $7 IS NOT NULL THEN greatest(w.earlier_for, $7) END,
                earlier_since = CASE WHEN $7 < w.encrypted_for THEN coalesce(w.earlier_since, w.encrypted_since)
                                     WHEN $7 IS NOT NULL THEN w.earlier_since END,
                wished_at = EXCLUDED.wished_at, next_at = '-infinity',
                stamp = EXCLUDED.stamp, row_number = EXCLUDED.row_number, failed = 0",
        host,
        owner,
        with,
        whole(wish.archive_for)?,
        wish.once,
        MOST_WISHES,
        whole(wish.encrypted_for)?,
    )
    .execute(&mut *connection)
    .await
    .named("set_wish")?;
    notify(connection, None).await?;
    Ok(set.rows_affected() > 0)
}

/// What an owner wishes for the timers of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerWish {
    /// The position of the owner.
    pub position: usize,
    /// Only in the chat with this bare address; `None`: in all.
    pub with: Option<String>,
    /// Messages with a timer that were archived from then on go once they were read.
    pub once_since: Option<Timestamp>,
    /// The timers of encrypted messages, each of those that were archived from then on: the last one counts.
    pub encrypted: Vec<(Duration, Timestamp)>,
}

/// What these owners (host and local part) wish for the timers of messages.
pub async fn timer_wishes(
    connection: &mut PgConnection,
    owners: &[(&str, &str)],
) -> Result<Vec<TimerWish>> {
    if owners.is_empty() {
        return Ok(Vec::new());
    }
    let column = |of: fn(&(&str, &str)) -> String| owners.iter().map(of).collect::<Vec<_>>();
    let rows = sqlx::query!(
        r#"-- timer_wishes
        SELECT o.position AS "position!", w.peer, w.once_since, w.encrypted_for, w.encrypted_since, w.earlier_for, w.earlier_since
          FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS o(host, owner, position)
          JOIN ephemerd.wishes AS w USING (owner, host)
         WHERE w.once_since IS NOT NULL OR w.encrypted_for IS NOT NULL ORDER BY o.position, w.peer"#,
        &column(|it| it.0.to_owned()),
        &column(|it| it.1.to_owned()),
    )
    .fetch_all(connection)
    .await
    .named("timer_wishes")?;
    let wish = rows.into_iter().filter_map(|row| {
        let timers =
            [(row.earlier_for, row.earlier_since), (row.encrypted_for, row.encrypted_since)];
        let timers = timers.into_iter().filter_map(|(time, since)| time.map(seconds).zip(since));
        Some(TimerWish {
            position: position(row.position)?,
            with: Some(row.peer).filter(|it| !it.is_empty()),
            once_since: row.once_since,
            encrypted: timers.collect(),
        })
    });
    Ok(wish.collect())
}

/// Groups of the owners who wish a timer for encrypted messages.
pub async fn encrypted_owners(connection: &mut PgConnection) -> Result<OwnerGroups> {
    let groups = sqlx::query_scalar!(
        r#"-- encrypted_owners
        SELECT DISTINCT hashtext(owner) & 1023 AS "owner_group!" FROM ephemerd.wishes WHERE encrypted_for IS NOT NULL"#,
    )
    .fetch_all(connection)
    .await
    .named("encrypted_owners")?;
    Ok(groups.into_iter().collect())
}

pub(super) fn seconds(stored: i64) -> Duration {
    Duration::from_secs(stored.unsigned_abs())
}
