//! Databases that the daemon cannot use: a standby, or one behind a pooler.

use std::time::Duration;

use ephemerd_lab::daemon::command;
use ephemerd_lab::{
    Daemon, DaemonConfig, Lab, PATIENCE, PgBouncer, Postgres, PostgresConfig, Result, eventually,
};

use crate::reliability::saw;
use crate::support::{archive_marked, gone, program, seconds, start};

/// In transaction mode a pooler shares sessions: LISTEN, session locks and settings are lost. Whether it
/// refuses our settings or drops them, the operator is told, and nothing is half done.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_pooler_is_reported() -> Result<()> {
    let lab = Lab::database_only().await?;
    let mut told = Vec::new();
    for settings in ["", "ignore_startup_parameters = options, extra_float_digits"] {
        let pooler = PgBouncer::start(&lab.database, settings).await?;
        let config = DaemonConfig::for_database(&lab.database)?
            .set("database.url", pooler.url_without_password());
        for args in ["run", "migrate"] {
            let output = command(program(), &config, &[args]).await?;
            assert_eq!(output.code, Some(3), "{args}, {settings:?}: {}", output.stderr);
            assert!(output.stderr.contains("pooler"), "{args}, {settings:?}: {}", output.stderr);
            told.push(output.stderr);
        }
    }
    // Settings that are the role's own arrive through any pooler, and hide it.
    let (name, ignored) =
        (lab.database.name(), "ignore_startup_parameters = options, extra_float_digits");
    let set = format!("ALTER ROLE ephemerd IN DATABASE {name} SET lock_timeout = '100ms'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(lab.database.superuser()).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    let through =
        |pooler: &PgBouncer| config.clone().set("database.url", pooler.url_without_password());
    let pooler = PgBouncer::start(&lab.database, ignored).await?;
    for args in ["run", "migrate"] {
        let output = command(program(), &through(&pooler), &[args]).await?;
        assert_eq!(output.code, Some(3), "{args}, hidden: {}", output.stderr);
        assert!(output.stderr.contains("pooler"), "{args}, hidden: {}", output.stderr);
    }
    let ours: Option<String> = sqlx::query_scalar("SELECT to_regclass('ephemerd.expiries')::text")
        .fetch_one(lab.database.superuser())
        .await?;
    assert_eq!(ours, None, "nothing was made through a pooler");
    // In session mode nothing is wrong with it.
    let pooler =
        PgBouncer::start(&lab.database, &format!("pool_mode = session\n{ignored}")).await?;
    let daemon = start(&through(&pooler)).await?;
    archive_marked(lab.database.superuser(), "pooled", 10).await?;
    gone(lab.database.superuser(), "pooled", PATIENCE).await?;
    assert!(daemon.terminate().await?.success());
    saw(
        "a transaction pooler",
        "PgBouncer in transaction mode between us and PostgreSQL: refusing our settings, and dropping them",
        "`run` and `migrate` say so and end with exit code 3; nothing was written",
    );
    Ok(())
}

/// A standby can be read but not written: the daemon says so, waits, and works once it is promoted.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_waited_for() -> Result<()> {
    let primary = std::sync::Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::database_only_on(std::sync::Arc::clone(&primary)).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    assert!(start(&config).await?.terminate().await?.success());
    let standby = primary.standby().await?;
    let url = format!("postgres://ephemerd@{}/{}", standby.address(), lab.database.name());
    let daemon = Daemon::spawn(program(), &config.set("database.url", url))?;
    eventually("the daemon says that it is a standby", PATIENCE, async || {
        Ok(daemon.log()?.contains("standby").then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(daemon.get("/healthz").await?.status, 200);
    let unready = daemon.get("/readyz").await?;
    assert_eq!(unready.status, 503, "{}", unready.body);
    assert_eq!(daemon.figures().await?.get("ephemerd_leader", &[]), Some(0.0));

    archive_marked(lab.database.superuser(), "before", 10).await?;
    let copied = sqlx::PgPool::connect(&standby.superuser_url(lab.database.name())).await?;
    eventually("the standby has the rows", PATIENCE, async || {
        Ok((crate::support::standing(&copied, "before").await? == 10).then_some(()))
    })
    .await?;
    primary.stop().await?;
    standby.promote().await?;
    let took = gone(&copied, "before", PATIENCE).await?;
    daemon.wait_ready(PATIENCE).await?;
    assert!(daemon.terminate().await?.success());
    saw(
        "a standby",
        "the daemon starts on a hot standby, which is later promoted",
        &format!(
            "reported in the log, alive, not ready, does not lead; overdue rows gone {} after the promotion",
            seconds(took)
        ),
    );
    Ok(())
}
