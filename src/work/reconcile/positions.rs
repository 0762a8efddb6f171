//! Positions that clients published (XEP-0490) and that ejabberd keeps in a table of its own, changed in place: no tail sees
//! them, so they are looked up from the accounts in whose archives something waits to be read.

use sqlx::PgConnection;
use tokio::time::{Duration, Instant};

use super::{
    Context, Reconciled,
    evidence::{Before, Named, Proof, start},
};
use crate::{
    archive::{Position, Published},
    database::Result,
    ledger::{self, WaitingOwner},
    model::{Occupant, Start, StartedBy, Store, Timestamp, bare_jid},
    policy, stanza,
    work::base::count,
};

/// Accounts that one transaction looks at.
const OWNERS: i64 = 500;
/// Looking takes at most one part in this many of the time.
const RESTING_PARTS: u32 = 20;
/// Where nothing shows positions, this is asked again so late.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Accounts are looked at in rounds: where the current one is, and when it goes on.
#[derive(Debug, Clone, Default)]
pub(in crate::work) struct Round {
    after: Option<(String, String)>,
    rests_until: Option<Instant>,
}

impl Round {
    /// Whether it goes on now.
    pub(in crate::work) fn is_due(&self) -> bool {
        self.rests_until.is_none_or(|until| Instant::now() >= until)
    }
}

/// Starts the timers of what the published positions of some accounts show. Returns how the round goes on.
pub(in crate::work) async fn notice_positions(
    connection: &mut PgConnection,
    round: &Round,
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<Round> {
    let looks = context.rules.looks_for_readers() && context.rules.timers.read_evidence.mds;
    let Some(archive) = context.archive.filter(|it| looks && it.may_have_positions()) else {
        return Ok(Round::default());
    };
    if !round.is_due() {
        return Ok(round.clone());
    }
    let began = Instant::now();
    if !archive.has_positions(connection).await? {
        return Ok(Round { after: None, rests_until: Some(began + ASK_AGAIN) });
    }
    let owners = ledger::waiting_owners(connection, round.after.as_ref(), OWNERS).await?;
    let (rooms, accounts): (Vec<&WaitingOwner>, Vec<_>) = owners.iter().partition(|it| it.is_room);
    let mut proofs = Vec::new();
    if !accounts.is_empty() {
        let positions =
            archive.positions(connection, Published::ByAccounts, &asked(&accounts)).await?;
        proofs.extend(positions.iter().filter_map(|it| proof(&accounts, it, context)));
    }
    if !rooms.is_empty() && context.rules.looks_for_readers_in(Store::Room) {
        let positions = archive.positions(connection, Published::OfRooms, &asked(&rooms)).await?;
        proofs.extend(positions.iter().filter_map(|it| proof(&rooms, it, context)));
    }
    reconciled.started.extend(start(connection, &proofs, context, true).await?);
    let last = owners.last().filter(|_| count(owners.len()) >= OWNERS);
    Ok(Round {
        after: last.map(|it| (it.owner.clone(), it.host.clone())),
        rests_until: Some(Instant::now() + began.elapsed() * RESTING_PARTS),
    })
}

fn asked<'a>(owners: &[&'a WaitingOwner]) -> Vec<(&'a str, &'a str, Timestamp)> {
    owners.iter().map(|it| (it.host.as_str(), it.owner.as_str(), it.since)).collect()
}

/// Such an item may name only its owner's own archive, or the room's that it is about.
fn proof(owners: &[&WaitingOwner], position: &Position, context: Context<'_>) -> Option<Proof> {
    let WaitingOwner { is_room, host, owner, .. } = owners.get(position.asked)?;
    let own = bare_jid(owner, host);
    let named = stanza::displayed_item(&position.xml).filter(|it| it.by == own)?;
    let reader = Occupant { jid: Some(position.reader.clone()), ..Occupant::default() };
    if *is_room && context.rules.rooms.ignores(&reader) {
        return None;
    }
    let at = policy::archived(position.stamp, context.now).at;
    Some(Proof {
        host: host.clone(),
        owner: owner.clone(),
        chat: position.chat.clone(),
        named: Named::UptoArchived(named.id),
        start: Start { at, by: StartedBy::Mds },
        before: Before::Time(at),
        has_whole_seconds: false,
        upto: None,
        reader: is_room.then_some(reader),
    })
}
