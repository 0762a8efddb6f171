//! A Prometheus that scrapes another one.

use ephemerd_lab::{PATIENCE, Prometheus, Result, http, prometheus};

#[tokio::test(flavor = "multi_thread")]
async fn it_scrapes_and_answers() -> Result<()> {
    let nobody = ephemerd_lab::free_address()?;
    let one = Prometheus::start(nobody, &[]).await?;
    let two = Prometheus::start(one.address(), &[]).await?;
    one.wait_for("up{job=\"ephemerd\"}", PATIENCE, |up| up == 0.0).await?;
    two.wait_for("up{job=\"ephemerd\"}", PATIENCE, |up| up == 1.0).await?;
    assert!(two.query("no such(").await.is_err());
    let page = http::get(one.address(), "/metrics").await?;
    assert!(page.body.contains("\nprometheus_build_info"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_judges_a_page() -> Result<()> {
    let good = "# HELP a_total Things.\n# TYPE a_total counter\na_total 1\n";
    prometheus::check_metrics(good).await?;
    let error = prometheus::check_metrics("# TYPE a counter\na 1\n").await.unwrap_err();
    assert!(error.to_string().contains("no help text"), "{error}");
    Ok(())
}
