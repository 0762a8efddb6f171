use std::collections::HashMap;

use sqlx::{FromRow, PgConnection, postgres::types::Oid};

use super::{
    Schema,
    identity::{Identities, Places, bind_identities, bind_places},
};
use crate::{
    archive::{
        Erasure, HEAD_CHARACTERS, MAX_STANZA_BYTES, Touched, head, parts_by_bytes, position,
        text_of,
    },
    database::{Error, Named, Result},
    model::RowKey,
    stanza::Cut,
};

/// Deletes exactly these archived rows, identical twins together, except those that another session has
/// locked.
pub(in crate::archive) async fn delete(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
) -> Result<Touched> {
    let delete = sqlx::query_as(schema.sql(
        "-- ejabberd_delete
         WITH locked AS MATERIALIZED (
             SELECT a.tableoid AS part, a.ctid AS place, {host} AS host, k.username, k.number, k.kind, k.position
               FROM {archived}
              ORDER BY {host}, a.username, a.timestamp, a.tableoid, a.ctid
                FOR UPDATE OF a SKIP LOCKED),
         deleted AS (
             DELETE FROM archive AS a USING locked AS k WHERE {archived_there}
             RETURNING k.part, k.place)
         SELECT k.position, (k.part, k.place) IN (SELECT d.part, d.place FROM deleted AS d)
           FROM locked AS k",
    ));
    let rows: Vec<(i64, bool)> = bind_identities!(delete, Identities::of(keys.iter().copied()))
        .fetch_all(connection)
        .await
        .named("ejabberd_delete")?;
    let mut touched = Touched::default();
    for (ordinality, deleted) in rows {
        touched.note(ordinality, if deleted { Erasure::Done } else { Erasure::Unchanged });
    }
    Ok(touched)
}

/// The statements that lock, read and write one table's rows.
struct Statements {
    lock: (&'static str, &'static str),
    read: (&'static str, &'static str),
    write: (&'static str, &'static str),
    characters: i32,
}

const ARCHIVE: Statements = Statements {
    lock: (
        "ejabberd_lock",
        "-- ejabberd_lock
         SELECT k.position, a.tableoid AS part, a.ctid::text AS place, {host} AS host,
                least(octet_length(a.xml), $6) AS bytes
           FROM {archived}
          ORDER BY {host}, a.username, a.timestamp, a.tableoid, a.ctid
            FOR UPDATE OF a SKIP LOCKED",
    ),
    read: (
        "ejabberd_read_locked",
        concat!(
            "-- ejabberd_read_locked
         SELECT k.position, ",
            head!("a.xml", "$7"),
            "
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::oid[], $6::text[])
                WITH ORDINALITY AS k(host, username, number, kind, part, place, position)
           JOIN archive AS a ON {archived_there}"
        ),
    ),
    write: (
        "ejabberd_blank",
        "-- ejabberd_blank
         UPDATE archive AS a
            SET xml = k.xml, txt = CASE WHEN k.txt = '' OR a.txt <> '' THEN k.txt ELSE a.txt END
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::oid[], $6::text[], $7::text[], $8::text[])
                WITH ORDINALITY AS k(host, username, number, kind, part, place, xml, txt, position)
          WHERE {archived_there}
         RETURNING k.position, a.xml = k.xml AND coalesce(a.txt, '') IN ('', k.txt), {digest}",
    ),
    characters: HEAD_CHARACTERS,
};

const SPOOL: Statements = Statements {
    lock: (
        "spool_lock",
        "-- spool_lock
         SELECT k.position, a.tableoid AS part, a.ctid::text AS place, {host} AS host,
                least(octet_length(a.xml), $6) AS bytes
           FROM {queued}
          ORDER BY a.seq, a.tableoid, a.ctid
            FOR UPDATE OF a SKIP LOCKED",
    ),
    read: (
        "spool_read_locked",
        concat!(
            "-- spool_read_locked
         SELECT k.position, ",
            head!("a.xml", "$7"),
            "
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::oid[], $6::text[])
                WITH ORDINALITY AS k(host, username, number, kind, part, place, position)
           JOIN spool AS a ON {queued_there}"
        ),
    ),
    write: (
        "spool_blank",
        "-- spool_blank
         UPDATE spool AS a SET xml = k.xml
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::oid[], $6::text[], $7::text[], $8::text[])
                WITH ORDINALITY AS k(host, username, number, kind, part, place, xml, txt, position)
          WHERE {queued_there}
         RETURNING k.position, a.xml = k.xml, {digest}",
    ),
    characters: MAX_STANZA_BYTES,
};

/// What a row is to contain.
struct Text {
    xml: String,
    /// The words for ejabberd's full-text search, if the row has any there.
    txt: String,
}

impl Text {
    /// No words are left.
    const fn blank(xml: String) -> Self {
        Self { xml, txt: String::new() }
    }
}

/// Replaces the text of exactly these archived rows, except those that another session has locked, by what
/// `replace` makes of their start.
pub(in crate::archive) async fn blank(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
    replace: impl Fn(&str) -> String,
) -> Result<Touched> {
    let done = Erasure::Placeholder;
    let replace = |_, head: &str| Some(Text::blank(replace(head)));
    Blanking { schema, keys, statements: &ARCHIVE, done }.run(connection, replace).await
}

/// The same for the offline queue, where `replace` gets whole stanzas.
pub(in crate::archive) async fn blank_queued(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
    replace: impl Fn(&str) -> String,
) -> Result<Touched> {
    let done = |_| Erasure::Done;
    let replace = |_, text: &str| Some(Text::blank(replace(text)));
    Blanking { schema, keys, statements: &SPOOL, done }.run(connection, replace).await
}

