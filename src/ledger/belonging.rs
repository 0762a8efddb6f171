//! Messages that others belong to, found by what those name. The ids that senders give messages are known only by digests
//! whose key stays in the database.

use sqlx::PgConnection;

use super::{Entry, record::notify};
use crate::{
    database::{Named, Result},
    model::{BelongsTo, Inheritance, OwnerGroups, RowKey, Timestamp},
    stanza::{Signature, may_name_senders_id},
};

/// A message names another one, which names another one …: beyond so many, it goes by its own rule.
pub const MOST_LINKS: i16 = 100;

/// How a message may be named by others.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// The virtual host, or the rooms' domain.
    pub host: &'a str,
    /// The user's or the room's local part.
    pub owner: &'a str,
    /// The other side of the chat; the room's address.
    pub chat: &'a str,
    /// Who sent it, among those who write in that chat.
    pub sender: &'a str,
    /// The id that the sender gave it.
    pub id: Option<&'a str>,
    /// The archive's id.
    pub archive_id: &'a str,
}

impl<'a> Naming<'a> {
    /// How this row's message may be named.
    pub fn of(signature: &'a Signature, key: &'a RowKey) -> Self {
        let Signature { chat, sender, id } = signature;
        let (host, owner, archive_id) = (&key.host, &key.owner, &key.archive_id);
        Self { host, owner, chat, sender, id: id.as_deref(), archive_id }
    }
}

/// By what the ledger knows a message that others may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// A keyed digest of owner, chat and id.
    pub name: Vec<u8>,
    /// A keyed digest of the sender.
    pub sender: Vec<u8>,
}

/// A row whose message names the one that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Belonging<'a> {
    /// By what others may name it itself, and who sent it.
    pub signature: &'a Signature,
    /// The row.
    pub row: &'a RowKey,
    /// What it names.
    pub to: &'a BelongsTo,
}

impl Belonging<'_> {
    /// What is named may be an id that a sender gave; in rooms it may always be the archive's.
    pub fn names_senders_id(&self) -> bool {
        may_name_senders_id(self.row.store, self.to.bond)
    }
}

/// The message that another one belongs to. If that one belongs to a third, the third is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// How an entry follows it.
    pub follows: Follows,
    /// The entry of the message that is named, which follows it or is the same; 0 if its row is gone.
    pub via: i64,
    /// When its timer started.
    pub runs_from: Timestamp,
    /// When it goes, or went.
    pub due_at: Timestamp,
    /// When the message that is named goes, or went: its own timer may be shorter.
    pub via_due_at: Timestamp,
    /// It is held until the operator accepts it.
    pub backlog: bool,
}

/// The entry that another one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follows {
    /// Its id; 0 if its row is gone.
    pub entry: i64,
    /// Over how many messages it is named.
    pub links: i16,
}

/// What a row inherits, and from which entry.
#[derive(Debug, Clone, Copy)]
pub struct Heir {
    /// What it inherits.
    pub inherits: Inheritance,
    /// Whom it follows.
    pub follows: Follows,
    /// It is held until the operator accepts it.
    pub backlog: bool,
}

impl Heir {
    /// Of the message that it belongs to; else of the one that it was found to belong to, and that is not named any more.
    /// A message does not belong to itself, however long the way round is.
    pub fn of(to: &BelongsTo, entry: Option<&Entry>, target: Option<&Target>) -> Option<Self> {
        let bond = to.bond;
        let is_another = |it: &&Target| entry.is_none_or(|own| own.id != it.follows.entry);
        if let Some(target) = target.filter(is_another) {
            let Target { follows, runs_from, due_at, backlog, .. } = *target;
            return Some(Self {
                inherits: Inheritance { bond, runs_from, due_at },
                follows,
                backlog,
            });
        }
        let known = &entry?.expiry;
        let inherits = Inheritance { bond, runs_from: known.start.at, due_at: known.due_at };
        Some(Self { inherits, follows: known.follows?, backlog: known.backlog })
    }
}

/// By what the ledger knows these messages, in the same order.
pub async fn names(connection: &mut PgConnection, messages: &[Naming<'_>]) -> Result<Vec<Name>> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let column = |of: fn(&Naming<'_>) -> String| messages.iter().map(of).collect::<Vec<_>>();
    let ids: Vec<Option<String>> = messages.iter().map(|it| it.id.map(str::to_owned)).collect();
    sqlx::query_as!(
        Name,
        r#"-- names
        SELECT CASE WHEN k.id IS NULL
                    THEN ephemerd.message_digest(c.reading_key, 'archive id', k.host, k.owner, k.archive_id)
                    ELSE ephemerd.message_digest(c.reading_key, 'id', k.host, k.owner, k.chat, k.id)
               END AS "name!",
               ephemerd.message_digest(c.reading_key, 'sender', k.host, k.owner, k.chat, k.sender) AS "sender!"
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
               WITH ORDINALITY AS k(host, owner, chat, sender, id, archive_id, position)
         CROSS JOIN ephemerd.control AS c
         ORDER BY k.position"#,
        &column(|it| it.host.to_owned()),
        &column(|it| it.owner.to_owned()),
        &column(|it| it.chat.to_owned()),
        &column(|it| it.sender.to_owned()),
        &ids as &[Option<String>],
        &column(|it| it.archive_id.to_owned()),
    )
    .fetch_all(connection)
    .await
    .named("names")
}

