use sqlx::{FromRow, PgConnection};

use super::{
    Seconds,
    identity::{Identities, bind_identities, named_rows},
    stamp, store_named,
};
use crate::{
    archive::{
        Horizon, MAX_STANZA_BYTES, Row, Search, filenode, layout::sequence, marks::*, position,
    },
    database::{Error, Named, Result},
    model::{RowKey, Store},
};

/// The archive's current horizon, from one snapshot.
pub async fn horizon(connection: &mut PgConnection) -> Result<Horizon> {
    const NAME: &str = "prosody_horizon";
    let (xmin, xmax, newest, sequence, now, server_started, filenode) = sqlx::query_as(concat!(
        "-- prosody_horizon
         SELECT pg_snapshot_xmin(snapshot)::text::bigint, pg_snapshot_xmax(snapshot)::text::bigint,
                coalesce((SELECT max(sort_id) FROM prosodyarchive), 0)::bigint,
                coalesce(pg_sequence_last_value(",
        sequence!("prosodyarchive", "sort_id"),
        "), 0), clock_timestamp(), pg_postmaster_start_time(), ",
        filenode!("prosodyarchive"),
        " FROM pg_current_snapshot() AS snapshot",
    ))
    .fetch_one(connection)
    .await
    .named(NAME)?;
    Ok(Horizon { xmin, xmax, newest, sequence, now, server_started, filenode })
}

/// The `sort_id` at which a span of the next `rows` rows after `after` ends, not beyond `upto`, and how many
/// rows it has; `None` at the end.
pub async fn span_end(
    connection: &mut PgConnection,
    after: i64,
    upto: i64,
    rows: i64,
) -> Result<Option<(i64, i64)>> {
    let (end, count): (Option<i64>, i64) = sqlx::query_as(
        "-- prosody_span_end
         SELECT max(sort_id)::bigint, count(*)
           FROM (SELECT sort_id FROM prosodyarchive WHERE sort_id > $1 AND sort_id <= $2
                  ORDER BY sort_id LIMIT $3) AS span",
    )
    .bind(after)
    .bind(upto)
    .bind(rows)
    .fetch_one(connection)
    .await
    .named("prosody_span_end")?;
    Ok(end.map(|end| (end, count)))
}

/// The rows after `after` and up to `upto` that may be what is searched for, in order of `sort_id`: at most `rows`, and at
/// most `bytes` bytes of stanzas (but at least one row). What is too large to be read is not searched either, which would
/// take several times its size in the server's memory: it may be marked.
pub async fn candidates(
    connection: &mut PgConnection,
    (hosts, search): (&[String], Search<'_>),
    (after, upto): (i64, i64),
    (rows, bytes): (i64, i64),
) -> Result<Vec<Row>> {
    const NAME: &str = "prosody_candidates";
    let found: Vec<StoredRow> = sqlx::query_as(concat!(
        r#"-- prosody_candidates
        SELECT sort_id, host, "user", store, key, "when",
               CASE WHEN size <= $6 THEN value END AS value
          FROM (SELECT *, sum(least(size, $6)) OVER (ORDER BY sort_id) - least(size, $6) AS before
                  FROM (SELECT sort_id::bigint, host, "user", store, key, "when", value,
                               octet_length(value) AS size
                          FROM prosodyarchive
                         WHERE sort_id > $1 AND sort_id <= $2
                           AND host = ANY ($3) AND store IN ('archive', 'muc_log', 'offline')
                           AND CASE WHEN octet_length(value) > $6 THEN $7 ELSE $7 AND "#,
        may_be_marked!("value"),
        " OR $9 AND ",
        may_expire!("value"),
        " OR ",
        may_belong!("value", r#""user""#, "$8::bytea"),
        " OR ",
        may_be_encrypted!("value", r#""user""#, "$11::bytea"),
        r#" OR value LIKE ANY ($10) END
                         ORDER BY sort_id LIMIT $4) AS page) AS sized
         WHERE before < $5
         ORDER BY sort_id"#
    ))
    .bind(after)
    .bind(upto)
    .bind(hosts)
    .bind(rows)
    .bind(bytes)
    .bind(MAX_STANZA_BYTES)
    .bind(search.marked)
    .bind(search.belonging.bits())
    .bind(search.expiring)
    .bind(search.naming)
    .bind(search.encrypted.bits())
    .fetch_all(connection)
    .await
    .named(NAME)?;
    found.into_iter().map(|row| row.read(NAME)).collect()
}

/// The rows with these (host, owner, archive id) in users' archives.
pub async fn archive_rows(
    connection: &mut PgConnection,
    ids: &[(&str, &str, &str)],
) -> Result<Vec<Row>> {
    const NAME: &str = "prosody_archive_rows";
    let column = |of: fn(&(&str, &str, &str)) -> String| ids.iter().map(of).collect::<Vec<_>>();
    let found: Vec<StoredRow> = sqlx::query_as(
        r#"-- prosody_archive_rows
        SELECT a.sort_id::bigint, a.host, a."user", a.store, a.key, a."when",
               CASE WHEN octet_length(a.value) <= $4 THEN a.value END AS value
          FROM unnest($1::text[], $2::text[], $3::text[]) AS k(host, owner, key)
          JOIN prosodyarchive AS a
            ON a.host = k.host AND a."user" = k.owner AND a.store = 'archive' AND a.key = k.key"#,
    )
    .bind(column(|it| it.0.to_owned()))
    .bind(column(|it| it.1.to_owned()))
    .bind(column(|it| it.2.to_owned()))
    .bind(MAX_STANZA_BYTES)
    .fetch_all(connection)
    .await
    .named(NAME)?;
    found.into_iter().map(|row| row.read(NAME)).collect()
}

/// Which of these rows still exist, by position.
pub async fn still_there(connection: &mut PgConnection, keys: &[&RowKey]) -> Result<Vec<usize>> {
    let select = sqlx::query_scalar(concat!(
        "-- prosody_still_there
        SELECT DISTINCT k.position FROM ",
        named_rows!(),
    ));
    let found: Vec<i64> = bind_identities!(select, Identities::of(keys.iter().copied()))
        .fetch_all(connection)
        .await
        .named("prosody_still_there")?;
    Ok(found.into_iter().filter_map(position).collect())
}

/// Which of these rows have text and are not placeholders, by position: they came back with a restore.
pub async fn with_words(connection: &mut PgConnection, keys: &[&RowKey]) -> Result<Vec<usize>> {
    let select = sqlx::query_scalar(concat!(
        "-- prosody_with_words
        SELECT DISTINCT k.position FROM ",
        named_rows!(),
        " WHERE NOT ",
        is_placeholder!("a.value"),
    ));
    let found: Vec<i64> = bind_identities!(select, Identities::of(keys.iter().copied()))
        .fetch_all(connection)
        .await
        .named("prosody_with_words")?;
    Ok(found.into_iter().filter_map(position).collect())
}

/// Hosts in the archive that are not listed, with their row counts: for `check` and a gauge.
pub async fn unlisted_hosts(
    connection: &mut PgConnection,
    hosts: &[String],
) -> Result<Vec<(String, i64)>> {
    // A loose index scan: one probe per host, however large the archive is.
    sqlx::query_as(
        "-- prosody_unlisted_hosts
         WITH RECURSIVE host(name) AS (
             SELECT min(host) FROM prosodyarchive
             UNION ALL
             SELECT (SELECT min(a.host) FROM prosodyarchive a WHERE a.host > host.name)
               FROM host WHERE host.name IS NOT NULL)
         SELECT name, (SELECT count(*) FROM prosodyarchive a WHERE a.host = name
                          AND a.store IN ('archive', 'muc_log', 'offline'))
           FROM host WHERE name IS NOT NULL AND name <> ALL ($1)
          ORDER BY name",
    )
    .bind(hosts)
    .fetch_all(connection)
    .await
    .named("prosody_unlisted_hosts")
}

/// Whether anything below this stamp is in a store that is not ours, such as what users published (`pep_…`).
pub async fn has_other_stores(connection: &mut PgConnection, below: i64) -> Result<bool> {
    // A loose scan over the index: a few probes for each owner, until the first other store. A stamp at which a partition
    // ends keeps it to the partitions before.
    sqlx::query_scalar(
        r#"-- prosody_has_other_stores
        WITH RECURSIVE kept(host, name, store) AS (
            (SELECT a.host, a."user", a.store FROM prosodyarchive AS a WHERE a."when" < $1
              ORDER BY a.host, a."user", a.store LIMIT 1)
            UNION ALL
            SELECT next.host, next."user", next.store
              FROM kept CROSS JOIN LATERAL (
                   SELECT a.host, a."user", a.store FROM prosodyarchive AS a
                    WHERE (a.host, a."user", a.store) > (kept.host, kept.name, kept.store) AND a."when" < $1
                    ORDER BY a.host, a."user", a.store LIMIT 1) AS next
             WHERE kept.store IN ('archive', 'muc_log', 'offline'))
        SELECT EXISTS (SELECT FROM kept WHERE store NOT IN ('archive', 'muc_log', 'offline'))"#,
    )
    .bind(below)
    .fetch_one(connection)
    .await
    .named("prosody_has_other_stores")
}

#[derive(FromRow)]
pub(super) struct StoredRow {
    sort_id: i64,
    host: String,
    user: String,
    store: String,
    key: String,
    when: Seconds,
    value: Option<String>,
}

impl StoredRow {
    pub(super) fn read(self, statement: &'static str) -> Result<Row> {
        let store: Store = store_named(&self.store)
            .ok_or_else(|| Error::unexpected(statement, "an unexpected store"))?;
        let stamp = stamp(self.when);
        let key = RowKey {
            store,
            host: self.host,
            owner: self.user,
            archive_id: self.key,
            row_number: self.sort_id,
            stamped_at: stamp.at,
            digest: Vec::new(),
        };
        Ok(Row { key, stamp, xml: self.value, sender: None })
    }
}
