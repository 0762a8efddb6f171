//! What is recorded of one account, in figures.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    database::{Error, Named, Result},
    model::{Reason, Store, Timestamp},
};

/// An account with more entries than this is not counted: the query stays short.
pub const MOST_KEPT: i64 = 20_000;

/// Entries of one account in one store that go for the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptEntries {
    /// Where they are.
    pub store: Store,
    /// Why they go; `None` if their age decides, because they get too old first.
    pub reason: Option<Reason>,
    /// Messages that go, whether or not a hold keeps them: whoever asks is not told of holds.
    pub going: i64,
    /// Of these: their timer waits for their owner to read them.
    pub unread: i64,
    /// Messages held as backlog.
    pub backlog: i64,
    /// Placeholders, whose text is gone.
    pub emptied: i64,
    /// When the oldest of those that go was archived.
    pub oldest: Option<Timestamp>,
    /// When the next of those that go is due; only times that are still to come.
    pub next: Option<Timestamp>,
}

/// The entries of an account in its archive and queue. `ages`: how long these keep anything at most, `None` for ever.
/// Returns `None` if there are more than [`MOST_KEPT`]. The index by owner gives all that is read.
pub async fn kept_of_owner(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    ages: [(Store, Option<Duration>); 2],
) -> Result<Option<Vec<KeptEntries>>> {
    const NAME: &str = "kept_of_owner";
    let age = |store| {
        let age = ages.iter().find(|it| it.0 == store).and_then(|it| it.1);
        age.and_then(|it| i64::try_from(it.as_micros()).ok())
    };
    let rows = sqlx::query!(
        r#"-- kept_of_owner
        WITH mine AS MATERIALIZED (
            SELECT * FROM ephemerd.expiries
             WHERE owner = $1 AND host = $2 AND store IN ('archive', 'queue')
             ORDER BY owner, archive_id LIMIT $3),
        aged AS (
            SELECT m.*, stamped_at + interval '1 microsecond'
                        * CASE store WHEN 'archive' THEN $4::bigint ELSE $5::bigint END AS too_old_at
              FROM mine AS m),
        judged AS (
            SELECT a.*, phase = 'pending' AND NOT backlog AS goes, coalesce(too_old_at < due_at, false) AS by_age,
                   least(too_old_at, due_at) AS goes_at
              FROM aged AS a)
        SELECT store AS "store!", CASE WHEN NOT by_age THEN reason END AS reason,
               count(*) AS "all!",
               count(*) FILTER (WHERE goes) AS "going!",
               count(*) FILTER (WHERE goes AND started_by = 'unread' AND runs_from > now()) AS "unread!",
               count(*) FILTER (WHERE phase = 'pending' AND backlog) AS "backlog!",
               count(*) FILTER (WHERE phase <> 'pending') AS "emptied!",
               min(stamped_at) FILTER (WHERE goes) AS oldest,
               min(goes_at) FILTER (WHERE goes AND goes_at > now()) AS next
          FROM judged
         GROUP BY 1, 2 ORDER BY 1, 2"#,
        owner,
        host,
        MOST_KEPT + 1,
        age(Store::Archive),
        age(Store::Queue),
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    if rows.iter().map(|it| it.all).sum::<i64>() > MOST_KEPT {
        return Ok(None);
    }
    let unknown = |_| Error::unexpected(NAME, "the ledger contains an unknown name");
    let entries = rows.into_iter().map(|row| {
        Ok(KeptEntries {
            store: row.store.parse().map_err(unknown)?,
            // What only a newer version knows is no reason to say nothing.
            reason: row.reason.map(|it| it.parse().unwrap_or(Reason::Timer)),
            going: row.going,
            unread: row.unread,
            backlog: row.backlog,
            emptied: row.emptied,
            oldest: row.oldest,
            next: row.next,
        })
    });
    entries.collect::<Result<_>>().map(Some)
}
