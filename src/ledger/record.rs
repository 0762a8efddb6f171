use sqlx::PgConnection;

use super::{CHANNEL, Follows, Name, Phase, belonging::take_along};
use crate::{
    database::{Named, Result},
    model::{Reason, RowKey, Start, StartedBy, Timestamp},
};

/// What is recorded of one archived row: identity and verdict, but no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The row.
    pub row: RowKey,
    /// A queue row: the archive id that it is a copy of.
    pub copy_of: Option<String>,
    /// When the timer started, and what started it.
    pub start: Start,
    /// When it goes.
    pub due_at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// Its phase.
    pub phase: Phase,
    /// From before the first start: held until the operator accepts it.
    pub backlog: bool,
    /// By which holds know the other side of the chat ([`peers`](super::peers)); `None` in rooms, and where the row does
    /// not say.
    pub peer: Option<Vec<u8>>,
    /// By what others may name it ([`names`](super::names)), as long as it has its text.
    pub name: Option<Name>,
    /// The entry that it goes with.
    pub follows: Option<Follows>,
}

impl Expiry {
    /// The recorded start, if this entry is still about the row with that number and stamp.
    pub fn start_of(&self, row_number: i64, stamped_at: Timestamp) -> Option<Start> {
        let is_same = self.row.row_number == row_number && self.row.stamped_at == stamped_at;
        is_same.then_some(self.start)
    }

    /// The start that the ledger keeps once the words are gone: whether and when they were read is forgotten with them.
    pub fn start_but_for_reading(&self) -> Start {
        if self.start.by.may_tell_of_reading() {
            return Start { at: self.row.stamped_at, by: StartedBy::Archived };
        }
        self.start
    }

    /// Recorded by a newer version, for a reason that this one does not know.
    pub fn is_newer(&self) -> bool {
        self.start.by == StartedBy::Newer
    }
}

/// An entry in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: i64,
    /// Its content.
    pub expiry: Expiry,
}

/// Records new expiries and notifies all daemons. Returns the new ids with their positions; existing entries
/// are left as they are.
pub async fn record(
    connection: &mut PgConnection,
    expiries: &[Expiry],
) -> Result<Vec<(usize, i64)>> {
    if expiries.is_empty() {
        return Ok(Vec::new());
    }
    let columns = Columns::of(expiries);
    let recorded = sqlx::query!(
        r#"-- record
        WITH recorded AS (
            INSERT INTO ephemerd.expiries (store, host, owner, archive_id, row_number, stamped_at,
                                           copy_of, runs_from, due_at, reason, phase, backlog,
                                           digest, started_by, peer, name, sender, follows, links)
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                                 $6::timestamptz[], $7::text[], $8::timestamptz[],
                                 $9::timestamptz[], $10::text[], $11::text[], $12::bool[],
                                 $13::bytea[], $14::text[], $15::bytea[], $16::bytea[], $17::bytea[],
                                 $18::bigint[], $19::smallint[])
            ON CONFLICT DO NOTHING
            RETURNING id, store, host, owner, archive_id, digest)
        SELECT k.position AS "position!", recorded.id
          FROM recorded
          JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[], $13::bytea[])
               WITH ORDINALITY AS k(store, host, owner, archive_id, digest, position)
         USING (store, host, owner, archive_id, digest)
         ORDER BY k.position"#,
        &columns.stores,
        &columns.hosts,
        &columns.owners,
        &columns.archive_ids,
        &columns.row_numbers,
        &columns.stamps,
        &columns.copies as &[Option<String>],
        &columns.starts,
        &columns.dues,
        &columns.reasons,
        &columns.phases,
        &columns.backlogs,
        &columns.digests,
        &columns.started_by,
        &columns.peers as &[Option<Vec<u8>>],
        &columns.names as &[Option<Vec<u8>>],
        &columns.senders as &[Option<Vec<u8>>],
        &columns.follows as &[Option<i64>],
        &columns.links as &[Option<i16>],
    )
    .fetch_all(&mut *connection)
    .await
    .named("record")?;
    if !recorded.is_empty() {
        notify(connection, expiries.iter().map(|expiry| expiry.due_at).min()).await?;
    }
    Ok(recorded.iter().filter_map(|row| Some((position(row.position)?, row.id))).collect())
}

