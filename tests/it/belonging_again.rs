//! Senders use ids again, and servers know the messages without a timer: a message belongs to the nearest one before it that
//! has the id which it names. If nothing asks for that one to go, what belongs to it stays, whatever older ones do.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{PATIENCE, Result, eventually};

use crate::belonging::{ANN, BOB, is_recorded, naming, with_message};
use crate::reading_chats::{Chats, EPHEMERAL, Entry, message};
use crate::support::{number, printed, wait_for_number};

const EVE: &str = "eve@localhost/phone";

/// What a user's archive has: keys and ids are not the same here.
fn said(
    chats: &Chats,
    user: &str,
    (from, to): (&str, &str),
    (key, id): (&str, &str),
    ago: i64,
    extra: &str,
) -> ArchiveRow {
    chats.row(user, key, ago, &message(from, to, id, extra))
}

/// A conversation in an archive of its own: Ann's marked message has the id, another message may have it, and something
/// names it. Says whether that goes.
struct Case {
    name: &'static str,
    /// Whose, to whom, how long ago, and what else is in it.
    other: Option<(&'static str, &'static str, i64, &'static str)>,
    /// The element that names the id, by whom.
    names: (&'static str, &'static str),
    goes: bool,
}

const MARKED: i64 = 900;
const NAMED: i64 = 600;

#[rustfmt::skip]
const CASES: [Case; 16] = [
    Case { name: "nothing-else", other: None, names: ("replace", ANN), goes: true },
    Case { name: "between", other: Some((ANN, "", 700, "")), names: ("replace", ANN), goes: false },
    Case { name: "another-device", other: Some(("ann@localhost/tablet", "", 700, "")), names: ("replace", ANN), goes: false },
    Case { name: "attached", other: Some((ANN, "", 700, "")), names: ("attach-to", ANN), goes: false },
    Case { name: "same-second", other: Some((ANN, "", MARKED, "")), names: ("replace", ANN), goes: false },
    Case { name: "same-second-as-what-names-it", other: Some((ANN, "", NAMED, "")), names: ("replace", ANN), goes: false },
    Case { name: "older", other: Some((ANN, "", 901, "")), names: ("replace", ANN), goes: true },
    Case { name: "newer", other: Some((ANN, "", 599, "")), names: ("replace", ANN), goes: true },
    Case { name: "of-the-other-side", other: Some(("USER", ANN, 700, "")), names: ("replace", ANN), goes: true },
    Case { name: "of-the-other-side-reacted-to", other: Some(("USER", ANN, 700, "")), names: ("reactions", "USER"), goes: false },
    Case { name: "reacted-to", other: Some((ANN, "", 700, "")), names: ("reactions", "USER"), goes: false },
    Case { name: "another-chat", other: Some((EVE, "", 700, "")), names: ("replace", ANN), goes: true },
    Case { name: "only-in-words", other: Some((ANN, "", 700, "<x xmlns='y' id='ID'>id='ID'</x>")), names: ("replace", ANN), goes: true },
    Case { name: "only-named", other: Some((ANN, "", 700, "<reply xmlns='urn:xmpp:reply:0' id='ID'/>")), names: ("replace", ANN), goes: true },
    Case { name: "marked-too", other: Some((ANN, "", 700, EPHEMERAL)), names: ("replace", ANN), goes: true },
    Case { name: "asks-to-be-stored", other: Some((ANN, "", 700, "<store xmlns='urn:xmpp:hints'/>")), names: ("replace", ANN), goes: false },
];

/// Each case with each of these ids: servers write some characters in several ways, and ids may be long.
fn ids() -> Vec<String> {
    vec!["5".to_owned(), "it&apos;s &lt;A&gt; &amp; B".to_owned(), "long".repeat(30_000)]
}

fn conversation(chats: &Chats, case: &Case, user: &str, id: &str) -> Vec<ArchiveRow> {
    let own = format!("{user}@localhost/phone");
    let whose = |of: &str| if of == "USER" { own.clone() } else { of.to_owned() };
    let mut rows = vec![said(chats, user, (ANN, &own), ("marked", id), MARKED, EPHEMERAL)];
    if let Some((from, to, ago, extra)) = case.other {
        let to = if to.is_empty() { own.as_str() } else { to };
        let only = case.name.starts_with("only");
        let (has, extra) = (if only { "unrelated" } else { id }, extra.replace("ID", id));
        // Servers may use either kind of quotes, and other references.
        let mut other = said(chats, user, (&whose(from), to), ("other", has), ago, &extra);
        if !only {
            other.value = other
                .value
                .replace(&format!("id='{id}'"), &format!("id=\"{}\"", id.replace("&apos;", "'")));
        }
        rows.push(other);
    }
    let from = whose(case.names.1);
    let to = if from == own { ANN } else { own.as_str() };
    rows.push(said(chats, user, (&from, to), ("names", "names"), NAMED, &naming(case.names.0, id)));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_message_with_the_id_is_meant() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let mut all = Vec::new();
    let (cases, ids) = (CASES.iter().enumerate(), ids());
    let users: Vec<(&Case, String, String)> = cases
        .flat_map(|(at, case)| {
            let of = |(nr, id): (usize, &String)| (case, format!("user{at}-{nr}"), id.clone());
            ids.iter().enumerate().map(of).collect::<Vec<_>>()
        })
        .collect();
    for (case, user, id) in &users {
        all.extend(conversation(&chats, case, user, id));
    }
    // Some are read together with what they name, some after it.
    let (first, second) = all.split_at(all.len() / 2 + 1);
    chats.add(first).await?;
    chats.add(second).await?;
    for _ in 0..2 {
        for (case, user, _) in &users {
            let found =
                "SELECT count(*) FROM ephemerd.expiries WHERE owner = $1 AND archive_id = 'names'";
            let found: i64 = sqlx::query_scalar(found).bind(user).fetch_one(chats.pool()).await?;
            assert_eq!(found > 0, case.goes, "{} ({user})", case.name);
        }
        for user in users.iter().filter(|it| it.0.name == "marked-too").map(|it| &it.1) {
            assert_eq!(chats.entry(user, "names").await?, with_message(700), "with the nearest");
        }
        // A sweep says the same.
        printed(&chats.config, &["sweep"]).await?;
    }
    Ok(())
}

/// Whoever committed late, or was imported: when the other message turns up, what was thought to belong to the older one
/// stays after all, or goes by its own timer.
#[tokio::test(flavor = "multi_thread")]
async fn what_turns_up_late_is_meant_as_well() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let row = |key: &str, id: &str, ago: i64, extra: &str| {
        said(&chats, "bob", (ANN, BOB), (key, id), ago, extra)
    };
    let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='172800'/>";
    let rows = [
        row("marked", "5", 900, EPHEMERAL),
        row("better", "6", 700, &naming("replace", "5")),
        row("best", "7", 600, &naming("replace", "6")),
        row("own", "8", 500, &(naming("replace", "5") + timer)),
        row("of-own", "9", 400, &naming("replace", "8")),
        row("of-words", "10", 850, &naming("replace", "5")),
        row("of-that", "11", 840, &naming("replace", "10")),
    ];
    chats.add(&rows).await?;
    for key in ["better", "best", "of-own", "of-words", "of-that"] {
        assert_eq!(chats.entry("bob", key).await?, with_message(900), "{key}");
    }
    assert_eq!(chats.entry("bob", "own").await?.reason, "inherited");
    insert(chats.pool(), &[row("plain", "5", 800, "")]).await?;
    printed(&chats.config, &["sweep"]).await?;
    for key in ["better", "best", "plain"] {
        assert!(!is_recorded(&chats, key).await?, "{key}");
    }
    let own = Entry { timer: 172_800, ..Entry::read("archived", 500) };
    assert_eq!(chats.entry("bob", "own").await?, own);
    let with_own = Entry { timer: 172_800, ..with_message(500) };
    assert_eq!(chats.entry("bob", "of-own").await?, with_own);
    // These came before the other message, and still belong to the first.
    for key in ["of-words", "of-that"] {
        assert_eq!(chats.entry("bob", key).await?, with_message(900), "{key}");
    }
    assert_eq!(chats.entry("bob", "marked").await?, Entry::read("archived", 900));
    Ok(())
}

