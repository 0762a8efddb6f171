//! `timers.start` changes under a running daemon, with users' archives in the database.

use ephemerd_lab::{DaemonConfig, Result};

use crate::reading_chats::{Chats, Entry};
use crate::support::{number, told};

const ANN: &str = "ann@localhost/phone";
const WAITING: &str = "SELECT count(*) FROM ephemerd.expiries WHERE started_by = 'unread'";

/// A full scan by this configuration: what of users' archives goes within a week, and within a month.
async fn scanned(config: &DaemonConfig) -> Result<(Option<i64>, Option<i64>)> {
    let scanned = told(config, &["preview", "--scan"]).await?;
    let rows = scanned["by_store_and_reason"].as_array().cloned().unwrap_or_default();
    let archive = rows.into_iter().find(|it| it["store"] == "archive").unwrap_or_default();
    Ok((archive["within_7d"].as_i64(), archive["within_30d"].as_i64()))
}

/// `preview` shows a change before it is made. What runs keeps its start, what comes waits for its reader, and once reading
/// counts no more, what waits runs from archiving.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_what_starts_timers() -> Result<()> {
    let mut chats = Chats::start_with(&[("timers.start", "delivered")]).await?;
    chats.add(&[chats.received("bob", ANN, "before", 900)]).await?;
    assert_eq!(chats.entry("bob", "before").await?, Entry::read("archived", 900));
    let reading = chats.config.clone().set("timers.start", "read");
    let (week, month) = scanned(&chats.config).await?;
    assert!(week == month && week > Some(0), "{week:?}, {month:?}");
    let (week, month) = scanned(&reading).await?;
    assert!(week == Some(0) && month > Some(0), "a change is shown before it is made");
    chats.reload(&reading).await?;
    chats.add(&[chats.received("bob", ANN, "after", 500)]).await?;
    assert_eq!(chats.entry("bob", "after").await?, Entry::unread(500));
    assert_eq!(chats.entry("bob", "before").await?, Entry::read("archived", 900), "it runs");
    chats.add(&[chats.marker("bob", ANN, "after", 300)]).await?;
    let read = chats.entry("bob", "after").await?;
    assert_eq!(read, Entry::read("marker", 300));
    chats.add(&[chats.received("bob", ANN, "unread", 200)]).await?;
    assert_eq!(chats.entry("bob", "unread").await?, Entry::unread(200));
    let counted = told(&reading, &["preview"]).await?;
    assert!(counted["at_reading"]["waiting"].as_i64() > Some(0), "{counted}");

    chats.reload(&chats.config.clone()).await?;
    assert_eq!(number(chats.pool(), WAITING).await?, 0);
    assert_eq!(chats.entry("bob", "unread").await?, Entry::read("archived", 200));
    assert_eq!(chats.entry("bob", "after").await?, read, "it runs");
    let left =
        "SELECT count(*) FROM ephemerd.expiries WHERE num_nonnulls(chat, message, timer_us) > 0";
    assert_eq!(number(chats.pool(), left).await?, 0, "nothing is kept to find what waits no more");
    Ok(())
}