/// Changes entries' verdict, start and identity numbers; what follows them goes with them. A placeholder is never changed, and neither is
/// whether an entry is held: the operator may have accepted it since it was read.
pub async fn change(connection: &mut PgConnection, entries: &[Entry]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let expiries: Vec<Expiry> = entries.iter().map(|entry| entry.expiry.clone()).collect();
    let columns = Columns::of(&expiries);
    let ids: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
    sqlx::query!(
        "-- change
         UPDATE ephemerd.expiries AS e
            SET row_number = k.row_number, stamped_at = k.stamped_at, copy_of = k.copy_of,
                runs_from = k.runs_from, started_by = k.started_by,
                due_at = k.due_at, reason = k.reason, peer = k.peer,
                name = k.name, sender = k.sender, follows = k.follows, links = k.links,
                chat = CASE WHEN k.started_by = 'unread' THEN e.chat END,
                message = CASE WHEN k.started_by = 'unread' THEN e.message END,
                timer_us = CASE WHEN k.started_by = 'unread' THEN e.timer_us END,
                sender_nick = CASE WHEN k.started_by = 'unread' THEN e.sender_nick END,
                sender_jid = CASE WHEN k.started_by = 'unread' THEN e.sender_jid END,
                sender_id = CASE WHEN k.started_by = 'unread' THEN e.sender_id END,
                readers = CASE WHEN k.started_by = 'unread' THEN e.readers END,
                read_at = CASE WHEN k.started_by = 'unread' THEN e.read_at END,
                read_by = CASE WHEN k.started_by = 'unread' THEN e.read_by END,
                judged = k.started_by = e.started_by AND e.judged,
                retry_at = NULL, attempts = 0
           FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[],
                       $5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[], $9::bytea[],
                       $10::bytea[], $11::bytea[], $12::bigint[], $13::smallint[])
                AS k(id, row_number, stamped_at, copy_of, runs_from, due_at, reason, started_by, peer,
                     name, sender, follows, links)
          WHERE e.id = k.id AND e.phase = 'pending'",
        &ids,
        &columns.row_numbers,
        &columns.stamps,
        &columns.copies as &[Option<String>],
        &columns.starts,
        &columns.dues,
        &columns.reasons,
        &columns.started_by,
        &columns.peers as &[Option<Vec<u8>>],
        &columns.names as &[Option<Vec<u8>>],
        &columns.senders as &[Option<Vec<u8>>],
        &columns.follows as &[Option<i64>],
        &columns.links as &[Option<i16>],
    )
    .execute(&mut *connection)
    .await
    .named("change")?;
    take_along(connection, &ids).await?;
    notify(connection, expiries.iter().map(|expiry| expiry.due_at).min()).await
}

/// Wakes all daemons when this transaction commits: something is due at `earliest`.
pub(super) async fn notify(
    connection: &mut PgConnection,
    earliest: Option<Timestamp>,
) -> Result<()> {
    let micros = earliest.map_or(0, |earliest| earliest.timestamp_micros());
    sqlx::query!("-- notify\nSELECT pg_notify($1, $2)", CHANNEL, micros.to_string())
        .execute(connection)
        .await
        .named("notify")?;
    Ok(())
}

/// Converts SQL's ordinality, which counts from 1, to a position.
pub(super) fn position(ordinality: i64) -> Option<usize> {
    usize::try_from(ordinality).ok()?.checked_sub(1)
}

/// Expiries as the arrays for `unnest`.
struct Columns {
    stores: Vec<String>,
    hosts: Vec<String>,
    owners: Vec<String>,
    archive_ids: Vec<String>,
    row_numbers: Vec<i64>,
    stamps: Vec<Timestamp>,
    copies: Vec<Option<String>>,
    starts: Vec<Timestamp>,
    started_by: Vec<String>,
    dues: Vec<Timestamp>,
    reasons: Vec<String>,
    phases: Vec<String>,
    backlogs: Vec<bool>,
    digests: Vec<Vec<u8>>,
    peers: Vec<Option<Vec<u8>>>,
    names: Vec<Option<Vec<u8>>>,
    senders: Vec<Option<Vec<u8>>>,
    follows: Vec<Option<i64>>,
    links: Vec<Option<i16>>,
}

impl Columns {
    fn of(expiries: &[Expiry]) -> Self {
        fn column<T>(expiries: &[Expiry], of: impl Fn(&Expiry) -> T) -> Vec<T> {
            expiries.iter().map(of).collect()
        }
        Self {
            stores: column(expiries, |it| it.row.store.to_string()),
            hosts: column(expiries, |it| it.row.host.clone()),
            owners: column(expiries, |it| it.row.owner.clone()),
            archive_ids: column(expiries, |it| it.row.archive_id.clone()),
            row_numbers: column(expiries, |it| it.row.row_number),
            stamps: column(expiries, |it| it.row.stamped_at),
            copies: column(expiries, |it| it.copy_of.clone()),
            starts: column(expiries, |it| it.start.at),
            started_by: column(expiries, |it| it.start.by.to_string()),
            dues: column(expiries, |it| it.due_at),
            reasons: column(expiries, |it| it.reason.to_string()),
            phases: column(expiries, |it| it.phase.to_string()),
            backlogs: column(expiries, |it| it.backlog),
            digests: column(expiries, |it| it.row.digest.clone()),
            peers: column(expiries, |it| it.peer.clone()),
            names: column(expiries, |it| it.name.as_ref().map(|it| it.name.clone())),
            senders: column(expiries, |it| it.name.as_ref().map(|it| it.sender.clone())),
            follows: column(expiries, |it| it.follows.map(|it| it.entry)),
            links: column(expiries, |it| it.follows.map(|it| it.links)),
        }
    }
}
