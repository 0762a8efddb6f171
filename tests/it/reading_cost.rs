//! What timers that start at reading cost, and what is left of them: statements, and the daemon's own tables.

use std::fs;
use std::sync::Arc;

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{Database, Lab, PATIENCE, Postgres, PostgresConfig, Result, eventually};
use sqlx::PgPool;

use crate::reading_chats::{Chats, EPHEMERAL, Entry, displayed, without_words};
use crate::support::{number, wait_for_number};

const CHATS: usize = 190;

/// Statements are counted by the database itself. Until late transactions have ended the tail reads a span again and
/// again, so what counts is how many there are for each reading of a span.
#[tokio::test(flavor = "multi_thread")]
async fn markers_cost_two_statements_a_batch_however_many_they_are() -> Result<()> {
    let chats = counting(&[("timers.start", "read")]).await?;
    let pool = chats.pool();
    let friend = |at: usize| format!("friend{at}@localhost");
    let messages: Vec<_> = (0..CHATS)
        .map(|at| chats.received("bob", &format!("{}/x", friend(at)), &format!("m{at}"), 900))
        .collect();
    chats.add(&messages).await?;
    count_from_now(&chats).await?;
    let markers: Vec<_> =
        (0..CHATS).map(|at| chats.marker("bob", &friend(at), &format!("m{at}"), 500)).collect();
    insert(pool, &markers).await?;
    let read = "SELECT count(*) FROM ephemerd.expiries WHERE started_by = 'marker'";
    wait_for_number(pool, read, CHATS as i64).await?;
    cost_two_statements(&chats).await
}

/// The same in rooms, whose messages are known by their archive ids.
#[tokio::test(flavor = "multi_thread")]
async fn in_rooms_markers_cost_two_statements_a_batch() -> Result<()> {
    let chats = counting(&[("rooms.start", "first_reader")]).await?;
    let pool = chats.pool();
    let rows = |payload: &str, nick: &str, key: &str, ago: i64| {
        let row = |at: usize| {
            let from = format!("room{at}@conference.localhost/{nick}");
            let stanza = format!("<message from='{from}' type='groupchat'>{payload}</message>");
            ArchiveRow::room(&format!("room{at}"), key, chats.began - ago, &stanza)
        };
        (0..CHATS).map(row).collect::<Vec<_>>()
    };
    chats.add(&rows(&format!("<body>words</body>{EPHEMERAL}"), "Ann", "one", 900)).await?;
    count_from_now(&chats).await?;
    insert(pool, &rows(&displayed("one"), "Bob", "two", 500)).await?;
    let read = "SELECT count(*) FROM ephemerd.expiries WHERE started_by = 'marker'";
    wait_for_number(pool, read, CHATS as i64).await?;
    cost_two_statements(&chats).await
}

/// Where rooms start at archiving, no statement looks for readers.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_start_at_archiving_cost_nothing() -> Result<()> {
    let chats = counting(&[("timers.start", "delivered")]).await?;
    count_from_now(&chats).await?;
    let from = "<message from='den@conference.localhost/Ann' type='groupchat'>";
    let words = format!("{from}<body>words</body>{EPHEMERAL}</message>");
    let marker = format!("{from}{}</message>", displayed("one"));
    let room = |key, stanza: &str| ArchiveRow::room("den", key, chats.began, stanza);
    chats.add(&[room("one", &words), room("two", &marker)]).await?;
    chats.entry_in("room", "den", "one").await?;
    let looks =
        "prosody_traces|unread_in|start_read|note_unread|readers|waiting_owners|waiting_users";
    assert_eq!(calls(&chats, looks).await?, 0);
    assert!(calls(&chats, "prosody_candidates").await? > 0, "statements are counted");
    Ok(())
}

async fn counting(settings: &[(&str, &str)]) -> Result<Chats> {
    let loaded = vec!["shared_preload_libraries = 'pg_stat_statements'".to_owned()];
    let config = PostgresConfig { settings: loaded, ..PostgresConfig::default() };
    let lab = Lab::database_only_on(Arc::new(Postgres::start(config).await?)).await?;
    Chats::start_in(lab, settings).await
}

