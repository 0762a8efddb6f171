//! What belongs to a message goes with it: corrections, reactions and attachments.

use ephemerd_lab::Result;
use ephemerd_lab::rows::ArchiveRow;

use crate::reading_chats::{Chats, EPHEMERAL, Entry, TIMER, message};
use crate::support::{number, wait_for_number};

pub(crate) const ANN: &str = "ann@localhost/phone";
pub(crate) const BOB: &str = "bob@localhost/phone";

/// An element that names a message.
pub(crate) fn naming(kind: &str, id: &str) -> String {
    match kind {
        "replace" => format!("<replace xmlns='urn:xmpp:message-correct:0' id='{id}'/>"),
        "reactions" => {
            format!(
                "<reactions xmlns='urn:xmpp:reactions:0' id='{id}'><reaction>+</reaction></reactions>"
            )
        }
        _ => format!("<attach-to xmlns='urn:xmpp:message-attaching:1' id='{id}'/>"),
    }
}

/// What the ledger has of a row that goes with a message archived so long ago.
pub(crate) fn with_message(ago: i64) -> Entry {
    Entry { by: "inherited".to_owned(), reason: "inherited".to_owned(), ..Entry::new("", ago - 1) }
}

/// What Bob's archive has, from Ann or to her.
pub(crate) fn row(chats: &Chats, from: &str, key: &str, ago: i64, extra: &str) -> ArchiveRow {
    let to = if from == ANN { BOB } else { ANN };
    chats.row("bob", key, ago, &message(from, to, key, extra))
}

pub(crate) async fn is_recorded(chats: &Chats, key: &str) -> Result<bool> {
    let entries = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = $1";
    let found: i64 = sqlx::query_scalar(entries).bind(key).fetch_one(chats.pool()).await?;
    Ok(found > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_message_goes_with_it() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let rows = [
        row(&chats, ANN, "words", 900, EPHEMERAL),
        row(&chats, ANN, "better", 800, &naming("replace", "words")),
        row(&chats, ANN, "best", 700, &naming("replace", "better")),
        row(&chats, BOB, "heart", 600, &naming("reactions", "words")),
        row(&chats, ANN, "own", 500, &naming("reactions", "words")),
        row(&chats, ANN, "picture", 400, &naming("attach-to", "words")),
        row(&chats, ANN, "again", 300, &naming("replace", "picture")),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "words").await?, Entry::read("archived", 900));
    for key in ["better", "best", "heart", "own", "picture", "again"] {
        assert_eq!(chats.entry("bob", key).await?, with_message(900), "{key}");
    }
    let links = "SELECT max(links)::bigint FROM ephemerd.expiries";
    assert_eq!(number(chats.pool(), links).await?, 2);
    Ok(())
}

/// The earlier of both counts, and a message without a timer stays whatever its correction says.
#[tokio::test(flavor = "multi_thread")]
async fn a_timer_of_its_own_counts_if_it_is_earlier() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let timer =
        |seconds: i64| format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{seconds}'/>");
    let rows = [
        row(&chats, ANN, "words", 900, EPHEMERAL),
        row(&chats, ANN, "sooner", 800, &(naming("replace", "words") + &timer(TIMER / 2))),
        row(&chats, ANN, "later", 700, &(naming("replace", "words") + &timer(TIMER * 2))),
        row(&chats, ANN, "plain", 600, ""),
        row(&chats, ANN, "marked", 500, &(naming("replace", "plain") + EPHEMERAL)),
        row(&chats, BOB, "to-marked", 400, &naming("reactions", "marked")),
    ];
    chats.add(&rows).await?;
    let sooner = Entry { timer: TIMER / 2, ..Entry::read("archived", 800) };
    assert_eq!(chats.entry("bob", "sooner").await?, sooner);
    let later = Entry {
        timer: TIMER - 200,
        reason: "inherited".to_owned(),
        ..Entry::read("archived", 700)
    };
    assert_eq!(chats.entry("bob", "later").await?, later);
    assert!(!is_recorded(&chats, "plain").await?, "a correction does not change what it corrects");
    assert_eq!(chats.entry("bob", "marked").await?, Entry::read("archived", 500));
    assert_eq!(chats.entry("bob", "to-marked").await?, with_message(500));
    Ok(())
}

