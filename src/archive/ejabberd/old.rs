//! Rows of `archive` by age. In both schemas an index leads from the owner to the oldest row.
//!
//! The newest and the oldest row are looked for by whole entries of that index, (owner, time): asked for one owner's rows in
//! the order of time, PostgreSQL may read the index that has the time alone, past the rows of everybody else. Only where
//! the oldest row is too old, the others are looked at.

use sqlx::{FromRow, PgConnection};

use super::{Schema, owner_of, stamp};
use crate::{
    archive::{
        HEAD_CHARACTERS, Holder, OldRow, Scope, ScopeAge, StoredAge, head, marks::*, position,
        text_of,
    },
    database::{Error, Named, Result},
    model::{RowKey, Store, bare_jid},
    stanza,
};

/// The next owners in this table, by a loose scan: one probe of the index for each.
pub async fn holders(
    connection: &mut PgConnection,
    (schema, table): (&Schema, &'static str),
    after: &Holder,
    (inclusive, most): (bool, i64),
) -> Result<Vec<Holder>> {
    let template = match schema {
        Schema::Classic { .. } => {
            "-- ejabberd_holders
             WITH RECURSIVE holder(host, name, number) AS (
                 (SELECT {host}, a.username, 1::bigint FROM {table} AS a
                   WHERE a.username >= $2 AND ($3 OR a.username > $2 OR $1 = '')
                   ORDER BY a.username LIMIT 1)
                 UNION ALL
                 SELECT holder.host, next.username, holder.number + 1
                   FROM holder CROSS JOIN LATERAL (
                        SELECT a.username FROM {table} AS a WHERE a.username > holder.name
                         ORDER BY a.username LIMIT 1) AS next
                  WHERE holder.number < $4)
             SELECT host, name FROM holder ORDER BY number"
        }
        Schema::MultiHost => {
            "-- ejabberd_holders
             WITH RECURSIVE holder(host, name, number) AS (
                 (SELECT a.server_host, a.username, 1::bigint FROM {table} AS a
                   WHERE (a.server_host, a.username) >= ($1, $2)
                     AND ($3 OR (a.server_host, a.username) > ($1, $2))
                   ORDER BY a.server_host, a.username LIMIT 1)
                 UNION ALL
                 SELECT next.server_host, next.username, holder.number + 1
                   FROM holder CROSS JOIN LATERAL (
                        SELECT a.server_host, a.username FROM {table} AS a
                         WHERE (a.server_host, a.username) > (holder.host, holder.name)
                         ORDER BY a.server_host, a.username LIMIT 1) AS next
                  WHERE holder.number < $4)
             SELECT host, name FROM holder ORDER BY number"
        }
    };
    let found: Vec<(String, String)> =
        sqlx::query_as(schema.sql(&template.replace("{table}", table)))
            .bind(&after.host)
            .bind(&after.owner)
            .bind(inclusive)
            .bind(most)
            .fetch_all(connection)
            .await
            .named("ejabberd_holders")?;
    Ok(found.into_iter().map(|(host, owner)| Holder { host, owner }).collect())
}

/// The owners as which the archives of a room (host and local part) are kept: its address, on any virtual host.
pub async fn holders_of_room(
    connection: &mut PgConnection,
    schema: &Schema,
    (host, local): (&str, &str),
) -> Result<Vec<Holder>> {
    let room = bare_jid(local, host);
    let found: Vec<String> = sqlx::query_scalar(schema.sql(
        "-- ejabberd_holders_of_room
         SELECT h.name FROM {hosts}
          WHERE EXISTS (SELECT FROM archive AS a WHERE {host} = h.name AND a.username = $1)
          ORDER BY h.name",
    ))
    .bind(&room)
    .fetch_all(connection)
    .await
    .named("ejabberd_holders_of_room")?;
    Ok(found.into_iter().map(|host| Holder { host, owner: room.clone() }).collect())
}

/// Selects the rows `a` of the chats of the scopes `k`, if they have any.
pub(super) fn of_chat(scopes: &[Scope]) -> &'static str {
    if scopes.iter().any(|it| it.chat.is_some()) { "AND a.bare_peer = k.chat" } else { "" }
}

