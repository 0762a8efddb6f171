//! What shows that a message was read: markers, replies and reactions in the owner's or the room's archive, and the items of message
//! displayed synchronization, which Prosody keeps as rows of this table too.

use sqlx::{FromRow, PgConnection};

use super::{stamp, store_name, store_named};
use crate::{
    archive::{
        Looks, Sought, Trace,
        marks::*,
        position,
        reading::{MOST_BYTES, MOST_NAMESAKES, bind_sought},
    },
    database::{Named, Result},
    model::{ReadEvidence, Store},
};

/// The store of the items. A new item of a chat is a new row, and the old one goes.
const ITEMS: &str = "pep_urn:xmpp:mds:displayed:0";

/// The rows after `after` and up to `upto` that may show that something was read, in order of `sort_id`.
pub async fn traces(
    connection: &mut PgConnection,
    hosts: &[String],
    (after, upto): (i64, i64),
    (rows, looks): (i64, Looks),
) -> Result<Vec<Trace>> {
    let ReadEvidence { mds, markers, replies } = looks.evidence;
    let stores = [(Store::Archive, looks.users), (Store::Room, looks.rooms)];
    let stores: Vec<&str> =
        stores.into_iter().filter(|it| it.1).map(|it| store_name(it.0)).collect();
    let found: Vec<StoredTrace> = sqlx::query_as(concat!(
        r#"-- prosody_traces
        SELECT sort_id::bigint, host, "user", store, key, "when", value
          FROM prosodyarchive
         WHERE sort_id > $1 AND sort_id <= $2 AND host = ANY ($3) AND octet_length(value) <= $4
           AND (store = ANY ($10) AND "#,
        may_show_reading!("value", "$6", "$7"),
        r#" OR store = $8 AND $5)
         ORDER BY sort_id LIMIT $9"#,
    ))
    .bind(after)
    .bind(upto)
    .bind(hosts)
    .bind(MOST_BYTES)
    .bind(mds)
    .bind(markers)
    .bind(replies)
    .bind(ITEMS)
    .bind(rows)
    .bind(stores)
    .fetch_all(connection)
    .await
    .named("prosody_traces")?;
    Ok(found.into_iter().map(StoredTrace::read).collect())
}

/// Whether there is any item.
pub async fn has_items(connection: &mut PgConnection) -> Result<bool> {
    // A loose scan over the index: a few probes a user, until the first item.
    sqlx::query_scalar(
        r#"-- prosody_has_items
        WITH RECURSIVE owner(host, name) AS (
            (SELECT host, "user" FROM prosodyarchive ORDER BY host, "user" LIMIT 1)
            UNION ALL
            SELECT next.host, next."user"
              FROM owner CROSS JOIN LATERAL (
                   SELECT a.host, a."user" FROM prosodyarchive AS a
                    WHERE (a.host, a."user") > (owner.host, owner.name)
                    ORDER BY a.host, a."user" LIMIT 1) AS next)
        SELECT EXISTS (
            SELECT FROM owner
             WHERE EXISTS (SELECT FROM prosodyarchive AS a
                            WHERE a.host = owner.host AND a."user" = owner.name AND a.store = $1))"#,
    )
    .bind(ITEMS)
    .fetch_one(connection)
    .await
    .named("prosody_has_items")
}

/// Rows whose text contains these ids, the newest first.
pub async fn rows_naming(
    connection: &mut PgConnection,
    sought: &[Sought<'_>],
) -> Result<Vec<(usize, i64, String)>> {
    let since = |it: &Sought<'_>| i32::try_from(it.since.at.timestamp()).unwrap_or(0);
    let select = sqlx::query_as(
        r#"-- prosody_rows_naming
        SELECT k.position, a.sort_id, a.value
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::bigint[])
               WITH ORDINALITY AS k(host, owner, chat, id, since, upto, position)
         CROSS JOIN LATERAL (
               SELECT a.sort_id::bigint, a.value
                 FROM prosodyarchive AS a
                WHERE a.host = k.host AND a."user" = k.owner AND a.store = 'archive' AND a."with" = k.chat
                  AND a."when" >= k.since AND a.sort_id <= k.upto
                  AND octet_length(a.value) <= $7 AND strpos(a.value, k.id) > 0
                ORDER BY a."when" DESC, a.sort_id DESC LIMIT $8) AS a
         ORDER BY k.position, a.sort_id DESC"#,
    );
    let found: Vec<(i64, i64, String)> = bind_sought!(select, sought)
        .bind(sought.iter().map(since).collect::<Vec<_>>())
        .bind(sought.iter().map(|it| it.upto).collect::<Vec<_>>())
        .bind(MOST_BYTES)
        .bind(MOST_NAMESAKES)
        .fetch_all(connection)
        .await
        .named("prosody_rows_naming")?;
    let placed =
        found.into_iter().filter_map(|(at, number, xml)| Some((position(at)?, number, xml)));
    Ok(placed.collect())
}

/// The rows of these chats that have these keys.
pub async fn rows_archived_as(
    connection: &mut PgConnection,
    sought: &[Sought<'_>],
) -> Result<Vec<(usize, i64)>> {
    let select = sqlx::query_as(
        r#"-- prosody_rows_archived_as
        SELECT k.position, a.sort_id::bigint
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
               WITH ORDINALITY AS k(host, owner, chat, id, store, position)
          JOIN prosodyarchive AS a
            ON a.host = k.host AND a."user" = k.owner AND a.store = k.store AND a.key = k.id
           AND (a.store = 'muc_log' OR a."with" = k.chat)"#,
    );
    let found: Vec<(i64, i64)> = bind_sought!(select, sought)
        .bind(sought.iter().map(|it| store_name(it.store)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .named("prosody_rows_archived_as")?;
    Ok(found.into_iter().filter_map(|(at, number)| Some((position(at)?, number))).collect())
}

#[derive(FromRow)]
struct StoredTrace {
    sort_id: i64,
    host: String,
    user: String,
    store: String,
    key: String,
    when: i32,
    value: String,
}

impl StoredTrace {
    fn read(self) -> Trace {
        Trace {
            store: store_named(&self.store).unwrap_or(Store::Archive),
            host: self.host,
            owner: self.user,
            row_number: self.sort_id,
            stamp: stamp(self.when),
            item: (self.store == ITEMS).then_some(self.key),
            xml: self.value,
            sender: None,
        }
    }
}
