//! Rooms that wait for every member, in Prosody's table: who is known to have read what, and what a change of the rule does.
//! Who the members are only a module knows, so nothing starts here.

use ephemerd_lab::{PATIENCE, Result};
use sqlx::postgres::PgListener;

use crate::reading_chats::{Chats, Entry, displayed};
use crate::reading_rooms::{ROOM, known};
use crate::support::{number, printed, run, wait_for_number};

const READERS: &str =
    "SELECT coalesce(sum(cardinality(readers)), 0)::bigint FROM ephemerd.expiries";
const LEFT: &str = "SELECT count(*) FROM ephemerd.expiries
                     WHERE num_nonnulls(readers, read_at, read_by, chat) > 0 OR judged";

async fn rooms() -> Result<Chats> {
    let ignored = format!("bot@localhost, {ROOM}/Weather");
    Chats::start_with(&[("rooms.start", "everyone"), ("rooms.ignore_readers", &ignored)]).await
}

/// The room's own id is what Prosody puts into each message; a real address may be what somebody wrote.
#[tokio::test(flavor = "multi_thread")]
async fn readers_are_known_by_what_the_room_says_of_them() -> Result<()> {
    let chats = rooms().await?;
    let readers = async || number(chats.pool(), READERS).await;
    chats.add(&[chats.said_with("Ann", &known("", "a"), "one", 900)]).await?;
    let rows = [
        // The sender, somebody ignored, and nobody in particular.
        chats.shown("Anna", &format!("{}{}", displayed("one"), known("", "a")), 800),
        chats.shown("Weather", &format!("{}{}", displayed("one"), known("", "w")), 790),
        chats.shown("Nil", &displayed("one"), 780),
        chats.position("bot", "one", 770),
    ];
    chats.add(&rows).await?;
    assert_eq!(readers().await?, 0);
    // Eve says that she is Bob, too.
    let eve = format!("{}{}", displayed("one"), known("bob@localhost", "e"));
    chats.add(&[chats.shown("Eve", &eve, 700)]).await?;
    assert_eq!(readers().await?, 1, "Eve alone");
    chats.add(&[chats.shown("Eve", &eve, 600), chats.shown("Eva", &eve, 590)]).await?;
    assert_eq!(readers().await?, 1, "whoever repeats it is the same");
    let at = "SELECT count(*) FROM ephemerd.expiries
               WHERE read_by = 'marker' AND extract(epoch FROM now() - read_at) > 650";
    assert_eq!(number(chats.pool(), at).await?, 1, "and read it when it was first shown");
    assert_eq!(chats.in_den("one").await?, Entry::unread(900), "somebody may be missing");
    // What came before it is covered, and what came later is not.
    let ann = known("", "a");
    chats.add(&[chats.said_with("Ann", &ann, "two", 500)]).await?;
    assert_eq!(readers().await?, 1);
    let bob = format!("{}{}", displayed("two"), known("", "b"));
    chats.add(&[chats.shown("Bob", &bob, 400)]).await?;
    assert_eq!(readers().await?, 3);
    Ok(())
}

/// Whoever asks for a room's members does so as soon as somebody has read something there, in whichever daemon.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_reads_in_a_room_wakes_all_daemons() -> Result<()> {
    let chats = rooms().await?;
    chats.add(&[chats.said_with("Ann", &known("", "a"), "one", 900)]).await?;
    let mut listener = PgListener::connect_with(chats.pool()).await?;
    listener.listen("ephemerd_readers").await?;
    let eve = format!("{}{}", displayed("one"), known("", "e"));
    chats.add(&[chats.shown("Eve", &eve, 700)]).await?;
    let woken = tokio::time::timeout(PATIENCE, listener.recv()).await;
    woken.expect("a notification")?;
    Ok(())
}

