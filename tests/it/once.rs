//! Messages that are to go once they were read: `<once xmlns='urn:ephemerd:0'/>` beside a timer.

use ephemerd::archive::prosody;
use ephemerd::model::{RowKey, Store, Timestamp};
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::xmpp::{Client, MamItem, MamQuery};
use ephemerd_lab::{Lab, PATIENCE, Result, Server, eventually};

use crate::reading_chats::{CAP, Chats, EPHEMERAL, Entry, TIMER, message, without_words};
use crate::remote::{config, mnesia, prosody as prosody_with};
use crate::support::{number, pause, printed, resume, show_read, start};

const ANN: &str = "ann@localhost/phone";
const ONCE: &str = "<once xmlns='urn:ephemerd:0'/>";
/// Half of the timer, so that nothing goes while a test looks.
const ONCE_FOR: i64 = TIMER / 2;

async fn chats(settings: &[(&str, &str)]) -> Result<Chats> {
    Chats::start_with(&[&[("timers.once_for", "12h")], settings].concat()).await
}

fn received(chats: &Chats, key: &str, ago: i64) -> ArchiveRow {
    let words = message(ANN, "bob@localhost", key, &format!("{EPHEMERAL}{ONCE}"));
    chats.row("bob", key, ago, &words)
}

fn sent(chats: &Chats, key: &str, to: &str, ago: i64, extra: &str) -> ArchiveRow {
    let with = to.split('/').next().unwrap_or_default().to_owned();
    let words = message("bob@localhost/phone", to, key, extra);
    ArchiveRow { with, ..chats.row("bob", key, ago, &words) }
}

/// It goes so long after its start.
fn once(entry: Entry) -> Entry {
    Entry { timer: ONCE_FOR, ..entry }
}

/// Only its reader's own evidence counts, a receipt never does; until then its timer counts, in the queue as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_goes_soon_after() -> Result<()> {
    let chats = chats(&[("timers.start", "read")]).await?;
    let words = message(ANN, "bob@localhost", "one", &format!("{EPHEMERAL}{ONCE}"));
    let queued = ArchiveRow::queue("bob", "queued", chats.began - 900, &words, "one");
    let receipt = "<received xmlns='urn:xmpp:receipts' id='one'/>";
    let theirs = "<displayed xmlns='urn:xmpp:chat-markers:0' id='one'/>";
    let rows = [
        received(&chats, "one", 900),
        queued,
        received(&chats, "two", 800),
        chats.received("bob", ANN, "plain", 750),
        chats.row("bob", "theirs", 700, &without_words(ANN, "bob@localhost", theirs)),
        chats.row("bob", "had", 600, &without_words("bob@localhost/phone", ANN, receipt)),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::unread(900), "by its timer");
    let copy = chats.entry_in("queue", "bob", "queued").await?;
    assert_eq!((copy.ago, copy.timer), (899, CAP + TIMER), "together with its archive row");
    let args = ["explain", "--owner", "bob@localhost", "--id", "two"];
    let unread = printed(&chats.config, &args).await?;
    assert!(unread.contains("as long as nothing shows that, its timer counts"), "{unread}");

    chats.add(&[chats.marker("bob", ANN, "plain", 500)]).await?;
    for key in ["one", "two"] {
        assert_eq!(chats.entry("bob", key).await?, once(Entry::read("marker", 500)), "{key}");
    }
    let copy = chats.entry_in("queue", "bob", "queued").await?;
    assert_eq!(copy, once(Entry::read("marker", 500)));
    assert_eq!(chats.entry("bob", "plain").await?, Entry::read("marker", 500));
    let read = printed(&chats.config, &args).await?;
    assert!(read.contains("it is to go once it was read, which makes the timer 12h"), "{read}");
    assert!(!read.contains("differs"), "{read}");
    Ok(())
}

