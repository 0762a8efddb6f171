//! The first day: an old and large archive, and people who keep talking.

use std::time::Duration;

use ephemerd_lab::rows::Bulk;
use ephemerd_lab::{Lab, PATIENCE, Result, eventually};
use sqlx::PgPool;

use crate::sent_watch::now;
use crate::support::start;

const TIMER: f64 = 2.0;
/// For 200,000 rows, on a busy machine.
const LONG: Duration = Duration::from_secs(240);
const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='2'/>";

/// The sweep's position, its end, and whether it has finished.
async fn sweep(pool: &PgPool) -> Result<(i64, i64, bool)> {
    let select = "SELECT position, upto, completed_at IS NOT NULL FROM ephemerd.sweeps";
    Ok(sqlx::query_as(select).fetch_optional(pool).await?.unwrap_or_default())
}

/// How many old rows still have their marked text, and a digest of the unmarked ones.
async fn history(pool: &PgPool, upto: i64) -> Result<(i64, String)> {
    let select = "SELECT count(*) FILTER (WHERE value LIKE '%urn:xmpp:ephemeral:0%'),
                         md5(string_agg(md5(t::text), '' ORDER BY sort_id)
                             FILTER (WHERE value NOT LIKE '%urn:xmpp:ephemeral:0%'
                                       AND value NOT LIKE '%urn:ephemerd:0%'))
                    FROM prosodyarchive t WHERE sort_id <= $1";
    Ok(sqlx::query_as(select).bind(upto).fetch_one(pool).await?)
}

/// Live messages go on time while 200,000 old rows are swept; old messages are held, unless the operator
/// decides otherwise.
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
    let newest = "SELECT max(sort_id) FROM prosodyarchive";
    let newest: i64 = sqlx::query_scalar(newest).fetch_one(pool).await?;
    let before = history(pool, newest).await?;
    assert_eq!(before.0, bulk.marked() + 2);

    // Twenty seconds and more.
    let config = lab.daemon_config().set("sweep.rows_per_second", 10_000);
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
    assert!(gone - said >= TIMER, "never early: {}", gone - said);

    eventually("the sweep ends", LONG, async || Ok(sweep(pool).await?.2.then_some(()))).await?;
    let held = "SELECT count(*) FROM ephemerd.expiries WHERE backlog";
    assert_eq!(sqlx::query_scalar::<_, i64>(held).fetch_one(pool).await?, before.0);
    assert_eq!(history(pool, newest).await?, before, "history is held");
    assert!(daemon.terminate().await?.success());

    // The same first day, but for an operator who releases old messages in the configuration.
    sqlx::query("DROP SCHEMA ephemerd CASCADE").execute(pool).await?;
    lab.database.apply_grants().await?;
    let _daemon =
        start(&config.set("erase.backlog", "erase").set("sweep.rows_per_second", 0)).await?;
    let after = eventually("history goes", LONG, async || {
        Ok(Some(history(pool, newest).await?).filter(|it| it.0 == 0))
    })
    .await?;
    assert_eq!(after.1, before.1, "and nothing else does");
    Ok(())
}
