//! Rooms whose timers start at their first reader, in Prosody's table: what counts, of whom, and for which messages.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{LabError, Result};

use crate::reading_chats::{Chats, EPHEMERAL, Entry, displayed};
use crate::support::{number, printed, run, start, told};

pub(crate) const ROOM: &str = "den@conference.localhost";

async fn rooms() -> Result<Chats> {
    rooms_with(&[]).await
}

async fn rooms_with(settings: &[(&str, &str)]) -> Result<Chats> {
    Chats::start_with(&[&[("rooms.start", "first_reader")], settings].concat()).await
}

fn from(nick: &str, payload: &str) -> String {
    format!("<message from='{ROOM}/{nick}' id='own' type='groupchat'>{payload}</message>")
}

/// What the room adds where everybody sees real addresses, and what it always adds.
pub(crate) fn known(jid: &str, id: &str) -> String {
    let item = format!("<item jid='{jid}' affiliation='member' role='participant'/>");
    let x = format!("<x xmlns='http://jabber.org/protocol/muc#user'>{item}</x>");
    let x = if jid.is_empty() { String::new() } else { x };
    if id.is_empty() {
        x
    } else {
        format!("{x}<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{id}'/>")
    }
}

fn reply(id: &str) -> String {
    format!("<body>x</body><reply xmlns='urn:xmpp:reply:0' id='{id}'/>")
}

fn reaction(id: &str) -> String {
    format!("<reactions xmlns='urn:xmpp:reactions:0' id='{id}'><reaction>x</reaction></reactions>")
}

impl Chats {
    /// A row of the room, so many seconds ago.
    fn in_room(&self, key: &str, ago: i64, stanza: &str) -> ArchiveRow {
        ArchiveRow::room("den", key, self.began - ago, stanza)
    }

    /// What somebody said in the room.
    pub(crate) fn said(&self, nick: &str, key: &str, ago: i64) -> ArchiveRow {
        self.said_with(nick, "", key, ago)
    }

    pub(crate) fn said_with(&self, nick: &str, extra: &str, key: &str, ago: i64) -> ArchiveRow {
        let words = format!("<body>words of {key}</body>{EPHEMERAL}{extra}");
        self.in_room(key, ago, &from(nick, &words))
    }

    /// What somebody showed in the room.
    pub(crate) fn shown(&self, nick: &str, payload: &str, ago: i64) -> ArchiveRow {
        self.in_room(&format!("shown-{nick}-{ago}"), ago, &from(nick, payload))
    }

    /// What a user published of the room.
    pub(crate) fn position(&self, user: &str, id: &str, ago: i64) -> ArchiveRow {
        self.item_by(user, ROOM, (ROOM, id), ago)
    }