/// What is read after its timer has started anyway goes soon after that, and not by the time at which the timer started.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_late_goes_soon_after_too() -> Result<()> {
    let chats = chats(&[("timers.start", "read"), ("timers.unread_for", "10m")]).await?;
    let rows = [
        received(&chats, "one", 900),
        chats.received("bob", ANN, "plain", 900),
        chats.marker("bob", ANN, "one", 100),
        chats.marker("bob", ANN, "plain", 100),
    ];
    chats.add(&rows).await?;
    // They started 600 s after archiving, and were read 200 s later.
    let started = Entry::new("unread", 899 - 600);
    assert_eq!(
        chats.entry("bob", "one").await?,
        Entry { timer: 200 + ONCE_FOR, ..started.clone() }
    );
    assert_eq!(chats.entry("bob", "plain").await?, started);
    Ok(())
}

/// Whoever sent it has read it. In a room, and in what a room sends to a subscriber, nobody's reading is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn own_copies_and_rooms_wait_for_nobody() -> Result<()> {
    for start in ["archived", "read"] {
        let chats = chats(&[("timers.start", start)]).await?;
        let extra = format!("{EPHEMERAL}{ONCE}");
        let in_room = format!(
            "<message from='den@conference.localhost/Ann' id='r' type='groupchat'><body>words</body>{extra}</message>"
        );
        let wrapped = format!(
            "<message from='den@conference.localhost' to='bob@localhost'><event xmlns='http://jabber.org/protocol/pubsub#event'>\
             <items node='urn:xmpp:mucsub:nodes:messages'><item>{}</item></items></event></message>",
            in_room.replacen("<message ", "<message xmlns='jabber:client' ", 1)
        );
        let rows = [
            sent(&chats, "sent", ANN, 900, &extra),
            sent(&chats, "note", "bob@localhost", 900, &extra),
            ArchiveRow::room("den", "room", chats.began - 900, &in_room),
            chats.row("bob", "copy", 900, &wrapped),
        ];
        chats.add(&rows).await?;
        for key in ["sent", "note", "copy"] {
            let entry = chats.entry("bob", key).await?;
            assert_eq!(entry, once(Entry::read("archived", 900)), "{start}: {key}");
        }
        let room = chats.entry_in("room", "den", "room").await?;
        assert_eq!(room, once(Entry::read("archived", 900)), "{start}");
    }
    Ok(())
}

/// With `rooms.start` a room's messages wait for their reader, and then go soon.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_room_that_waits_for_a_reader_it_goes_soon_after() -> Result<()> {
    let chats = chats(&[("rooms.start", "first_reader")]).await?;
    let words = format!(
        "<message from='den@conference.localhost/Ann' id='one' type='groupchat'><body>words</body>{EPHEMERAL}{ONCE}</message>"
    );
    let marker = "<message from='den@conference.localhost/Bob' type='groupchat'>\
                  <displayed xmlns='urn:xmpp:chat-markers:0' id='one'/></message>";
    let room = |key, ago, stanza: &str| ArchiveRow::room("den", key, chats.began - ago, stanza);
    chats.add(&[room("one", 900, &words)]).await?;
    assert_eq!(chats.entry_in("room", "den", "one").await?, Entry::unread(900));
    chats.add(&[room("marker", 500, marker)]).await?;
    let read = chats.entry_in("room", "den", "one").await?;
    assert_eq!(read, once(Entry::read("marker", 500)));
    Ok(())
}

/// Nobody looks for readers, or the account shows nothing: the timer counts, as if the mark were not there. Without a timer,
/// or with one of zero, nothing goes.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_shows_reading_the_timer_counts() -> Result<()> {
    for start in ["archived", "delivered", "auto"] {
        let chats = chats(&[("timers.start", start)]).await?;
        let zero = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='0'/>";
        let rows = [
            received(&chats, "one", 900),
            sent(&chats, "without", ANN, 900, ONCE),
            sent(&chats, "zero", ANN, 900, &format!("{zero}{ONCE}")),
            chats.row("bob", "in", 900, &message(ANN, "bob@localhost", "in", ONCE)),
        ];
        chats.add(&rows).await?;
        assert_eq!(chats.entry("bob", "one").await?, Entry::read("archived", 900), "{start}");
        let bobs = "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'bob'";
        assert_eq!(number(chats.pool(), bobs).await?, 1, "{start}");
    }
    Ok(())
}

