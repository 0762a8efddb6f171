//! What goes in the database alone: of owners without a hold all that is to go, but for newest rows. One statement deletes
//! it together with its entries, or nothing is done at all.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::{Erased, batch::place};
use crate::{
    archive::{Beside, Scope, Table},
    database::Result,
    ledger::{self, WalkPlace},
    model::Mode,
};

/// What went, and what is left.
pub(super) struct Taken {
    /// How many rows went.
    pub(super) erased: Erased,
    /// What is to be looked at row by row.
    pub(super) rest: Vec<Scope>,
    /// Where there was more than fits.
    pub(super) cut: Option<WalkPlace>,
}

impl Taken {
    /// All is left.
    pub(super) const fn nothing(rest: Vec<Scope>) -> Self {
        Self { erased: Erased::new(), rest, cut: None }
    }
}

/// Deletes at most about so many rows. `None` if anything stood in the way, a trigger or an entry that is claimed: then the
/// transaction must be rolled back. The claims' lock must be ours.
pub(super) async fn take(
    connection: &mut PgConnection,
    table: &Table,
    scopes: Vec<Scope>,
    rows: i64,
) -> Result<Option<Taken>> {
    let owners: Vec<_> = scopes.iter().map(|it| (it.host.as_str(), it.owner.as_str())).collect();
    let on_hold = ledger::owners_on_hold(connection, &owners).await?;
    let mut one_by_one: HashSet<usize> = on_hold.into_iter().collect();
    one_by_one.extend((0..).zip(&scopes).filter(|(_, it)| it.is_told_by_reading()).map(|it| it.0));
    let (at, free): (Vec<usize>, Vec<Scope>) =
        scopes.iter().cloned().enumerate().filter(|(at, _)| !one_by_one.contains(at)).unzip();
    if free.is_empty() {
        return Ok(Some(Taken::nothing(scopes)));
    }
    let beside = Beside {
        is_kept: ledger::HAS_ENTRIES,
        deletes: ledger::FORGETS,
        is_free: ledger::ALL_LOCKED,
    };
    let Some(taken) = table.delete_old(connection, &free, rows, beside).await? else {
        return Ok(Some(Taken::nothing(scopes)));
    };
    if taken.scopes.iter().any(|it| it.gone != it.rows) {
        return Ok(None);
    }
    let mut erased = Erased::new();
    let mut rest: Vec<(usize, Scope)> = Vec::new();
    for it in &taken.scopes {
        let Some((at, scope)) = at.get(it.scope).zip(free.get(it.scope)) else { continue };
        if it.gone > 0 {
            *erased.entry((scope.store, Mode::Delete)).or_default() += it.gone.unsigned_abs();
        }
        // All others are gone, so only the newest is looked at.
        if let Some(after) = it.before_newest {
            rest.push((*at, Scope { after, ..scope.clone() }));
        }
    }
    let cut = taken.cut.and_then(|(of, after)| Some((*at.get(of)?, place(free.get(of)?, after))));
    rest.extend(scopes.into_iter().enumerate().filter(|(at, _)| one_by_one.contains(at)));
    rest.sort_unstable_by_key(|(at, _)| *at);
    rest.retain(|(at, _)| cut.as_ref().is_none_or(|(last, _)| at <= last));
    let rest = rest.into_iter().map(|(_, scope)| scope).collect();
    Ok(Some(Taken { erased, rest, cut: cut.map(|(_, place)| place) }))
}
