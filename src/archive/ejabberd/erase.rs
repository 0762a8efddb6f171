use std::collections::HashMap;

use sqlx::PgConnection;

use super::{Schema, archive, spool};
use crate::{
    archive::{HEAD_CHARACTERS, MAX_STANZA_BYTES, RowKey, parts_by_bytes, position},
    database::{Named, Result},
};

/// Deletes the archived rows that are exactly these, identical twins together, and that no other session holds.
/// Returns which, by position.
pub async fn delete(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
) -> Result<Vec<usize>> {
    let identities = archive::Identities::of(keys);
    let deleted: Vec<i64> = sqlx::query_scalar(schema.sql(
        // A locked row cannot move: its place in the table names it where no key does.
        "-- ejabberd_delete
         WITH locked AS MATERIALIZED (
             SELECT a.ctid AS place, k.position
               FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bytea[])
                    WITH ORDINALITY AS k(host, username, stamp, kind, digest, position)
               JOIN {hosts} ON k.kind = 'groupchat' OR h.name = k.host
               JOIN archive AS a
                 ON {host} = h.name AND a.username = k.username AND a.timestamp = k.stamp
              WHERE a.kind = k.kind AND {digest} = k.digest
              ORDER BY {host}, a.username, a.timestamp, a.ctid
                FOR UPDATE OF a SKIP LOCKED)
         DELETE FROM archive AS a USING locked
          WHERE a.ctid = locked.place
         RETURNING locked.position",
    ))
    .bind(identities.hosts)
    .bind(identities.usernames)
    .bind(identities.stamps)
    .bind(identities.kinds)
    .bind(identities.digests)
    .fetch_all(connection)
    .await
    .named("ejabberd_delete")?;
    Ok(distinct(deleted))
}

/// A locked row: the ordinality of its key, its place in the table, and how many bytes of it are read.
type Locked = (i64, String, i32);

/// Replaces the words of the archived rows that are exactly these and that no other session holds by what
/// `replace` makes of their start. Returns which, by position, with the digest that they have now.
pub async fn blank(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
    replace: impl Fn(&str) -> String,
) -> Result<Vec<(usize, Vec<u8>)>> {
    let identities = archive::Identities::of(keys);
    let locked: Vec<Locked> = sqlx::query_as(schema.sql(
        "-- ejabberd_lock
         SELECT k.position, a.ctid::text, least(octet_length(a.xml), $6)
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bytea[])
                WITH ORDINALITY AS k(host, username, stamp, kind, digest, position)
           JOIN {hosts} ON k.kind = 'groupchat' OR h.name = k.host
           JOIN archive AS a
             ON {host} = h.name AND a.username = k.username AND a.timestamp = k.stamp
          WHERE a.kind = k.kind AND {digest} = k.digest
          ORDER BY {host}, a.username, a.timestamp, a.ctid
            FOR UPDATE OF a SKIP LOCKED",
    ))
    .bind(identities.hosts)
    .bind(identities.usernames)
    .bind(identities.stamps)
    .bind(identities.kinds)
    .bind(identities.digests)
    .bind(HEAD_CHARACTERS)
    .fetch_all(&mut *connection)
    .await
    .named("ejabberd_lock")?;
    let statements = Statements {
        read: "-- ejabberd_read_locked
               SELECT a.ctid::text, left(a.xml, $2) FROM archive AS a
                WHERE a.ctid = ANY ($1::text[]::tid[])",
        // `txt` is the body in clear.
        write: "-- ejabberd_blank
                UPDATE archive AS a SET xml = new.xml, txt = ''
                  FROM unnest($1::text[], $2::text[]) AS new(place, xml)
                 WHERE a.ctid = new.place::tid
                RETURNING new.place, {digest}",
    };
    let mut blanked = Vec::new();
    for part in parts_by_bytes(&locked, |row| row.2) {
        let digests =
            replace_words(connection, schema, part, &statements, HEAD_CHARACTERS, &replace).await?;
        blanked.extend(digests);
    }
    Ok(blanked)
}

/// The same for rows of the offline queue, whose stanzas are given to `replace` whole.
pub async fn blank_queued(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
    replace: impl Fn(&str) -> String,
) -> Result<Vec<usize>> {
    let identities = spool::Identities::of(keys);
    let locked: Vec<Locked> = sqlx::query_as(schema.sql(
        "-- spool_lock
         SELECT k.position, a.ctid::text, least(octet_length(a.xml), $5)
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[])
                WITH ORDINALITY AS k(host, username, seq, digest, position)
           JOIN spool AS a ON {host} = k.host AND a.username = k.username AND a.seq = k.seq
          WHERE {digest} = k.digest
          ORDER BY a.seq
            FOR UPDATE OF a SKIP LOCKED",
    ))
    .bind(identities.hosts)
    .bind(identities.usernames)
    .bind(identities.numbers)
    .bind(identities.digests)
    .bind(MAX_STANZA_BYTES)
    .fetch_all(&mut *connection)
    .await
    .named("spool_lock")?;
    let statements = Statements {
        read: "-- spool_read_locked
               SELECT a.ctid::text, left(a.xml, $2) FROM spool AS a
                WHERE a.ctid = ANY ($1::text[]::tid[])",
        write: "-- spool_blank
                UPDATE spool AS a SET xml = new.xml
                  FROM unnest($1::text[], $2::text[]) AS new(place, xml)
                 WHERE a.ctid = new.place::tid
                RETURNING new.place, {digest}",
    };
    let mut blanked = Vec::new();
    for part in parts_by_bytes(&locked, |row| row.2) {
        let digests =
            replace_words(connection, schema, part, &statements, MAX_STANZA_BYTES, &replace)
                .await?;
        blanked.extend(digests.into_iter().map(|it| it.0));
    }
    Ok(blanked)
}

/// How one table's locked rows are read and written, by their places.
struct Statements {
    read: &'static str,
    write: &'static str,
}

async fn replace_words(
    connection: &mut PgConnection,
    schema: &Schema,
    locked: &[Locked],
    statements: &Statements,
    characters: i32,
    replace: &impl Fn(&str) -> String,
) -> Result<Vec<(usize, Vec<u8>)>> {
    let places: Vec<&str> = locked.iter().map(|row| row.1.as_str()).collect();
    let heads: Vec<(String, String)> = sqlx::query_as(schema.sql(statements.read))
        .bind(places)
        .bind(characters)
        .fetch_all(&mut *connection)
        .await
        .named("ejabberd_read_locked")?;
    let (places, words): (Vec<String>, Vec<String>) =
        heads.into_iter().map(|(place, head)| (place, replace(&head))).unzip();
    let written: Vec<(String, Vec<u8>)> = sqlx::query_as(schema.sql(statements.write))
        .bind(places)
        .bind(words)
        .fetch_all(connection)
        .await
        .named("ejabberd_blank")?;
    let positions: HashMap<&str, usize> =
        locked.iter().filter_map(|row| Some((row.1.as_str(), position(row.0)?))).collect();
    let written = written.into_iter();
    Ok(written.filter_map(|(place, it)| Some((*positions.get(&*place)?, it))).collect())
}

/// Positions, each once: twins share one.
fn distinct(ordinalities: Vec<i64>) -> Vec<usize> {
    let mut positions: Vec<usize> = ordinalities.into_iter().filter_map(position).collect();
    positions.sort_unstable();
    positions.dedup();
    positions
}
