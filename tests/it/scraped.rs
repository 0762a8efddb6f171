//! What Prometheus is shown: accepted by its own checker, scraped by a real one.

use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Prometheus, Result, prometheus};

use crate::support::start;

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
