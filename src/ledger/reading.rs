//! Entries that wait for their owner to read the message, or for anybody in a room, found again by what shows that it was
//! read. Chats, messages' ids and senders are known only by digests whose key stays in the database.

use std::time::Duration;

use sqlx::PgConnection;

use super::{CHANNEL, belonging::take_along, record::position};
use crate::{
    database::{Named, Result},
    model::{Occupant, RowId, Start, StartedBy, Store, Timestamp},
};

/// An entry that waits from now on.
#[derive(Debug, Clone)]
pub struct Unread<'a> {
    /// The entry is new, or has changed. Otherwise nothing is noted but another timer.
    pub is_new: bool,
    /// The archived row.
    pub row: RowId<'a>,
    /// The other side of the chat.
    pub chat: String,
    /// The id that the sender gave the message, if any.
    pub message: Option<String>,
    /// How long its timer is.
    pub timer: Duration,
    /// In a room: who sent it, and so does not count as its reader.
    pub sender: Occupant,
}

/// What somebody has read, or has read up to.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The virtual host.
    pub host: &'a str,
    /// The reader's local part; the room's.
    pub owner: &'a str,
    /// The other side of the chat; the room's address.
    pub chat: &'a str,
    /// The id that the sender gave the message, if that is how it is named.
    pub message: Option<&'a str>,
    /// When it was shown.
    pub at: Timestamp,
    /// In a room: who showed it.
    pub reader: Option<&'a Occupant>,
}

impl Seen<'_> {
    const fn store(&self) -> Store {
        if self.reader.is_some() { Store::Room } else { Store::Archive }
    }
}

/// An entry that waits in the chat of what was seen.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The position of what was seen.
    pub seen: usize,
    /// The entry.
    pub id: i64,
    /// The row's archive id, number and stamp.
    pub archive_id: String,
    /// The row's number.
    pub row_number: i64,
    /// The row's stamp.
    pub stamped_at: Timestamp,
    /// When its timer starts if nobody reads it.
    pub starts_at: Timestamp,
    /// How long its timer is.
    pub timer: Duration,
    /// It has the id that was named.
    pub is_named: bool,
    /// In a room: keyed digests of who showed it, of the real address and the room's own id, as far as they are known.
    pub reader: Vec<Vec<u8>>,
}

/// A timer that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The entry.
    pub id: i64,
    /// When, and by what.
    pub start: Start,
    /// When the row goes.
    pub due_at: Timestamp,
    /// In a room: every member has read it, and not somebody.
    pub by_everyone: bool,
}

