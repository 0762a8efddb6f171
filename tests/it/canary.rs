//! The canary: a message to an account that nobody uses vanishes again and again, or a metric says that it does not.

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{
    Daemon, DaemonConfig, EjabberdConfig, Lab, PATIENCE, Result, Server, eventually,
};

use crate::remote;
use crate::support::{pause, resume, start};

const WORDS: &str = "This is a trial of ephemerd";
const LAST: &str = "ephemerd_canary_last_timestamp_seconds";

/// The account exists, nobody is logged in there, and it gets a message every ten seconds.
async fn with_canary<S: Server>(lab: &Lab<S>, config: DaemonConfig) -> Result<DaemonConfig> {
    lab.client("canary").await?.close().await?;
    let account = lab.endpoints().jid("canary");
    Ok(config.set("archive.poll", "50ms").set("canary.account", account).set("canary.every", "10s"))
}

/// Waits for the end of another message. Returns whether it vanished, and when that was.
async fn next(daemon: &Daemon, after: f64) -> Result<(bool, f64)> {
    daemon.wait_for_figure(LAST, &[], 3 * PATIENCE, |at| at > after).await?;
    let figures = daemon.figures().await?;
    let success = figures.get("ephemerd_canary_success", &[]);
    Ok((success == Some(1.0), figures.get(LAST, &[]).unwrap_or_default()))
}

/// The message waits for nobody, whoever would have to receive and read it.
async fn vanishes<S: Server>(lab: &Lab<S>, config: &DaemonConfig) -> Result<Daemon> {
    let daemon = start(config).await?;
    let (success, _) = next(&daemon, 0.0).await?;
    assert!(success, "{}", daemon.log()?);
    let seconds = daemon.figures().await?.get("ephemerd_canary_seconds", &[]);
    assert!(seconds.is_some_and(|it| it >= 10.0), "never early: {seconds:?}");
    // The next one may be under way.
    eventually("no words in the archive", PATIENCE, async || {
        let items = lab.archive("canary", &MamQuery::default()).await?;
        Ok((!items.iter().any(|it| it.xml.contains(WORDS))).then_some(()))
    })
    .await?;
    Ok(daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_canary_vanishes_or_is_missed() -> Result<()> {
    let lab = Lab::prosody().await?;
    let config = with_canary(&lab, lab.daemon_config().set("timers.start", "read")).await?;
    let daemon = vanishes(&lab, &config).await?;
    pause(&config).await?;
    let mut last = daemon.figures().await?.get(LAST, &[]).unwrap_or_default();
    eventually("it fails", 4 * PATIENCE, async || {
        let (success, at) = next(&daemon, last).await?;
        last = at;
        Ok((!success).then_some(()))
    })
    .await?;
    assert!(daemon.log()?.contains("the canary's message did not vanish on time"));
    assert!(daemon.log()?.contains("paused"), "{}", daemon.log()?);
    resume(&config).await?;
    eventually("it vanishes again", 4 * PATIENCE, async || {
        let (success, at) = next(&daemon, last).await?;
        last = at;
        Ok(success.then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_canary_vanishes_on_ejabberd_and_behind_a_module() -> Result<()> {
    let ejabberd = Lab::ejabberd(&EjabberdConfig::default()).await?;
    let files = remote::prosody(Storage::Files).await?;
    let configs = (
        with_canary(&ejabberd, ejabberd.daemon_config()).await?,
        with_canary(&files, remote::config(&files)).await?,
    );
    tokio::try_join!(vanishes(&ejabberd, &configs.0), vanishes(&files, &configs.1))?;
    Ok(())
}
