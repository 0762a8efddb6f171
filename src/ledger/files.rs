//! Uploaded files that messages name, and that go with the last of them.

use sqlx::PgConnection;

use super::{FILES_CHANNEL, tell};
use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// A message that is to go names a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// What the server calls the file.
    pub place: String,
    /// The bare address of whoever sent the message.
    pub uploader: String,
    /// When the message goes.
    pub due_at: Timestamp,
}

/// A file that may be about to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueFile {
    /// Its number here.
    pub id: i64,
    /// What the server calls it.
    pub place: String,
    /// Whose it must be.
    pub uploader: String,
    /// Something that stays names it.
    pub kept: bool,
    /// Up to this number, rows of the archive were not looked at with this file in mind; `None`: none was.
    pub unseen_upto: Option<i64>,
    /// When the last entry goes that names it; `None` if there is none.
    pub named_until: Option<Timestamp>,
}

/// Files that one user uploaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerFiles {
    /// How many are to go with messages.
    pub pending: i64,
    /// When the first of them goes, if it goes with what is known to name it.
    pub next: Option<Timestamp>,
}

/// Notes files that messages name which are to go. Rows up to `unseen_upto` were not looked at with them in mind.
pub async fn note_files(
    connection: &mut PgConnection,
    files: &[NewFile],
    unseen_upto: Option<i64>,
) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- note_files
         INSERT INTO ephemerd.files (digest, place, uploader, unseen_upto, next_at)
         SELECT ephemerd.message_digest(c.reading_key, 'file', k.place), k.place, k.uploader, $4, max(k.due_at)
           FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS k(place, uploader, due_at)
          CROSS JOIN ephemerd.control AS c
          GROUP BY 1, 2, 3
          ORDER BY 1, 3
         ON CONFLICT (digest, uploader) DO UPDATE SET next_at = greatest(files.next_at, excluded.next_at)
          WHERE files.next_at < excluded.next_at AND files.attempts = 0",
        &files.iter().map(|it| it.place.clone()).collect::<Vec<String>>(),
        &files.iter().map(|it| it.uploader.clone()).collect::<Vec<String>>(),
        &files.iter().map(|it| it.due_at).collect::<Vec<Timestamp>>(),
        unseen_upto,
    )
    .execute(connection)
    .await
    .named("note_files")?;
    Ok(())
}

/// Notes which entries name which places, where files there are known.
pub async fn name_files(connection: &mut PgConnection, names: &[(&str, i64)]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- name_files
         INSERT INTO ephemerd.file_names (file, entry)
         SELECT DISTINCT f.digest, k.entry
           FROM unnest($1::text[], $2::bigint[]) AS k(place, entry)
          CROSS JOIN ephemerd.control AS c
           JOIN ephemerd.files AS f ON f.digest = ephemerd.message_digest(c.reading_key, 'file', k.place)
          ORDER BY 2, 1
         ON CONFLICT DO NOTHING",
        &names.iter().map(|it| it.0.to_owned()).collect::<Vec<String>>(),
        &names.iter().map(|it| it.1).collect::<Vec<i64>>(),
    )
    .execute(connection)
    .await
    .named("name_files")?;
    Ok(())
}

/// Something that nothing asks to go names these places: files there stay.
pub async fn keep_files(connection: &mut PgConnection, places: &[String]) -> Result<()> {
    if places.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- keep_files
         UPDATE ephemerd.files SET kept = true
          WHERE id IN (SELECT f.id FROM unnest($1::text[]) AS k(place)
                        CROSS JOIN ephemerd.control AS c
                         JOIN ephemerd.files AS f
                           ON f.digest = ephemerd.message_digest(c.reading_key, 'file', k.place)
                        WHERE NOT f.kept ORDER BY f.id FOR UPDATE OF f)",
        places,
    )
    .execute(connection)
    .await
    .named("keep_files")?;
    Ok(())
}

/// These entries' rows have lost their text: files that they name are looked at now, unless something else names them.
pub async fn look_at_files(connection: &mut PgConnection, entries: &[i64]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let woken = sqlx::query!(
        "-- look_at_files
         UPDATE ephemerd.files SET next_at = statement_timestamp()
          WHERE id IN (SELECT f.id FROM ephemerd.file_names AS n
                         JOIN ephemerd.files AS f ON f.digest = n.file
                        WHERE n.entry = ANY ($1) AND f.attempts = 0
                        ORDER BY f.id FOR UPDATE OF f)",
        entries,
    )
    .execute(&mut *connection)
    .await
    .named("look_at_files")?;
    match woken.rows_affected() {
        0 => Ok(()),
        _ => tell(connection, FILES_CHANNEL, "").await,
    }
}

