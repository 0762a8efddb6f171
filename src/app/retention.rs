//! Retention by age: what goes, and accepting that it does.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::{Error, connect, open_archive, settings::age_settings};
use crate::{
    config::Config,
    database::{self, Named as _},
    ledger::{self, AgeStanding, Announced},
    model::Finding,
    ops::{self, AgeOutlook},
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

/// Whether anything goes by its age now, for `check`. What is wrong with the ledger's tables is found elsewhere.
pub(super) async fn check(connection: &mut PgConnection, config: &Config) -> Option<Finding> {
    let settings = age_settings(config);
    settings.retention.shortest()?;
    let state = ledger::age_state(connection).await.ok()?;
    let now = state.now;
    Some(match AgeStanding::of(state, &settings.policy()) {
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
    })
}

/// What goes by its age, and whether this configuration's policy is the one that was announced last.
pub async fn age_outlook(config: &Config) -> Result<(AgeOutlook, bool), Error> {
    let settings = age_settings(config);
    let mut connection = connect(config).await?;
    let counted = async {
        // One owner may have millions of rows, and nobody waits for us.
        sqlx::query("-- preview_patience\nSET statement_timeout = '1h'")
            .execute(&mut connection)
            .await
            .named("preview_patience")?;
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