/// Whoever is not the sender, another chat, another archive, an unmarked message, what speaks for itself: none of it goes.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_anybody_elses_goes() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let eve = "eve@elsewhere.example/x";
    let retract = "<retract xmlns='urn:xmpp:message-retract:1' id='words'/>";
    let nested = format!("<x xmlns='y'>{}</x>", naming("reactions", "words"));
    let in_error = message(ANN, BOB, "in-error", &naming("reactions", "words"))
        .replace("type='chat'", "type='error'");
    let from_elsewhere = |key: &str, kind: &str| {
        chats.row("bob", key, 500, &message(eve, BOB, key, &naming(kind, "words")))
    };
    let of_rosa = message(ANN, "rosa@localhost", "of-rosa", &naming("reactions", "words"));
    let subject = naming("replace", "words") + "<subject>words</subject>";
    let staying = [
        row(&chats, BOB, "his-correction", 800, &naming("replace", "words")),
        row(&chats, BOB, "his-attachment", 800, &naming("attach-to", "words")),
        from_elsewhere("eves-correction", "replace"),
        from_elsewhere("eves-reaction", "reactions"),
        chats.row("rosa", "of-rosa", 500, &of_rosa),
        row(&chats, ANN, "plain", 900, ""),
        row(&chats, ANN, "of-plain", 800, &naming("replace", "plain")),
        row(&chats, ANN, "of-nothing", 800, &naming("replace", "nothing")),
        row(&chats, ANN, "by-archive-id", 800, &naming("replace", "key-of-words")),
        row(&chats, ANN, "retraction", 800, &(naming("replace", "words") + retract)),
        row(&chats, ANN, "subject", 800, &subject),
        row(&chats, ANN, "nested", 800, &nested),
        row(&chats, ANN, "without-id", 800, "<replace xmlns='urn:xmpp:message-correct:0'/>"),
        row(&chats, ANN, "another-name", 800, "<replace xmlns='urn:other' id='words'/>"),
        row(
            &chats,
            BOB,
            "opt-out",
            800,
            &(naming("reactions", "words") + "<i-want-out xmlns='urn:xmpp:ephemeral:0'/>"),
        ),
        chats.row("bob", "in-error", 800, &in_error),
        // Neither has a timer, and each names the other.
        row(&chats, ANN, "this", 800, &naming("replace", "that")),
        row(&chats, ANN, "that", 800, &naming("replace", "this")),
        row(&chats, ANN, "itself", 800, &naming("replace", "itself")),
    ];
    let words =
        ArchiveRow { key: "key-of-words".to_owned(), ..row(&chats, ANN, "words", 900, EPHEMERAL) };
    let mut rows = vec![words, row(&chats, ANN, "goes", 800, &naming("replace", "words"))];
    rows.extend(staying.iter().cloned());
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "goes").await?, with_message(900), "it is looked for at all");
    for row in &staying {
        assert!(!is_recorded(&chats, &row.key).await?, "{}", row.key);
    }
    Ok(())
}

/// Messages that name each other in a circle go by their own timers or one another's, and hang nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_circle_hangs_nothing() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let rows = [
        row(&chats, ANN, "one", 900, &(naming("replace", "three") + EPHEMERAL)),
        row(&chats, ANN, "two", 800, &(naming("replace", "one") + EPHEMERAL)),
        row(&chats, ANN, "three", 700, &naming("replace", "two")),
        row(&chats, ANN, "itself", 600, &(naming("replace", "itself") + EPHEMERAL)),
    ];
    chats.add(&rows).await?;
    chats.settle().await?;
    for key in ["one", "two", "three"] {
        let entry = chats.entry("bob", key).await?;
        let goes = entry.timer - entry.ago;
        assert!((TIMER - 900..=TIMER - 698).contains(&goes), "{key} goes {goes} s after the start");
    }
    assert_eq!(chats.entry("bob", "itself").await?, Entry::read("archived", 600));
    Ok(())
}