/// The tail of an archive table has read from `from` up to `upto` with these URLs in mind. If it, or another daemon, had gone
/// up to `from` without that, rows up to there count as not looked at.
pub async fn files_looked_for(
    connection: &mut PgConnection,
    archive: &str,
    (from, upto): (i64, i64),
    urls: &str,
) -> Result<()> {
    let known = sqlx::query!(
        "-- files_looked_for\nSELECT upto, urls FROM ephemerd.file_tails WHERE archive = $1",
        archive,
    )
    .fetch_optional(&mut *connection)
    .await
    .named("files_looked_for")?;
    if known.as_ref().is_some_and(|it| it.urls == urls && it.upto == from && upto == from) {
        return Ok(());
    }
    if known.is_none_or(|it| it.urls != urls || it.upto < from) {
        sqlx::query!(
            "-- forget_what_was_seen
             UPDATE ephemerd.files SET unseen_upto = $1
              WHERE id IN (SELECT id FROM ephemerd.files WHERE unseen_upto < $1 ORDER BY id FOR UPDATE)",
            from,
        )
        .execute(&mut *connection)
        .await
        .named("forget_what_was_seen")?;
    }
    sqlx::query!(
        "-- looked_for_files
         INSERT INTO ephemerd.file_tails (archive, upto, urls) VALUES ($1, $2, $3)
         ON CONFLICT (archive) DO UPDATE SET upto = excluded.upto, urls = excluded.urls",
        archive,
        upto,
        urls,
    )
    .execute(connection)
    .await
    .named("looked_for_files")?;
    Ok(())
}

/// Files that it is time to look at, at most `most`, those first that have waited longest. They are locked, and what others
/// have locked is left out.
pub async fn due_files(connection: &mut PgConnection, most: i64) -> Result<Vec<DueFile>> {
    sqlx::query_as!(
        DueFile,
        r#"-- due_files
        SELECT f.id, f.place, f.uploader, f.kept, f.unseen_upto,
               (SELECT max(e.due_at) FROM ephemerd.file_names AS n JOIN ephemerd.expiries AS e ON e.id = n.entry
                 WHERE n.file = f.digest AND e.phase = 'pending') AS named_until
          FROM ephemerd.files AS f
         WHERE f.next_at <= statement_timestamp()
         ORDER BY f.next_at, f.id LIMIT $1
           FOR UPDATE OF f SKIP LOCKED"#,
        most,
    )
    .fetch_all(connection)
    .await
    .named("due_files")
}

/// Which of these files may still go: nothing names them, as far as the ledger knows.
pub async fn free_files(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "-- free_files
         SELECT f.id FROM ephemerd.files AS f
          WHERE f.id = ANY ($1) AND NOT f.kept
            AND NOT EXISTS (SELECT FROM ephemerd.file_names AS n JOIN ephemerd.expiries AS e ON e.id = n.entry
                             WHERE n.file = f.digest AND e.phase = 'pending')",
        ids,
    )
    .fetch_all(connection)
    .await
    .named("free_files")
}

/// Seconds until the next file is to be looked at; `None` if there is none.
pub async fn next_file(connection: &mut PgConnection) -> Result<Option<f64>> {
    let next = sqlx::query_scalar!(
        r#"-- next_file
        SELECT extract(epoch FROM next_at - clock_timestamp())::float8 AS "seconds!"
          FROM ephemerd.files WHERE next_at < 'infinity' ORDER BY next_at, id LIMIT 1"#,
    );
    next.fetch_optional(connection).await.named("next_file")
}

