//! Two versions of the daemon on one ledger, as during an upgrade.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, eventually};

use crate::support::start;

const DONE: &str = "ephemerd_sweep_last_completion_timestamp_seconds";

/// A sweep of this version leaves unchanged what a newer version recorded for a reason of its own, and it
/// goes when due. Entries that this version knows are corrected.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_recorded_is_not_changed_and_goes_when_it_is_due() -> Result<()> {
    let lab = Lab::database_apart().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    let daemon = start(&config).await?;
    daemon.wait_for_figure(DONE, &[], PATIENCE, |at| at > 0.0).await?;
    let now: i64 =
        sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?;
    let value = "<message type='chat' from='rosa@localhost/x' to='peter@localhost'><body>words</body>\
                 <ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3600'/></message>";
    let rows =
        ["reason", "start", "known"].map(|key| ArchiveRow::archive("peter", key, now, value));
    insert(pool, &rows).await?;
    let recorded =
        "SELECT count(*) FROM ephemerd.expiries, ephemerd.cursors WHERE row_number <= position";
    eventually("three entries behind the cursor", PATIENCE, async || {
        let count: i64 = sqlx::query_scalar(recorded).fetch_one(pool).await?;
        Ok((count == 3).then_some(()))
    })
    .await?;

    sqlx::raw_sql(
        "UPDATE ephemerd.expiries SET due_at = '9999-12-31 23:59:59+00';
         UPDATE ephemerd.expiries SET reason = 'unread' WHERE archive_id = 'reason';
         UPDATE ephemerd.expiries SET started_by = 'read' WHERE archive_id = 'start';
         UPDATE ephemerd.sweeps SET requested_at = now()",
    )
    .execute(pool)
    .await?;
    let changed = "SELECT count(*) FROM ephemerd.expiries
                    WHERE due_at < now() + interval '2 hours' AND archive_id = 'known'";
    eventually("what this version knows is corrected", PATIENCE, async || {
        let count: i64 = sqlx::query_scalar(changed).fetch_one(pool).await?;
        Ok((count == 1).then_some(()))
    })
    .await?;
    let left: Vec<(String, String)> = sqlx::query_as(
        "SELECT reason, started_by FROM ephemerd.expiries WHERE due_at > now() + interval '2 hours' ORDER BY archive_id",
    )
    .fetch_all(pool)
    .await?;
    let named = |reason: &str, start: &str| (reason.to_owned(), start.to_owned());
    assert_eq!(left, [named("unread", "archived"), named("timer", "read")]);

    sqlx::raw_sql("UPDATE ephemerd.expiries SET due_at = now(); NOTIFY ephemerd, '0'")
        .execute(pool)
        .await?;
    let words = "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%words%'";
    eventually("all three have gone", PATIENCE, async || {
        let count: i64 = sqlx::query_scalar(words).fetch_one(pool).await?;
        Ok((count == 0).then_some(()))
    })
    .await
}