async fn count_from_now(chats: &Chats) -> Result<()> {
    sqlx::query("CREATE EXTENSION pg_stat_statements").execute(chats.pool()).await?;
    sqlx::query("SELECT pg_stat_statements_reset()").execute(chats.pool()).await?;
    Ok(())
}

async fn calls(chats: &Chats, names: &'static str) -> Result<i64> {
    let query = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE query ~ ('^-- (' || $1 || ')\\s')";
    Ok(sqlx::query_scalar(query).bind(names).fetch_one(chats.pool()).await?)
}

async fn cost_two_statements(chats: &Chats) -> Result<()> {
    let batches = calls(chats, "prosody_traces").await?;
    let (found, started) = (calls(chats, "unread_in").await?, calls(chats, "start_read").await?);
    let others = calls(chats, "prosody_rows_naming|prosody_rows_archived_as|align_copies").await?;
    // What has waited in vain for a lock is done again.
    assert!((1..5).contains(&started), "{started} times: all of them at once");
    assert_eq!(others, 0, "nothing is looked up");
    assert!((1..=batches).contains(&found), "{found} look-ups for {batches} readings");
    Ok(())
}

/// Replies that name nothing, in a chat where much waits, are looked at in pages: they hide nobody else's evidence.
#[tokio::test(flavor = "multi_thread")]
async fn one_users_evidence_does_not_hide_anothers() -> Result<()> {
    let chats = Chats::start().await?;
    let (eve, ann) = ("eve@localhost/x", "ann@localhost/x");
    let mut messages: Vec<_> =
        (0..80).map(|at| chats.received("bob", eve, &format!("m{at}"), 900)).collect();
    messages.push(chats.received("rosa", ann, "words", 900));
    chats.add(&messages).await?;
    // 128 references, each of which 80 messages might be: more than one look takes.
    let replies = |at: usize| {
        (0..8).map(move |nr| format!("<reply xmlns='urn:xmpp:reply:0' id='none-{at}-{nr}'/>"))
    };
    let mut rows: Vec<_> = (0..16)
        .map(|at| {
            let stanza =
                without_words("bob@localhost/phone", eve, &replies(at).collect::<String>());
            chats.row("bob", &format!("reply-{at}"), 500, &stanza)
        })
        .collect();
    rows.push(chats.marker("rosa", ann, "words", 500));
    chats.add(&rows).await?;
    assert_eq!(chats.entry("bob", "m0").await?, Entry::unread(900));
    assert_eq!(chats.entry("rosa", "words").await?, Entry::read("marker", 500));
    Ok(())
}

/// Once a message is gone, no table of ours says who read what: the whole dump is searched, for names, ids, digests and
/// times.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_does_not_say_who_read_what_after_it_is_gone() -> Result<()> {
    let settings = [("timers.start", "read"), ("erase.mode", "delete")];
    let chats = Chats::start_with(&settings).await?;
    let pool = chats.pool();
    // Long ago: nothing else has the same second, such as a migration.
    chats
        .add(&[chats.received("reader-bob", "writer-ann@localhost/x", "id-of-words", 3_000)])
        .await?;
    assert_eq!(chats.entry("reader-bob", "id-of-words").await?, Entry::unread(3_000));
    let kept = "SELECT encode(chat, 'hex'), encode(message, 'hex') FROM ephemerd.expiries WHERE owner = 'reader-bob'";
    let (chat, message): (String, String) = sqlx::query_as(kept).fetch_one(pool).await?;
    // While it waits the dump has what finds it: so it would be found below.
    let before = dump(&chats.lab.database).await?;
    for trace in ["reader-bob", "id-of-words", &chat, &message] {
        assert!(before.contains(trace), "{trace} is looked for in the right place");
    }
    chats.add(&[chats.marker("reader-bob", "writer-ann@localhost", "id-of-words", 2_000)]).await?;
    let entry = chats.entry("reader-bob", "id-of-words").await?;
    assert_eq!(entry.by, "marker");
    let read_at = chrono::DateTime::from_timestamp(chats.began - entry.ago, 0).expect("a time");
    let read_at = read_at.format("%Y-%m-%d %H:%M:%S").to_string();
    assert!(
        dump(&chats.lab.database).await?.contains(&read_at),
        "{read_at} is looked for in the right place"
    );
    falls_due(pool, "reader-bob").await?;
    assert_eq!(number(pool, "SELECT count(*) FROM ephemerd.readers").await?, 0);
    let after = dump(&chats.lab.database).await?;
    for trace in ["reader-bob", "writer-ann", "id-of-words", "marker", &chat, &message, &read_at] {
        assert!(!after.contains(trace), "{trace} is left:\n{after}");
    }
    Ok(())
}

