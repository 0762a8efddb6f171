//! What the ledger has to do with rows that go by their age, many in one statement.

use sqlx::PgConnection;

use super::record::position;
use crate::database::{Named, Result};

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

/// Which of these owners (host and local part), by position, have a hold on anything of theirs. The claims' lock must be
/// ours ([`share_claims`](super::share_claims)), so that no hold is placed until our transaction ends.
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
