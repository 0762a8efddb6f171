//! Rows by age. All indexes begin with the owner: there is none in the order of time alone.
//!
//! The newest row is looked for by whole entries of an index, (owner, store, number), instead of among one owner's rows by
//! number: for that PostgreSQL may read the primary key backwards, and in full where the owner has no rows.

use sqlx::{AssertSqlSafe, FromRow, PgConnection};

use super::{Seconds, stamp, store_named};
use crate::{
    archive::{
        HEAD_CHARACTERS, Holder, OldRow, Scope, ScopeAge, StoredAge, head, marks::*, position,
        text_of,
    },
    database::{Error, Named, Result},
    model::{RowKey, Store, Timestamp, bare_jid},
    stanza,
};

/// The next owners, by a loose scan: one probe of the index for each.
pub async fn holders(
    connection: &mut PgConnection,
    after: &Holder,
    inclusive: bool,
    most: i64,
) -> Result<Vec<Holder>> {
    let found: Vec<(String, String)> = sqlx::query_as(
        r#"-- prosody_holders
        WITH RECURSIVE holder(host, name, number) AS (
            (SELECT a.host, a."user", 1::bigint FROM prosodyarchive AS a
              WHERE (a.host, a."user") >= ($1, $2) AND ($3 OR (a.host, a."user") > ($1, $2))
              ORDER BY a.host, a."user" LIMIT 1)
            UNION ALL
            SELECT next.host, next."user", holder.number + 1
              FROM holder CROSS JOIN LATERAL (
                   SELECT a.host, a."user" FROM prosodyarchive AS a
                    WHERE (a.host, a."user") > (holder.host, holder.name)
                    ORDER BY a.host, a."user" LIMIT 1) AS next
             WHERE holder.number < $4)
        SELECT host, name FROM holder ORDER BY number"#,
    )
    .bind(&after.host)
    .bind(&after.owner)
    .bind(inclusive)
    .bind(most)
    .fetch_all(connection)
    .await
    .named("prosody_holders")?;
    Ok(found.into_iter().map(|(host, owner)| Holder { host, owner }).collect())
}

/// A stamp in whole seconds means the end of that second: what has this stamp or a later one is not too old.
pub(in crate::archive) fn kept_from(cutoff: Timestamp) -> i32 {
    i32::try_from(cutoff.timestamp()).unwrap_or(if cutoff < Timestamp::UNIX_EPOCH {
        i32::MIN
    } else {
        i32::MAX
    })
}

