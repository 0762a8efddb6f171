//! The first day: an archive that is old and large, and people who talk on.

use std::time::Duration;

use ephemerd_lab::rows::Bulk;
use ephemerd_lab::snapshot::PROSODY_ARCHIVES;
use ephemerd_lab::{Lab, PATIENCE, Result, Shadow, eventually};
use sqlx::PgPool;

use crate::sent_watch::now;
use crate::support::start;

const TIMER: f64 = 2.0;
const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='2'/>";
const MARKED: &str = "xml LIKE '%urn:xmpp:ephemeral:0%'";

/// Where the sweep is, where it ends, and whether it has.
async fn sweep(pool: &PgPool) -> Result<(i64, i64, bool)> {
    let select = "SELECT position, upto, completed_at IS NOT NULL FROM ephemerd.sweeps";
    Ok(sqlx::query_as(select).fetch_optional(pool).await?.unwrap_or_default())
}

/// Live messages go on time while 200,000 old rows are swept beside them; history is held until the
/// operator lets it go.
#[tokio::test(flavor = "multi_thread")]
async fn live_messages_never_wait_for_history() -> Result<()> {
    let lab = Lab::prosody().await?;
    let pool = lab.database.superuser();
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    let bulk = Bulk { rows: 200_000, marked_every: 20, ..Bulk::default() };
    bulk.insert(pool).await?;
    peter.chat("rosa@localhost", "old words", EPHEMERAL).await?;
    rosa.wait_for_body("old words").await?;
    let shadow = Shadow::cast(&lab.database, PROSODY_ARCHIVES).await?;

    let config = lab.daemon_config().set("sweep.rows_per_second", 15_000);
    let daemon = start(&config).await?;
    eventually("the sweep to begin", PATIENCE, async || {
        Ok((sweep(pool).await?.0 > 0).then_some(()))
    })
    .await?;
    let said = now(pool).await?;
    peter.chat("rosa@localhost", "new words", EPHEMERAL).await?;
    rosa.wait_for_body("new words").await?;
    let stand = "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%>new words<%'";
    let gone = eventually("new words go", PATIENCE, async || {
        let stand: i64 = sqlx::query_scalar(stand).fetch_one(pool).await?;
        Ok(if stand == 0 { Some(now(pool).await?) } else { None })
    })
    .await?;
    let (position, upto, completed) = sweep(pool).await?;
    assert!(!completed && position < upto, "the sweep is under way still: {position} of {upto}");
    let took = gone - said;
    assert!((TIMER..TIMER + 1.0 + 2.0).contains(&took), "on time, in spite of it: {took}");

    eventually("the sweep ends", Duration::from_secs(60), async || {
        Ok(sweep(pool).await?.2.then_some(()))
    })
    .await?;
    let old = bulk.marked() + 2;
    let held = "SELECT count(*) FROM ephemerd.expiries WHERE backlog";
    assert_eq!(sqlx::query_scalar::<_, i64>(held).fetch_one(pool).await?, old);
    let standing = shadow.compare(&lab.database, MARKED).await?;
    assert_eq!((standing.marked_left, standing.unmarked_harmed), (old, 0), "history is held");
    assert!(daemon.terminate().await?.success());

    // The operator lets it go by the configuration.
    let _daemon = start(&config.set("erase.backlog", "erase")).await?;
    eventually("history goes", Duration::from_secs(60), async || {
        let standing = shadow.compare(&lab.database, MARKED).await?;
        Ok((standing.marked_left == 0).then_some(()))
    })
    .await?;
    let standing = shadow.compare(&lab.database, MARKED).await?;
    assert_eq!(standing.unmarked_harmed, 0, "nothing else does: {standing:?}");
    Ok(())
}