/// A message may be named over a hundred others. What is further away goes by its own rule.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_has_a_hundred_links() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let mut rows = vec![row(&chats, ANN, "link-0", 900, EPHEMERAL)];
    rows.extend((1..=1_000).map(|at| {
        row(
            &chats,
            ANN,
            &format!("link-{at}"),
            800,
            &naming("replace", &format!("link-{}", at - 1)),
        )
    }));
    // A reaction to the last of them that goes, and to the first that does not.
    rows.push(row(&chats, BOB, "to-99", 700, &naming("reactions", "link-99")));
    rows.push(row(&chats, BOB, "to-100", 700, &naming("reactions", "link-100")));
    chats.add(&rows).await?;
    chats.settle().await?;
    let recorded = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id LIKE 'link-%'";
    assert_eq!(number(chats.pool(), recorded).await?, 101);
    assert_eq!(chats.entry("bob", "link-100").await?, with_message(900));
    assert_eq!(chats.entry("bob", "to-99").await?, with_message(900));
    assert!(!is_recorded(&chats, "to-100").await?);
    Ok(())
}

/// What waits to be read makes what belongs to it wait, and takes it along when it starts.
#[tokio::test(flavor = "multi_thread")]
async fn it_waits_and_starts_with_its_message() -> Result<()> {
    let chats = Chats::start().await?;
    let soon = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='600'/>";
    let rows = [
        row(&chats, ANN, "words", 900, EPHEMERAL),
        row(&chats, ANN, "better", 800, &naming("replace", "words")),
        row(&chats, BOB, "heart", 700, &naming("reactions", "unrelated")),
        row(&chats, ANN, "own", 600, &(naming("replace", "words") + soon)),
        row(&chats, ANN, "last", 500, EPHEMERAL),
    ];
    chats.add(&rows).await?;
    let Entry { timer, ago, by, .. } = chats.entry("bob", "better").await?;
    assert_eq!((by.as_str(), ago, timer), ("inherited", Entry::unread(900).ago, TIMER));
    assert_eq!(chats.entry("bob", "own").await?.by, "unread");
    chats.add(&[chats.marker("bob", "ann@localhost", "better", 400)]).await?;
    assert_eq!(chats.entry("bob", "words").await?, Entry::read("marker", 400));
    assert_eq!(chats.entry("bob", "better").await?, with_message(400));
    assert_eq!(chats.entry("bob", "own").await?.by, "unread", "nobody has read this one yet");
    let due = chats.entry("bob", "own").await?;
    assert_eq!(due.timer - due.ago, TIMER - 399, "but it goes no later than what it corrects");
    chats.add(&[chats.marker("bob", "ann@localhost", "last", 300)]).await?;
    let own = Entry { timer: 600, ..Entry::read("marker", 300) };
    assert_eq!(chats.entry("bob", "own").await?, own, "its own timer is shorter");
    Ok(())
}

/// Nobody has received it: so nobody has received what belongs to it, in the queue or in the archive.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_queue_it_waits_with_its_message() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "delivered")]).await?;
    let both = |key: &str, ago: i64, extra: &str| {
        let archived = row(&chats, ANN, key, ago, extra);
        let when = chats.began - ago;
        let copy = ArchiveRow::queue("bob", &format!("copy-{key}"), when, &archived.value, key);
        [archived, copy]
    };
    let better = naming("replace", "words");
    let rows = [both("words", 900, EPHEMERAL), both("better", 800, &better)].concat();
    chats.add(&rows).await?;
    let waits = Entry { reason: "undelivered".to_owned(), ..Entry::read("archived", 900) };
    let waits = Entry { timer: waits.timer + 14 * 86_400, ..waits };
    let inherited =
        Entry { by: "inherited".to_owned(), reason: "inherited".to_owned(), ..waits.clone() };
    for (store, key) in [("archive", "words"), ("queue", "copy-words")] {
        assert_eq!(chats.entry_in(store, "bob", key).await?, waits, "{key}");
    }
    for (store, key) in [("archive", "better"), ("queue", "copy-better")] {
        assert_eq!(chats.entry_in(store, "bob", key).await?, inherited, "{key}");
    }
    sqlx::query("DELETE FROM prosodyarchive WHERE store = 'offline'").execute(chats.pool()).await?;
    wait_for_number(
        chats.pool(),
        "SELECT count(*) FROM ephemerd.expiries WHERE started_by = 'delivered'",
        1,
    )
    .await?;
    let (words, better) = (chats.entry("bob", "words").await?, chats.entry("bob", "better").await?);
    assert_eq!((better.ago, better.timer), (words.ago, TIMER), "both since the same moment");
    wait_for_number(chats.pool(), "SELECT count(*) FROM ephemerd.expiries WHERE store = 'queue'", 0)
        .await
}