/// The same of a room: neither who wrote it nor who read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_does_not_say_who_read_what_in_a_room() -> Result<()> {
    let settings = [("rooms.start", "first_reader"), ("erase.mode", "delete")];
    let chats = Chats::start_with(&settings).await?;
    let pool = chats.pool();
    let row = |nick: &str, payload: &str, key: &str, ago: i64| {
        let x = format!("<item jid='real-{nick}@localhost'/>");
        let x = format!("<x xmlns='http://jabber.org/protocol/muc#user'>{x}</x>");
        let from = format!("the-den@conference.localhost/nick-{nick}");
        let stanza = format!("<message from='{from}' type='groupchat'>{payload}{x}</message>");
        ArchiveRow::room("the-den", key, chats.began - ago, &stanza)
    };
    let words = format!("<body>words</body>{EPHEMERAL}");
    chats.add(&[row("writer", &words, "id-of-words", 30)]).await?;
    let kept = "SELECT encode(chat, 'hex'), encode(sender_nick, 'hex'), encode(sender_jid, 'hex')
                  FROM ephemerd.expiries WHERE owner = 'the-den'";
    let digests: (String, String, String) = sqlx::query_as(kept).fetch_one(pool).await?;
    let before = dump(&chats.lab.database).await?;
    let digests = [digests.0, digests.1, digests.2];
    for trace in digests.iter().map(String::as_str).chain(["the-den", "id-of-words"]) {
        assert!(before.contains(trace), "{trace} is looked for in the right place");
    }
    chats.add(&[row("reader", &displayed("id-of-words"), "shown", 5)]).await?;
    let read = dump(&chats.lab.database).await?;
    for trace in
        digests.iter().map(String::as_str).chain(["nick-reader", "real-reader", "nick-writer"])
    {
        assert!(!read.contains(trace), "{trace} is left once the timer runs:\n{read}");
    }
    falls_due(pool, "the-den").await?;
    let after = dump(&chats.lab.database).await?;
    for trace in ["the-den", "id-of-words", "marker"] {
        assert!(!after.contains(trace), "{trace} is left:\n{after}");
    }
    Ok(())
}

/// Once dumps have shown what there is, however long that took: whatever this owner has is due, and goes.
async fn falls_due(pool: &PgPool, owner: &str) -> Result<()> {
    eventually("it goes", PATIENCE, async || {
        // Again and again, because the tail corrects it if it looks there once more.
        let due = "UPDATE ephemerd.expiries SET due_at = now() WHERE owner = $1";
        let left = sqlx::query(due).bind(owner).execute(pool).await?.rows_affected();
        sqlx::query("NOTIFY ephemerd, '0'").execute(pool).await?;
        Ok((left == 0).then_some(()))
    })
    .await
}

/// What is in the ledger, as a backup has it.
pub(crate) async fn dump(database: &Database) -> Result<String> {
    let folder = tempfile::tempdir()?;
    // PostgreSQL's programs may run as another user.
    let file = folder.path().join("dump.sql");
    fs::write(&file, "")?;
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(folder.path(), everybody)?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let name = file.to_string_lossy().into_owned();
    let args = ["--data-only", "--schema=ephemerd", "--file", &name];
    database.postgres().run("pg_dump", database.name(), &args).await?;
    Ok(fs::read_to_string(file)?)
}