/// The message that had the id is gone already, and another one has it now.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_not_meant_if_another_one_is_there() -> Result<()> {
    for mode in ["delete", "placeholder"] {
        let settings = [("timers.start", "archived"), ("timers.max", "1s"), ("erase.mode", mode)];
        let chats = Chats::start_with(&settings).await?;
        let row = |key: &str, id: &str, ago: i64, extra: &str| {
            said(&chats, "bob", (ANN, BOB), (key, id), ago, extra)
        };
        let rows = [row("marked", "5", 120, EPHEMERAL), row("plain", "5", 100, "")];
        insert(chats.pool(), &rows).await?;
        let words =
            "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%<body>%' AND \"user\" = 'bob'";
        wait_for_number(chats.pool(), words, 1).await?;
        let late = [
            row("better", "6", 5, &naming("replace", "5")),
            // This one is not in doubt, and shows that the other one was read.
            row("second", "9", 110, EPHEMERAL),
            row("of-second", "10", 4, &naming("replace", "9")),
        ];
        insert(chats.pool(), &late).await?;
        let gone = "SELECT count(*) FROM prosodyarchive WHERE key IN ('second', 'of-second') AND value LIKE '%<body>%'";
        wait_for_number(chats.pool(), gone, 0).await?;
        printed(&chats.config, &["sweep"]).await?;
        assert_eq!(number(chats.pool(), words).await?, 2, "{mode}");
    }
    Ok(())
}

