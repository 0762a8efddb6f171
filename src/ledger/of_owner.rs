//! What the ledger has of one owner, for whoever asks what is kept.

use sqlx::PgConnection;

use crate::{
    database::{Error, Named, Result},
    model::{LATEST, Reason, Store, Timestamp},
};

/// The entries of one owner in one store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerEntries {
    /// Messages that a timer or hint lets go; those below are among them.
    pub pending: i64,
    /// They wait for somebody to read them.
    pub unread: i64,
    /// They wait until somebody has received them.
    pub undelivered: i64,
    /// From before the first start, and not accepted yet.
    pub backlog: i64,
    /// Placeholders, whose text is already gone.
    pub placeholders: i64,
    /// When the next one goes and why, unless a hold keeps it.
    pub next: Option<(Timestamp, Reason)>,
}

/// This owner's entries (host and local part), by store; and apart from them, how many messages a hold keeps, whether they are
/// due or not.
pub async fn owner_entries(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
) -> Result<Vec<(Store, OwnerEntries, i64)>> {
    const NAME: &str = "owner_entries";
    let unknown = |_| Error::unexpected(NAME, "the ledger contains an unknown name");
    let next = sqlx::query!(
        r#"-- owner_next
        SELECT DISTINCT ON (store) store, due_at, reason
          FROM ephemerd.expiries
         WHERE owner = $1 AND host = $2 AND phase = 'pending' AND NOT backlog AND due_at < $3
         ORDER BY store, due_at, id"#,
        owner,
        host,
        LATEST,
    )
    .fetch_all(&mut *connection)
    .await
    .named("owner_next")?;
    let rows = sqlx::query!(
        r#"-- owner_entries
        SELECT store AS "store!", count(*) FILTER (WHERE pending) AS "pending!",
               count(*) FILTER (WHERE pending AND started_by = 'unread' AND runs_from > now()) AS "unread!",
               count(*) FILTER (WHERE pending AND reason = 'undelivered') AS "undelivered!",
               count(*) FILTER (WHERE pending AND backlog) AS "backlog!",
               count(*) FILTER (WHERE pending AND on_hold) AS "on_hold!",
               count(*) FILTER (WHERE NOT pending) AS "placeholders!"
          FROM (SELECT store, started_by, runs_from, reason, backlog, on_hold, phase = 'pending' AS pending
                  FROM ephemerd.entries WHERE owner = $1 AND host = $2 OFFSET 0) AS entry
         GROUP BY store ORDER BY store"#,
        owner,
        host,
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    rows.into_iter()
        .map(|row| {
            let next = next.iter().find(|it| it.store == row.store);
            let next = next.map(|it| Ok((it.due_at, it.reason.parse().map_err(unknown)?)));
            let entries = OwnerEntries {
                pending: row.pending,
                unread: row.unread,
                undelivered: row.undelivered,
                backlog: row.backlog,
                placeholders: row.placeholders,
                next: next.transpose()?,
            };
            Ok((row.store.parse().map_err(unknown)?, entries, row.on_hold))
        })
        .collect()
}

/// How many holds in force concern anything of this owner's (host and local part).
pub async fn holds_of_owner(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
) -> Result<i64> {
    sqlx::query_scalar!(
        r#"-- holds_of_owner
        SELECT count(*) AS "holds!" FROM ephemerd.holds
         WHERE target IN ($2::text || '@' || $1::text, '@' || $1::text, '@')
           AND (ends_at IS NULL OR ends_at > statement_timestamp())"#,
        host,
        owner,
    )
    .fetch_one(connection)
    .await
    .named("holds_of_owner")
}