/// Entries name these files until then: they are looked at again at that time, but at least a minute and at most a day
/// from now. What erases an entry has its files looked at anyway.
pub async fn await_files(connection: &mut PgConnection, files: &[(i64, Timestamp)]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- await_files
         UPDATE ephemerd.files AS f
            SET attempts = 0, next_at = least(clock_timestamp() + interval '1 day',
                                greatest(k.until, clock_timestamp() + interval '1 min'))
           FROM unnest($1::bigint[], $2::timestamptz[]) AS k(id, until) WHERE f.id = k.id",
        &files.iter().map(|it| it.0).collect::<Vec<i64>>(),
        &files.iter().map(|it| it.1).collect::<Vec<Timestamp>>(),
    )
    .execute(connection)
    .await
    .named("await_files")?;
    Ok(())
}

/// Schedules another attempt for each of these files: after 1 s, doubling up to 5 min.
pub async fn put_off_files(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- put_off_files
         UPDATE ephemerd.files
            SET next_at = clock_timestamp() + least(interval '5 min', interval '1 s' * 2 ^ attempts),
                attempts = least(attempts + 1, 30)
          WHERE id IN (SELECT id FROM ephemerd.files WHERE id = ANY ($1) ORDER BY id FOR UPDATE)",
        ids,
    )
    .execute(connection)
    .await
    .named("put_off_files")?;
    Ok(())
}

/// How many files that this owner (host and local part) uploaded are to go with the messages that name them, if nothing else
/// does; and when the last known message goes that names the first of them.
pub async fn files_of_owner(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
) -> Result<OwnerFiles> {
    sqlx::query_as!(
        OwnerFiles,
        r#"-- files_of_owner
        SELECT count(*) AS "pending!", min(u.named_until) AS next
          FROM (SELECT max(e.due_at) AS named_until
                  FROM ephemerd.files AS f
                  JOIN ephemerd.file_names AS n ON n.file = f.digest
                  JOIN ephemerd.expiries AS e ON e.id = n.entry AND e.phase = 'pending'
                 WHERE f.uploader = $2::text || '@' || $1::text AND NOT f.kept
                 GROUP BY f.id) AS u"#,
        host,
        owner,
    )
    .fetch_one(connection)
    .await
    .named("files_of_owner")
}

/// Forgets files that are gone, or that stay; and what names them, where they are the last of their place.
pub async fn forget_files(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let digests = sqlx::query_scalar!(
        "-- forget_files
         DELETE FROM ephemerd.files
          WHERE id IN (SELECT id FROM ephemerd.files WHERE id = ANY ($1) ORDER BY id FOR UPDATE)
         RETURNING digest",
        ids,
    )
    .fetch_all(&mut *connection)
    .await
    .named("forget_files")?;
    sqlx::query!(
        "-- forget_file_names
         DELETE FROM ephemerd.file_names AS n
          WHERE n.file = ANY ($1) AND NOT EXISTS (SELECT FROM ephemerd.files AS f WHERE f.digest = n.file)",
        &digests,
    )
    .execute(connection)
    .await
    .named("forget_file_names")?;
    Ok(())
}

/// Files that go with the last messages that name them, and those that stay because something else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileCounts {
    /// They go.
    pub going: i64,
    /// They stay.
    pub kept: i64,
}

/// Counts the files that messages name which are to go.
pub async fn count_files(connection: &mut PgConnection) -> Result<FileCounts> {
    sqlx::query_as!(
        FileCounts,
        r#"-- count_files
        SELECT count(*) FILTER (WHERE NOT kept) AS "going!", count(*) FILTER (WHERE kept) AS "kept!"
          FROM ephemerd.files"#,
    )
    .fetch_one(connection)
    .await
    .named("count_files")
}

/// Counts the files that each of these entries names, by entry; those that name none are left out.
pub async fn files_of_entries(
    connection: &mut PgConnection,
    entries: &[i64],
) -> Result<Vec<(i64, FileCounts)>> {
    let rows = sqlx::query!(
        r#"-- files_of_entries
        SELECT n.entry, count(*) FILTER (WHERE NOT f.kept) AS "going!", count(*) FILTER (WHERE f.kept) AS "kept!"
          FROM ephemerd.file_names AS n JOIN ephemerd.files AS f ON f.digest = n.file
         WHERE n.entry = ANY ($1)
         GROUP BY n.entry"#,
        entries,
    )
    .fetch_all(connection)
    .await
    .named("files_of_entries")?;
    let counted = |it: (i64, i64, i64)| (it.0, FileCounts { going: it.1, kept: it.2 });
    Ok(rows.into_iter().map(|it| counted((it.entry, it.going, it.kept))).collect())
}