    pub(crate) async fn in_den(&self, key: &str) -> Result<Entry> {
        self.entry_in("room", "den", key).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rooms_first_reader_starts_what_was_read_and_all_before_it() -> Result<()> {
    let chats = rooms().await?;
    let elsewhere = ArchiveRow { user: "hall".to_owned(), ..chats.said("Ann", "elsewhere", 850) };
    chats
        .add(&[
            chats.said("Ann", "one", 900),
            elsewhere,
            chats.said("Eve", "two", 800),
            chats.said("Ann", "three", 700),
            chats.shown("Bob", &displayed("two"), 500),
            chats.shown("Eve", &displayed("two"), 400),
        ])
        .await?;
    assert_eq!(chats.in_den("one").await?, Entry::read("marker", 500));
    assert_eq!(chats.in_den("two").await?, Entry::read("marker", 500));
    assert_eq!(chats.in_den("three").await?, Entry::unread(700), "it came later");
    let elsewhere = chats.entry_in("room", "hall", "elsewhere").await?;
    assert_eq!(elsewhere, Entry::unread(850), "another room");
    // A message without a timer is in no ledger, and a marker for it tells as much.
    let plain = chats.in_room("plain", 300, &from("Ann", "<body>plain</body>"));
    chats.add(&[plain, chats.shown("Bob", &displayed("plain"), 200)]).await?;
    assert_eq!(chats.in_den("three").await?, Entry::read("marker", 200));
    assert_eq!(chats.in_den("one").await?, Entry::read("marker", 500), "it runs");
    // Users' timers start when delivered, as ever.
    assert_eq!(number(chats.pool(), "SELECT count(*) FROM ephemerd.readers").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_its_sender_nothing_shows_that_a_rooms_message_was_read() -> Result<()> {
    let chats = rooms().await?;
    let ann = known("ann@localhost", "a");
    let rows = [
        chats.said("Ann", "nick", 900),
        chats.said_with("Ann", &known("", "a"), "id", 900),
        chats.said_with("Ann", &ann, "all", 900),
        chats.shown("Ann", &displayed("all"), 500),
        chats.shown("Ann", &reply("nick"), 490),
        // Under another nickname the room's own id or her real address gives her away, …
        chats.shown("Anna", &format!("{}{}", displayed("all"), known("", "a")), 480),
        chats.shown("Anna", &format!("{}{}", reply("all"), known("Ann@localhost/x", "z")), 470),
        chats.position("ann", "all", 460),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.in_den("id").await?, Entry::unread(900));
    assert_eq!(chats.in_den("all").await?, Entry::unread(900));
    // … and without them nobody can tell that it is hers.
    assert_eq!(chats.in_den("nick").await?, Entry::read("marker", 480));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_room_a_reply_or_reaction_shows_its_own_message_only() -> Result<()> {
    let chats = rooms().await?;
    let rows = [
        chats.said("Ann", "one", 900),
        chats.said("Ann", "two", 800),
        chats.said("Ann", "three", 700),
        chats.shown("Bob", &reply("two"), 500),
        chats.shown("Ann", &reaction("one"), 450),
        chats.shown("Bob", &reaction("three"), 400),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.in_den("one").await?, Entry::unread(900));
    assert_eq!(chats.in_den("two").await?, Entry::read("reply", 500));
    assert_eq!(chats.in_den("three").await?, Entry::read("reply", 400));
    Ok(())
}

/// Who publishes is known by the real address alone: it counts where the room's archive has that of the sender.
#[tokio::test(flavor = "multi_thread")]
async fn what_users_publish_of_a_room_counts_if_its_sender_is_known() -> Result<()> {
    let chats = rooms().await?;
    let ann = known("ann@localhost", "a");
    let rows = [
        chats.said("Ann", "hidden", 950),
        chats.said_with("Ann", &ann, "one", 900),
        chats.said_with("Ann", &ann, "two", 800),
        // Somebody else's archive, or no room of ours.
        chats.item_by("eve", ROOM, ("eve@localhost", "two"), 600),
        chats.item_by("mia", ROOM, ("hall@conference.localhost", "two"), 590),
        chats.item_by("bob", "den@elsewhere.example", ("den@elsewhere.example", "two"), 580),
        chats.position("bob", "one", 500),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.in_den("one").await?, Entry::read("mds", 500));
    assert_eq!(chats.in_den("two").await?, Entry::unread(800));
    assert_eq!(chats.in_den("hidden").await?, Entry::unread(950));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ignored_readers_nothing_counts() -> Result<()> {
    let ignored = format!("bot@localhost, bots.example, {ROOM}/Weather");
    let chats = rooms_with(&[("rooms.ignore_readers", &ignored)]).await?;
    let ann = known("ann@localhost", "a");
    let rows = [
        chats.said_with("Ann", &ann, "one", 900),
        chats.shown("Weather", &displayed("one"), 700),
        chats.shown("Bot", &format!("{}{}", displayed("one"), known("Bot@localhost", "b")), 690),
        chats.shown("Bus", &format!("{}{}", reply("one"), known("bus@bots.example/x", "c")), 680),
        chats.position("bot", "one", 670),
        chats.said_with("Ann", &ann, "two", 600),
        chats.shown("Weather2", &displayed("one"), 500),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.in_den("one").await?, Entry::read("marker", 500));
    assert_eq!(chats.in_den("two").await?, Entry::unread(600));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_room_what_names_nothing_there_starts_nothing() -> Result<()> {
    let chats = rooms().await?;
    let error = format!("<message from='{ROOM}/Bob' type='error'>{}</message>", displayed("one"));
    let rows = [
        chats.said("Ann", "one", 900),
        chats.shown("Bob", &displayed("nothing"), 700),
        // The sender's own id is no id of the room's archive.
        chats.shown("Bob", &displayed("own"), 690),
        chats.shown("Bob", &format!("<x xmlns='y'>{}</x>", displayed("one")), 680),
        chats.in_room("error", 670, &error),
        // Nobody of the room, in a user's archive.
        chats.row(
            "bob",
            "private",
            660,
            &format!("<message from='bob@localhost/x' to='{ROOM}'>{}</message>", displayed("one")),
        ),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.in_den("one").await?, Entry::unread(900));
    Ok(())
}

/// What shows that it was read may lie before it, and twice: the earliest counts, and never before the message.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_room_evidence_out_of_order_counts_by_its_own_stamp() -> Result<()> {
    let chats = rooms().await?;
    let rows = [
        chats.shown("Bob", &displayed("one"), 500),
        chats.said("Ann", "one", 900),
        chats.shown("Eve", &displayed("one"), 400),
        chats.said("Ann", "two", 800),
        chats.shown("Bob", &reply("two"), 850),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.in_den("one").await?, Entry::read("marker", 500));
    assert_eq!(chats.in_den("two").await?, Entry::read("reply", 800), "never before it was there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_in_a_room_while_the_daemon_was_down_starts_when_it_was_read() -> Result<()> {
    let mut chats = rooms().await?;
    chats.add(&[chats.said("Ann", "one", 900)]).await?;
    assert!(chats.daemon.terminate().await?.success());
    let rows = [
        chats.shown("Bob", &displayed("one"), 500),
        chats.said("Ann", "two", 400),
        chats.shown("Bob", &displayed("two"), 300),
    ];
    insert(chats.lab.database.superuser(), &rows).await?;
    chats.daemon = start(&chats.config).await?;
    chats.settle().await?;
    assert_eq!(chats.in_den("one").await?, Entry::read("marker", 500));
    assert_eq!(chats.in_den("two").await?, Entry::read("marker", 300));
    Ok(())
}

/// A reload moves what waits and what will come; what runs keeps its start. `preview` counts what waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_what_starts_rooms() -> Result<()> {
    let mut chats = Chats::start_with(&[]).await?;
    chats.add(&[chats.said("Ann", "before", 900)]).await?;
    assert_eq!(chats.in_den("before").await?, Entry::read("archived", 900));
    let config = chats.config.clone().set("rooms.start", "first_reader");
    let waiting =
        "SELECT count(*) FROM ephemerd.expiries WHERE store = 'room' AND started_by = 'unread'";
    let scan = async |config| {
        let scanned = told(config, &["preview", "--scan"]).await?;
        let rows = scanned["by_store_and_reason"].as_array().cloned().unwrap_or_default();
        let of_rooms = rows.into_iter().find(|it| it["store"] == "room").unwrap_or_default();
        Ok::<_, LabError>((of_rooms["within_7d"].as_i64(), of_rooms["within_30d"].as_i64()))
    };
    assert_eq!(scan(&chats.config).await?, (Some(1), Some(1)));
    assert_eq!(scan(&config).await?, (Some(0), Some(1)), "a change is shown before it is made");
    chats.reload(&config).await?;
    chats.add(&[chats.said("Ann", "after", 500)]).await?;
    assert_eq!(chats.in_den("after").await?, Entry::unread(500));
    assert_eq!(chats.in_den("before").await?, Entry::read("archived", 900), "it runs");
    let counted = told(&config, &["preview"]).await?;
    assert!(counted["at_reading"]["waiting"].as_i64() > Some(0), "{counted}");
    chats.reload(&chats.config.clone()).await?;
    assert_eq!(number(chats.pool(), waiting).await?, 0);
    let left = "SELECT count(*) FROM ephemerd.expiries WHERE num_nonnulls(chat, sender_nick, timer_us) > 0";
    assert_eq!(
        number(chats.pool(), left).await?,
        0,
        "nothing waits, so nothing is kept to find it"
    );
    Ok(())
}

/// The sender's digests are there while the message waits, and nothing of the reader ever is.
#[tokio::test(flavor = "multi_thread")]
async fn of_who_reads_in_a_room_nothing_is_kept() -> Result<()> {
    let chats = rooms().await?;
    let ann = known("ann@localhost", "a");
    chats.add(&[chats.said_with("Ann", &ann, "one", 900)]).await?;
    let kept = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'one'
                   AND length(sender_nick) + length(sender_jid) + length(sender_id) = 48 AND message IS NULL";
    assert_eq!(number(chats.pool(), kept).await?, 1);
    let payload = format!("{}{}", displayed("one"), known("reader@localhost", "reader-id"));
    chats.add(&[chats.shown("Reader", &payload, 500)]).await?;
    assert_eq!(chats.in_den("one").await?, Entry::read("marker", 500));
    let left = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'one'
                   AND num_nonnulls(chat, message, timer_us, sender_nick, sender_jid, sender_id) > 0";
    assert_eq!(number(chats.pool(), left).await?, 0);
    let said =
        "SELECT count(*) FROM ephemerd.expiries AS e WHERE strpos(lower(e::text), 'reader') > 0";
    assert_eq!(number(chats.pool(), said).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_what_started_a_rooms_timer() -> Result<()> {
    let chats = rooms().await?;
    let rows = [
        chats.said("Ann", "one", 900),
        chats.said("Ann", "two", 800),
        chats.shown("Bob", &displayed("one"), 500),
    ];
    chats.add(&rows).await?;
    let explain = async |key: &str| {
        let live = ["explain", "--owner", ROOM, "--id", key];
        Ok::<_, LabError>((printed(&chats.config, &live).await?, told(&chats.config, &live).await?))
    };
    let (text, json) = explain("one").await?;
    assert!(text.contains("counted from when somebody in the room read it, "), "{text}");
    assert!(text.contains(", as a displayed marker showed"), "{text}");
    assert_eq!(json["rows"][0]["started_by"], "marker");
    let (text, json) = explain("two").await?;
    let waits = "nobody in the room has read it yet; counted at the latest from ";
    assert!(text.contains(waits), "{text}");
    assert!(!text.contains("that differs"), "{text}");
    assert_eq!(json["rows"][0]["started_by"], "unread");
    let checked = run(&chats.config, &["check"]).await?.stdout;
    assert!(checked.contains("Rooms' archives show markers and replies"), "{checked}");
    Ok(())
}
