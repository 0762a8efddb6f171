//! Retention by age: what goes, and accepting that it does.

use std::time::Duration;

use chrono::TimeDelta;
use sqlx::{Connection as _, PgConnection};

use super::{Error, connect, count_in_peace, open_archive, settings::age_settings};
use crate::{
    archive::Archive,
    config::Config,
    database,
    ledger::{self, AgeStanding, Announced},
    model::{Finding, Store, Timestamp},
    ops::{self, AgeOutlook},
    work::age::AgeSettings,
};

/// What became of `retention accept`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// This policy is accepted now.
    Now(Announced),
    /// It did not have to be, or was accepted before.
    Before(Announced),
    /// The policy of this configuration was not announced by any daemon, or another one was since.
    NotAnnounced,
}

/// Accepts the policy of this configuration, if it was announced.
pub async fn accept_policy(config: &Config) -> Result<Accepted, Error> {
    let mut connection = connect(config).await?;
    let accepted = accept(&mut connection, &age_settings(config).policy()).await;
    let _ = connection.close().await;
    Ok(accepted?)
}

async fn accept(connection: &mut PgConnection, policy: &[u8]) -> database::Result<Accepted> {
    match ledger::age_state(connection).await?.announced.filter(|it| it.policy == policy) {
        None => Ok(Accepted::NotAnnounced),
        Some(announced) if !announced.waits() => Ok(Accepted::Before(announced)),
        Some(announced) => Ok(match ledger::accept_policy(connection, policy).await? {
            true => Accepted::Now(announced),
            false => Accepted::NotAnnounced,
        }),
    }
}

/// Whether anything goes by its age now, for `check`, and which partitions are too old. What is wrong with the ledger's
/// tables is found elsewhere.
pub(super) async fn check(
    connection: &mut PgConnection,
    config: &Config,
    archive: Option<&Archive>,
) -> Vec<Finding> {
    let settings = age_settings(config);
    if settings.retention.shortest().is_none() {
        return Vec::new();
    }
    let Ok(state) = ledger::age_state(connection).await else { return Vec::new() };
    let now = state.now;
    let standing = AgeStanding::of(state, &settings.policy());
    let mut findings = vec![of_standing(&standing, &settings, now)];
    if let Some(archive) = archive.filter(|_| standing.is_in_force()) {
        findings.extend(old_partitions(connection, archive, &settings, now).await.ok().flatten());
    }
    findings
}

/// Partitions of which all is too old, unless something in them may have to stay.
async fn old_partitions(
    connection: &mut PgConnection,
    archive: &Archive,
    settings: &AgeSettings,
    now: Timestamp,
) -> database::Result<Option<Finding>> {
    let AgeSettings { hosts, retention, .. } = settings;
    let before = |stores: &[Store]| {
        let age = TimeDelta::from_std(retention.longest(stores, hosts)?).ok()?;
        now.checked_sub_signed(age)
    };
    let names = archive.partitions_before(connection, before).await?;
    if names.is_empty()
        || ledger::holds(connection, None).await?.iter().any(|it| it.in_force)
        || !archive.unlisted_hosts(connection, hosts).await?.is_empty()
    {
        return Ok(None);
    }
    Ok(Some(Finding::good(format!(
        "All is too old in these partitions, which can be dropped: {}.",
        names.join(", ")
    ))))
}

fn of_standing(standing: &AgeStanding, settings: &AgeSettings, now: Timestamp) -> Finding {
    match standing {
        AgeStanding::NotAnnounced => Finding::warning(
            "No daemon has announced the retention policy: nothing goes by it.",
            "start the daemon, or reload it",
        ),
        AgeStanding::Replaced(_) => Finding::warning(
            "Another retention policy was announced since: nothing goes by the one in this configuration.",
            "give all daemons the same [retention] and archive.hosts, then reload one of them",
        ),
        AgeStanding::Unaccepted(_) => Finding::warning(
            format!(
                "The retention policy waits to be accepted: more than {} messages would go.",
                settings.confirm_above
            ),
            "look at `ephemerd preview --age`, then run `ephemerd retention accept`",
        ),
        AgeStanding::InGrace(it) => Finding::good(format!(
            "Messages go by their age once the grace is over, in {}.",
            humantime::format_duration(Duration::from_secs(
                (it.begins_at - now).num_seconds().unsigned_abs()
            ))
        )),
        AgeStanding::InForce(_) => Finding::good("Messages go by their age."),
    }
}

/// What goes by its age, and whether this configuration's policy is the one that was announced last.
pub async fn age_outlook(config: &Config) -> Result<(AgeOutlook, bool), Error> {
    let settings = age_settings(config);
    let mut connection = connect(config).await?;
    let counted = async {
        count_in_peace(&mut connection).await?;
        let (archive, _) = open_archive(&mut connection, config).await?;
        let (hosts, retention) = (&settings.hosts, &settings.retention);
        Ok(ops::age_outlook(&mut connection, &archive, hosts, retention).await?)
    };
    let counted: Result<AgeOutlook, Error> = counted.await;
    let _ = connection.close().await;
    let outlook = counted?;
    let policy = settings.policy();
    let is_ours = outlook.announced.as_ref().is_some_and(|it| it.policy == policy);
    Ok((outlook, is_ours))
}
