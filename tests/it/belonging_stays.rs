//! What stays although something that goes has to do with it: another message's correction, or one of a message that stays.

use ephemerd_lab::Result;
use ephemerd_lab::rows::insert;

use crate::belonging::{ANN, BOB, is_recorded, naming, row, with_message};
use crate::reading_chats::{Chats, EPHEMERAL, Entry, message};
use crate::support::{number, printed, wait_for_number};

const YEAR: i64 = 365 * 86_400;

/// By other rules a message stays: then nothing goes with it, whether it was recorded before or is read for the first time,
/// and what has a timer of its own goes by that.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_message_that_stays_nothing_goes() -> Result<()> {
    let settings = [
        ("timers.start", "archived"),
        ("hints.conflict", "no-permanent-store"),
        ("hints.keep_for", "1h"),
    ];
    let chats = Chats::start_with(&settings).await?;
    let both = "<no-permanent-store xmlns='urn:xmpp:hints'/><store xmlns='urn:xmpp:hints'/>";
    let rows = [
        row(&chats, ANN, "words", 900, both),
        row(&chats, ANN, "better", 800, &naming("replace", "words")),
        row(&chats, ANN, "own", 700, &(naming("replace", "words") + EPHEMERAL)),
    ];
    chats.add(&rows).await?;
    let due = chats.entry("bob", "own").await?;
    assert_eq!(due.timer - due.ago, 3_600 - 899, "it goes with what it corrects");
    chats.daemon.kill().await?;
    insert(chats.pool(), &[row(&chats, BOB, "heart", 600, &naming("reactions", "words"))]).await?;
    let other = chats.config.clone().set("hints.conflict", "store");
    printed(&other, &["sweep"]).await?;
    for key in ["words", "better", "heart"] {
        assert!(!is_recorded(&chats, key).await?, "{key}");
    }
    assert_eq!(chats.entry("bob", "own").await?, Entry::read("archived", 700));
    let free = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'own' AND retry_at IS NULL AND follows IS NULL";
    assert_eq!(number(chats.pool(), free).await?, 1);
    Ok(())
}

/// Clients that count begin again: a message takes nothing with it that is older than itself. Nor does somebody who takes
/// another one's nickname, and forges an id.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_belongs_to_another_message() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let x = "<x xmlns='http://jabber.org/protocol/muc#user'/>";
    let private = |key: &str, id: &str, ago: i64, extra: &str| {
        let stanza = message("den@conference.localhost/Ann", BOB, id, &format!("{extra}{x}"));
        chats.row("bob", key, ago, &stanza)
    };
    let said = |key: &str, id: &str, ago: i64, extra: &str| {
        chats.row("bob", key, ago, &message(ANN, BOB, id, extra))
    };
    let heart = message(BOB, ANN, "7", &naming("reactions", "5"));
    let older = [
        said("plain", "5", YEAR, ""),
        said("better", "6", YEAR - 10, &naming("replace", "5")),
        chats.row("bob", "heart", YEAR - 20, &heart),
        private("secret", "5", 900, ""),
        private("corrected", "6", 800, &naming("replace", "5")),
    ];
    let newer = [
        said("marked", "5", 600, EPHEMERAL),
        private("forged", "5", 600, EPHEMERAL),
        said("best", "8", 500, &naming("replace", "5")),
    ];
    chats.add(&older).await?;
    chats.add(&newer).await?;
    printed(&chats.config, &["sweep"]).await?;
    for row in &older {
        assert!(!is_recorded(&chats, &row.key).await?, "{}", row.key);
    }
    assert_eq!(chats.entry("bob", "best").await?, with_message(600), "this one is meant");
    Ok(())
}

/// The same when the message with that id is gone already.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_does_not_follow_what_is_gone() -> Result<()> {
    let settings = [("timers.start", "archived"), ("timers.max", "1s"), ("erase.mode", "delete")];
    let chats = Chats::start_with(&settings).await?;
    let said = |key: &str, id: &str, ago: i64, extra: &str| {
        chats.row("bob", key, ago, &message(ANN, BOB, id, extra))
    };
    let left = "SELECT count(*) FROM prosodyarchive WHERE \"user\" = 'bob'";
    insert(
        chats.pool(),
        &[
            said("plain", "5", YEAR, ""),
            said("better", "6", YEAR - 10, &naming("replace", "5")),
            said("marked", "5", 120, EPHEMERAL),
        ],
    )
    .await?;
    wait_for_number(chats.pool(), left, 2).await?;
    printed(&chats.config, &["sweep"]).await?;
    assert!(!is_recorded(&chats, "better").await?);
    insert(chats.pool(), &[said("best", "8", 5, &naming("replace", "5"))]).await?;
    wait_for_number(chats.pool(), "SELECT count(*) FROM prosodyarchive WHERE key = 'best'", 0)
        .await?;
    assert_eq!(number(chats.pool(), left).await?, 2);
    Ok(())
}
