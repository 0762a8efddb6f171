//! Timers that start at reading: what counts as read, and of which messages. Each edge case has a test of its own.

use ephemerd_lab::Result;
use ephemerd_lab::rows::{ArchiveRow, insert};

use crate::reading_chats::{Chats, EPHEMERAL, Entry, displayed, message, without_words};
use crate::support::wait_for_number;

const ANN: &str = "ann@localhost/phone";
const EVE: &str = "eve@elsewhere.example/x";

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_starts_what_it_names_and_all_before_it() -> Result<()> {
    let chats = Chats::start().await?;
    let plain = message(ANN, "bob@localhost", "plain", "");
    chats
        .add(&[
            chats.received("bob", ANN, "one", 900),
            chats.received("bob", ANN, "two", 800),
            chats.received("bob", EVE, "other", 750),
            chats.received("bob", ANN, "three", 700),
            chats.marker("bob", "ann@localhost/phone", "two", 500),
        ])
        .await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("marker", 500));
    assert_eq!(chats.entry("bob", "two").await?, Entry::read("marker", 500));
    assert_eq!(chats.entry("bob", "three").await?, Entry::unread(700), "it came later");
    assert_eq!(chats.entry("bob", "other").await?, Entry::unread(750), "another chat");
    // A message without a timer is in no ledger, and a marker for it tells as much.
    chats
        .add(&[
            chats.row("bob", "plain", 400, &plain),
            chats.marker("bob", "ann@localhost", "plain", 300),
        ])
        .await?;
    assert_eq!(chats.entry("bob", "three").await?, Entry::read("marker", 300));
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("marker", 500), "it runs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_marker_is_no_evidence() -> Result<()> {
    let chats = Chats::start().await?;
    let forged = |from: &str| without_words(from, "bob@localhost", &displayed("one"));
    let in_error = format!(
        "<message from='bob@localhost/phone' to='ann@localhost' type='error'>{}</message>",
        displayed("one")
    );
    let nested = without_words(
        "bob@localhost/phone",
        "ann@localhost",
        &format!("<x xmlns='y'>{}</x>", displayed("one")),
    );
    let nobody = format!("<message to='ann@localhost'>{}</message>", displayed("one"));
    let mut rows = vec![chats.received("bob", ANN, "one", 900)];
    let forgeries =
        [forged(ANN), forged(EVE), forged("bob@elsewhere.example/x"), in_error, nested, nobody];
    for (at, forgery) in forgeries.iter().enumerate() {
        let row = chats.row("bob", &format!("forged-{at}"), 500, forgery);
        rows.push(ArchiveRow { with: "ann@localhost".to_owned(), ..row });
    }
    // The same in the archive of somebody else, by his own hand.
    rows.push(chats.marker("eve", "ann@localhost", "one", 500));
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::unread(900));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contacts_marker_changes_nothing() -> Result<()> {
    let chats = Chats::start().await?;
    let sent = message("bob@localhost/phone", "ann@localhost", "sent", EPHEMERAL);
    let theirs = without_words(ANN, "bob@localhost", &displayed("sent"));
    chats
        .add(&[chats.row("bob", "sent", 900, &sent), chats.row("bob", "theirs", 500, &theirs)])
        .await?;
    // What somebody sent runs from archiving, whoever reads it, wherever the reader's server is.
    assert_eq!(chats.entry("bob", "sent").await?, Entry::read("archived", 900));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_to_self_runs_from_archiving() -> Result<()> {
    let chats = Chats::start().await?;
    let note = message("bob@localhost/phone", "bob@localhost", "note", EPHEMERAL);
    let row = |key, ago| ArchiveRow {
        with: "bob@localhost".to_owned(),
        ..chats.row("bob", key, ago, &note)
    };
    chats
        .add(&[
            row("note", 900),
            row("twin", 900),
            chats.marker("bob", "bob@localhost", "note", 500),
        ])
        .await?;
    for key in ["note", "twin"] {
        assert_eq!(chats.entry("bob", key).await?, Entry::read("archived", 900), "{key}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_for_an_older_message_moves_nothing_that_runs() -> Result<()> {
    let chats = Chats::start().await?;
    let rows = [
        chats.received("bob", ANN, "one", 900),
        chats.received("bob", ANN, "two", 800),
        chats.marker("bob", ANN, "two", 500),
        chats.marker("bob", ANN, "one", 400),
        chats.marker("bob", ANN, "two", 300),
    ];
    chats.add(&rows).await?;
    for key in ["one", "two"] {
        assert_eq!(chats.entry("bob", key).await?, Entry::read("marker", 500), "{key}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_of_nothing_known_starts_nothing() -> Result<()> {
    let chats = Chats::start().await?;
    let rows = [
        chats.received("bob", ANN, "one", 900),
        chats.marker("bob", ANN, "gone", 500),
        chats.marker("bob", ANN, "on", 500),
        chats.item("bob", "ann@localhost", "gone", 500),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::unread(900));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_id_twice_the_newest_before_the_marker_counts() -> Result<()> {
    let chats = Chats::start().await?;
    let twin = message(ANN, "bob@localhost", "twin", EPHEMERAL);
    let rows = [
        chats.row("bob", "first", 900, &twin),
        chats.received("bob", ANN, "between", 850),
        chats.row("bob", "second", 800, &twin),
        chats.marker("bob", ANN, "twin", 500),
        chats.row("bob", "third", 400, &twin),
    ];
    chats.add(&rows).await?;
    for key in ["first", "between", "second"] {
        assert_eq!(chats.entry("bob", key).await?, Entry::read("marker", 500), "{key}");
    }
    assert_eq!(chats.entry("bob", "third").await?, Entry::unread(400), "after the marker");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_out_of_order_counts_by_its_own_stamp() -> Result<()> {
    let chats = Chats::start().await?;
    // A row may be committed after the marker that names it. Until then no cursor passes it, however long that takes.
    let mut late = chats.pool().begin().await?;
    insert(&mut *late, &[chats.received("bob", ANN, "late", 900)]).await?;
    chats.add(&[chats.marker("bob", ANN, "late", 500)]).await?;
    late.commit().await?;
    let started = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'late' AND started_by = 'marker'";
    wait_for_number(chats.pool(), started, 1).await?;
    assert_eq!(chats.entry("bob", "late").await?, Entry::read("marker", 500));
    // A stamp before the message's own is the message's.
    chats
        .add(&[chats.received("bob", ANN, "new", 200), chats.marker("bob", ANN, "new", 300)])
        .await?;
    assert_eq!(chats.entry("bob", "new").await?, Entry::read("marker", 200));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outgoing_message_serves_as_a_position() -> Result<()> {
    let chats = Chats::start().await?;
    let sent = message("bob@localhost/phone", "ann@localhost", "sent", EPHEMERAL);
    let rows = [
        chats.received("bob", ANN, "one", 900),
        chats.row("bob", "sent", 800, &sent),
        chats.received("bob", ANN, "two", 700),
        chats.marker("bob", ANN, "sent", 500),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("marker", 500));
    assert_eq!(chats.entry("bob", "two").await?, Entry::unread(700));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_or_reaction_shows_its_own_message_only() -> Result<()> {
    let chats = Chats::start().await?;
    let reply = format!("<reply xmlns='urn:xmpp:reply:0' to='{ANN}' id='two'/>");
    let reply = message("bob@localhost/phone", "ann@localhost", "re", &reply);
    let reaction =
        "<reactions xmlns='urn:xmpp:reactions:0' id='three'><reaction>x</reaction></reactions>";
    let reaction = without_words("bob@localhost/phone", "ann@localhost", reaction);
    let later = message("bob@localhost/phone", "ann@localhost", "later", "");
    let mut rows: Vec<_> = ["one", "two", "three", "four"]
        .iter()
        .map(|id| chats.received("bob", ANN, id, 900))
        .collect();
    rows.push(chats.row("bob", "re", 500, &reply));
    rows.push(chats.row("bob", "reaction", 400, &reaction));
    rows.push(chats.row("bob", "later", 300, &later));
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "two").await?, Entry::read("reply", 500));
    assert_eq!(chats.entry("bob", "three").await?, Entry::read("reply", 400));
    for key in ["one", "four"] {
        assert_eq!(
            chats.entry("bob", key).await?,
            Entry::unread(900),
            "a later message shows nothing"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_no_evidence_of_reading() -> Result<()> {
    let chats = Chats::start().await?;
    let receipts = "<received xmlns='urn:xmpp:receipts' id='one'/><received xmlns='urn:xmpp:chat-markers:0' id='one'/>";
    // The search finds it by this word.
    let receipts = format!("{receipts}<body>displayed</body>");
    let receipts = without_words("bob@localhost/phone", "ann@localhost", &receipts);
    chats
        .add(&[chats.received("bob", ANN, "one", 900), chats.row("bob", "re", 500, &receipts)])
        .await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::unread(900));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_counts_for_its_own_chat_and_owner() -> Result<()> {
    let chats = Chats::start().await?;
    let rows = [
        chats.received("bob", ANN, "one", 900),
        chats.received("bob", EVE, "other", 850),
        chats.received("bob", ANN, "two", 800),
        // By another, of another chat, of another's archive.
        chats.item_by("bob", "ann@localhost", ("ann@localhost", "one"), 700),
        chats.item("bob", "eve@elsewhere.example", "two", 700),
        chats.item("eve", "ann@localhost", "one", 700),
    ];
    chats.add(&rows).await?;
    for (key, ago) in [("one", 900), ("other", 850), ("two", 800)] {
        assert_eq!(chats.entry("bob", key).await?, Entry::unread(ago), "{key}");
    }
    // Clients with markers switched off publish it all the same. A second item replaces the first.
    chats.add(&[chats.item("carl", "x@y", "z", 600)]).await?;
    sqlx::query("DELETE FROM prosodyarchive WHERE store LIKE 'pep%'").execute(chats.pool()).await?;
    chats.add(&[chats.item("bob", "ann@localhost", "one", 500)]).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("mds", 500));
    assert_eq!(chats.entry("bob", "two").await?, Entry::unread(800), "it came later");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_may_name_a_message_without_a_timer() -> Result<()> {
    let chats = Chats::start().await?;
    let plain = message(ANN, "bob@localhost", "plain", "");
    let rows = [
        chats.received("bob", ANN, "one", 900),
        chats.row("bob", "plain", 800, &plain),
        chats.received("bob", ANN, "two", 700),
        chats.item("bob", "ann@localhost", "plain", 500),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::read("mds", 500));
    assert_eq!(chats.entry("bob", "two").await?, Entry::unread(700));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occupant_of_a_room_is_a_chat_of_its_own() -> Result<()> {
    let chats = Chats::start().await?;
    let x = "<x xmlns='http://jabber.org/protocol/muc#user'/>";
    let from = |nick: &str, id: &str| {
        message(
            &format!("den@rooms.example/{nick}"),
            "bob@localhost",
            id,
            &format!("{x}{EPHEMERAL}"),
        )
    };
    let rows = [
        chats.row("bob", "eve", 900, &from("Eve", "eve")),
        chats.row("bob", "ann", 800, &from("Ann", "ann")),
        chats.item("bob", "den@rooms.example/Ann", "ann", 500),
        chats.item("bob", "den@rooms.example", "eve", 500),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "ann").await?, Entry::read("mds", 500));
    assert_eq!(chats.entry("bob", "eve").await?, Entry::unread(900));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_runs_from_archiving() -> Result<()> {
    let chats = Chats::start().await?;
    let words = |id: &str| {
        format!(
            "<message from='den@conference.localhost/Ann' id='{id}' type='groupchat'><body>words</body>{EPHEMERAL}</message>"
        )
    };
    let marker = format!(
        "<message from='den@conference.localhost/Bob' type='groupchat'>{}</message>",
        displayed("one")
    );
    let room = |key, ago, stanza: &str| ArchiveRow::room("den", key, chats.began - ago, stanza);
    // A room's message in a subscriber's own archive (MUC/Sub).
    let wrapped = format!(
        "<message from='den@conference.localhost' to='bob@localhost'><event xmlns='http://jabber.org/protocol/pubsub#event'>\
         <items node='urn:xmpp:mucsub:nodes:messages'><item>{}</item></items></event></message>",
        words("w").replacen("<message ", "<message xmlns='jabber:client' ", 1)
    );
    let rows = [
        room("one", 900, &words("one")),
        room("marker", 500, &marker),
        chats.row("bob", "copy", 900, &wrapped),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry_in("room", "den", "one").await?, Entry::read("archived", 900));
    assert_eq!(chats.entry("bob", "copy").await?, Entry::read("archived", 900));
    Ok(())
}