/// Records how to find these entries again once their messages have been read.
pub async fn note_unread(connection: &mut PgConnection, unread: &[Unread<'_>]) -> Result<()> {
    if unread.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Unread<'_>) -> String| unread.iter().map(of).collect::<Vec<String>>();
    let known = |of: fn(&Unread<'_>) -> Option<String>| unread.iter().map(of).collect::<Vec<_>>();
    let messages = known(|it| it.message.clone());
    sqlx::query!(
        "-- note_unread
         UPDATE ephemerd.expiries AS e
            SET chat = ephemerd.reading_digest('chat', k.host, k.owner, k.chat),
                message = CASE WHEN k.message IS NOT NULL
                               THEN ephemerd.reading_digest('message', k.host, k.owner, k.message) END,
                timer_us = k.timer,
                sender_nick = CASE WHEN k.nick IS NOT NULL
                                   THEN ephemerd.reading_digest('nick', k.host, k.owner, k.nick) END,
                sender_jid = CASE WHEN k.jid IS NOT NULL
                                  THEN ephemerd.reading_digest('jid', k.host, k.owner, k.jid) END,
                sender_id = CASE WHEN k.occupant IS NOT NULL
                                 THEN ephemerd.reading_digest('occupant', k.host, k.owner, k.occupant) END
           FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::bigint[],
                       $8::text[], $9::text[], $10::text[], $11::text[], $12::boolean[])
                AS k(host, owner, archive_id, digest, chat, message, timer, store, nick, jid, occupant, is_new)
          WHERE e.owner = k.owner AND e.archive_id = k.archive_id AND e.store = k.store AND e.host = k.host
            AND e.digest = k.digest AND e.phase = 'pending' AND e.started_by = 'unread'
            AND (k.is_new OR e.timer_us IS DISTINCT FROM k.timer)",
        &column(|it| it.row.host.to_owned()),
        &column(|it| it.row.owner.to_owned()),
        &column(|it| it.row.archive_id.to_owned()),
        &unread.iter().map(|it| it.row.digest.to_vec()).collect::<Vec<_>>(),
        &column(|it| it.chat.clone()),
        &messages as &[Option<String>],
        &unread.iter().map(|it| micros(it.timer)).collect::<Vec<_>>(),
        &column(|it| it.row.store.to_string()),
        &known(|it| it.sender.nick.clone()) as &[Option<String>],
        &known(|it| it.sender.jid.clone()) as &[Option<String>],
        &known(|it| it.sender.id.clone()) as &[Option<String>],
        &unread.iter().map(|it| it.is_new).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await
    .named("note_unread")?;
    Ok(())
}

/// The entries that wait in the chats of what was seen, at most `rows`. If `since` is given, also records which
/// of these readers showed something from then on; of who reads in rooms nothing is recorded.
///
/// In a room only somebody else than the sender counts: something must be known of both, and nothing of it be alike. Those
/// of whom all that is known is noted as a reader of the entry are passed over.
pub async fn unread_in(
    connection: &mut PgConnection,
    seen: &[Seen<'_>],
    since: Option<Timestamp>,
    rows: i64,
) -> Result<Vec<Waiting>> {
    let column = |of: fn(&Seen<'_>) -> String| seen.iter().map(of).collect::<Vec<String>>();
    let known = |of: fn(&Seen<'_>) -> Option<String>| seen.iter().map(of).collect::<Vec<_>>();
    let messages = known(|it| it.message.map(str::to_owned));
    let found = sqlx::query!(
        r#"-- unread_in
        WITH k AS MATERIALIZED (
            SELECT k.host, k.owner, k.at, k.position, k.store,
                   ephemerd.reading_digest('chat', k.host, k.owner, k.chat) AS chat,
                   CASE WHEN k.message IS NOT NULL
                        THEN ephemerd.reading_digest('message', k.host, k.owner, k.message) END AS message,
                   CASE WHEN k.nick IS NOT NULL
                        THEN ephemerd.reading_digest('nick', k.host, k.owner, k.nick) END AS nick,
                   CASE WHEN k.jid IS NOT NULL
                        THEN ephemerd.reading_digest('jid', k.host, k.owner, k.jid) END AS jid,
                   CASE WHEN k.occupant IS NOT NULL
                        THEN ephemerd.reading_digest('occupant', k.host, k.owner, k.occupant) END AS occupant
              FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $8::text[],
                          $9::text[], $10::text[], $11::text[])
                   WITH ORDINALITY AS k(host, owner, chat, message, at, store, nick, jid, occupant, position)),
        noted AS (
            INSERT INTO ephemerd.readers (host, owner, seen_on)
            SELECT host, owner, max((at AT TIME ZONE 'UTC')::date) FROM k WHERE at >= $6 AND store = 'archive'
             GROUP BY host, owner ORDER BY owner, host
            ON CONFLICT (owner, host) DO UPDATE SET seen_on = excluded.seen_on
             WHERE readers.seen_on < excluded.seen_on)
        SELECT k.position AS "position!", e.id, e.archive_id, e.row_number, e.stamped_at, e.runs_from,
               e.timer_us AS "timer_us!", coalesce(e.message = k.message, false) AS "is_named!",
               k.jid AS reader_jid, k.occupant AS reader_id
          FROM k JOIN ephemerd.expiries AS e ON e.owner = k.owner AND e.chat = k.chat AND e.host = k.host
         WHERE e.phase = 'pending' AND e.started_by = 'unread' AND e.timer_us IS NOT NULL AND NOT e.backlog
           AND e.store = k.store
           AND (k.store = 'archive'
                OR coalesce(e.sender_nick <> k.nick, e.sender_jid <> k.jid, e.sender_id <> k.occupant) IS NOT NULL
                   AND (e.sender_nick <> k.nick) IS NOT FALSE
                   AND (e.sender_jid <> k.jid) IS NOT FALSE
                   AND (e.sender_id <> k.occupant) IS NOT FALSE
                   AND (array_remove(ARRAY[k.jid, k.occupant], NULL) <@ e.readers) IS NOT TRUE)
         ORDER BY k.position, e.row_number DESC, e.id
         LIMIT $7"#,
        &column(|it| it.host.to_owned()),
        &column(|it| it.owner.to_owned()),
        &column(|it| it.chat.to_owned()),
        &messages as &[Option<String>],
        &seen.iter().map(|it| it.at).collect::<Vec<_>>(),
        since,
        rows,
        &column(|it| it.store().to_string()),
        &known(|it| it.reader?.nick.clone()) as &[Option<String>],
        &known(|it| it.reader?.jid.clone()) as &[Option<String>],
        &known(|it| it.reader?.id.clone()) as &[Option<String>],
    )
    .fetch_all(connection)
    .await
    .named("unread_in")?;
    let waiting = found.into_iter().filter_map(|row| {
        Some(Waiting {
            seen: position(row.position)?,
            id: row.id,
            archive_id: row.archive_id,
            row_number: row.row_number.unwrap_or_default(),
            stamped_at: row.stamped_at,
            starts_at: row.runs_from,
            timer: Duration::from_micros(row.timer_us.unsigned_abs()),
            is_named: row.is_named,
            reader: [row.reader_jid, row.reader_id].into_iter().flatten().collect(),
        })
    });
    Ok(waiting.collect())
}

/// An account or a room in whose archive something waits to be read.
#[derive(Debug, Clone)]
pub struct WaitingOwner {
    /// It is a room.
    pub is_room: bool,
    /// The virtual host.
    pub host: String,
    /// The local part.
    pub owner: String,
    /// The stamp of the oldest message that waits.
    pub since: Timestamp,
}

/// Accounts and rooms in whose archives something waits to be read, by name and host, after this one: at most `owners`.
pub async fn waiting_owners(
    connection: &mut PgConnection,
    after: Option<&(String, String)>,
    owners: i64,
) -> Result<Vec<WaitingOwner>> {
    sqlx::query_as!(
        WaitingOwner,
        r#"-- waiting_owners
        SELECT bool_or(store = 'room') AS "is_room!", host, owner, min(stamped_at) AS "since!"
          FROM ephemerd.expiries
         WHERE chat IS NOT NULL AND (owner, host) > ($1, $2)
         GROUP BY owner, host
         ORDER BY owner, host
         LIMIT $3"#,
        after.map_or("", |it| it.0.as_str()),
        after.map_or("", |it| it.1.as_str()),
        owners,
    )
    .fetch_all(connection)
    .await
    .named("waiting_owners")
}

/// Local parts of users in whose archives something waits to be read, on any host: the first by name, at most `users`.
pub async fn waiting_users(connection: &mut PgConnection, users: usize) -> Result<Vec<String>> {
    // A loose scan over the index: one probe a user, however much waits.
    sqlx::query_scalar!(
        r#"-- waiting_users
        WITH RECURSIVE users(owner, number) AS (
            SELECT min(owner), 1 FROM ephemerd.expiries WHERE chat IS NOT NULL
            UNION ALL
            SELECT (SELECT min(e.owner) FROM ephemerd.expiries AS e WHERE e.chat IS NOT NULL AND e.owner > users.owner),
                   number + 1
              FROM users WHERE owner IS NOT NULL AND number < $1)
        SELECT owner AS "owner!" FROM users WHERE owner IS NOT NULL"#,
        i32::try_from(users).unwrap_or(i32::MAX),
    )
    .fetch_all(connection)
    .await
    .named("waiting_users")
}

/// Starts timers, those of copies in the offline queue and of what follows too, and wakes all daemons. What would find the
/// entries again is forgotten, but not whether every member of a room has read it. Returns those that did start: others may
/// have gone since.
pub async fn start_read(
    connection: &mut PgConnection,
    started: &[Started],
) -> Result<Vec<StartedBy>> {
    if started.is_empty() {
        return Ok(Vec::new());
    }
    let earliest = started.iter().map(|it| it.due_at.timestamp_micros()).min().unwrap_or_default();
    let found = sqlx::query!(
        r#"-- start_read
        WITH started AS (
            UPDATE ephemerd.expiries AS e
               SET runs_from = k.runs_from, started_by = k.started_by,
                   due_at = least(k.due_at, e.due_at),
                   reason = CASE WHEN e.due_at < k.due_at THEN e.reason ELSE 'timer' END,
                   chat = NULL, message = NULL, timer_us = NULL,
                   sender_nick = NULL, sender_jid = NULL, sender_id = NULL,
                   readers = NULL, read_at = NULL, read_by = NULL, judged = k.by_everyone, retry_at = NULL, attempts = 0
              FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::timestamptz[], $7::boolean[])
                   AS k(id, runs_from, started_by, due_at, by_everyone)
             WHERE e.id = k.id AND e.phase = 'pending' AND e.started_by = 'unread'
            RETURNING e.id, e.host, e.owner, e.archive_id, e.runs_from, e.started_by, e.due_at, e.reason),
        copies AS (
            UPDATE ephemerd.expiries AS q
               SET runs_from = s.runs_from, started_by = s.started_by, due_at = s.due_at, reason = s.reason
              FROM started AS s
             WHERE q.owner = s.owner AND q.copy_of = s.archive_id AND q.host = s.host
               AND q.store = 'queue' AND q.phase = 'pending')
        SELECT id, started_by AS "by!", pg_notify($5, $6) IS NULL AS notified FROM started"#,
        &started.iter().map(|it| it.id).collect::<Vec<_>>(),
        &started.iter().map(|it| it.start.at).collect::<Vec<_>>(),
        &started.iter().map(|it| it.start.by.to_string()).collect::<Vec<_>>(),
        &started.iter().map(|it| it.due_at).collect::<Vec<_>>(),
        CHANNEL,
        earliest.to_string(),
        &started.iter().map(|it| it.by_everyone).collect::<Vec<_>>(),
    )
    .fetch_all(&mut *connection)
    .await
    .named("start_read")?;
    let ids: Vec<i64> = found.iter().map(|row| row.id).collect();
    take_along(connection, &ids).await?;
    Ok(found.into_iter().filter_map(|row| row.by.parse().ok()).collect())
}

/// Copies in the offline queue, by (host, owner, archive id), of messages that were read before the copies were
/// recorded, or that have a receipt: they go with them.
pub async fn align_copies(connection: &mut PgConnection, ids: &[(&str, &str, &str)]) -> Result<()> {
    let column = |of: fn(&(&str, &str, &str)) -> String| ids.iter().map(of).collect::<Vec<_>>();
    let received: Vec<String> =
        StartedBy::ALL.iter().filter(|it| it.is_received()).map(ToString::to_string).collect();
    sqlx::query!(
        "-- align_copies
         UPDATE ephemerd.expiries AS q
            SET runs_from = a.runs_from, started_by = a.started_by, due_at = a.due_at, reason = a.reason
           FROM unnest($1::text[], $2::text[], $3::text[]) AS k(host, owner, archive_id)
           JOIN ephemerd.expiries AS a
             ON a.owner = k.owner AND a.archive_id = k.archive_id AND a.host = k.host AND a.store = 'archive'
          WHERE a.phase = 'pending' AND a.started_by = ANY ($4)
            AND q.owner = k.owner AND q.copy_of = k.archive_id AND q.host = k.host
            AND q.store = 'queue' AND q.phase = 'pending'",
        &column(|it| it.0.to_owned()),
        &column(|it| it.1.to_owned()),
        &column(|it| it.2.to_owned()),
        &received,
    )
    .execute(connection)
    .await
    .named("align_copies")?;
    Ok(())
}

/// Which of these owners, by position, showed within 30 days that they had read something.
pub async fn readers(connection: &mut PgConnection, owners: &[(&str, &str)]) -> Result<Vec<usize>> {
    let found = sqlx::query_scalar!(
        r#"-- readers
        SELECT k.position AS "position!"
          FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(host, owner, position)
          JOIN ephemerd.readers AS r ON r.owner = k.owner AND r.host = k.host
         WHERE r.seen_on >= (clock_timestamp() AT TIME ZONE 'UTC')::date - 30"#,
        &owners.iter().map(|it| it.0.to_owned()).collect::<Vec<_>>(),
        &owners.iter().map(|it| it.1.to_owned()).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
    .named("readers")?;
    Ok(found.into_iter().filter_map(position).collect())
}

/// Records when these owners last showed that they had read something.
pub async fn note_readers(
    connection: &mut PgConnection,
    readers: &[((&str, &str), Timestamp)],
) -> Result<()> {
    if readers.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- note_readers
         INSERT INTO ephemerd.readers (host, owner, seen_on)
         SELECT host, owner, max((at AT TIME ZONE 'UTC')::date)
           FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS k(host, owner, at)
          GROUP BY host, owner ORDER BY owner, host
         ON CONFLICT (owner, host) DO UPDATE SET seen_on = excluded.seen_on
          WHERE readers.seen_on < excluded.seen_on",
        &readers.iter().map(|it| it.0.0.to_owned()).collect::<Vec<_>>(),
        &readers.iter().map(|it| it.0.1.to_owned()).collect::<Vec<_>>(),
        &readers.iter().map(|it| it.1).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await
    .named("note_readers")?;
    Ok(())
}

/// Forgets readers who have shown nothing for 30 days.
pub(super) async fn forget_readers(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "-- forget_readers
         DELETE FROM ephemerd.readers
          WHERE seen_on < (clock_timestamp() AT TIME ZONE 'UTC')::date - 30",
    )
    .execute(connection)
    .await
    .named("forget_readers")?;
    Ok(())
}

fn micros(timer: Duration) -> i64 {
    i64::try_from(timer.as_micros()).unwrap_or(i64::MAX)
}
