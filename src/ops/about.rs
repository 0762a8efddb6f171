//! What is kept of one owner, until when and why.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::erasable::count_messages;
use crate::{
    archive::{Archive, Reach, ScopeAge},
    database::{self, Result},
    ledger::{self, AgeStanding, OwnerEntries, OwnerFiles, StandingWish},
    model::{LATEST, Limit, Store, Timestamp},
    policy::{self, Applied, Retention},
};

/// Whom a question is about, and what the answer depends on.
#[derive(Debug, Clone, Copy)]
pub struct AboutWhom<'a> {
    /// The virtual host, or the rooms' domain.
    pub host: &'a str,
    /// The user's or the room's local part.
    pub owner: &'a str,
    /// How long messages are kept.
    pub retention: &'a Retention,
    /// By which the ledger knows that policy.
    pub policy: &'a [u8],
    /// Count no further than so many messages in each store.
    pub most: i64,
}

/// What is kept of one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The stores in which there is anything.
    pub stores: Vec<AboutStore>,
    /// The archive itself was read; otherwise only the ledger was, which has nothing of messages without a timer or hint.
    pub archive_was_read: bool,
    /// What this owner uploaded and is to go.
    pub files: OwnerFiles,
    /// Where the retention policy stands; `None` if nothing goes by its age.
    pub retention: Option<AgeStanding>,
    /// What holds there are: for the operator. Nothing else in here depends on them.
    pub holds: OwnerHolds,
    /// What the owner wishes, followed or not.
    pub wishes: Vec<StandingWish>,
    /// The database's clock.
    pub now: Timestamp,
}

/// The holds that concern an owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerHolds {
    /// Holds in force on anything of the owner's.
    pub in_force: i64,
    /// Messages with a timer or hint that they keep.
    pub messages: i64,
}

/// What is kept of one owner in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AboutStore {
    /// The store.
    pub store: Store,
    /// The messages, but for placeholders; `None` if the archive was not read.
    pub messages: Option<ScopeAge>,
    /// What the ledger has of them.
    pub recorded: OwnerEntries,
    /// How long they are kept by the retention policy, and which rule says so.
    pub applied: Applied,
    /// When the oldest is too old by that; `None` if its age does not matter, or is not known.
    pub too_old_from: Option<Timestamp>,
}

/// Counts what is kept of one owner. Without an archive only the ledger is asked.
pub async fn about(
    connection: &mut PgConnection,
    archive: Option<&Archive>,
    whom: AboutWhom<'_>,
) -> Result<About> {
    let owner = (whom.host, whom.owner);
    let messages = match archive {
        Some(archive) => {
            let all = Reach { upto: LATEST, queued_upto: i64::MAX };
            count_messages(connection, archive, (owner, None), all, whom.most).await?
        }
        None => BTreeMap::new(),
    };
    let recorded = ledger::owner_entries(connection, owner).await?;
    let mut holds =
        OwnerHolds { in_force: ledger::holds_of_owner(connection, owner).await?, messages: 0 };
    let mut stores = Vec::new();
    for store in Store::ALL {
        let counted = messages.get(&store).copied().unwrap_or_default();
        let recorded = recorded.iter().find(|it| it.0 == store);
        if counted.rows == 0 && recorded.is_none() {
            continue;
        }
        let (recorded, on_hold) = recorded.map(|it| (it.1, it.2)).unwrap_or_default();
        holds.messages += on_hold;
        let applied = whom.retention.applied(store, whom.host, whom.owner);
        let too_old_from = match applied.limit {
            Limit::Never => None,
            Limit::After(age) => counted.span.map(|(oldest, _)| policy::later(oldest, age)),
        };
        let messages = archive.map(|_| counted);
        stores.push(AboutStore { store, messages, recorded, applied, too_old_from });
    }
    let retention = match whom.retention.shortest() {
        Some(_) => Some(AgeStanding::of(ledger::age_state(connection).await?, whom.policy)),
        None => None,
    };
    let files = ledger::files_of_owner(connection, owner).await?;
    let wishes = ledger::wishes_of_owner(connection, owner).await?;
    let now = database::now(connection).await?;
    let archive_was_read = archive.is_some();
    Ok(About { stores, archive_was_read, files, retention, holds, wishes, now })
}
