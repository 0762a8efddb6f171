//! What would go if somebody asked for it: counted in the archive itself.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::{
    archive::{Archive, Reach, Scope, ScopeAge, Table},
    database::{self, Result},
    ledger,
    model::{Store, Timestamp},
};

/// Rows that are read at once, where only the rows themselves say which chat they are of.
const ROWS_AT_ONCE: i64 = 500;

/// What would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasable {
    /// Messages by store, but for placeholders. What is on hold is counted too.
    pub stores: BTreeMap<Store, ScopeAge>,
    /// Holds in force on anything of the owner's: for the operator.
    pub holds: i64,
    /// What was archived before then would go: never later than now.
    pub before: Timestamp,
    /// And, unless it was asked for what is older, what is in the queue now.
    pub queued_upto: i64,
}

impl Erasable {
    /// How many messages that is.
    pub fn messages(&self) -> i64 {
        self.stores.values().map(|it| it.rows).sum()
    }
}

/// Counts what would go of an owner's (host and local part), of all chats or of one with this bare address, if it was
/// archived before then; no further than `most` in each store.
pub async fn erasable(
    connection: &mut PgConnection,
    archive: &Archive,
    (owner, with): ((&str, &str), Option<&str>),
    before: Option<Timestamp>,
    most: i64,
) -> Result<Erasable> {
    let now = database::now(connection).await?;
    let (before, queued_upto) = match before.filter(|it| *it < now) {
        Some(before) => (before, 0),
        None => (now, archive.newest_queued(connection).await?),
    };
    let reach = Reach { upto: before, queued_upto };
    let stores = count_messages(connection, archive, (owner, with), reach, most).await?;
    let holds = ledger::holds_of_owner(connection, owner).await?;
    Ok(Erasable { stores, holds, before, queued_upto })
}

/// An owner's messages by store. A room may be in the archive under several virtual hosts.
pub(super) async fn count_messages(
    connection: &mut PgConnection,
    archive: &Archive,
    (owner, with): ((&str, &str), Option<&str>),
    reach: Reach,
    most: i64,
) -> Result<BTreeMap<Store, ScopeAge>> {
    let mut stores = BTreeMap::new();
    for (table, scope) in archive.scopes_of(connection, owner, with, reach).await? {
        let store = scope.store;
        let counted = match scope.is_told_by_reading() {
            true => read(connection, &table, scope, most).await?,
            false => table.ages(connection, &[scope], most).await?.into_iter().next(),
        };
        if let Some(counted) = counted.filter(|it| it.rows > 0) {
            let known: &mut ScopeAge = stores.entry(store).or_default();
            *known = known.plus(counted);
        }
    }
    Ok(stores)
}

/// Counts by reading the rows.
async fn read(
    connection: &mut PgConnection,
    table: &Table,
    mut scope: Scope,
    most: i64,
) -> Result<Option<ScopeAge>> {
    let mut counted = ScopeAge::default();
    loop {
        let (rows, is_all) =
            table.old(connection, std::slice::from_ref(&scope), ROWS_AT_ONCE).await?;
        for row in &rows {
            if row.peer == scope.chat && !row.is_blank && !row.is_early {
                let at = Some((row.key.stamped_at, row.key.stamped_at));
                counted = counted.plus(ScopeAge { rows: 1, span: at, ..ScopeAge::default() });
            }
        }
        match rows.last() {
            Some(last) if !is_all && counted.rows < most => scope.after = last.place,
            _ => return Ok(Some(counted)),
        }
    }
}
