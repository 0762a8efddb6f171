//! What a user may know of the own account.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    database::Result,
    ledger::{self, AgeStanding, KeptEntries},
    model::{Limit, Store, WishRules},
    policy::{self, Retention},
};

/// What is kept of one account, and whether what the rules say happens at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Erasing is paused.
    pub paused: bool,
    /// Messages go by the retention policy.
    pub ages: bool,
    /// How long the own archive keeps messages at most, as the user has set it.
    pub wished: Option<Duration>,
    /// Chats for which the user has set something.
    pub chats: usize,
    /// What the ledger has of the account; `None` if that is [too much](ledger::MOST_KEPT).
    pub entries: Option<Vec<KeptEntries>>,
}

/// Looks up what is kept of an account: host and local part, by these rules. `policy` is what the ledger knows the retention
/// policy by.
pub async fn kept(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    (retention, wishes): (&Retention, WishRules),
    policy: &[u8],
) -> Result<Kept> {
    let state = ledger::age_state(connection).await?;
    let paused = state.paused;
    let ages = retention.shortest().is_some() && AgeStanding::of(state, policy).is_in_force();
    let (wished, chats) = wished(connection, (host, owner), wishes).await?;
    let age = |store| {
        let limit = Some(retention.applied(store, host, owner).limit).filter(|_| ages);
        let wished = wished.filter(|_| store == Store::Archive);
        match policy::shorter(limit.unwrap_or_default(), wished) {
            Limit::After(age) => (store, Some(age)),
            Limit::Never => (store, None),
        }
    };
    let limits = [Store::Archive, Store::Queue].map(age);
    let entries = ledger::kept_of_owner(connection, (host, owner), limits).await?;
    Ok(Kept { paused, ages, wished, chats, entries })
}

/// How long the own archive keeps messages at most by its owner's wish, and for how many chats there are others.
async fn wished(
    connection: &mut PgConnection,
    account: (&str, &str),
    rules: WishRules,
) -> Result<(Option<Duration>, usize)> {
    if !rules.followed {
        return Ok((None, 0));
    }
    let standing = ledger::wishes_of_owner(connection, account).await?;
    let of_all = standing.iter().filter(|it| it.with.is_none());
    let wished = of_all.filter_map(|it| policy::wished(it.wish, rules)).min();
    Ok((wished, standing.iter().filter(|it| it.with.is_some()).count()))
}
