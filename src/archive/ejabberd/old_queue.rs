//! Rows of `spool` by age, in the order of `seq`. No index has their time, but one leads to each owner's few rows.

use chrono::TimeDelta;
use sqlx::{FromRow, PgConnection};

use super::{Schema, stamp};
use crate::{
    archive::{OldRow, Scope, ScopeAge, StoredAge, marks::*, position},
    database::{Named, Result},
    model::{RowKey, Store, Timestamp, bare_jid},
    stanza,
};

/// Rows that are read at once, with their text.
const ROWS_AT_ONCE: i64 = 50;
/// Longer stanzas are not read: what they say of their time is not known.
const LONGEST_READ: i32 = 256 * 1024;
/// `created_at` is in the time zone of ejabberd's session, which we cannot know: as UTC it is wrong by up to this.
const ZONE_HOURS: i64 = 14;

/// Rows that are or may be too old, scope by scope.
pub async fn old(
    connection: &mut PgConnection,
    schema: &Schema,
    scopes: &[Scope],
    rows: i64,
) -> Result<(Vec<OldRow>, bool)> {
    let rows = rows.min(ROWS_AT_ONCE);
    let found: Vec<StoredOld> = sqlx::query_as(schema.sql(
        "-- spool_old
         SELECT k.position, k.host AS server_host, k.username, r.seq, r.created_at, r.digest, r.xml
           FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[])
                WITH ORDINALITY AS k(host, username, upto, number, position)
          CROSS JOIN LATERAL (
                SELECT a.seq::bigint AS seq, a.created_at AT TIME ZONE 'UTC' AS created_at, {digest} AS digest,
                       CASE WHEN octet_length(a.xml) <= $6 THEN a.xml END AS xml
                  FROM spool AS a
                 WHERE {host} = k.host AND a.username = k.username AND a.seq > k.number
                   AND a.created_at AT TIME ZONE 'UTC' <= k.upto
                 ORDER BY a.seq LIMIT $5) AS r
          ORDER BY k.position, r.seq LIMIT $5",
    ))
    .bind(scopes.iter().map(|it| it.holder.host.clone()).collect::<Vec<_>>())
    .bind(scopes.iter().map(|it| it.holder.owner.clone()).collect::<Vec<_>>())
    .bind(scopes.iter().map(|it| it.cutoff + zone()).collect::<Vec<_>>())
    .bind(scopes.iter().map(|it| it.after.1).collect::<Vec<_>>())
    .bind(rows)
    .bind(LONGEST_READ)
    .fetch_all(connection)
    .await
    .named("spool_old")?;
    let is_all = i64::try_from(found.len()).is_ok_and(|it| it < rows);
    let read = found.into_iter().filter_map(|row| {
        let at = position(row.position)?;
        Some(row.read(at, scopes.get(at)?))
    });
    Ok((read.collect(), is_all))
}

/// How old each scope's rows are, by `created_at` as if it were UTC: about right. Our placeholders do not count.
pub async fn ages(
    connection: &mut PgConnection,
    schema: &Schema,
    scopes: &[Scope],
    most: i64,
) -> Result<Vec<ScopeAge>> {
    let found: Vec<StoredAge<Timestamp>> =
        sqlx::query_as(schema.sql(concat!(
        "-- spool_ages
         SELECT old.rows, old.bytes, old.first, old.last, n.oldest
           FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[])
                WITH ORDINALITY AS k(host, username, upto, upto_number, position)
          CROSS JOIN LATERAL (
                SELECT min(a.created_at) AT TIME ZONE 'UTC' AS oldest FROM spool AS a
                 WHERE {host} = k.host AND a.username = k.username) AS n
          CROSS JOIN LATERAL (
                SELECT count(*) AS rows, coalesce(sum(o.bytes), 0)::bigint AS bytes,
                       min(o.created_at) AT TIME ZONE 'UTC' AS first, max(o.created_at) AT TIME ZONE 'UTC' AS last
                  FROM (SELECT octet_length(a.xml) AS bytes, a.created_at FROM spool AS a
                         WHERE {host} = k.host AND a.username = k.username
                           AND (a.created_at AT TIME ZONE 'UTC' <= k.upto OR a.seq <= k.upto_number) AND NOT ",
        is_placeholder!("a.xml"),
        "
                         ORDER BY a.seq LIMIT $5) AS o) AS old
          ORDER BY k.position",
    )))
    .bind(scopes.iter().map(|it| it.holder.host.clone()).collect::<Vec<_>>())
    .bind(scopes.iter().map(|it| it.holder.owner.clone()).collect::<Vec<_>>())
    .bind(scopes.iter().map(|it| it.cutoff).collect::<Vec<_>>())
    .bind(scopes.iter().map(|it| it.cutoff_number).collect::<Vec<_>>())
    .bind(most)
    .fetch_all(connection)
    .await
    .named("spool_ages")?;
    Ok(found.into_iter().map(|age| ScopeAge::read(age, |it| it)).collect())
}

fn zone() -> TimeDelta {
    TimeDelta::hours(ZONE_HOURS)
}

#[derive(FromRow)]
struct StoredOld {
    position: i64,
    server_host: String,
    username: String,
    seq: i64,
    created_at: Timestamp,
    digest: Vec<u8>,
    xml: Option<String>,
}

impl StoredOld {
    fn read(self, at: usize, scope: &Scope) -> OldRow {
        let facts = self.xml.as_deref().and_then(|xml| stanza::read(xml).ok());
        let owner = bare_jid(&self.username, &self.server_host);
        // What was archived has its exact time in its stanza-id. Only what lies within all time zones is believed.
        let archived = facts.as_ref().and_then(|facts| {
            let id = facts.last_stanza_id.as_ref().filter(|id| id.by == owner)?;
            let at = stamp(id.id.parse().ok()?).at;
            ((at - self.created_at).abs() <= zone()).then_some(at)
        });
        let is_early = match archived {
            Some(at) => at > scope.cutoff,
            None => self.seq > scope.cutoff_number && self.created_at + zone() > scope.cutoff,
        };
        OldRow {
            scope: at,
            place: (0, self.seq),
            peer: self.xml.as_deref().and_then(|xml| stanza::other_side(xml, &owner)),
            is_newest: false,
            is_blank: facts.is_some_and(|it| it.expired_until.is_some()),
            is_early,
            key: RowKey {
                store: Store::Queue,
                host: self.server_host,
                owner: self.username,
                archive_id: self.seq.to_string(),
                row_number: self.seq,
                stamped_at: archived.unwrap_or(self.created_at),
                digest: self.digest,
            },
        }
    }
}
