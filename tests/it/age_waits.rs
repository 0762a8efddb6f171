//! Whoever looks sees that a retention policy waits, for what, and what was announced.

use std::time::Duration;

use ephemerd_lab::{Daemon, Lab, Result, eventually};
use serde_json::Value;

use crate::age_rows::{Kind, Put};
use crate::support::{printed, start, told};

/// The daemon counts every 15 s, and less often where that takes long.
const COUNTED_WITHIN: Duration = Duration::from_secs(150);

async fn page_says(daemon: &Daemon, words: &str) -> Result<()> {
    eventually(&format!("the page says {words}"), COUNTED_WITHIN, async || {
        Ok(daemon.get("/").await?.body.contains(words).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_policy_is_seen() -> Result<()> {
    let kind = Kind::Prosody;
    let lab: Lab = kind.lab().await?;
    let without = kind.config(&lab)?;
    let config = without.clone().set("retention.archive_for", "1h").set("retention.grace", "1d");
    let config = config.set("retention.confirm_above", 5);
    let old = (0..10).map(|at| Put::archive("peter", &format!("old{at}"), 7_200 - at));
    kind.put(lab.database.superuser(), &old.collect::<Vec<_>>()).await?;
    printed(&config, &["migrate"]).await?;
    let state = async |config| {
        Ok::<Value, ephemerd_lab::LabError>(told(config, &["status"]).await?["retention"].clone())
    };
    assert_eq!(state(&without).await?, Value::Null, "there is no policy");
    assert_eq!(state(&config).await?["state"], "not_announced");

    let mut daemon = start(&config).await?;
    let waiting = "ephemerd_age_waiting";
    daemon.wait_for_figure(waiting, &[], COUNTED_WITHIN, |it| it == 1.0).await?;
    let now = state(&config).await?;
    assert_eq!((&now["state"], &now["first_messages"]), (&"unaccepted".into(), &6.into()), "{now}");
    let text = printed(&config, &["status"]).await?;
    assert!(text.contains("\nretention     waits to be accepted: announced at "), "{text}");
    assert!(
        text.contains(", more than 5 messages go first; see `ephemerd preview --age`"),
        "{text}"
    );
    page_says(&daemon, "The retention policy waits to be accepted: announced at ").await?;

    printed(&config, &["retention", "accept"]).await?;
    assert_eq!(state(&config).await?["state"], "in_grace");
    let text = printed(&config, &["status"]).await?;
    assert!(text.contains("\nretention     waits until "), "{text}");
    page_says(&daemon, "The retention policy waits until ").await?;
    let other = config.clone().set("retention.archive_for", "2h");
    assert_eq!(state(&other).await?["state"], "replaced");

    let at_once = config.clone().set("retention.grace", "0s").set("retention.confirm_above", 100);
    daemon.reload(&at_once)?;
    daemon.wait_for_figure(waiting, &[], COUNTED_WITHIN, |it| it == 0.0).await?;
    assert_eq!(state(&at_once).await?["state"], "in_force");
    let text = printed(&at_once, &["status"]).await?;
    assert!(text.contains("\nretention     in force since "), "{text}");
    eventually("the page says nothing of it", COUNTED_WITHIN, async || {
        Ok((!daemon.get("/").await?.body.contains("retention policy")).then_some(()))
    })
    .await
}
