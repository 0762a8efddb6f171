//! Which message another one belongs to, as far as the ledger knows.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{
    belonging::{Belonging, Follows, MOST_LINKS, Target, take_along},
    record::position,
};
use crate::{
    database::{Error, Named, Result},
    model::{RowKey, Store, Timestamp},
    stanza::{self, Signature},
};

/// Maximum number of messages of one name and sender that are looked at, the newest first: there is one, unless ids are
/// used again, and its copy in the queue.
const NAMESAKES: i64 = 20;
/// How long to wait until entries are settled that another transaction has claimed.
const PATIENCE: &str = "2s";

/// The nearest message before another one that has the name which that one gives, of those that the ledger knows. Others,
/// which nothing asks to go, may be nearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// What the other one may inherit.
    pub target: Target,
    /// When it was archived.
    pub stamped_at: Timestamp,
    /// Where its row is; `None` if it is gone.
    pub store: Option<Store>,
    /// The rows with this name that the ledger knows: store, archive id, digest.
    rows: Vec<(String, String, Vec<u8>)>,
}

impl Nearest {
    /// Of the messages that have the name: the newest; of those with one stamp, which may mean a second, the one that goes
    /// last. A copy in the queue counts only where the archive has no row.
    fn of(mut named: Vec<NamedRow>) -> Option<Self> {
        let archived: Vec<String> = named.iter().filter_map(|it| it.archive_id.clone()).collect();
        let rows = named.iter().filter_map(NamedRow::identity).collect();
        named.retain(|it| it.copy_of.as_ref().is_none_or(|of| !archived.contains(of)));
        let nearest = named.into_iter().max_by_key(|it| (it.stamped_at, it.due_at, -it.entry))?;
        let NamedRow { entry, via, runs_from, due_at, via_due_at, backlog, stamped_at, .. } =
            nearest;
        let links = i16::try_from(nearest.links).ok().filter(|it| *it <= MOST_LINKS)?;
        let follows = Follows { entry, links };
        let target = Target { follows, via, runs_from, due_at, via_due_at, backlog };
        let store = nearest.store.and_then(|it| it.parse().ok());
        Some(Self { target, stamped_at, store, rows })
    }

    /// Whether a row of the archive may be the one that is meant, rather than this one: it was archived in between or with
    /// either, has the name and the sender, as far as that can be told, and the ledger does not know it.
    pub fn is_not_meant(
        &self,
        by: &Belonging<'_>,
        row: &RowKey,
        (xml, beside): (Option<&str>, Option<&str>),
    ) -> bool {
        let is_known = |it: &(String, String, Vec<u8>)| {
            it.0 == row.store.as_str() && it.1 == row.archive_id && it.2 == row.digest
        };
        let is_between = row.stamped_at >= self.stamped_at && row.stamped_at <= by.row.stamped_at;
        if !is_between || row == by.row || self.rows.iter().any(is_known) {
            return false;
        }
        let Some(xml) = xml else { return true };
        // What was erased is a placeholder now; if it is the same one, that is what is meant.
        let is_blank = stanza::read(xml).is_ok_and(|facts| facts.expired_until.is_some());
        if is_blank && row.stamped_at == self.stamped_at {
            return false;
        }
        let other = Signature::of(xml, row, beside);
        other.is_none_or(|it| by.signature.may_mean(by.to, &it, row))
    }
}

/// A message that has the name.
struct NamedRow {
    position: i64,
    entry: i64,
    via: i64,
    links: i32,
    runs_from: Timestamp,
    due_at: Timestamp,
    via_due_at: Timestamp,
    backlog: bool,
    stamped_at: Timestamp,
    store: Option<String>,
    archive_id: Option<String>,
    digest: Option<Vec<u8>>,
    copy_of: Option<String>,
}

impl NamedRow {
    fn identity(&self) -> Option<(String, String, Vec<u8>)> {
        Some((self.store.clone()?, self.archive_id.clone()?, self.digest.clone()?))
    }
}