/// If so much lies between that nobody can look through it, nothing is inherited, and that is counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_far_away_stays_and_is_counted() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let mut rows = vec![
        said(&chats, "bob", (ANN, BOB), ("marked", "5"), 900, EPHEMERAL),
        said(&chats, "bob", (ANN, BOB), ("near", "6"), 850, &naming("replace", "5")),
        said(&chats, "rosa", (ANN, "rosa@localhost/x"), ("marked", "5"), 900, EPHEMERAL),
        said(&chats, "rosa", (ANN, "rosa@localhost/x"), ("huge", "7"), 850, &"x".repeat(5 << 20)),
        said(
            &chats,
            "rosa",
            (ANN, "rosa@localhost/x"),
            ("behind", "6"),
            800,
            &naming("replace", "5"),
        ),
    ];
    rows.extend((0..2_000).map(|nr| {
        let key = format!("between-{nr}");
        said(&chats, "bob", (ANN, BOB), (&key, &key), 800, "")
    }));
    rows.push(said(&chats, "bob", (ANN, BOB), ("far", "7"), 700, &naming("replace", "5")));
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "near").await?, with_message(900));
    for key in ["far", "behind"] {
        assert!(!is_recorded(&chats, key).await?, "{key}");
    }
    eventually("they are counted", PATIENCE, async || {
        let counted = chats.daemon.figures().await?.get("ephemerd_belonging_unclear_total", &[]);
        Ok((counted == Some(2.0)).then_some(()))
    })
    .await
}

/// In a room the room's own id of the occupant decides who used an id again, and what the room's archive calls a message
/// is never used again. What nobody can tell apart counts as the same.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_room_the_same_occupant_counts() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let said =
        |room: &str, nick: &str, occupant: &str, (key, id): (&str, &str), ago: i64, extra: &str| {
            let occupant = match occupant {
                "" => String::new(),
                id => format!("<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{id}'/>"),
            };
            let stanza = format!(
                "<message from='{room}@conference.localhost/{nick}' id='{id}' type='groupchat'>\
             <body>words</body>{extra}{occupant}</message>"
            );
            ArchiveRow::room(room, key, chats.began - ago, &stanza)
        };
    let mut rows = Vec::new();
    let cases = [
        ("renamed", ("Other", "a"), false),
        ("another", ("Ann", "b"), true),
        ("unknown", ("Cy", ""), false),
    ];
    for (room, (nick, occupant), _) in cases {
        rows.extend([
            said(room, "Ann", "a", ("marked", "5"), 900, EPHEMERAL),
            said(room, nick, occupant, ("plain", "5"), 800, ""),
            said(room, "Ann", "a", ("better", "6"), 700, &naming("replace", "5")),
            said(room, "Bob", "c", ("heart", "7"), 700, &naming("reactions", "marked")),
            said(room, "Ann", "a", ("picture", "8"), 700, &naming("attach-to", "marked")),
        ]);
    }
    chats.add(&rows).await?;
    let recorded = async |room: &str, key: &str| -> Result<bool> {
        let found = "SELECT count(*) FROM ephemerd.expiries WHERE owner = $1 AND archive_id = $2";
        let found: i64 =
            sqlx::query_scalar(found).bind(room).bind(key).fetch_one(chats.pool()).await?;
        Ok(found > 0)
    };
    for (room, _, goes) in cases {
        assert_eq!(recorded(room, "better").await?, goes, "{room}");
        assert!(recorded(room, "heart").await? && recorded(room, "picture").await?, "{room}");
    }
    Ok(())
}

/// Occupants who write to each other in private, notes to oneself, and what only waits in the queue.
#[tokio::test(flavor = "multi_thread")]
async fn private_messages_notes_and_queues_have_chats_of_their_own() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let x = "<x xmlns='http://jabber.org/protocol/muc#user'/>";
    let in_private = |nick: &str, key: &str, id: &str, ago: i64, extra: &str| {
        let from = format!("den@conference.localhost/{nick}");
        said(&chats, "bob", (&from, BOB), (key, id), ago, &format!("{extra}{x}"))
    };
    let note = |key: &str, id: &str, ago: i64, extra: &str| {
        said(&chats, "bob", (BOB, "bob@localhost"), (key, id), ago, extra)
    };
    let queued = |key: &str, id: &str, ago: i64, extra: &str| {
        let stanza = message(ANN, "otto@localhost", id, extra);
        ArchiveRow::queue("otto", key, chats.began - ago, &stanza, &format!("archived-{key}"))
    };
    let rows = [
        in_private("Ann", "anns", "5", 900, EPHEMERAL),
        in_private("Eve", "eves", "5", 800, ""),
        in_private("Ann", "anns-better", "6", 700, &naming("replace", "5")),
        in_private("Eve", "eves-better", "6", 700, &naming("replace", "5")),
        note("note", "50", 900, EPHEMERAL),
        note("note-better", "51", 850, &naming("replace", "50")),
        note("note-again", "50", 800, ""),
        note("note-worse", "52", 700, &naming("replace", "50")),
        queued("q-marked", "5", 900, EPHEMERAL),
        queued("q-better", "6", 850, &naming("replace", "5")),
        queued("q-again", "5", 800, ""),
        queued("q-worse", "7", 700, &naming("replace", "5")),
    ];
    chats.add(&rows).await?;
    for (key, goes) in [
        ("anns-better", true),
        ("eves-better", false),
        ("note-better", true),
        ("note-worse", false),
        ("q-better", true),
        ("q-worse", false),
    ] {
        assert_eq!(is_recorded(&chats, key).await?, goes, "{key}");
    }
    Ok(())
}