/// Groups of owners to whose messages, pending or erased within a day, others may belong.
pub async fn named_owners(connection: &mut PgConnection) -> Result<OwnerGroups> {
    // Loose scans over the indexes: one probe a group, however many names there are.
    let groups = sqlx::query_scalar!(
        r#"-- named_owners
        WITH RECURSIVE pending(owner_group) AS (
            SELECT min(hashtext(owner) & 1023) FROM ephemerd.expiries WHERE name IS NOT NULL
            UNION ALL
            SELECT (SELECT min(hashtext(e.owner) & 1023) FROM ephemerd.expiries AS e
                     WHERE e.name IS NOT NULL AND hashtext(e.owner) & 1023 > pending.owner_group)
              FROM pending WHERE owner_group IS NOT NULL),
        gone(owner_group) AS (
            SELECT min(owner_group) FROM ephemerd.gone
            UNION ALL
            SELECT (SELECT min(g.owner_group) FROM ephemerd.gone AS g WHERE g.owner_group > gone.owner_group)
              FROM gone WHERE owner_group IS NOT NULL)
        SELECT owner_group AS "owner_group!" FROM pending WHERE owner_group IS NOT NULL
         UNION
        SELECT owner_group + 128 * part FROM gone CROSS JOIN generate_series(0, 7) AS part
         WHERE owner_group IS NOT NULL"#,
    )
    .fetch_all(connection)
    .await
    .named("named_owners")?;
    Ok(groups.into_iter().collect())
}

/// What follows these entries goes with them: it gets their times, and wakes all daemons. What has a timer of its own goes
/// no later than by that. What quotes any of them is cut when that one goes.
pub(super) async fn take_along(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let moved = sqlx::query_scalar!(
        r#"-- take_along
        WITH moved AS (
            UPDATE ephemerd.expiries AS f
               SET runs_from = CASE WHEN f.started_by = 'inherited' THEN e.runs_from ELSE f.runs_from END,
                   due_at = greatest(e.due_at, f.stamped_at),
                   reason = CASE WHEN f.reason = 'undelivered' THEN f.reason ELSE 'inherited' END
              FROM ephemerd.expiries AS e
             WHERE e.id = ANY ($1) AND f.follows = e.id AND e.phase = 'pending' AND f.phase = 'pending'
               AND (f.due_at > greatest(e.due_at, f.stamped_at)
                    OR f.started_by = 'inherited' AND f.due_at <> greatest(e.due_at, f.stamped_at))
            RETURNING f.id, f.due_at),
        -- One that follows another of these has moved with it.
        named AS (
            SELECT id, due_at FROM moved
             UNION ALL
            SELECT e.id, e.due_at FROM ephemerd.expiries AS e
             WHERE e.id = ANY ($1) AND e.phase = 'pending' AND e.id NOT IN (SELECT id FROM moved)),
        quoted AS (
            UPDATE ephemerd.quotes AS q SET due_at = greatest(n.due_at, q.stamped_at)
              FROM named AS n WHERE q.follows = n.id AND q.due_at <> greatest(n.due_at, q.stamped_at)
            RETURNING q.due_at)
        SELECT due_at AS "due_at!" FROM moved UNION ALL SELECT due_at FROM quoted"#,
        ids,
    )
    .fetch_all(&mut *connection)
    .await
    .named("take_along")?;
    match moved.into_iter().min() {
        Some(earliest) => notify(connection, Some(earliest)).await,
        None => Ok(()),
    }
}

/// Nothing asks for the rows of these entries to go any more: what only followed them is forgotten, and what has a timer of
/// its own goes by that, once its row is judged again. It waits for that: until then it still has the time at which it
/// would have gone with them.
pub async fn part(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    unfollow(connection, ids, &[]).await
}

/// What follows an entry over more messages than this may do so through one that follows nothing any more. It is parted as
/// well, unless it was just judged, like `but`.
pub async fn part_beyond(
    connection: &mut PgConnection,
    beyond: &[Follows],
    but: &[i64],
) -> Result<()> {
    if beyond.is_empty() {
        return Ok(());
    }
    let through = sqlx::query_scalar!(
        r#"-- part_beyond
        SELECT DISTINCT e.id FROM unnest($1::bigint[], $2::smallint[]) AS k(entry, links)
          JOIN ephemerd.expiries AS e ON e.follows = k.entry AND e.links > k.links
         WHERE e.phase = 'pending' AND e.id <> ALL ($3) AND k.entry > 0 ORDER BY e.id"#,
        &beyond.iter().map(|it| it.entry).collect::<Vec<_>>(),
        &beyond.iter().map(|it| it.links).collect::<Vec<_>>(),
        but,
    )
    .fetch_all(&mut *connection)
    .await
    .named("part_beyond")?;
    leave(connection, &through).await
}

/// The same of these entries alone, which were to follow what is not there any more.
pub async fn leave(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    unfollow(connection, &[], ids).await
}

async fn unfollow(
    connection: &mut PgConnection,
    followed: &[i64],
    followers: &[i64],
) -> Result<()> {
    if followed.is_empty() && followers.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- unfollow
         WITH parted AS (
             UPDATE ephemerd.expiries
                SET follows = NULL, links = NULL,
                    retry_at = greatest(retry_at, clock_timestamp() + interval '1 day')
              WHERE (follows = ANY ($1) OR id = ANY ($2)) AND phase = 'pending' AND started_by <> 'inherited'),
         left_alone AS (
             DELETE FROM ephemerd.expiries
              WHERE (follows = ANY ($1) OR id = ANY ($2)) AND phase = 'pending' AND started_by = 'inherited'
             RETURNING id)
         DELETE FROM ephemerd.quotes WHERE follows = ANY ($1) OR follows IN (SELECT id FROM left_alone)",
        followed,
        followers,
    )
    .execute(connection)
    .await
    .named("unfollow")?;
    Ok(())
}
