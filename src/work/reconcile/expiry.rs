//! What the ledger should say of one row.

use sqlx::PgConnection;

use super::{Context, read::Waits};
use crate::{
    archive::Row,
    database::Result,
    ledger::{self, Entry, Expiry, Phase},
    model::{Facts, Placement, Reason, Store, bare_jid},
    policy, stanza,
};

/// A row, and what its stanza says: `None` if it cannot be read.
pub(in crate::work) struct Read<'a> {
    pub(super) row: &'a Row,
    pub(super) facts: Option<Facts>,
    /// By which the ledger knows the other side of the chat.
    pub(super) peer: Option<Vec<u8>>,
}

/// Finds out by which the ledger knows the other sides of these rows' chats.
pub(super) async fn find_peers(
    connection: &mut PgConnection,
    reads: &mut [Read<'_>],
) -> Result<()> {
    let sides: Vec<(usize, String)> = (reads.iter().enumerate())
        .filter(|(_, read)| read.facts.is_some())
        .filter_map(|(at, read)| Some((at, read.other_side()?)))
        .collect();
    let chats: Vec<(&str, &str, &str)> = sides
        .iter()
        .filter_map(|(at, side)| {
            let key = &reads.get(*at)?.row.key;
            Some((key.host.as_str(), key.owner.as_str(), side.as_str()))
        })
        .collect();
    let peers = ledger::peers(connection, &chats).await?;
    for ((at, _), peer) in sides.iter().zip(peers) {
        if let Some(read) = reads.get_mut(*at) {
            read.peer = Some(peer);
        }
    }
    Ok(())
}

impl<'a> Read<'a> {
    pub(super) fn of(row: &'a Row) -> Self {
        Self { row, facts: row.xml.as_deref().and_then(|xml| stanza::read(xml).ok()), peer: None }
    }

    pub(in crate::work) fn all(rows: &'a [Row]) -> Vec<Self> {
        rows.iter().map(Self::of).collect()
    }

    /// The other side of the chat, as the row says it.
    fn other_side(&self) -> Option<String> {
        let key = &self.row.key;
        let xml = self.row.xml.as_deref().filter(|_| key.store != Store::Room)?;
        stanza::other_side(xml, &bare_jid(&key.owner, &key.host))
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
        let unread_for = context.rules.timers.unread_for;
        let unread = waits.unread.then(|| policy::unread(times.0, times.1, unread_for));
        let start = policy::start(known, held, times, unread);
        let (due_at, reason, phase) = match facts.expired_until {
            // Why it became a placeholder is no longer known; no metric shows it.
            Some(_) if !context.deletes_from(key.store) => return None,
            Some(until) => (until, Reason::Timer, Phase::Placeholder),
            None => {
                let placement = Placement::of(key.store, start, waits.undelivered);
                let (due_at, reason) = policy::judge(facts, &placement, context.rules).entry()?;
                (due_at, reason, Phase::Pending)
            }
        };
        let is_copy = key.store == Store::Queue && phase == Phase::Pending;
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
                None => phase == Phase::Pending && context.holds(key),
            },
            peer: self.peer.clone().or_else(|| entry.and_then(|it| it.expiry.peer.clone())),
        })
    }
}
