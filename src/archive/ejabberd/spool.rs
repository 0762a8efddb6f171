//! The offline queue. It has no index on `seq`, so each read is a full scan.

use sqlx::{FromRow, PgConnection};

use super::{
    Schema,
    identity::{Identities, bind_identities},
    stamp,
};
use crate::{
    archive::{
        Horizon, MAX_COPIES, MAX_STANZA_BYTES, Row, Search, filenode, layout::sequence, marks::*,
        position,
    },
    database::{Named, Result},
    model::{RowKey, Stamp, Store, Timestamp, bare_jid},
    stanza,
};

/// The queue's current horizon, taken from its sequence, without reading the table.
pub async fn horizon(connection: &mut PgConnection) -> Result<Horizon> {
    let (xmin, xmax, newest, now, server_started, filenode) = sqlx::query_as(concat!(
        "-- spool_horizon
         SELECT pg_snapshot_xmin(snapshot)::text::bigint, pg_snapshot_xmax(snapshot)::text::bigint,
                coalesce(pg_sequence_last_value(",
        sequence!("spool", "seq"),
        "), 0), clock_timestamp(), pg_postmaster_start_time(), ",
        filenode!("spool"),
        " FROM pg_current_snapshot() AS snapshot",
    ))
    .fetch_one(connection)
    .await
    .named("spool_horizon")?;
    Ok(Horizon { xmin, xmax, newest, sequence: newest, now, server_started, filenode })
}

macro_rules! candidates {
    ($($what:expr),+) => {
        concat!(
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
                                AND (",
            $($what,)+
            ")
                              ORDER BY a.seq LIMIT $4) AS page) AS sized
              WHERE before < $5
              ORDER BY seq",
        )
    };
}

/// Operators may have an index that finds this.
const MARKED: &str = candidates!(may_wait_marked!("a.xml"));
const MORE: &str = candidates!(
    "$7 AND (",
    may_wait_marked!("a.xml"),
    ") OR $9 AND ",
    may_expire!("a.xml"),
    " OR ",
    may_belong!("a.xml", "a.username", "$8::bytea"),
    " OR ",
    may_be_encrypted!("a.xml", "a.username", "$11::bytea"),
    " OR a.xml LIKE ANY ($10)"
);

/// These hosts' rows after `after` and up to `upto` that may be what is searched for, in order of `seq`: at most `rows`,
/// and at most `bytes` bytes of stanzas (but at least one row).
///
/// Our placeholders are not searched for: ejabberd removes them at login.
pub async fn candidates(
    connection: &mut PgConnection,
    schema: &Schema,
    (hosts, search): (&[String], Search<'_>),
    (after, upto): (i64, i64),
    (rows, bytes): (i64, i64),
) -> Result<Vec<Row>> {
    let is_simple = search.marked
        && !search.expiring
        && search.belonging.is_empty()
        && search.encrypted.is_empty()
        && search.naming.is_empty();
    let query = sqlx::query_as(schema.sql(if is_simple { MARKED } else { MORE }))
        .bind(after)
        .bind(upto)
        .bind(hosts)
        .bind(rows)
        .bind(bytes)
        .bind(MAX_STANZA_BYTES);
    let query = match is_simple {
        true => query,
        false => query
            .bind(search.marked)
            .bind(search.belonging.bits())
            .bind(search.expiring)
            .bind(search.naming)
            .bind(search.encrypted.bits()),
    };
    let found: Vec<StoredRow> = query.fetch_all(connection).await.named("spool_candidates")?;
    Ok(found.into_iter().map(StoredRow::read).collect())
}

/// Rows in this owner's queue whose text contains this archive id, oldest first.
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

/// Which of these rows still exist, by position.
pub(super) async fn still_there(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
) -> Result<Vec<usize>> {
    let select = sqlx::query_scalar(schema.sql(
        "-- spool_still_there
         SELECT DISTINCT k.position FROM {queued}",
    ));
    let found: Vec<i64> = bind_identities!(select, Identities::of(keys.iter().copied()))
        .fetch_all(connection)
        .await
        .named("spool_still_there")?;
    Ok(found.into_iter().filter_map(position).collect())
}

#[derive(FromRow)]
pub(super) struct StoredRow {
    server_host: String,
    username: String,
    seq: i64,
    stamped_at: Timestamp,
    xml: Option<String>,
    digest: Vec<u8>,
}

impl StoredRow {
    /// `created_at` is in the time zone of ejabberd's session, which we cannot know. What was archived has
    /// its exact time in its stanza-id.
    pub(super) fn read(self) -> Row {
        let archived = self.xml.as_deref().and_then(|xml| {
            let id = stanza::read(xml).ok()?.last_stanza_id?;
            let own = id.by == bare_jid(&self.username, &self.server_host);
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
        Row { key, stamp, xml: self.xml, sender: None }
    }
}
