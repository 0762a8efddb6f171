//! What the ledger knows of rows that go by their age, and what it does with that: row by row, or many in one statement.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::{entries_of, record::position};
use crate::{
    database::{Named, Result},
    model::{Reason, RowId, Timestamp},
};

/// As SQL: whether there are entries of the owner `k` (`of_owner`), in any store and on any host: one probe of an index,
/// whatever PostgreSQL believes of their number.
pub const HAS_ENTRIES: &str = "coalesce((SELECT e.owner = k.of_owner FROM ephemerd.expiries AS e
         WHERE (e.owner, e.archive_id) >= (k.of_owner, '') ORDER BY e.owner, e.archive_id LIMIT 1), false)";

/// As SQL, common table expressions: locks the entries of the rows `old` (the same columns, and `archive_id`, `digest`,
/// `is_kept`) that have `goes`, where nobody else has them, and forgets them.
pub const FORGETS: &str = "known AS MATERIALIZED (
        SELECT DISTINCT e.id FROM old AS k JOIN ephemerd.expiries AS e
            ON e.owner = k.of_owner AND e.archive_id = k.archive_id AND e.store = k.of_store AND e.host = k.of_host
           AND e.digest = k.digest
         WHERE k.is_kept AND k.goes),
    entry AS MATERIALIZED (
        SELECT e.id, e.owner, e.host, e.archive_id, e.reason = 'undelivered' AND e.store = 'archive' AS is_undelivered
          FROM ephemerd.expiries AS e WHERE e.id IN (SELECT id FROM known)
         ORDER BY e.next_at, e.id FOR UPDATE SKIP LOCKED),
    forgotten AS (
        DELETE FROM ephemerd.expiries AS e USING entry AS k WHERE e.id = k.id),
    received AS (
        DELETE FROM ephemerd.undelivered AS u USING entry AS k
         WHERE k.is_undelivered AND u.owner = k.owner AND u.archive_id = k.archive_id AND u.host = k.host)";

/// As SQL: none of these entries is claimed. Whoever asks this has them locked.
pub const ALL_LOCKED: &str = "(SELECT count(*) FROM known) = (SELECT count(*) FROM entry)";

/// Which of these owners (host and local part), by position, have a hold on anything of theirs. For whoever erases the
/// claims' lock must be held ([`share_claims`](super::share_claims)), so that no hold is placed until the transaction ends.
pub async fn owners_on_hold(
    connection: &mut PgConnection,
    owners: &[(&str, &str)],
) -> Result<Vec<usize>> {
    let found = sqlx::query_scalar!(
        r#"-- owners_on_hold
        SELECT k.position AS "position!"
          FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(host, owner, position)
         WHERE EXISTS (SELECT FROM ephemerd.holds AS h
                        WHERE h.target IN (k.owner || '@' || k.host, '@' || k.host, '@')
                          AND (h.ends_at IS NULL OR h.ends_at > statement_timestamp()))
         ORDER BY k.position"#,
        &owners.iter().map(|it| it.0.to_owned()).collect::<Vec<_>>(),
        &owners.iter().map(|it| it.1.to_owned()).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
    .named("owners_on_hold")?;
    Ok(found.into_iter().filter_map(position).collect())
}

/// A row that is to go by its age, as holds see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdable<'a> {
    /// The virtual host, or the rooms' domain.
    pub host: &'a str,
    /// The user's or the room's local part.
    pub owner: &'a str,
    /// The other side's bare address; empty in rooms, `None` where it is not known: then it counts as any.
    pub peer: Option<&'a str>,
    /// When it was archived.
    pub stamped_at: Timestamp,
}

/// Which of these rows, by position, are on hold. The claims' lock must be ours ([`share_claims`](super::share_claims)),
/// so that no hold is placed until our transaction ends.
pub async fn aged_on_hold(
    connection: &mut PgConnection,
    rows: &[Holdable<'_>],
) -> Result<Vec<usize>> {
    let found = sqlx::query_scalar!(
        r#"-- aged_on_hold
        SELECT k.position AS "position!"
          FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
               WITH ORDINALITY AS k(host, owner, peer, at, position)
         CROSS JOIN ephemerd.control AS c
         WHERE (SELECT EXISTS (SELECT FROM ephemerd.holds))
           AND EXISTS (SELECT FROM ephemerd.holds_on(k.host, k.owner,
                    CASE WHEN k.peer = '' THEN ''::bytea
                         WHEN k.peer IS NOT NULL THEN ephemerd.peer_digest(c.reading_key, k.host, k.owner, k.peer) END, k.at))
         ORDER BY k.position"#,
        &rows.iter().map(|it| it.host.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|it| it.owner.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|it| it.peer.map(str::to_owned)).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|it| it.stamped_at).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
    .named("aged_on_hold")?;
    Ok(found.into_iter().filter_map(position).collect())
}

/// A row's entry in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The row's position.
    pub position: usize,
    /// The entry's id, if it is ours now; `None` if another session has it locked.
    pub id: Option<i64>,
    /// It waits for its message to be received.
    pub is_undelivered: bool,
}

/// The entries of these rows, locked where nobody else has them.
pub async fn lock_entries(connection: &mut PgConnection, rows: &[RowId<'_>]) -> Result<Vec<Known>> {
    let entries = entries_of(connection, rows).await?;
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let locked = sqlx::query_scalar!(
        "-- lock_aged_entries
         SELECT id FROM ephemerd.expiries WHERE id = ANY ($1)
          ORDER BY next_at, id FOR UPDATE SKIP LOCKED",
        &entries.iter().map(|(_, it)| it.id).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
    .named("lock_aged_entries")?;
    let locked: HashSet<i64> = locked.into_iter().collect();
    let known = entries.into_iter().map(|(position, it)| Known {
        position,
        id: locked.contains(&it.id).then_some(it.id),
        is_undelivered: it.expiry.reason == Reason::Undelivered,
    });
    Ok(known.collect())
}
