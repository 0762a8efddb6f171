//! `status` reports what the tables say.

use ephemerd_lab::rows::{ArchiveRow, Bulk, insert};
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, Server as _, eventually};
use serde_json::Value;

use crate::support::{marked, now, number, printed, run, start, told, wait_for_number};

const SWEPT: &str = "SELECT count(*) FROM ephemerd.sweeps, ephemerd.cursors
                       WHERE completed_at IS NOT NULL AND requested_at IS NULL AND started_at IS NULL";

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_the_tables_say() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    printed(&config, &["migrate"]).await?;
    let text = printed(&config, &["status"]).await?;
    assert!(text.contains("\nerasing       active\n"), "{text}");
    let dry = printed(&config.clone().set("erase.dry_run", true), &["status"]).await?;
    assert!(dry.contains("\nerasing       nothing: erase.dry_run is on"), "{dry}");
    assert!(text.contains("\ninspection    not started; `ephemerd run` starts it\n"), "{text}");
    assert!(text.contains("\noverdue       nothing\n"), "{text}");

    Bulk { rows: 100, ..Bulk::default() }.insert(pool).await?;
    let daemon = start(&config).await?;
    wait_for_number(pool, SWEPT, 1).await?;
    let now = now(pool).await?;
    let row = |key, age, timer| ArchiveRow::archive("peter", key, now - age, &marked(key, timer));
    insert(pool, &[row("gone", 10, 1), row("waits", 0, 3_600)]).await?;
    let standing = "SELECT count(*) FILTER (WHERE phase = 'placeholder') * 100 + count(*)
                      FROM ephemerd.expiries WHERE NOT backlog";
    wait_for_number(pool, standing, 102).await?;
    assert!(daemon.terminate().await?.success());
    insert(pool, &[row("late", 7_200, 3_600)]).await?;
    let overdue = "UPDATE ephemerd.expiries SET due_at = now() - interval '2 hours'
                    WHERE archive_id = 'waits'";
    sqlx::query(overdue).execute(pool).await?;

    let status = told(&config, &["status"]).await?;
    assert_eq!(status["pending"], 1, "{status}");
    assert_eq!(status["placeholders"], 1);
    assert_eq!(status["backlog"], 10);
    assert_eq!(status["overdue"], 1);
    assert_eq!(status["cursors"][0]["archive"], "prosodyarchive");
    assert_eq!(status["cursors"][0]["frontier"], 102);
    assert_eq!(status["sweeps"][0]["found"]["rows"], 100);
    let added = number(pool, "SELECT added FROM ephemerd.sweeps").await?;
    assert_eq!(status["sweeps"][0]["found"]["added"], added);
    assert_eq!(status["sweeps"][0]["started_at"], serde_json::Value::Null);
    let text = printed(&config, &["status"]).await?;
    assert!(text.contains("\npending       1 message has yet to go\n"), "{text}");
    assert!(text.contains("\nplaceholders  1 row has yet to be deleted\n"), "{text}");
    assert!(text.contains(" UTC (2h 0m ago)\n") || text.contains(" UTC (2h ago)\n"), "{text}");
    assert!(text.contains("\nbacklog       10 held; see `ephemerd backlog show`\n"), "{text}");
    assert!(text.contains("sweep         prosodyarchive: the last finished "), "{text}");

    sqlx::query("UPDATE ephemerd.sweeps SET started_at = now(), position = 25, upto = 100")
        .execute(pool)
        .await?;
    let text = printed(&config, &["status"]).await?;
    assert!(text.contains("sweep         prosodyarchive: at 25%, row 25 of 100, begun "), "{text}");
    Ok(())
}

/// Whether each daemon that lives leads and has a connection, as programs see it.
async fn daemons(config: &DaemonConfig) -> Result<Vec<(bool, bool)>> {
    let status = told(config, &["status"]).await?;
    let daemons = status["daemons"].as_array().cloned().unwrap_or_default();
    let flag = |it: &Value, name: &str| it[name].as_bool().expect(name);
    Ok(daemons.iter().map(|it| (flag(it, "leads"), flag(it, "component_connected"))).collect())
}

async fn wait_for_daemons(config: &DaemonConfig, expected: &[(bool, bool)]) -> Result<()> {
    eventually(&format!("{expected:?}"), PATIENCE, async || {
        let mut found = daemons(config).await?;
        found.sort_unstable();
        Ok((found == expected).then_some(()))
    })
    .await
}

/// One leads and is connected, another stands by; whoever is killed is missing at once, and the other leads.
#[tokio::test(flavor = "multi_thread")]
async fn it_tells_which_daemons_live() -> Result<()> {
    let lab = Lab::prosody().await?;
    let config = lab.daemon_config();
    printed(&config, &["migrate"]).await?;
    let text = printed(&config, &["status"]).await?;
    assert!(
        text.contains("\ndaemons       none is running with this database and role\n"),
        "{text}"
    );
    let one = start(&config).await?;
    wait_for_daemons(&config, &[(true, true)]).await?;
    let text = printed(&config, &["status"]).await?;
    let version = env!("CARGO_PKG_VERSION");
    let daemon =
        format!("\ndaemons       version {version}, from 127.0.0.1: leads; component connected; ");
    assert!(text.contains(&daemon), "{text}");
    // Its session is cut off: it comes back in another one.
    let pid = "SELECT max(pid)::bigint FROM pg_stat_activity WHERE starts_with(application_name, 'ephemerd run')";
    let before = number(lab.database.superuser(), pid).await?;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE starts_with(application_name, 'ephemerd run')";
    assert!(number(lab.database.superuser(), cut).await? > 0);
    eventually("another session", PATIENCE, async || {
        let now: Option<i64> = sqlx::query_scalar(pid).fetch_one(lab.database.superuser()).await?;
        Ok(now.filter(|it| *it != before))
    })
    .await?;
    wait_for_daemons(&config, &[(true, true)]).await?;
    let checked = run(&config, &["check"]).await?.stdout;
    let runs = format!("A daemon of version {version} is running, and leads.");
    assert!(checked.contains(&runs), "{checked}");
    let _other = start(&config).await?;
    wait_for_daemons(&config, &[(false, false), (true, true)]).await?;
    one.kill().await?;
    wait_for_daemons(&config, &[(true, true)]).await?;
    lab.server.stop().await?;
    wait_for_daemons(&config, &[(true, false)]).await
}