/// Another `timers.once_for` judges what is recorded anew: what was read, and what waits for that.
#[tokio::test(flavor = "multi_thread")]
async fn another_length_counts_for_what_is_recorded() -> Result<()> {
    let mut chats = chats(&[("timers.start", "read")]).await?;
    let extra = format!("{EPHEMERAL}{ONCE}");
    let rows = [
        received(&chats, "read", 900),
        chats.marker("bob", ANN, "read", 800),
        received(&chats, "waits", 700),
        sent(&chats, "sent", ANN, 900, &extra),
    ];
    chats.add(&rows).await?;
    chats.reload(&chats.config.clone().set("timers.once_for", "6h")).await?;
    let six = "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'bob' AND due_at - runs_from = interval '6h'";
    assert_eq!(number(chats.pool(), six).await?, 2);
    let waits = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'waits' AND timer_us = 21600000000";
    assert_eq!(number(chats.pool(), waits).await?, 1);
    assert_eq!(chats.entry("bob", "waits").await?, Entry::unread(700));
    chats.add(&[chats.marker("bob", ANN, "waits", 500)]).await?;
    let six_hours = Entry { timer: 6 * 3_600, ..Entry::read("marker", 500) };
    assert_eq!(chats.entry("bob", "waits").await?, six_hours);
    Ok(())
}

/// The mark shares its namespace with our placeholders. A row with words is none, also if a backup brings it back, or it is
/// counted by its age.
#[tokio::test(flavor = "multi_thread")]
async fn words_that_go_once_are_no_placeholder() -> Result<()> {
    let chats = chats(&[]).await?;
    let placeholder =
        "<message><expired xmlns='urn:ephemerd:0' until='2040-01-01T00:00:00Z'/></message>";
    let words = message(ANN, "bob@localhost", "words", &format!("{EPHEMERAL}{ONCE}"));
    let rows = [
        chats.row("bob", "words", 900, &words),
        ArchiveRow::archive("bob", "left", chats.began - 900, placeholder),
    ];
    let numbers = insert(chats.pool(), &rows).await?;
    let key = |at: usize, id: &str| RowKey {
        store: Store::Archive,
        host: "localhost".to_owned(),
        owner: "bob".to_owned(),
        archive_id: id.to_owned(),
        row_number: numbers[at],
        stamped_at: Timestamp::from_timestamp(chats.began - 900, 0).expect("a time"),
        digest: Vec::new(),
    };
    let keys = [key(0, "words"), key(1, "left")];
    let mut connection = chats.pool().acquire().await?;
    let keys: Vec<&RowKey> = keys.iter().collect();
    let with_words = prosody::with_words(&mut connection, &keys).await;
    assert_eq!(with_words.expect("the table is there"), [0]);
    Ok(())
}

/// How many of a user's archived messages say this.
async fn standing<S: Server>(lab: &Lab<S>, user: &str, words: &str) -> Result<usize> {
    let items = lab.archive(user, &MamQuery::default()).await?;
    Ok(items.iter().filter_map(MamItem::body).filter(|it| it == &words).count())
}

async fn goes<S: Server>(lab: &Lab<S>, user: &str, words: &str) -> Result<()> {
    eventually(&format!("{words} goes from {user}'s archive"), PATIENCE * 4, async || {
        Ok((standing(lab, user, words).await? == 0).then_some(()))
    })
    .await
}

async fn say(peter: &mut Client, rosa: &mut Client, words: &str) -> Result<()> {
    let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3600'/>";
    let body = format!("<body>{words}</body>{timer}{ONCE}");
    let to = rosa.bare_jid().to_owned();
    peter.send(&format!("<message to='{to}' type='chat' id='{words}'>{body}</message>")).await?;
    rosa.wait_for_body(words).await.map(drop)
}

