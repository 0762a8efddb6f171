//! What an operator is told of timers that start at reading.

use ephemerd_lab::Result;
use serde_json::json;

use crate::page::shows;
use crate::reading_chats::Chats;
use crate::support::{printed, told};

/// One that was read, one that has waited long enough, one that waits, and with it the one by which a test knows that the
/// tail has come so far.
#[tokio::test(flavor = "multi_thread")]
async fn preview_and_page_count_what_waits_was_read_and_was_not() -> Result<()> {
    let chats =
        Chats::start_with(&[("timers.start", "read"), ("timers.unread_for", "10m")]).await?;
    let rows = [
        chats.received("bob", "ann@localhost/x", "read", 900),
        chats.marker("bob", "ann@localhost", "read", 880),
        chats.received("bob", "eve@localhost/x", "unread", 700),
        chats.received("bob", "eve@localhost/x", "waiting", 100),
    ];
    chats.add(&rows).await?;
    let preview = printed(&chats.config, &["preview"]).await?;
    let says =
        "Timers that start when the message is read: 2 waiting, 1 started, 1 started unread.\n";
    assert!(preview.contains(says), "{preview}");
    let counted = told(&chats.config, &["preview"]).await?;
    let expected = json!({"waiting": 2, "started": 1, "capped": 1});
    assert_eq!(counted["at_reading"], expected, "{counted}");
    shows(&chats.daemon, "4 messages still to go, 3 of them not read yet").await?;
    shows(&chats.daemon, "Timers started at reading 1").await?;
    Ok(())
}
