//! What goes by its age, read from the archive itself.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::{
    archive::{Archive, Holder},
    database::{self, Result},
    ledger::{self, Announced},
    model::{Store, Timestamp},
    ops::text::{count, time},
    policy::Retention,
};

/// Owners whose rows one statement counts.
const OWNERS_AT_ONCE: i64 = 50;

/// What is too old in one store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aged {
    /// Messages.
    pub rows: i64,
    /// The length of their stanzas in bytes.
    pub bytes: i64,
    /// When the oldest of them was archived.
    pub oldest: Option<Timestamp>,
}

/// What goes by its age, and when that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgeOutlook {
    /// What is too old now. What is on hold is counted too, and the newest row of each archive, which stays without its
    /// text.
    pub stores: BTreeMap<Store, Aged>,
    /// When the first message becomes too old, or became so; `None` if nothing goes by its age.
    pub first: Option<Timestamp>,
    /// The policy that was announced last.
    pub announced: Option<Announced>,
    /// The database's clock.
    pub now: Timestamp,
}

/// What an announced policy waits for, and what was announced: for status and page. `None` if it waits for nothing.
pub fn age_waits(announced: &Announced, now: Timestamp) -> Option<String> {
    let at = time(announced.announced_at);
    if announced.waits() {
        let most = count(announced.first_rows.saturating_sub(1));
        return Some(format!(
            "waits to be accepted: announced at {at}, more than {most} messages go first"
        ));
    }
    (announced.begins_at > now).then(|| {
        let (first, begins_at) = (count(announced.first_rows), time(announced.begins_at));
        format!("waits until {begins_at}: announced at {at}, messages that go first: {first}")
    })
}

/// Counts what is too old on these hosts.
pub async fn age_outlook(
    connection: &mut PgConnection,
    archive: &Archive,
    hosts: &[String],
    retention: &Retention,
) -> Result<AgeOutlook> {
    let now = database::now(connection).await?;
    let announced = ledger::age_state(connection).await?.announced;
    let mut outlook = AgeOutlook { stores: BTreeMap::new(), first: None, announced, now };
    if retention.shortest().is_none() {
        return Ok(outlook);
    }
    for table in archive.tables() {
        let mut after = Some(Holder::default());
        while let Some(from) = after.take() {
            let holders = table.holders(connection, &from, false, OWNERS_AT_ONCE).await?;
            let scopes = table.scopes(&holders, hosts, retention, now);
            let ages = table.ages(connection, &scopes, i64::MAX).await?;
            for (scope, age) in scopes.iter().zip(ages) {
                let Some(oldest) = age.oldest else { continue };
                let due = oldest + (now - scope.cutoff);
                outlook.first = Some(outlook.first.map_or(due, |first| first.min(due)));
                if age.rows > 0 {
                    let store = outlook.stores.entry(scope.store).or_default();
                    store.rows += age.rows;
                    store.bytes += age.bytes;
                    store.oldest = Some(store.oldest.map_or(oldest, |it| it.min(oldest)));
                }
            }
            after = holders.last().cloned();
        }
    }
    Ok(outlook)
}
