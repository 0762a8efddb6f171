//! Entries that wait until every member of a room has read the message: who has, by digests whose key stays in the
//! database, and for whom they wait.

use std::time::Duration;

use sqlx::PgConnection;

use super::READERS_CHANNEL;
use crate::{
    database::{Named, Result},
    model::{StartedBy, Timestamp},
};

/// Maximum number of digests noted of one entry: two for each member of the largest room that is waited for.
const MOST_READERS: i32 = 1_000;

/// Somebody has read an entry's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBy {
    /// The entry.
    pub id: i64,
    /// A keyed digest of who it is.
    pub reader: Vec<u8>,
    /// When it was shown, …
    pub at: Timestamp,
    /// … and by what.
    pub by: StartedBy,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The real bare address.
    pub jid: String,
    /// The room's own id of this member (XEP-0421), if the room has one.
    pub id: Option<String>,
}

/// An entry of a room, and whether all of these members have read its message.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The entry.
    pub id: i64,
    /// The row's stamp.
    pub stamped_at: Timestamp,
    /// When its timer starts if somebody never reads it.
    pub starts_at: Timestamp,
    /// How long its timer is.
    pub timer: Duration,
    /// Nobody among the members is missing but its sender.
    pub is_read: bool,
    /// The latest of what showed that somebody had read it: when, and what.
    pub last: Option<(Timestamp, StartedBy)>,
    /// Somebody was missing before, and nothing was shown since.
    pub was_judged: bool,
    /// How many digests of readers there are.
    pub readers: i32,
}

impl Judged {
    /// An entry that everyone has read, with its stamp, when its timer starts without that, and how long it is.
    pub const fn new(
        id: i64,
        stamped_at: Timestamp,
        starts_at: Timestamp,
        timer: Duration,
    ) -> Self {
        let (is_read, last, was_judged, readers) = (true, None, false, 0);
        Self { id, stamped_at, starts_at, timer, is_read, last, was_judged, readers }
    }
}

/// Notes who has read what waits for everyone, and tells all daemons. Returns of how many entries that was not known.
pub async fn note_room_readers(connection: &mut PgConnection, read: &[ReadBy]) -> Result<usize> {
    if read.is_empty() {
        return Ok(0);
    }
    let noted = sqlx::query!(
        "-- note_room_readers
         WITH new AS (
            SELECT k.id, k.reader, min(k.at) AS at, (array_agg(k.by ORDER BY k.at))[1] AS by
              FROM unnest($1::bigint[], $2::bytea[], $3::timestamptz[], $4::text[]) AS k(id, reader, at, by)
              JOIN ephemerd.expiries AS e ON e.id = k.id
             WHERE (k.reader = ANY (e.readers)) IS NOT TRUE
             GROUP BY k.id, k.reader),
         shown AS (
            SELECT id, array_agg(reader) AS readers, max(at) AS at, (array_agg(by ORDER BY at DESC))[1] AS by
              FROM new GROUP BY id),
         noted AS (
            UPDATE ephemerd.expiries AS e
               SET readers = e.readers || s.readers,
                   read_by = CASE WHEN e.read_at >= s.at THEN e.read_by ELSE s.by END,
                   read_at = greatest(e.read_at, s.at), judged = false
              FROM shown AS s
             WHERE e.id = s.id AND e.phase = 'pending' AND e.started_by = 'unread'
               AND coalesce(cardinality(e.readers), 0) < $5
            RETURNING e.id)
         SELECT id, pg_notify($6, '') IS NULL AS notified FROM noted",
        &read.iter().map(|it| it.id).collect::<Vec<_>>(),
        &read.iter().map(|it| it.reader.clone()).collect::<Vec<_>>(),
        &read.iter().map(|it| it.at).collect::<Vec<_>>(),
        &read.iter().map(|it| it.by.to_string()).collect::<Vec<_>>(),
        MOST_READERS,
        READERS_CHANNEL,
    )
    .fetch_all(connection)
    .await
    .named("note_room_readers")?;
    Ok(noted.len())
}

/// Rooms on these hosts, by name (local part, host), in which something waits: for somebody who was missing (`judged`), or
/// that was not judged since somebody read it, or at all. Those after this one, at most `rooms`.
pub async fn waiting_rooms(
    connection: &mut PgConnection,
    hosts: &[String],
    judged: bool,
    after: Option<&(String, String)>,
    rooms: i64,
) -> Result<Vec<(String, String)>> {
    let found = sqlx::query!(
        "-- waiting_rooms
         SELECT DISTINCT owner, host FROM ephemerd.expiries
          WHERE store = 'room' AND chat IS NOT NULL AND judged = $1 AND NOT backlog AND runs_from > clock_timestamp()
            AND host = ANY ($2) AND (owner, host) > ($3, $4)
          ORDER BY owner, host LIMIT $5",
        judged,
        hosts,
        after.map_or("", |it| it.0.as_str()),
        after.map_or("", |it| it.1.as_str()),
        rooms,
    )
    .fetch_all(connection)
    .await
    .named("waiting_rooms")?;
    Ok(found.into_iter().map(|row| (row.owner, row.host)).collect())
}

