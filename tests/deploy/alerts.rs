//! Creates each alert's cause for real, and reads from Prometheus how the alert fires and resolves.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::rows::{ArchiveRow, Bulk, insert};
use ephemerd_lab::{
    DaemonConfig, Lab, PATIENCE, Postgres, PostgresConfig, Result, Server as _, daemon,
};
use serde_json::Value;
use sqlx::PgPool;

use crate::rules::{Watched, program, repository};

/// A message whose timer ran out ten minutes ago.
async fn archive_late(pool: &PgPool, key: &str) -> Result<()> {
    let now: i64 =
        sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?;
    let stanza = "<message type='chat' to='rosa@localhost' from='peter@localhost/phone'><body>late</body>\
                  <ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/></message>";
    insert(pool, &[ArchiveRow::archive("peter", key, now - 600, stanza)]).await.map(drop)
}

async fn execute(pool: &PgPool, statement: &'static str) -> Result<()> {
    sqlx::raw_sql(statement).execute(pool).await?;
    Ok(())
}

async fn command(config: &DaemonConfig, args: &[&str]) -> Result<()> {
    let output = daemon::command(program(), config, args).await?;
    assert_eq!(output.code, Some(0), "{args:?}: {}", output.stderr);
    Ok(())
}

/// With a running Prosody, ordinary traffic and a finished sweep no alert fires; and each panel shows
/// something.
#[tokio::test(flavor = "multi_thread")]
async fn all_is_quiet_while_all_is_well() -> Result<()> {
    let lab = Lab::prosody().await?;
    let watched = Watched::start(&lab.daemon_config()).await?;
    let mut peter = lab.online("peter").await?;
    let _rosa = lab.online("rosa").await?;
    let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/>";
    peter.chat("rosa@localhost", "soon gone", timer).await?;
    let gone = "sum(ephemerd_erased_total{reason=\"timer\"})";
    watched.prometheus.wait_for(gone, PATIENCE, |rows| rows == 2.0).await?;
    let swept = "ephemerd_sweep_last_completion_timestamp_seconds";
    watched.prometheus.wait_for(swept, PATIENCE, |at| at > 0.0).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(watched.alerts("firing").await?, Vec::<String>::new());
    assert_eq!(watched.alerts("pending").await?, Vec::<String>::new());
    panels_have_answers(&watched).await
}

/// Each query of the dashboard, as Grafana would send it, is valid and returns something.
async fn panels_have_answers(watched: &Watched) -> Result<()> {
    let text = std::fs::read_to_string(repository("deploy/grafana/dashboards/ephemerd.json"))?;
    let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let mut asked = 0;
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let expression = target["expr"].as_str().expect("each target asks");
        let query = expression
            .replace("$job", "ephemerd")
            .replace("$__rate_interval", "1m")
            .replace("$__range", "1h");
        assert!(!query.contains('$'), "{query}");
        let answer = watched.prometheus.query(&query).await?;
        assert!(!answer.is_empty(), "no answer to {query}");
        asked += 1;
    }
    assert!(asked > 20, "the panels were found");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_down() -> Result<()> {
    let lab = Lab::database_only().await?;
    let mut watched = Watched::start(&DaemonConfig::for_database(&lab.database)?).await?;
    watched.daemon.kill().await?;
    watched.fires("EphemerdDown").await?;
    watched.daemon.resume().await?;
    watched.ends("EphemerdDown").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_away() -> Result<()> {
    let lab = Lab::prosody().await?;
    let watched = Watched::start(&lab.daemon_config()).await?;
    watched.ends("EphemerdComponentAway").await?;
    lab.server.stop().await?;
    watched.fires("EphemerdComponentAway").await?;
    lab.server.resume().await?;
    watched.ends("EphemerdComponentAway").await
}

const REFUSE: &str = "
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON prosodyarchive FOR EACH ROW EXECUTE FUNCTION refuse();";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_database_does_not_let_go() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let watched = Watched::start(&DaemonConfig::for_database(&lab.database)?).await?;
    execute(pool, REFUSE).await?;
    archive_late(pool, "refused").await?;
    watched.fires("EphemerdOverdue").await?;
    watched.fires("EphemerdEraseFailures").await?;
    execute(pool, "DROP TRIGGER refuse ON prosodyarchive").await?;
    watched.ends("EphemerdOverdue").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let watched = Watched::start(&DaemonConfig::for_database(&lab.database)?).await?;
    watched
        .prometheus
        .wait_for("ephemerd_unreadable_stanzas_total", PATIENCE, |it| it == 0.0)
        .await?;
    let broken = "<message><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/>";
    let now =
        sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?;
    insert(pool, &[ArchiveRow::archive("peter", "broken", now, broken)]).await?;
    watched.fires("EphemerdUnreadableRows").await
}

/// The database stops while the daemon runs, and is away when another one starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away() -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::database_only_on(Arc::clone(&postgres)).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    let running = Watched::start(&config).await?;
    postgres.stop().await?;
    running.fires("EphemerdDatabaseErrors").await?;
    let started = Watched::spawn(&config).await?;
    started.fires("EphemerdInspectionBehind").await?;
    postgres.resume().await?;
    started.ends("EphemerdInspectionBehind").await
}

/// At one row per second, a sweep of six thousand rows never finishes during this test.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_never_ends() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    Bulk { rows: 6_000, ..Bulk::default() }.insert(pool).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    let mut watched = Watched::start(&config.clone().set("sweep.rows_per_second", 1)).await?;
    watched.fires("EphemerdSweepStale").await?;
    watched.daemon.reload(&config)?;
    command(&config, &["sweep"]).await?;
    watched.ends("EphemerdSweepStale").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_forgets() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    let mut watched = Watched::start(&config).await?;
    command(&config, &["pause"]).await?;
    watched.fires("EphemerdPaused").await?;
    command(&config, &["resume"]).await?;
    watched.ends("EphemerdPaused").await?;
    watched.daemon.reload(&config.clone().set("erase.dry_run", true))?;
    watched.fires("EphemerdDryRun").await?;
    watched.daemon.reload(&config)?;
    watched.ends("EphemerdDryRun").await?;
    let aged = config.clone().set("retention.archive_for", "365d");
    watched.daemon.reload(&aged)?;
    watched.fires("EphemerdRetentionWaits").await?;
    watched.daemon.reload(&config)?;
    watched.ends("EphemerdRetentionWaits").await?;
    watched.daemon.reload(&config.clone().set("erase.mode", "burn"))?;
    watched.fires("EphemerdReloadFailed").await?;
    watched.daemon.reload(&config)?;
    watched.ends("EphemerdReloadFailed").await
}
