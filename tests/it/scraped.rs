//! The metrics: accepted by Prometheus' own checker, and scraped by a real one.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Prometheus, Result, prometheus};

use crate::support::{now, start};

/// promtool accepts the page, and a real Prometheus scrapes it.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_accepts_and_scrapes_the_metrics() -> Result<()> {
    let lab = Lab::database_only().await?;
    let daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    prometheus::check_metrics(&daemon.get("/metrics").await?.body).await?;
    let prometheus = Prometheus::start(daemon.http(), &[]).await?;
    prometheus.wait_for("up{job=\"ephemerd\"}", PATIENCE, |up| up == 1.0).await?;
    prometheus.wait_for("ephemerd_build_info", PATIENCE, |one| one == 1.0).await?;
    let labels = "ephemerd_erased_total{store=\"archive\",reason=\"timer\",mode=\"placeholder\"}";
    prometheus.wait_for(labels, PATIENCE, |none| none == 0.0).await?;
    Ok(())
}

/// Hosts that nobody has listed are counted, not named.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_not_listed_are_counted() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let now = now(pool).await?;
    let of = |host: &str| {
        let row = ArchiveRow::archive("peter", host, now, "<message><body>words</body></message>");
        ArchiveRow { host: host.to_owned(), ..row }
    };
    insert(pool, &["localhost", "one.example", "two.example"].map(of)).await?;
    let daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    daemon.wait_for_figure("ephemerd_unlisted_hosts", &[], PATIENCE, |hosts| hosts == 2.0).await?;
    assert!(!daemon.get("/metrics").await?.body.contains(".example"));
    Ok(())
}