/// Which of the entries that wait in this room (host, local part) these members have all read, but for its sender; `None`
/// if its members are not known, so that all entries wait. Entries after this one by id, at most `entries`, by id.
pub async fn judge_room(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    members: Option<&[Member]>,
    after: i64,
    entries: i64,
) -> Result<Vec<Judged>> {
    let named = members.unwrap_or_default();
    let found = sqlx::query!(
        r#"-- judge_room
        WITH m AS MATERIALIZED (
            SELECT k.position, ephemerd.reading_digest('jid', $1::text, $2::text, k.jid) AS digest
              FROM unnest($3::text[]) WITH ORDINALITY AS k(jid, position)
            UNION ALL
            SELECT k.position, ephemerd.reading_digest('occupant', $1::text, $2::text, k.occupant)
              FROM unnest($4::text[]) WITH ORDINALITY AS k(occupant, position) WHERE k.occupant IS NOT NULL),
        e AS MATERIALIZED (
            SELECT id, stamped_at, runs_from, timer_us, readers, read_at, read_by, judged, sender_jid, sender_id
              FROM ephemerd.expiries
             WHERE owner = $2 AND host = $1 AND store = 'room' AND chat IS NOT NULL AND timer_us IS NOT NULL
               AND phase = 'pending' AND started_by = 'unread' AND NOT backlog AND runs_from > clock_timestamp()
               AND id > $6
             ORDER BY id LIMIT $7),
        r AS (
            SELECT e.id, count(DISTINCT m.position) AS members
              FROM e CROSS JOIN LATERAL unnest(e.readers || ARRAY[e.sender_jid, e.sender_id]) AS known(digest)
              JOIN m ON m.digest = known.digest
             GROUP BY e.id)
        SELECT e.id AS "id!", e.stamped_at AS "stamped_at!", e.runs_from AS "runs_from!", e.timer_us AS "timer_us!",
               e.read_at, e.read_by, e.judged AS "judged!", coalesce(cardinality(e.readers), 0) AS "readers!",
               ($5::boolean AND coalesce(r.members, 0) = cardinality($3::text[])) AS "is_read!"
          FROM e LEFT JOIN r ON r.id = e.id ORDER BY e.id"#,
        host,
        owner,
        &named.iter().map(|it| it.jid.clone()).collect::<Vec<_>>(),
        &named.iter().map(|it| it.id.clone()).collect::<Vec<_>>() as &[Option<String>],
        members.is_some(),
        after,
        entries,
    )
    .fetch_all(connection)
    .await
    .named("judge_room")?;
    let judged = found.into_iter().map(|row| {
        let timer = Duration::from_micros(row.timer_us.unsigned_abs());
        Judged {
            is_read: row.is_read,
            last: row.read_at.zip(row.read_by.and_then(|by| by.parse().ok())),
            was_judged: row.judged,
            readers: row.readers,
            ..Judged::new(row.id, row.stamped_at, row.runs_from, timer)
        }
    });
    Ok(judged.collect())
}

/// Entries on these hosts of which somebody is known to have read the message, as if nobody else were waited for: at most
/// `entries`, by id.
pub async fn partly_read(
    connection: &mut PgConnection,
    hosts: &[String],
    entries: i64,
) -> Result<Vec<Judged>> {
    let found = sqlx::query!(
        r#"-- partly_read
        SELECT id, stamped_at, runs_from, timer_us AS "timer_us!", read_at, read_by
          FROM ephemerd.expiries
         WHERE store = 'room' AND chat IS NOT NULL AND timer_us IS NOT NULL AND readers IS NOT NULL
           AND phase = 'pending' AND started_by = 'unread' AND NOT backlog AND host = ANY ($1)
         ORDER BY id LIMIT $2"#,
        hosts,
        entries,
    )
    .fetch_all(connection)
    .await
    .named("partly_read")?;
    let judged = found.into_iter().map(|row| {
        let timer = Duration::from_micros(row.timer_us.unsigned_abs());
        let last = row.read_at.zip(row.read_by.and_then(|by| by.parse().ok()));
        Judged { last, ..Judged::new(row.id, row.stamped_at, row.runs_from, timer) }
    });
    Ok(judged.collect())
}

/// Which of these entries' timers started when every member of the room had read the message.
pub async fn started_by_everyone(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "-- started_by_everyone
         SELECT id FROM ephemerd.expiries
          WHERE id = ANY ($1) AND store = 'room' AND started_by <> 'unread' AND judged ORDER BY id",
        ids,
    )
    .fetch_all(connection)
    .await
    .named("started_by_everyone")
}

/// Somebody is missing who has not read these. If somebody has read one of them since it was judged, it is judged again.
pub async fn note_judged(connection: &mut PgConnection, judged: &[&Judged]) -> Result<()> {
    if judged.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- note_judged
         UPDATE ephemerd.expiries AS e
            SET judged = true
           FROM unnest($1::bigint[], $2::int[]) AS k(id, readers)
          WHERE e.id = k.id AND e.phase = 'pending' AND e.started_by = 'unread' AND NOT e.judged
            AND coalesce(cardinality(e.readers), 0) = k.readers",
        &judged.iter().map(|it| it.id).collect::<Vec<_>>(),
        &judged.iter().map(|it| it.readers).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await
    .named("note_judged")?;
    Ok(())
}
