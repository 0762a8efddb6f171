//! Somebody gives a hundred thousand messages one id, and others name it: that costs what one such message costs.

use ephemerd_lab::Result;
use ephemerd_lab::rows::ArchiveRow;

use crate::belonging::naming;
use crate::reading_chats::{Chats, EPHEMERAL};
use crate::support::number;

/// Waiting for the tail has an end: passing all of them for each of these would take longer.
#[tokio::test(flavor = "multi_thread")]
async fn many_messages_with_one_id_hold_nothing_up() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let said = |nick: &str, id: &str, extra: &str| {
        let stanza = format!(
            "<message from='den@conference.localhost/{nick}' id='{id}' type='groupchat'><body>words</body>{extra}<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{nick}'/></message>"
        );
        ArchiveRow::room("den", &format!("key-{id}"), chats.began - 900, &stanza)
    };
    chats.add(&[said("eve", "one", EPHEMERAL)]).await?;
    let copied = "WITH copied AS (
            INSERT INTO ephemerd.expiries (store, host, owner, archive_id, row_number, stamped_at, runs_from, due_at, reason,
                                           phase, backlog, digest, started_by, name, sender)
            SELECT store, host, owner, 'copy-' || nr, row_number + 1000000, stamped_at - nr * interval '1 ms', runs_from, due_at, reason,
                   phase, backlog, digest, started_by, name, sender
              FROM ephemerd.expiries CROSS JOIN generate_series(1, 100000) AS nr WHERE archive_id = 'key-one'
            RETURNING 1)
        SELECT count(*) FROM copied";
    assert_eq!(number(chats.pool(), copied).await?, 100_000);
    sqlx::query("ANALYZE ephemerd.expiries").execute(chats.pool()).await?;
    let naming_it = |nick: &str| -> Vec<ArchiveRow> {
        (0..900).map(|nr| said(nick, &format!("{nick}-{nr}"), &naming("replace", "one"))).collect()
    };
    chats.add(&naming_it("eva")).await?;
    let followers = "SELECT count(*) FROM ephemerd.expiries WHERE follows IS NOT NULL";
    assert_eq!(number(chats.pool(), followers).await?, 0, "of another sender");
    chats.add(&naming_it("eve")).await?;
    assert_eq!(number(chats.pool(), followers).await?, 900);
    Ok(())
}
