//! What owners wish for the timers of their messages: from then on these are judged as if their senders had asked for it.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{Context, Read};
use crate::{
    database::Result,
    ledger::{self, TimerWish},
    model::{OwnerGroups, Rules, Store, WishRules},
    policy::{self, TimersWished},
};

/// Owners of whose rows those are looked for, too, that may be encrypted.
pub(in crate::work) async fn encrypted_owners(
    connection: &mut PgConnection,
    rules: WishRules,
) -> Result<OwnerGroups> {
    match rules.followed {
        true => ledger::encrypted_owners(connection).await,
        false => Ok(OwnerGroups::NONE),
    }
}

/// Applies what the owners of these rows wish. Nobody is asked about whose rows have neither a timer nor encrypted words.
pub(super) async fn follow_wishes(
    connection: &mut PgConnection,
    reads: &mut [Read<'_>],
    context: Context<'_>,
) -> Result<()> {
    let rules = context.rules;
    if !rules.wishes.followed {
        return Ok(());
    }
    let mut rows: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (at, read) in reads.iter().enumerate().filter(|(_, read)| may_be_wished(read)) {
        let key = &read.row.key;
        rows.entry((&key.host, &key.owner)).or_default().push(at);
    }
    let owners: Vec<(&str, &str)> = rows.keys().copied().collect();
    let wishes = ledger::timer_wishes(connection, &owners).await?;
    let mut wished: BTreeMap<usize, TimersWished> = BTreeMap::new();
    for wish in &wishes {
        let rows = owners.get(wish.position).and_then(|it| rows.get(it));
        for at in rows.into_iter().flatten() {
            let Some(read) = reads.get(*at) else { continue };
            let known = wished.entry(*at).or_default();
            *known = known.and(of_row(wish, read, rules));
        }
    }
    for (at, wished) in wished {
        if let Some(read) = reads.get_mut(at) {
            read.facts = read.facts.take().map(|facts| wished.applied(facts));
        }
    }
    Ok(())
}

/// It is in its owner's own archive or queue, and has a timer, or may have one that is not to be seen.
fn may_be_wished(read: &Read<'_>) -> bool {
    let is_meant = |facts| TimersWished::may_be_once(facts) || TimersWished::may_be_timed(facts);
    read.facts.as_ref().is_some_and(is_meant) && read.row.key.store != Store::Room
}

/// What the wish says of this message.
fn of_row(wish: &TimerWish, read: &Read<'_>, rules: &Rules) -> TimersWished {
    let is_other =
        wish.with.as_ref().is_some_and(|chat| read.row.other_side().as_ref() != Some(chat));
    if is_other {
        return TimersWished::default();
    }
    policy::timers_wished(wish.once_since, &wish.encrypted, (read.row.stamp.at, rules))
}
