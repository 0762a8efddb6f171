//! What shows that a message was read: markers, replies and reactions in the owner's or the room's archive, and the items
//! of message displayed synchronization, which Prosody keeps as rows of this table too.

use sqlx::{FromRow, PgConnection};

use super::{Seconds, stamp, store_name, store_named};
use crate::{
    archive::{
        Looks, Sought, Trace,
        marks::*,
        position,
        reading::{
            MOST_BYTES, MOST_NAMESAKES, MOST_RECENT, MOST_RECENT_BYTES, NEWEST, bind_sought,
        },
    },
    database::{Named, Result},
    model::{ReadEvidence, Store, Timestamp},
};

/// The store of the items. A new item of a chat is a new row, and the old one goes.
const ITEMS: &str = "pep_urn:xmpp:mds:displayed:0";

macro_rules! traces {
    ($whose:literal) => {
        concat!(
            r#"SELECT a.sort_id::bigint, a.host, a."user", a.store, a.key, a."when", a.value
                 FROM prosodyarchive AS a
                WHERE a.sort_id > $1 AND a.sort_id <= $2 AND "#,
            $whose,
            " AND a.store = ANY ($10::text[] || $8::text) AND octet_length(a.value) <= $4
                  AND (a.store <> $8 AND ",
            may_show_reading!("a.value", "$6", "$7"),
            " OR a.store = $8 AND $5)"
        )
    };
}

const TRACES: &str =
    concat!("-- prosody_traces\n", traces!("a.host = ANY ($3)"), " ORDER BY a.sort_id LIMIT $9");

/// The planner takes searching in texts to be cheap, and must not do so for all users before it picks these.
const TRACES_OF: &str = concat!(
    "-- prosody_traces
     SELECT a.* FROM unnest($3) AS h(name) CROSS JOIN unnest($11::text[]) AS k(owner) CROSS JOIN LATERAL (",
    traces!(r#"a.host = h.name AND a."user" = k.owner"#),
    " OFFSET 0) AS a
      ORDER BY a.sort_id LIMIT $9"
);

/// The rows after `after` and up to `upto` that may show that something was read, in order of `sort_id`: of all users
/// and rooms, or of these users.
pub async fn traces(
    connection: &mut PgConnection,
    (hosts, users): (&[String], Option<&[String]>),
    (after, upto): (i64, i64),
    (rows, looks): (i64, Looks),
) -> Result<Vec<Trace>> {
    let ReadEvidence { mds, markers, replies } = looks.evidence;
    let stores = [(Store::Archive, looks.users), (Store::Room, looks.rooms)];
    let stores: Vec<&str> =
        stores.into_iter().filter(|it| it.1).map(|it| store_name(it.0)).collect();
    let mut query = sqlx::query_as(if users.is_some() { TRACES_OF } else { TRACES })
        .bind(after)
        .bind(upto)
        .bind(hosts)
        .bind(MOST_BYTES)
        .bind(mds)
        .bind(markers)
        .bind(replies)
        .bind(ITEMS)
        .bind(rows)
        .bind(stores);
    if let Some(users) = users {
        query = query.bind(users);
    }
    let found: Vec<StoredTrace> = query.fetch_all(connection).await.named("prosody_traces")?;
    Ok(found.into_iter().map(StoredTrace::read).collect())
}

/// The rows after `after` and up to `upto` in which these users may have shown that they received something, in order of
/// `sort_id`.
pub async fn receipts(
    connection: &mut PgConnection,
    (hosts, users): (&[String], &[String]),
    (after, upto): (i64, i64),
    rows: i64,
) -> Result<Vec<Trace>> {
    // Texts are searched only where the user counts.
    let found: Vec<StoredTrace> = sqlx::query_as(concat!(
        r#"-- prosody_receipts
        SELECT a.sort_id::bigint, a.host, a."user", a.store, a.key, a."when", a.value
          FROM prosodyarchive AS a
         WHERE a.sort_id > $1 AND a.sort_id <= $2 AND a.host = ANY ($3) AND a.store = 'archive'
           AND CASE WHEN a."user" = ANY ($4) AND octet_length(a.value) <= $5 THEN "#,
        may_be_receipt!("a.value"),
        " END
         ORDER BY a.sort_id LIMIT $6"
    ))
    .bind(after)
    .bind(upto)
    .bind(hosts)
    .bind(users)
    .bind(MOST_BYTES)
    .bind(rows)
    .fetch_all(connection)
    .await
    .named("prosody_receipts")?;
    Ok(found.into_iter().map(StoredTrace::read).collect())
}

/// Of each account, the newest item and what of its newest rows may show that something was read since then.
pub async fn recent_traces(
    connection: &mut PgConnection,
    owners: &[(&str, &str)],
    since: Timestamp,
    evidence: ReadEvidence,
) -> Result<Vec<(usize, Trace)>> {
    let ReadEvidence { mds, markers, replies } = evidence;
    let found: Vec<RecentTrace> = sqlx::query_as(concat!(
        r#"-- prosody_recent_traces
        SELECT k.position, a.sort_id::bigint, a.host, a."user", a.store, a.key, a."when", a.value
          FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(host, owner, position)
         CROSS JOIN LATERAL (
               (SELECT i.* FROM prosodyarchive AS i
                 WHERE i.host = k.host AND i."user" = k.owner AND i.store = $7 AND i."when" >= $3
                   AND octet_length(i.value) <= $8 AND $4
                 ORDER BY i.sort_id DESC LIMIT 1)
                UNION ALL
               (SELECT n.*
                  FROM (SELECT m.* FROM prosodyarchive AS m
                         WHERE m.host = k.host AND m."user" = k.owner AND m.store = 'archive'
                         ORDER BY m.sort_id DESC LIMIT $9) AS n
                 WHERE n."when" >= $3 AND octet_length(n.value) <= $8 AND "#,
        may_show_reading!("n.value", "$5", "$6"),
        "
                 ORDER BY n.sort_id DESC LIMIT $10)) AS a
         ORDER BY k.position, a.sort_id DESC",
    ))
    .bind(owners.iter().map(|it| it.0.to_owned()).collect::<Vec<_>>())
    .bind(owners.iter().map(|it| it.1.to_owned()).collect::<Vec<_>>())
    .bind(i32::try_from(since.timestamp()).unwrap_or(0))
    .bind(mds)
    .bind(markers)
    .bind(replies)
    .bind(ITEMS)
    .bind(MOST_RECENT_BYTES)
    .bind(NEWEST)
    .bind(MOST_RECENT)
    .fetch_all(connection)
    .await
    .named("prosody_recent_traces")?;
    let placed = found.into_iter().filter_map(|it| Some((position(it.position)?, it.trace.read())));
    Ok(placed.collect())
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
    when: Seconds,
    value: String,
}

#[derive(FromRow)]
struct RecentTrace {
    position: i64,
    #[sqlx(flatten)]
    trace: StoredTrace,
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