/// Binds scopes as $1 to $6.
macro_rules! bind_scopes {
    ($query:expr, $scopes:expr) => {{
        let scopes: &[Scope] = $scopes;
        let column = |of: fn(&Scope) -> String| scopes.iter().map(of).collect::<Vec<_>>();
        $query
            .bind(column(|it| it.holder.host.clone()))
            .bind(column(|it| it.holder.owner.clone()))
            .bind(column(|it| crate::archive::ejabberd::kind(it.store).to_owned()))
            .bind(scopes.iter().map(|it| it.cutoff.timestamp_micros()).collect::<Vec<_>>())
            .bind(scopes.iter().map(|it| it.after.0).collect::<Vec<_>>())
            .bind(scopes.iter().map(|it| it.chat.clone()).collect::<Vec<_>>())
    }};
}
pub(super) use bind_scopes;

/// The first row of the scope `k` after its stamp, if that is too old.
const FIRST: &str = "LATERAL (
                SELECT {host} = k.host AND a.username = k.username AND a.timestamp <= k.upto AS is_old, a.timestamp
                  FROM archive AS a
                 WHERE ({entry}) > ({key}, k.stamp)
                 ORDER BY {entry} LIMIT 1)";

/// The stamp of the newest row of the owner `k`.
const NEWEST: &str = "LATERAL (
                SELECT CASE WHEN {host} = k.host AND a.username = k.username THEN a.timestamp END AS newest
                  FROM archive AS a
                 WHERE ({entry}) <= ({key}, 9223372036854775807)
                 ORDER BY {entry_down} LIMIT 1)";

/// Fills in [`FIRST`] as `{first}` and [`NEWEST`] as `{newest}`, the columns of the index that begins with the owner,
/// `{entry}` and backwards `{entry_down}`, and the owner's own part of them, `{key}`.
pub(super) fn entries(schema: &Schema, template: &str) -> String {
    let (entry, down, key) = match schema {
        Schema::Classic { .. } => {
            ("a.username, a.timestamp", "a.username DESC, a.timestamp DESC", "k.username")
        }
        Schema::MultiHost => (
            "a.server_host, a.username, a.timestamp",
            "a.server_host DESC, a.username DESC, a.timestamp DESC",
            "k.host, k.username",
        ),
    };
    let template = template.replace("{first}", FIRST).replace("{newest}", NEWEST);
    template.replace("{entry}", entry).replace("{entry_down}", down).replace("{key}", key)
}

/// Rows that are too old, scope by scope, by stamp. Rows of an owner with the same stamp come together.
pub async fn old(
    connection: &mut PgConnection,
    schema: &Schema,
    scopes: &[Scope],
    rows: i64,
) -> Result<(Vec<OldRow>, bool)> {
    const NAME: &str = "ejabberd_old";
    let select = entries(schema, concat!(
        "-- ejabberd_old
         SELECT k.position, k.host AS server_host, k.username, r.timestamp, r.kind, r.bare_peer, r.digest,
                n.newest IS NOT DISTINCT FROM r.timestamp AS newest, CASE WHEN r.timestamp = n.newest THEN ",
        head!("r.xml", "$8"),
        " END AS head
           FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[])
                WITH ORDINALITY AS k(host, username, kind, upto, stamp, chat, position)
          CROSS JOIN {first} AS f
          CROSS JOIN LATERAL (
                SELECT a.timestamp, a.kind, a.bare_peer, {digest} AS digest, a.xml
                  FROM archive AS a
                 WHERE f.is_old AND {host} = k.host AND a.username = k.username AND a.kind = k.kind
                   AND a.timestamp >= f.timestamp AND a.timestamp <= k.upto {chat}
                 ORDER BY a.timestamp FETCH FIRST ($7) ROWS WITH TIES) AS r
          CROSS JOIN {newest} AS n
          ORDER BY k.position, r.timestamp FETCH FIRST ($7) ROWS WITH TIES",
    ));
    let select = sqlx::query_as(schema.sql(&select.replace("{chat}", of_chat(scopes))));
    let found: Vec<StoredOld> = bind_scopes!(select, scopes)
        .bind(rows)
        .bind(HEAD_CHARACTERS)
        .fetch_all(connection)
        .await
        .named(NAME)?;
    let is_all = i64::try_from(found.len()).is_ok_and(|it| it < rows);
    let read: Result<Vec<OldRow>> = found.into_iter().map(|it| it.read(NAME)).collect();
    Ok((read?, is_all))
}

