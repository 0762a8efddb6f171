//! A policy is announced before it is followed: what would go at first is counted and logged, and then nothing goes until
//! the grace is over and, if that is much, until the operator has accepted it.

use sqlx::PgPool;
use tracing::{info, warn};

use super::AgeSettings;
use crate::{
    archive::{Archive, Holder},
    database::{self, Named, Result, in_time},
    ledger::{self, NewPolicy},
    policy,
    work::TRANSACTION_LIMIT,
};

/// Owners whose rows one statement counts: so few that it ends in time, however many rows each has.
const OWNERS_AT_ONCE: i64 = 50;

/// Announces the policy, unless it is the one that was announced last.
pub(super) async fn announce(
    pool: &PgPool,
    archive: &Archive,
    settings: &AgeSettings,
) -> Result<()> {
    let new = settings.policy();
    let is_off = settings.retention.shortest().is_none();
    let known = {
        let mut connection = pool.acquire().await.named("age_connect")?;
        ledger::age_state(&mut connection).await?.announced
    };
    match known {
        Some(known) if known.policy == new => return Ok(()),
        // Nothing has ever gone by its age, and nothing shall.
        None if is_off => return Ok(()),
        _ => {}
    }
    let most = i64::from(settings.confirm_above).saturating_add(1);
    let first_rows = if is_off { 0 } else { first_rows(pool, archive, settings, most).await? };
    let must_accept = first_rows >= most;
    let new = NewPolicy { policy: &new, grace: settings.grace, first_rows, must_accept };
    let mut transaction = pool.begin().await.named("announce_begin")?;
    let is_new = ledger::announce(&mut transaction, new).await?;
    transaction.commit().await.named("announce_commit")?;
    if !is_new || is_off {
        return Ok(());
    }
    let grace_seconds = settings.grace.as_secs();
    if must_accept {
        warn!(
            help = "look at `ephemerd preview --age`, then run `ephemerd retention accept`",
            grace_seconds,
            "a retention policy is announced: more than {} messages would go, so it must be accepted",
            settings.confirm_above
        );
    } else {
        info!(
            help = "`ephemerd preview --age` shows more",
            grace_seconds, "a retention policy is announced: {first_rows} messages go at first"
        );
    }
    Ok(())
}

/// How many rows will be too old when the grace is over; counted no further than `most`.
async fn first_rows(
    pool: &PgPool,
    archive: &Archive,
    settings: &AgeSettings,
    most: i64,
) -> Result<i64> {
    let mut rows = 0;
    for table in archive.tables() {
        let mut after = Some(Holder::default());
        while let Some(from) = after.take().filter(|_| rows < most) {
            let page = in_time("age_count", TRANSACTION_LIMIT, async {
                let mut connection = pool.acquire().await.named("age_connect")?;
                let then = policy::later(database::now(&mut connection).await?, settings.grace);
                let holders = table.holders(&mut connection, &from, false, OWNERS_AT_ONCE).await?;
                let scopes = table.scopes(&holders, &settings.hosts, &settings.retention, then);
                let ages = table.ages(&mut connection, &scopes, most).await?;
                Ok::<_, database::Error>((holders.last().cloned(), ages))
            });
            let (last, ages) = page.await?;
            rows += ages.iter().map(|it| it.rows).sum::<i64>();
            after = last;
        }
    }
    Ok(rows.min(most))
}
