//! The offline queue. It has no index on `seq`: a reading of it is a reading of all of it.

use sqlx::{FromRow, PgConnection};

use super::{Schema, stamp};
use crate::{
    archive::{Horizon, MAX_COPIES, MAX_STANZA_BYTES, Row, RowKey, position},
    database::{Named, Result},
    model::{Stamp, Store, Timestamp},
    stanza,
};

/// How far the queue has come: by its sequence, which answers without looking at the table.
pub async fn horizon(connection: &mut PgConnection) -> Result<Horizon> {
    let (newest, now, filenode): (i64, Timestamp, i64) = sqlx::query_as(
        "-- spool_horizon
         SELECT CASE WHEN is_called THEN last_value ELSE 0 END, clock_timestamp(),
                coalesce(pg_relation_filenode('spool'), 0)::bigint
           FROM spool_seq_seq",
    )
    .fetch_one(connection)
    .await
    .named("spool_horizon")?;
    Ok(Horizon { xmin: 0, xmax: 0, newest, sequence: newest, now, filenode })
}

/// The rows of these hosts after `after` and up to `upto` that may be marked, in order of `seq`: at most `rows` and, but
/// for the first, at most `bytes` bytes of stanzas.
///
/// What we blanked is ejabberd's to remove, at login: it is not looked for.
pub async fn candidates(
    connection: &mut PgConnection,
    schema: &Schema,
    hosts: &[String],
    (after, upto): (i64, i64),
    (rows, bytes): (i64, i64),
) -> Result<Vec<Row>> {
    let found: Vec<StoredRow> = sqlx::query_as(schema.sql(
        "-- spool_candidates
         SELECT server_host, username, seq, stamped_at, CASE WHEN size <= $6 THEN xml END AS xml,
                CASE WHEN size <= $6 THEN digest ELSE '' END AS digest
           FROM (SELECT *, sum(least(size, $6)) OVER (ORDER BY seq) - least(size, $6) AS before
                   FROM (SELECT {host} AS server_host, a.username, a.seq::bigint, a.xml,
                                a.created_at AT TIME ZONE 'UTC' AS stamped_at,
                                octet_length(a.xml) AS size,
                                CASE WHEN octet_length(a.xml) <= $6 THEN {digest} END AS digest
                           FROM spool AS a
                          WHERE a.seq > $1 AND a.seq <= $2 AND {host} = ANY ($3)
                            AND (a.xml LIKE '%urn:xmpp:ephemeral:0%' OR a.xml LIKE '%urn:xmpp:hints%')
                          ORDER BY a.seq LIMIT $4) AS page) AS sized
          WHERE before < $5
          ORDER BY seq",
    ))
    .bind(after)
    .bind(upto)
    .bind(hosts)
    .bind(rows)
    .bind(bytes)
    .bind(MAX_STANZA_BYTES)
    .fetch_all(connection)
    .await
    .named("spool_candidates")?;
    Ok(found.into_iter().map(StoredRow::read).collect())
}

/// The rows of this owner's queue whose text names this archive id, the oldest first.
pub async fn queued_under(
    connection: &mut PgConnection,
    schema: &Schema,
    (host, owner): (&str, &str),
    archive_id: &str,
) -> Result<Vec<Row>> {
    let found: Vec<StoredRow> = sqlx::query_as(schema.sql(
        "-- spool_queued_under
         SELECT {host} AS server_host, a.username, a.seq::bigint, a.xml,
                a.created_at AT TIME ZONE 'UTC' AS stamped_at, {digest} AS digest
           FROM spool AS a
          WHERE {host} = $1 AND a.username = $2
            AND octet_length(a.xml) <= $4 AND strpos(a.xml, $3) > 0
          ORDER BY a.seq LIMIT $5",
    ))
    .bind(host)
    .bind(owner)
    .bind(archive_id)
    .bind(MAX_STANZA_BYTES)
    .bind(MAX_COPIES)
    .fetch_all(connection)
    .await
    .named("spool_queued_under")?;
    Ok(found.into_iter().map(StoredRow::read).collect())
}

/// Which of these rows still stand, by position.
pub(super) async fn still_there(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
) -> Result<Vec<usize>> {
    let identities = Identities::of(keys);
    let found: Vec<i64> = sqlx::query_scalar(schema.sql(
        "-- spool_still_there
         SELECT k.position
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[])
                WITH ORDINALITY AS k(host, username, seq, digest, position)
           JOIN spool AS a ON {host} = k.host AND a.username = k.username AND a.seq = k.seq
          WHERE {digest} = k.digest",
    ))
    .bind(identities.hosts)
    .bind(identities.usernames)
    .bind(identities.numbers)
    .bind(identities.digests)
    .fetch_all(connection)
    .await
    .named("spool_still_there")?;
    Ok(found.into_iter().filter_map(position).collect())
}

/// Identities of queued rows as the arrays that `unnest` joins on, in the order of the keys given.
#[derive(Default)]
pub(super) struct Identities {
    pub(super) hosts: Vec<String>,
    pub(super) usernames: Vec<String>,
    pub(super) numbers: Vec<i64>,
    pub(super) digests: Vec<Vec<u8>>,
}

impl Identities {
    pub(super) fn of(keys: &[&RowKey]) -> Self {
        let mut identities = Self::default();
        for key in keys {
            identities.hosts.push(key.host.clone());
            identities.usernames.push(key.owner.clone());
            identities.numbers.push(key.row_number);
            identities.digests.push(key.digest.clone());
        }
        identities
    }
}

#[derive(FromRow)]
struct StoredRow {
    server_host: String,
    username: String,
    seq: i64,
    stamped_at: Timestamp,
    xml: Option<String>,
    digest: Vec<u8>,
}

impl StoredRow {
    /// `created_at` is in the time zone of ejabberd's session, which nobody tells us. What was archived
    /// carries its exact time in its stanza-id.
    fn read(self) -> Row {
        let archived = self.xml.as_deref().and_then(|xml| {
            let id = stanza::read(xml).ok()?.last_stanza_id?;
            let own = id.by == format!("{}@{}", self.username, self.server_host);
            id.id.parse().ok().filter(|_| own).map(stamp)
        });
        let stamp = archived.unwrap_or(Stamp { at: self.stamped_at, whole_seconds: false });
        let key = RowKey {
            store: Store::Queue,
            host: self.server_host,
            owner: self.username,
            archive_id: self.seq.to_string(),
            row_number: self.seq,
            stamped_at: stamp.at,
            digest: self.digest,
        };
        Row { key, stamp, xml: self.xml }
    }
}