/// With a real server: the sender's copy goes soon, the reader's once they have read it, and what they have not read stays.
async fn goes_once_read<S: Server>(lab: &Lab<S>, daemon: ephemerd_lab::DaemonConfig) -> Result<()> {
    let daemon = daemon
        .set("archive.poll", "200ms")
        .set("timers.start", "read")
        .set("timers.once_for", "1s");
    let _running = start(&daemon).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    // Where stamps are whole seconds, what came in the same second as what was read counts as read, too.
    for words in ["first", "second"] {
        say(&mut peter, &mut rosa, words).await?;
        goes(lab, "peter", words).await?;
        assert_eq!(standing(lab, "rosa", words).await?, 1, "she has not read it");
    }
    pause(&daemon).await?;
    let peter = lab.endpoints().jid("peter");
    show_read(&mut rosa, &peter, "first").await?;
    assert_eq!(standing(lab, "rosa", "first").await?, 1, "nothing goes in a pause");
    resume(&daemon).await?;
    goes(lab, "rosa", "first").await?;
    assert_eq!(standing(lab, "rosa", "second").await?, 1, "she has not read it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_real_servers_it_goes_once_it_was_read() -> Result<()> {
    use ephemerd_lab::prosody::Storage;
    let tables = async {
        let lab = Lab::prosody().await?;
        goes_once_read(&lab, lab.daemon_config()).await
    };
    let files = async {
        let lab = prosody_with(Storage::Files).await?;
        goes_once_read(&lab, config(&lab)).await
    };
    let mnesia = async {
        let lab = mnesia().await?;
        goes_once_read(&lab, config(&lab)).await
    };
    tokio::try_join!(tables, files, mnesia)?;
    Ok(())
}

/// By the owner's wish, what was received after it goes soon after reading, and its copy in the queue with it; the operator is told why.
#[tokio::test(flavor = "multi_thread")]
async fn what_its_owner_wishes_goes_soon_after_reading() -> Result<()> {
    let chats = chats(&[("timers.start", "read"), ("commands.settings", "true")]).await?;
    let wish = "INSERT INTO ephemerd.wishes (host, owner, peer, once_since)
                VALUES ('localhost', 'bob', 'ann@localhost', now() - interval '850 seconds')";
    sqlx::query(wish).execute(chats.pool()).await?;
    let words = message(ANN, "bob@localhost", "one", EPHEMERAL);
    let queued = ArchiveRow::queue("bob", "queued", chats.began - 800, &words, "one");
    let rows = [
        chats.received("bob", ANN, "before", 900),
        chats.received("bob", ANN, "one", 800),
        queued,
        chats.received("bob", "eve@localhost/phone", "other", 800),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "one").await?, Entry::unread(800), "by its timer");
    let markers = [
        chats.marker("bob", ANN, "one", 500),
        chats.marker("bob", "eve@localhost/phone", "other", 500),
    ];
    chats.add(&markers).await?;
    let read = Entry::read("marker", 500);
    assert_eq!(chats.entry("bob", "one").await?, once(read.clone()));
    assert_eq!(chats.entry_in("queue", "bob", "queued").await?, once(read.clone()));
    assert_eq!(chats.entry("bob", "before").await?, read, "from before the wish");
    assert_eq!(chats.entry("bob", "other").await?, read, "another chat");
    let args = ["explain", "--owner", "bob@localhost", "--id", "one"];
    let told = printed(&chats.config, &args).await?;
    assert!(told.contains("is what its owner wishes"), "{told}");
    assert!(!told.contains("differs"), "{told}");
    Ok(())
}

/// Where nobody looks for readers, a wish from times when somebody did counts for nothing, as the form says, not even for what
/// its owner sent.
#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_looks_for_readers_no_wish_counts() -> Result<()> {
    for start in ["archived", "delivered"] {
        let chats = chats(&[("timers.start", start), ("commands.settings", "true")]).await?;
        let wish = "INSERT INTO ephemerd.wishes (host, owner, peer, once_since)
                    VALUES ('localhost', 'bob', '', now() - interval '1 hour')";
        sqlx::query(wish).execute(chats.pool()).await?;
        chats.add(&[sent(&chats, "sent", ANN, 900, EPHEMERAL)]).await?;
        let entry = chats.entry("bob", "sent").await?;
        assert_eq!(entry, Entry::read("archived", 900), "{start}");
    }
    Ok(())
}
