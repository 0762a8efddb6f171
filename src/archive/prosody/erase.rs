use sqlx::PgConnection;

use super::read::Identities;
use crate::{
    archive::{HEAD_CHARACTERS, MAX_STANZA_BYTES, RowKey, parts_by_bytes, position},
    database::{Named, Result},
};

/// Deletes the rows that are exactly these and that no other session holds. Returns which, by position.
pub async fn delete(connection: &mut PgConnection, keys: &[&RowKey]) -> Result<Vec<usize>> {
    let identities = Identities::of(keys.iter().copied());
    let deleted: Vec<i64> = sqlx::query_scalar(
        r#"-- prosody_delete
        WITH locked AS MATERIALIZED (
            SELECT a.sort_id, k.position
              FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[])
                   WITH ORDINALITY AS k(sort_id, host, owner, store, key, stamped, position)
              JOIN prosodyarchive AS a ON a.sort_id = k.sort_id
             WHERE a.host = k.host AND a."user" = k.owner AND a.store = k.store
               AND a.key = k.key AND a."when" = k.stamped
             ORDER BY a.sort_id
               FOR UPDATE OF a SKIP LOCKED)
        DELETE FROM prosodyarchive AS a USING locked
         WHERE a.sort_id = locked.sort_id
        RETURNING locked.position"#,
    )
    .bind(identities.sort_ids)
    .bind(identities.hosts)
    .bind(identities.owners)
    .bind(identities.stores)
    .bind(identities.keys)
    .bind(identities.stamps)
    .fetch_all(&mut *connection)
    .await
    .named("prosody_delete")?;
    Ok(deleted.into_iter().filter_map(position).collect())
}

/// Replaces the words of the rows that are exactly these and that no other session holds by what
/// `replace` makes of them. `whole` reads stanzas whole (queue rows); else only their start. Returns which,
/// by position, with the digest that they have now: none.
pub async fn blank(
    connection: &mut PgConnection,
    keys: &[&RowKey],
    whole: bool,
    replace: impl Fn(&str) -> String,
) -> Result<Vec<(usize, Vec<u8>)>> {
    let identities = Identities::of(keys.iter().copied());
    let locked: Vec<(i64, i64, i32)> = sqlx::query_as(
        r#"-- prosody_lock
        SELECT k.position, a.sort_id::bigint, least(octet_length(a.value), $7)
          FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[])
               WITH ORDINALITY AS k(sort_id, host, owner, store, key, stamped, position)
          JOIN prosodyarchive AS a ON a.sort_id = k.sort_id
         WHERE a.host = k.host AND a."user" = k.owner AND a.store = k.store
           AND a.key = k.key AND a."when" = k.stamped
         ORDER BY a.sort_id
           FOR UPDATE OF a SKIP LOCKED"#,
    )
    .bind(identities.sort_ids)
    .bind(identities.hosts)
    .bind(identities.owners)
    .bind(identities.stores)
    .bind(identities.keys)
    .bind(identities.stamps)
    .bind(if whole { MAX_STANZA_BYTES } else { HEAD_CHARACTERS })
    .fetch_all(&mut *connection)
    .await
    .named("prosody_lock")?;
    let characters = if whole { MAX_STANZA_BYTES } else { HEAD_CHARACTERS };
    for part in parts_by_bytes(&locked, |row| row.2) {
        let sort_ids: Vec<i64> = part.iter().map(|(_, sort_id, _)| *sort_id).collect();
        replace_values(connection, &sort_ids, characters, &replace).await?;
    }
    let done = locked.into_iter().filter_map(|(ordinality, ..)| position(ordinality));
    Ok(done.map(|position| (position, Vec::new())).collect())
}

async fn replace_values(
    connection: &mut PgConnection,
    sort_ids: &[i64],
    characters: i32,
    replace: &impl Fn(&str) -> String,
) -> Result<()> {
    let heads: Vec<(i64, String)> = sqlx::query_as(
        "-- prosody_read_locked
         SELECT sort_id::bigint, left(value, $2) FROM prosodyarchive WHERE sort_id = ANY ($1)",
    )
    .bind(sort_ids)
    .bind(characters)
    .fetch_all(&mut *connection)
    .await
    .named("prosody_read_locked")?;
    let (sort_ids, values): (Vec<i64>, Vec<String>) =
        heads.into_iter().map(|(sort_id, head)| (sort_id, replace(&head))).unzip();
    sqlx::query(
        "-- prosody_blank
         UPDATE prosodyarchive AS a SET value = new.value
           FROM unnest($1::bigint[], $2::text[]) AS new(sort_id, value)
          WHERE a.sort_id = new.sort_id",
    )
    .bind(sort_ids)
    .bind(values)
    .execute(&mut *connection)
    .await
    .named("prosody_blank")?;
    Ok(())
}