/// What people are told says for whom it waits.
#[tokio::test(flavor = "multi_thread")]
async fn explain_and_check_say_that_rooms_wait_for_every_member() -> Result<()> {
    let chats = rooms().await?;
    chats.add(&[chats.said_with("Ann", &known("", "a"), "one", 900)]).await?;
    let live = ["explain", "--owner", ROOM, "--id", "one"];
    let text = printed(&chats.config, &live).await?;
    let waits = "not every member of the room has read it yet; counted at the latest from ";
    assert!(text.contains(waits), "{text}");
    // As if the module had told that whoever was missing has left.
    let left = "UPDATE ephemerd.expiries SET started_by = 'members', runs_from = now(), \
                due_at = now() + timer_us * interval '1 microsecond' WHERE owner = 'den'";
    sqlx::query(left).execute(chats.pool()).await?;
    let text = printed(&chats.config, &live).await?;
    let says = "counted from when no member was left who had not read it, ";
    assert!(text.contains(says) && !text.contains("that differs"), "{text}");
    let checked = run(&chats.config, &["check"]).await?.stdout;
    assert!(checked.contains("Messages in rooms wait for every member"), "{checked}");
    Ok(())
}

/// What the first reader started stays so, whomever later messages wait for.
#[tokio::test(flavor = "multi_thread")]
async fn explain_says_that_the_first_reader_started_it_whatever_the_rule_is_now() -> Result<()> {
    let chats = Chats::start_with(&[("rooms.start", "first_reader")]).await?;
    chats.add(&[chats.said("Ann", "one", 900), chats.shown("Bob", &displayed("one"), 700)]).await?;
    assert_eq!(chats.in_den("one").await?, Entry::read("marker", 700));
    let live = ["explain", "--owner", ROOM, "--id", "one"];
    for rule in ["first_reader", "everyone", "archived"] {
        let config = chats.config.clone().set("rooms.start", rule);
        let text = printed(&config, &live).await?;
        let says = "counted from when somebody in the room read it, ";
        assert!(text.contains(says), "{rule}: {text}");
    }
    Ok(())
}

/// A rule that waits for nobody else starts what somebody has read, and what is left waits for its first reader.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_the_first_reader_starts_what_somebody_has_read() -> Result<()> {
    let mut chats = rooms().await?;
    let ann = known("", "a");
    let rows = [
        chats.said_with("Ann", &ann, "one", 900),
        chats.shown("Eve", &format!("{}{}", displayed("one"), known("", "e")), 700),
        chats.said_with("Ann", &ann, "two", 600),
    ];
    chats.add(&rows).await?;
    assert_eq!(chats.in_den("one").await?, Entry::unread(900));
    let config = chats.config.clone().set("rooms.start", "first_reader");
    chats.reload(&config).await?;
    let waiting =
        "SELECT count(*) FROM ephemerd.expiries WHERE started_by = 'unread' AND store = 'room'";
    // A worker of its own starts these.
    wait_for_number(chats.pool(), waiting, 1).await?;
    assert_eq!(chats.in_den("one").await?, Entry::read("marker", 700));
    let text = printed(&chats.config, &["explain", "--owner", ROOM, "--id", "one"]).await?;
    assert!(text.contains("counted from when somebody in the room read it, "), "{text}");
    assert_eq!(chats.in_den("two").await?, Entry::unread(600));
    chats
        .add(&[chats.shown("Eve", &format!("{}{}", displayed("two"), known("", "e")), 500)])
        .await?;
    assert_eq!(chats.in_den("two").await?, Entry::read("marker", 500));
    Ok(())
}

/// If nothing waits any more, nothing is kept of who has read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_archiving_forgets_who_has_read() -> Result<()> {
    let mut chats = rooms().await?;
    let rows = [
        chats.said_with("Ann", &known("", "a"), "one", 900),
        chats.shown("Eve", &format!("{}{}", displayed("one"), known("", "e")), 700),
    ];
    chats.add(&rows).await?;
    assert_eq!(number(chats.pool(), READERS).await?, 1);
    let config = chats.config.clone().set("rooms.start", "archived");
    chats.reload(&config).await?;
    wait_for_number(chats.pool(), LEFT, 0).await
}
