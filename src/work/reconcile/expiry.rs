//! What the ledger should say of one row.

use sqlx::PgConnection;

use super::{Context, read::Waits};
use crate::{
    archive::Row,
    database::Result,
    ledger::{self, Entry, Expiry, Heir, Name, Phase, Target},
    model::{BelongsTo, Facts, Placement, Reason, RowKey, Start, StartedBy, Store},
    policy, stanza,
};

/// A row, and what its stanza says: `None` if it cannot be read.
pub(in crate::work) struct Read<'a> {
    pub(super) row: &'a Row,
    pub(super) facts: Option<Facts>,
    /// By which the ledger knows the other side of the chat.
    pub(super) peer: Option<Vec<u8>>,
    /// By what others may name its message.
    pub(super) name: Option<Name>,
    /// The message that it belongs to.
    pub(super) target: Option<Target>,
    /// What it names may be another message, which nothing asks to go: so it belongs to nothing.
    pub(super) names_another: bool,
}

/// Finds out by which the ledger knows the other sides of these rows' chats.
pub(super) async fn find_peers(
    connection: &mut PgConnection,
    reads: &mut [Read<'_>],
) -> Result<()> {
    let rows = reads.iter().enumerate().filter(|(_, read)| read.may_go());
    let rows: Vec<(usize, &Row)> = rows.map(|(at, read)| (at, read.row)).collect();
    for (at, peer) in peers(connection, &rows).await? {
        if let Some(read) = reads.get_mut(at) {
            read.peer = Some(peer);
        }
    }
    Ok(())
}

/// By which the ledger knows the other sides of these rows' chats, by position.
pub(super) async fn peers(
    connection: &mut PgConnection,
    rows: &[(usize, &Row)],
) -> Result<Vec<(usize, Vec<u8>)>> {
    let sides = rows.iter().filter_map(|(at, row)| Some((*at, &row.key, row.other_side()?)));
    let sides: Vec<(usize, &RowKey, String)> = sides.collect();
    let chats: Vec<(&str, &str, &str)> =
        sides.iter().map(|(_, key, side)| (&*key.host, &*key.owner, &**side)).collect();
    let peers = ledger::peers(connection, &chats).await?;
    Ok(sides.iter().map(|it| it.0).zip(peers).collect())
}

impl<'a> Read<'a> {
    pub(super) fn of(row: &'a Row) -> Self {
        let facts = row.xml.as_deref().and_then(|xml| stanza::read(xml).ok());
        Self { row, facts, peer: None, name: None, target: None, names_another: false }
    }

    pub(in crate::work) fn all(rows: &'a [Row]) -> Vec<Self> {
        rows.iter().map(Self::of).collect()
    }

    /// The message that it belongs to, as it names it.
    pub(super) fn belongs_to(&self) -> Option<&BelongsTo> {
        self.facts.as_ref()?.belongs_to.as_ref()
    }

    /// It may have an entry, unless it had one before: most of what may belong to others does not.
    pub(super) fn may_go(&self) -> bool {
        self.facts.as_ref().is_some_and(|it| {
            let asks = it.timers.valid > 0
                || it.hints.no_permanent_store
                || it.hints.no_store
                || it.legacy.is_some();
            self.target.is_some() || asks || it.belongs_to.is_none()
        })
    }

    /// It is to go once it was read.
    pub(super) fn goes_once(&self) -> bool {
        self.facts.as_ref().is_some_and(|it| it.once)
    }

    /// What the ledger should say of this row. A running timer keeps its start.
    pub(super) fn expiry(
        &self,
        entry: Option<&Entry>,
        waits: Waits,
        context: Context<'_>,
    ) -> Option<Expiry> {
        let (facts, key) = (self.facts.as_ref()?, &self.row.key);
        if let Some(newer) = entry.map(|it| &it.expiry).filter(|it| it.is_newer()) {
            return Some(newer.clone());
        }
        let known = entry.and_then(|it| it.expiry.start_of(key.row_number, key.stamped_at));
        let held = entry.is_some_and(|it| it.expiry.reason == Reason::Undelivered);
        let times = (self.row.stamp, context.now);
        let archived_at = policy::archived(times.0, times.1).at;
        let unread_for = context.rules.timers.unread_for;
        let unread = waits.unread.then(|| policy::unread(times.0, times.1, unread_for));
        let mut start = policy::start(known, held, times, unread);
        let mut heir = None;
        let (due_at, reason, phase) = match facts.expired_until {
            // Why it became a placeholder is no longer known; no metric shows it.
            Some(_) if !context.deletes_from(key.store) => return None,
            Some(until) => (until, Reason::Timer, Phase::Placeholder),
            None => {
                let placement = Placement::of(key.store, archived_at, start, waits.undelivered)
                    .not_received(facts.once && self.row.is_not_received());
                let mut judgement = policy::judge(facts, &placement, context.rules);
                heir = facts
                    .belongs_to
                    .as_ref()
                    .filter(|_| !self.names_another)
                    .and_then(|to| Heir::of(to, entry, self.target.as_ref()));
                if let Some(Heir { inherits, .. }) = heir {
                    if judgement.entry().is_none() {
                        start = Start { at: inherits.runs_from, by: StartedBy::Inherited };
                    }
                    judgement = policy::inherit(judgement, facts, inherits, archived_at);
                }
                let (due_at, reason) = judgement.entry()?;
                (due_at, reason, Phase::Pending)
            }
        };
        let is_pending = phase == Phase::Pending;
        let is_copy = key.store == Store::Queue && is_pending;
        let stanza_id = facts.last_stanza_id.as_ref().filter(|_| is_copy);
        Some(Expiry {
            row: key.clone(),
            copy_of: stanza_id.map(|it| it.id.clone()),
            start,
            due_at,
            reason,
            phase,
            backlog: match entry {
                Some(entry) => entry.expiry.backlog,
                None => is_pending && (context.holds(key) || heir.is_some_and(|it| it.backlog)),
            },
            peer: self.peer.clone().or_else(|| entry.and_then(|it| it.expiry.peer.clone())),
            name: (self.name.clone())
                .or_else(|| entry.and_then(|it| it.expiry.name.clone()))
                .filter(|_| is_pending),
            follows: heir.map(|it| it.follows),
        })
    }
}
