use std::collections::HashSet;

use sqlx::{FromRow, PgConnection, postgres::types::Oid};

use super::identity::{Identities, bind_identities, is_named, named_rows};
use crate::{
    archive::{Erasure, Touched, Which, head, marks::*, parts_by_bytes, position, text_of},
    database::{Named, Result},
    model::RowKey,
};

/// Deletes exactly these rows if they are still marked or our placeholders, or whatever they are, except those that
/// another session has locked.
///
/// What was deleted is looked up by IN, which hashes it: PostgreSQL takes the results of both parts to be single rows, and
/// compares each with each where they are joined.
pub(in crate::archive) async fn delete(
    connection: &mut PgConnection,
    keys: &[&RowKey],
    which: Which,
) -> Result<Touched> {
    let delete = sqlx::query_as(concat!(
        r#"-- prosody_delete
        WITH locked AS MATERIALIZED (
            SELECT a.tableoid AS part, a.ctid AS place, k.*, $7 OR "#,
        still_marked!("a.value"),
        " AS ours
              FROM ",
        named_rows!(),
        " ORDER BY a.sort_id, a.tableoid, a.ctid
                FOR UPDATE OF a SKIP LOCKED),
        deleted AS (
            DELETE FROM prosodyarchive AS a USING locked AS k
             WHERE k.ours AND a.tableoid = k.part AND a.ctid = k.place AND ",
        is_named!(),
        " RETURNING k.part, k.place)
        SELECT k.position, k.ours, (k.part, k.place) IN (SELECT d.part, d.place FROM deleted AS d)
          FROM locked AS k",
    ));
    let rows: Vec<(i64, bool, bool)> =
        bind_identities!(delete, Identities::of(keys.iter().copied()))
            .bind(which == Which::All)
            .fetch_all(connection)
            .await
            .named("prosody_delete")?;
    let mut touched = Touched::default();
    for (ordinality, ours, deleted) in rows {
        touched.note(
            ordinality,
            match (ours, deleted) {
                (false, _) => Erasure::TakenOver,
                (true, true) => Erasure::Done,
                (true, false) => Erasure::Unchanged,
            },
        );
    }
    Ok(touched)
}

/// A locked row and its place in the table.
#[derive(FromRow)]
struct Locked {
    /// The ordinality of its key.
    position: i64,
    part: Oid,
    place: String,
    /// How many bytes of it are read.
    bytes: i32,
    /// It is still marked, or one of our placeholders.
    ours: bool,
}

/// Replaces the text of exactly these rows, if they are still marked or our placeholders, or whatever they are, by what
/// `replace` makes of their keys' position and first `characters`, except those that another session has locked, and those
/// of which it makes nothing.
pub(in crate::archive) async fn blank(
    connection: &mut PgConnection,
    keys: &[&RowKey],
    which: Which,
    characters: i32,
    replace: impl Fn(usize, &str) -> Option<String>,
) -> Result<Touched> {
    let lock = sqlx::query_as(concat!(
        "-- prosody_lock
        SELECT k.position, a.tableoid AS part, a.ctid::text AS place,
               least(octet_length(a.value), $7) AS bytes, $8 OR ",
        still_marked!("a.value"),
        " AS ours
          FROM ",
        named_rows!(),
        " ORDER BY a.sort_id, a.tableoid, a.ctid
            FOR UPDATE OF a SKIP LOCKED",
    ));
    let locked: Vec<Locked> = bind_identities!(lock, Identities::of(keys.iter().copied()))
        .bind(characters)
        .bind(which == Which::All)
        .fetch_all(&mut *connection)
        .await
        .named("prosody_lock")?;
    let (ours, others): (Vec<Locked>, Vec<Locked>) = locked.into_iter().partition(|it| it.ours);
    let mut touched = Touched::default();
    for row in others {
        touched.note(row.position, Erasure::TakenOver);
    }
    for part in parts_by_bytes(&ours, |row| row.bytes) {
        let heads = read(connection, keys, part, characters).await?;
        let mut texts: Vec<(&Locked, String)> = Vec::with_capacity(heads.len());
        for (at, head) in heads {
            let Some(row) = part.get(at) else { continue };
            match position(row.position).and_then(|at| replace(at, &head)) {
                Some(text) => texts.push((row, text)),
                None => touched.note(row.position, Erasure::TakenOver),
            }
        }
        write(connection, keys, &texts, &mut touched).await?;
    }
    Ok(touched)
}

/// The starts of the locked rows, by position.
async fn read(
    connection: &mut PgConnection,
    keys: &[&RowKey],
    rows: &[Locked],
    characters: i32,
) -> Result<Vec<(usize, String)>> {
    let read = sqlx::query_as(concat!(
        "-- prosody_read_locked
        SELECT k.position, ",
        head!("a.value", "$9"),
        "
          FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[],
                      $7::oid[], $8::text[])
               WITH ORDINALITY AS k(sort_id, host, owner, store, key, stamped, part, place, position)
          JOIN prosodyarchive AS a ON a.tableoid = k.part AND a.ctid = k.place::tid AND ",
        is_named!(),
    ));
    let heads: Vec<(i64, Vec<u8>)> = bind_identities!(read, identities(keys, rows.iter()))
        .bind(rows.iter().map(|row| row.part).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.place.clone()).collect::<Vec<_>>())
        .bind(characters)
        .fetch_all(connection)
        .await
        .named("prosody_read_locked")?;
    Ok(heads.into_iter().filter_map(|(at, head)| Some((position(at)?, text_of(head)))).collect())
}

/// Writes the texts, and records which of them the rows contain afterwards, after all triggers.
async fn write(
    connection: &mut PgConnection,
    keys: &[&RowKey],
    texts: &[(&Locked, String)],
    touched: &mut Touched,
) -> Result<()> {
    let write = sqlx::query_as(concat!(
        "-- prosody_blank
        UPDATE prosodyarchive AS a SET value = k.value
          FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[],
                      $7::oid[], $8::text[], $9::text[])
               WITH ORDINALITY AS k(sort_id, host, owner, store, key, stamped, part, place, value, position)
         WHERE a.tableoid = k.part AND a.ctid = k.place::tid AND ",
        is_named!(),
        " RETURNING k.position, a.value = k.value",
    ));
    let rows = texts.iter().map(|(row, _)| *row);
    let written: Vec<(i64, bool)> = bind_identities!(write, identities(keys, rows.clone()))
        .bind(rows.clone().map(|row| row.part).collect::<Vec<_>>())
        .bind(rows.map(|row| row.place.clone()).collect::<Vec<_>>())
        .bind(texts.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .named("prosody_blank")?;
    let written: HashSet<usize> = written
        .into_iter()
        .filter_map(|(at, as_given)| position(at).filter(|_| as_given))
        .collect();
    for (at, (row, _)) in texts.iter().enumerate() {
        let is_written = written.contains(&at);
        let erasure =
            if is_written { Erasure::Placeholder(Vec::new()) } else { Erasure::Unchanged };
        touched.note(row.position, erasure);
    }
    Ok(())
}

fn identities<'a>(keys: &[&RowKey], rows: impl Iterator<Item = &'a Locked>) -> Identities {
    Identities::of(rows.filter_map(|row| keys.get(position(row.position)?).copied()))
}