/// Selects the rows, with this alias, of the chats of the scopes `k`, if they have any.
pub(super) fn of_chat(scopes: &[Scope], alias: &str) -> String {
    let is_one = scopes.iter().any(|it| it.chat.is_some() && !it.is_told_by_reading());
    if is_one { format!(r#"AND {alias}."with" = k.chat"#) } else { String::new() }
}

/// Binds scopes as $1 to $7.
macro_rules! bind_scopes {
    ($query:expr, $scopes:expr) => {{
        let scopes: &[Scope] = $scopes;
        let column = |of: fn(&Scope) -> String| scopes.iter().map(of).collect::<Vec<_>>();
        $query
            .bind(column(|it| it.holder.host.clone()))
            .bind(column(|it| it.holder.owner.clone()))
            .bind(column(|it| crate::archive::prosody::store_name(it.store).to_owned()))
            .bind(
                scopes
                    .iter()
                    .map(|it| crate::archive::prosody::old::kept_from(it.cutoff))
                    .collect::<Vec<_>>(),
            )
            .bind(scopes.iter().map(|it| it.after.0).collect::<Vec<_>>())
            .bind(scopes.iter().map(|it| it.after.1).collect::<Vec<_>>())
            .bind(scopes.iter().map(|it| it.chat.clone()).collect::<Vec<_>>())
    }};
}
pub(super) use bind_scopes;

/// Rows that are too old, scope by scope, by stamp and number.
pub async fn old(
    connection: &mut PgConnection,
    scopes: &[Scope],
    rows: i64,
) -> Result<(Vec<OldRow>, bool)> {
    const NAME: &str = "prosody_old";
    let select = concat!(
        r#"-- prosody_old
        SELECT k.position, a.sort_id::bigint, a.host, a."user", a.store, a.key, a."when", a."with",
               n.newest IS NOT DISTINCT FROM a.sort_id AS newest,
               CASE WHEN a.store = 'offline' OR a.sort_id = n.newest THEN "#,
        head!("a.value", "$9"),
        r#" END AS head
          FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::text[])
               WITH ORDINALITY AS k(host, owner, store, kept_from, stamp, number, chat, position)
         CROSS JOIN LATERAL (
               SELECT o.* FROM prosodyarchive AS o
                WHERE o.host = k.host AND o."user" = k.owner AND o.store = k.store
                  AND o."when" < k.kept_from AND o."when" >= k.stamp
                  AND (o."when" > k.stamp OR o.sort_id > k.number) {chat}
                ORDER BY o."when", o.sort_id LIMIT $8) AS a
         CROSS JOIN LATERAL (
               SELECT CASE WHEN m.host = k.host AND m."user" = k.owner AND m.store = k.store THEN m.sort_id END AS newest
                 FROM prosodyarchive AS m
                WHERE (m.host, m."user", m.store, m.sort_id) <= (k.host, k.owner, k.store, 9223372036854775807)
                ORDER BY m.host DESC, m."user" DESC, m.store DESC, m.sort_id DESC LIMIT 1) AS n
         ORDER BY k.position, a."when", a.sort_id LIMIT $8"#,
    );
    let select = sqlx::query_as(AssertSqlSafe(select.replace("{chat}", &of_chat(scopes, "o"))));
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
    scopes: &[Scope],
    most: i64,
) -> Result<Vec<ScopeAge>> {
    let select = concat!(
        r#"-- prosody_ages
        SELECT old.rows, old.bytes, old.first, old.last, (SELECT min(m."when") FROM prosodyarchive AS m
                WHERE m.host = k.host AND m."user" = k.owner AND m.store = k.store AND m."when" >= k.stamp)
          FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::text[])
               WITH ORDINALITY AS k(host, owner, store, kept_from, stamp, number, chat, position)
         CROSS JOIN LATERAL (
               SELECT count(*) AS rows, coalesce(sum(o.bytes), 0)::bigint AS bytes, min(o."when") AS first, max(o."when") AS last
                 FROM (SELECT octet_length(a.value) AS bytes, a."when" FROM prosodyarchive AS a
                        WHERE a.host = k.host AND a."user" = k.owner AND a.store = k.store
                          AND a."when" < k.kept_from AND a."when" >= k.stamp {chat} AND NOT "#,
        is_placeholder!("a.value"),
        r#"
                        ORDER BY a."when" LIMIT $8) AS o) AS old
         ORDER BY k.position"#,
    );
    let select = sqlx::query_as(AssertSqlSafe(select.replace("{chat}", &of_chat(scopes, "a"))));
    let found: Vec<StoredAge<Seconds>> = bind_scopes!(select, scopes)
        .bind(most)
        .fetch_all(connection)
        .await
        .named("prosody_ages")?;
    Ok(found.into_iter().map(|age| ScopeAge::read(age, |it| stamp(it).at)).collect())
}

#[derive(FromRow)]
struct StoredOld {
    position: i64,
    sort_id: i64,
    host: String,
    user: String,
    store: String,
    key: String,
    when: Seconds,
    with: String,
    newest: bool,
    /// The start of the stanza, where something in it matters.
    head: Option<Vec<u8>>,
}

impl StoredOld {
    fn read(self, name: &'static str) -> Result<OldRow> {
        let store = store_named(&self.store)
            .ok_or_else(|| Error::unexpected(name, "a row of another store"))?;
        let head = self.head.map(text_of);
        let head = head.as_deref();
        let peer = match store {
            Store::Archive => Some(self.with).filter(|it| !it.is_empty()),
            Store::Room => Some(String::new()),
            // In its column the queue does not say.
            Store::Queue => {
                head.and_then(|it| stanza::other_side(it, &bare_jid(&self.user, &self.host)))
            }
        };
        let expired = head.and_then(|it| stanza::read(it).ok()?.expired_until);
        Ok(OldRow {
            scope: position(self.position).unwrap_or(usize::MAX),
            place: (self.when.0, self.sort_id),
            peer,
            is_newest: store != Store::Queue && self.newest,
            is_blank: expired.is_some(),
            is_early: false,
            key: RowKey {
                store,
                host: self.host,
                owner: self.user,
                archive_id: self.key,
                row_number: self.sort_id,
                stamped_at: stamp(self.when).at,
                digest: Vec::new(),
            },
        })
    }
}