/// Replaces the text of exactly these rows, of the archive or of the queue, by what `cut` makes of their keys' position and
/// their text, except those that another session has locked, and those of which it makes nothing.
pub(in crate::archive) async fn rewrite(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
    is_queued: bool,
    cut: impl Fn(usize, &str) -> Option<Cut>,
) -> Result<Touched> {
    let replace = |at, text: &str| cut(at, text).map(|Cut { xml, body }| Text { xml, txt: body });
    let archive = Statements { characters: MAX_STANZA_BYTES, ..ARCHIVE };
    let statements = if is_queued { &SPOOL } else { &archive };
    let done = Erasure::Placeholder;
    Blanking { schema, keys, statements, done }.run(connection, replace).await
}

/// A locked row and its place in the table.
#[derive(FromRow)]
struct Locked {
    /// The ordinality of its key.
    position: i64,
    part: Oid,
    place: String,
    /// The virtual host, which a room row's key does not contain.
    host: String,
    /// How many bytes of it are read.
    bytes: i32,
}

/// Rows of one table whose text is being replaced.
struct Blanking<'a> {
    schema: &'a Schema,
    keys: &'a [&'a RowKey],
    statements: &'a Statements,
    /// Makes the result from the row's new digest.
    done: fn(Vec<u8>) -> Erasure,
}

impl Blanking<'_> {
    async fn run(
        &self,
        connection: &mut PgConnection,
        replace: impl Fn(usize, &str) -> Option<Text>,
    ) -> Result<Touched> {
        let (name, lock) = self.statements.lock;
        let lock = sqlx::query_as(self.schema.sql(lock));
        let locked: Vec<Locked> = bind_identities!(lock, Identities::of(self.keys.iter().copied()))
            .bind(self.statements.characters)
            .fetch_all(&mut *connection)
            .await
            .named(name)?;
        let mut touched = Touched::default();
        for part in parts_by_bytes(&locked, |row| row.bytes) {
            let heads = self.read(connection, part).await?;
            let mut texts: Vec<(&Locked, Text)> = Vec::with_capacity(heads.len());
            for (at, head) in heads {
                let Some(row) = part.get(at) else { continue };
                match position(row.position).and_then(|at| replace(at, &head)) {
                    Some(text) => texts.push((row, text)),
                    None => touched.note(row.position, Erasure::TakenOver),
                }
            }
            self.write(connection, &texts, &mut touched).await?;
        }
        Ok(touched)
    }

    /// The starts of the locked rows, by position.
    async fn read(
        &self,
        connection: &mut PgConnection,
        rows: &[Locked],
    ) -> Result<Vec<(usize, String)>> {
        let (name, read) = self.statements.read;
        let read = sqlx::query_as(self.schema.sql(read));
        let heads: Vec<(i64, Vec<u8>)> = bind_places!(read, self.places(rows.iter()))
            .bind(self.statements.characters)
            .fetch_all(connection)
            .await
            .named(name)?;
        Ok(heads
            .into_iter()
            .filter_map(|(at, head)| Some((position(at)?, text_of(head))))
            .collect())
    }

    /// Writes the texts, and records what the rows contain afterwards, after all triggers.
    async fn write(
        &self,
        connection: &mut PgConnection,
        texts: &[(&Locked, Text)],
        touched: &mut Touched,
    ) -> Result<()> {
        let (name, write) = self.statements.write;
        let write = sqlx::query_as(self.schema.sql(write));
        let written: Vec<(i64, bool, Vec<u8>)> =
            bind_places!(write, self.places(texts.iter().map(|(row, _)| *row)))
                .bind(texts.iter().map(|(_, text)| text.xml.clone()).collect::<Vec<_>>())
                .bind(texts.iter().map(|(_, text)| text.txt.clone()).collect::<Vec<_>>())
                .fetch_all(connection)
                .await
                .named(name)?;
        let mut written: HashMap<usize, (bool, Vec<u8>)> = written
            .into_iter()
            .filter_map(|(at, as_given, digest)| Some((position(at)?, (as_given, digest))))
            .collect();
        for (at, (row, _)) in texts.iter().enumerate() {
            let erasure = match written.remove(&at) {
                Some((true, digest)) => (self.done)(digest),
                None => Erasure::Unchanged,
                Some((false, digest)) if self.digest(row) == Some(&digest) => Erasure::Unchanged,
                // The row now has an identity that we don't know, so the whole batch is rolled back.
                Some((false, _)) => {
                    return Err(Error::unexpected(
                        name,
                        "a trigger changed the placeholder's text",
                    ));
                }
            };
            touched.note(row.position, erasure);
        }
        Ok(())
    }

    fn key(&self, row: &Locked) -> Option<&RowKey> {
        self.keys.get(position(row.position)?).copied()
    }

    fn digest(&self, row: &Locked) -> Option<&Vec<u8>> {
        self.key(row).map(|key| &key.digest)
    }

    fn places<'a>(&self, rows: impl Iterator<Item = &'a Locked> + Clone) -> Places {
        let named = Identities::of(rows.clone().filter_map(|row| self.key(row)));
        Places {
            hosts: rows.clone().map(|row| row.host.clone()).collect(),
            parts: rows.clone().map(|row| row.part).collect(),
            places: rows.map(|row| row.place.clone()).collect(),
            named,
        }
    }
}