/// The nearest messages that these may belong to, by position: pending ones, and those that were erased within a day.
pub async fn targets(
    connection: &mut PgConnection,
    belonging: &[Belonging<'_>],
) -> Result<Vec<(usize, Nearest)>> {
    if belonging.is_empty() {
        return Ok(Vec::new());
    }
    let column = |of: fn(&Belonging<'_>) -> String| belonging.iter().map(of).collect::<Vec<_>>();
    let flag = |of: fn(&Belonging<'_>) -> bool| belonging.iter().map(of).collect::<Vec<bool>>();
    let found = sqlx::query_as!(
        NamedRow,
        r#"-- targets
        WITH k AS MATERIALIZED (
            SELECT k.position, k.host, k.owner, k.in_room, k.named, k.by_senders_id, k.archived_at,
                   hashtext(k.owner) & 1023 AS owner_group,
                   ephemerd.message_digest(c.reading_key, 'id', k.host, k.owner, k.chat, k.named) AS name,
                   CASE WHEN k.in_room
                        THEN ephemerd.message_digest(c.reading_key, 'archive id', k.host, k.owner, k.named)
                   END AS archived_as,
                   CASE WHEN k.same_sender
                        THEN ephemerd.message_digest(c.reading_key, 'sender', k.host, k.owner, k.chat, k.sender)
                   END AS sender,
                   ARRAY(SELECT ephemerd.message_digest(c.reading_key, 'sender', k.host, k.owner, k.chat, s.sender)
                           FROM unnest(CASE WHEN k.same_sender THEN ARRAY[k.sender] ELSE ARRAY['owner', 'other'] END)
                                AS s(sender)) AS senders
              FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bool[], $7::bool[], $8::bool[],
                          $10::timestamptz[])
                   WITH ORDINALITY AS k(host, owner, chat, sender, named, in_room, by_senders_id, same_sender,
                                        archived_at, position)
             CROSS JOIN ephemerd.control AS c),
        found AS (
            SELECT k.position, e.*
              FROM k CROSS JOIN LATERAL unnest(k.senders) AS s(sender) CROSS JOIN LATERAL (
                   SELECT e.id, e.store, e.archive_id, e.digest, e.copy_of, e.stamped_at, e.follows, e.links,
                          e.runs_from, e.due_at, e.backlog
                     FROM ephemerd.expiries AS e
                    WHERE hashtext(e.owner) & 1023 = k.owner_group AND e.name = k.name AND k.by_senders_id
                      AND e.sender = s.sender AND e.stamped_at <= k.archived_at
                      AND e.owner = k.owner AND e.host = k.host AND (e.store = 'room') = k.in_room
                      AND e.phase = 'pending'
                    ORDER BY e.stamped_at DESC, e.id DESC LIMIT $9) AS e
             UNION ALL
            SELECT k.position, e.id, e.store, e.archive_id, e.digest, e.copy_of, e.stamped_at, e.follows, e.links,
                   e.runs_from, e.due_at, e.backlog
              FROM k JOIN ephemerd.expiries AS e
                ON e.owner = k.owner AND e.archive_id = k.named AND e.store = 'room' AND e.host = k.host
             WHERE k.in_room AND e.phase = 'pending' AND (k.sender IS NULL OR e.sender = k.sender)
               AND e.stamped_at <= k.archived_at)
        SELECT f.position AS "position!", coalesce(r.id, f.id) AS "entry!", f.id AS "via!", coalesce(f.links, 0) + 1 AS "links!",
               coalesce(r.runs_from, f.runs_from) AS "runs_from!", coalesce(r.due_at, f.due_at) AS "due_at!",
               f.due_at AS "via_due_at!", coalesce(r.backlog, f.backlog) AS "backlog!", f.stamped_at AS "stamped_at!",
               f.store, f.archive_id, f.digest, f.copy_of
          FROM found AS f LEFT JOIN ephemerd.expiries AS r ON r.id = f.follows AND r.phase = 'pending'
         UNION ALL
        SELECT k.position, 0, 0, 1, g.gone_at, g.gone_at, g.gone_at, false, g.stamped_at, NULL, NULL, NULL, NULL
          FROM k CROSS JOIN LATERAL (
               SELECT g.gone_at, n.stamped_at
                 FROM ephemerd.gone AS g
                CROSS JOIN LATERAL unnest(g.names, g.senders, g.stamps) AS n(name, sender, stamped_at)
                WHERE g.owner_group = k.owner_group & 127 AND g.gone_at > now() - interval '1 day'
                  AND (k.name = ANY (g.names) OR k.archived_as = ANY (g.names))
                  AND (n.name = k.name AND k.by_senders_id AND n.sender = ANY (k.senders)
                       OR n.name = k.archived_as AND (k.sender IS NULL OR n.sender = k.sender))
                  AND n.stamped_at <= k.archived_at
                ORDER BY n.stamped_at DESC LIMIT 1) AS g"#,
        &column(|it| it.row.host.clone()),
        &column(|it| it.row.owner.clone()),
        &column(|it| it.signature.chat.clone()),
        &column(|it| it.signature.sender.clone()),
        &column(|it| it.to.id.clone()),
        &flag(|it| it.row.store == Store::Room),
        &flag(|it| it.names_senders_id()),
        &flag(|it| it.to.bond.needs_same_sender()),
        NAMESAKES,
        &belonging.iter().map(|it| it.row.stamped_at).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
    .named("targets")?;
    let mut named: BTreeMap<usize, Vec<NamedRow>> = BTreeMap::new();
    for row in found {
        let Some(at) = position(row.position) else { continue };
        named.entry(at).or_default().push(row);
    }
    Ok(named.into_iter().filter_map(|(at, named)| Some((at, Nearest::of(named)?))).collect())
}

/// What was just recorded follows these entries. It gets their times again, and moves with them from now on: until our
/// transaction ends nobody else changes them. Whoever has claimed some, or changes them, is waited for. Returns those that
/// are not pending any more.
pub async fn keep_up(connection: &mut PgConnection, followed: &[i64]) -> Result<Vec<i64>> {
    if followed.is_empty() {
        return Ok(Vec::new());
    }
    let before = patience(connection, PATIENCE).await?;
    let pending = sqlx::query_scalar!(
        r#"-- keep_up
        SELECT id FROM ephemerd.expiries WHERE id = ANY ($1) AND phase = 'pending'
         ORDER BY next_at, id FOR SHARE"#,
        followed,
    )
    .fetch_all(&mut *connection)
    .await
    .named("keep_up")?;
    patience(connection, &before).await?;
    take_along(connection, &pending).await?;
    Ok(followed.iter().copied().filter(|id| !pending.contains(id)).collect())
}

/// Sets how long statements of this transaction wait for a lock. Returns how long they did.
async fn patience(connection: &mut PgConnection, patience: &str) -> Result<String> {
    const NAME: &str = "follow_patience";
    let before = sqlx::query!(
        r#"-- follow_patience
        WITH before AS MATERIALIZED (SELECT current_setting('lock_timeout') AS patience)
        SELECT before.patience AS "patience!", set_config('lock_timeout', $1, true) AS now FROM before"#,
        patience,
    )
    .fetch_one(connection)
    .await
    .named(NAME)?;
    (!before.patience.is_empty())
        .then_some(before.patience)
        .ok_or_else(|| Error::unexpected(NAME, "no lock_timeout"))
}