/// How old each scope's rows are; our placeholders do not count.
pub async fn ages(
    connection: &mut PgConnection,
    schema: &Schema,
    scopes: &[Scope],
    most: i64,
) -> Result<Vec<ScopeAge>> {
    let select = entries(schema, concat!(
        "-- ejabberd_ages
         SELECT old.rows, old.bytes, old.first, old.last, n.oldest
           FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[])
                WITH ORDINALITY AS k(host, username, kind, upto, stamp, chat, position)
           LEFT JOIN LATERAL (
                SELECT CASE WHEN {host} = k.host AND a.username = k.username THEN a.timestamp END AS oldest
                  FROM archive AS a
                 WHERE ({entry}) > ({key}, k.stamp)
                 ORDER BY {entry} LIMIT 1) AS n ON true
          CROSS JOIN LATERAL (
                SELECT count(*) AS rows, coalesce(sum(o.bytes), 0)::bigint AS bytes,
                       min(o.timestamp) AS first, max(o.timestamp) AS last
                  FROM (SELECT octet_length(a.xml) AS bytes, a.timestamp FROM archive AS a
                         WHERE n.oldest <= k.upto AND {host} = k.host AND a.username = k.username AND a.kind = k.kind
                           AND a.timestamp >= n.oldest AND a.timestamp <= k.upto {chat} AND NOT ",
        is_placeholder!("a.xml"),
        "
                         ORDER BY a.timestamp LIMIT $7) AS o) AS old
          ORDER BY k.position",
    ));
    let select = sqlx::query_as(schema.sql(&select.replace("{chat}", of_chat(scopes))));
    let found: Vec<StoredAge<i64>> = bind_scopes!(select, scopes)
        .bind(most)
        .fetch_all(connection)
        .await
        .named("ejabberd_ages")?;
    Ok(found.into_iter().map(|age| ScopeAge::read(age, |it| stamp(it).at)).collect())
}

#[derive(FromRow)]
struct StoredOld {
    position: i64,
    server_host: String,
    username: String,
    timestamp: i64,
    kind: String,
    bare_peer: String,
    digest: Vec<u8>,
    newest: bool,
    /// The start of the stanza, where something in it matters.
    head: Option<Vec<u8>>,
}

impl StoredOld {
    fn read(self, name: &'static str) -> Result<OldRow> {
        let owner = owner_of(&self.kind, self.username, self.server_host);
        let (store, owner, host) =
            owner.ok_or_else(|| Error::unexpected(name, "a row of neither a user nor a room"))?;
        let peer = match store {
            Store::Room => Some(String::new()),
            Store::Archive | Store::Queue => Some(self.bare_peer).filter(|it| !it.is_empty()),
        };
        let expired = self.head.and_then(|it| stanza::read(&text_of(it)).ok()?.expired_until);
        Ok(OldRow {
            scope: position(self.position).unwrap_or(usize::MAX),
            place: (self.timestamp, 0),
            peer,
            is_newest: self.newest,
            is_blank: expired.is_some(),
            is_early: false,
            key: RowKey {
                store,
                host,
                owner,
                archive_id: self.timestamp.to_string(),
                row_number: self.timestamp,
                stamped_at: stamp(self.timestamp).at,
                digest: self.digest,
            },
        })
    }
}
