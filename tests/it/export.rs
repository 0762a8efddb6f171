//! What is archived of somebody, as a file: it has what the server's tables have, and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chrono::DateTime;
use ephemerd_lab::xmpp::Element;
use ephemerd_lab::{DaemonConfig, Lab, Output, Result, daemon};
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::tempdir;

use crate::age_rows::{Kind, Put, on_every_kind};
use crate::support::{printed, program, run};

const PIE: &str = "urn:xmpp:pie:0";

/// A message of a document: its archive id, or in a queue nothing; when it was archived, in whole seconds; and its text.
type Item = (String, i64, String);

fn stamp(of: &Element) -> i64 {
    let delay = of.child("urn:xmpp:delay", "delay").and_then(|it| it.attribute("stamp"));
    DateTime::parse_from_rfc3339(delay.expect("a stamp")).expect("a time").timestamp()
}

/// What a document has of its one owner: host and name, and what is queued and archived.
fn read(document: &str) -> (String, String, Vec<Item>, Vec<Item>) {
    let xml = document.strip_prefix("<?xml version='1.0' encoding='UTF-8'?>\n").expect("a head");
    let root = Element::parse(xml).expect("well-formed");
    assert!(root.is(PIE, "server-data"));
    let host = root.child(PIE, "host").expect("a host");
    let user = host.child(PIE, "user").expect("a user");
    let text = |it: &Element| xml[it.span.clone()].to_owned();
    let queued = |it: &Element| (String::new(), stamp(it), text(it));
    let archived = |it: &Element| {
        assert!(it.is("urn:xmpp:mam:2", "result"));
        let forwarded = it.child("urn:xmpp:forward:0", "forwarded").expect("forwarded");
        let message = forwarded.child("jabber:client", "message").expect("a message");
        (it.attribute("id").expect("an id").to_owned(), stamp(forwarded), text(message))
    };
    let offline = user.child(PIE, "offline-messages");
    let archive = user.child("urn:xmpp:pie:0#mam", "archive").expect("an archive");
    (
        host.attribute("jid").expect("a host").to_owned(),
        user.attribute("name").expect("a name").to_owned(),
        offline.iter().flat_map(|it| &it.children).map(queued).collect(),
        archive.children.iter().map(archived).collect(),
    )
}

/// The readable rows of an owner in the tables, oldest first.
async fn stored(kind: Kind, pool: &PgPool, store: &str, owner: &str) -> Result<Vec<Item>> {
    let select = match (kind, store) {
        (Kind::Prosody, _) => {
            r#"SELECT CASE store WHEN 'offline' THEN '' ELSE key END, "when"::bigint, value AS xml FROM prosodyarchive
                WHERE CASE store WHEN 'muc_log' THEN 'room' WHEN 'offline' THEN 'queue' ELSE store END = $1
                  AND "user" || '@' || host = $2 ORDER BY "when", sort_id"#
        }
        (_, "queue") => {
            "SELECT '', extract(epoch FROM created_at AT TIME ZONE 'UTC')::bigint, xml FROM spool
              WHERE $1 <> '' AND username || '@localhost' = $2 ORDER BY seq"
        }
        _ => {
            "SELECT timestamp::text, timestamp / 1000000, xml FROM archive
              WHERE CASE kind WHEN 'groupchat' THEN username ELSE username || '@localhost' END = $2 AND $1 <> ''
              ORDER BY timestamp"
        }
    };
    let found: Vec<Item> =
        sqlx::query_as(AssertSqlSafe(select)).bind(store).bind(owner).fetch_all(pool).await?;
    let readable = found.into_iter().filter(|it| it.2.contains(".</body>"));
    // The server's rows have no namespace; whoever reads the document needs one.
    Ok(readable
        .map(|it| (it.0, it.1, it.2.replacen("<message", "<message xmlns='jabber:client'", 1)))
        .collect())
}

/// Puts another text in place of the message with this body.
async fn spoil(kind: Kind, pool: &PgPool, name: &str, text: &str) -> Result<()> {
    let update = match kind {
        Kind::Prosody => "UPDATE prosodyarchive SET value = $2 WHERE strpos(value, $1) > 0",
        _ => "UPDATE archive SET xml = $2 WHERE strpos(xml, $1) > 0",
    };
    let spoilt = sqlx::query(update).bind(format!(">{name}.<")).bind(text).execute(pool).await?;
    assert_eq!(spoilt.rows_affected(), 1);
    Ok(())
}

/// Runs the program with files of no more than this many KiB: as on a full disk.
async fn on_a_full_disk(config: &DaemonConfig, kib: usize, args: &[&str]) -> Result<Output> {
    let folder = tempdir()?;
    let script = folder.path().join("limited");
    let limited = format!(
        "#!/bin/sh\ntrap '' XFSZ\nulimit -f {}\nexec '{}' \"$@\"\n",
        kib * 2,
        program().display()
    );
    fs::write(&script, limited)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
    daemon::command(&script, config, args).await
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|it| Ok(it?.file_name().display().to_string()));
    names.collect()
}

async fn exported(kind: Kind) -> Result<()> {
    let lab: Lab = kind.lab().await?;
    let (pool, config) = (lab.database.superuser(), kind.config(&lab)?);
    printed(&config, &["migrate"]).await?;
    // More than one page, and many with one stamp.
    let row = |at: i64| Put::archive("peter", &format!("said-{at:04}"), 9_000 - at / 7);
    let mut rows: Vec<Put> = (0..1_300).map(row).collect();
    rows.push(Put::archive("ida", "hers", 100));
    rows.push(Put::room("den", "in-the-den", 100));
    let queue = |name: &str| Put { store: "queue", ..Put::archive("peter", name, 50) };
    rows.extend([queue("first"), queue("second")]);
    kind.put(pool, &rows).await?;
    let spoilt = ["words", "<message><body>", "<message><!-- x --></message>"];
    for (at, text) in spoilt.iter().enumerate() {
        spoil(kind, pool, &format!("said-{at:04}"), text).await?;
    }
    let placeholder =
        "<message><expired xmlns='urn:ephemerd:0' until='2030-01-01T00:00:00Z'/></message>";
    spoil(kind, pool, "said-0500", placeholder).await?;

    let whom = ["export", "--owner", "peter@localhost"];
    let told = run(&config, &whom).await?;
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    for part in ["1,298 messages of peter@localhost", "1 placeholder,", "3 rows that"] {
        assert!(told.stderr.contains(part), "{kind:?}: {}", told.stderr);
    }
    let (host, name, queued, archived) = read(&told.stdout);
    assert_eq!((host.as_str(), name.as_str()), ("localhost", "peter"));
    assert_eq!(archived, stored(kind, pool, "archive", "peter@localhost").await?, "{kind:?}");
    let in_queue = stored(kind, pool, "queue", "peter@localhost").await?;
    assert_eq!((queued.len(), in_queue.len()), (2, 2), "{kind:?}: {queued:?}");
    for (queued, stored) in queued.iter().zip(&in_queue) {
        let before = stored.2.trim_end_matches("</message>");
        assert!(
            queued.1 == stored.1 && queued.2.starts_with(before),
            "{kind:?}: {queued:?} {stored:?}"
        );
    }
    let room = printed(&config, &["export", "--owner", "den@conference.localhost"]).await?;
    let in_room = stored(kind, pool, "room", "den@conference.localhost").await?;
    assert_eq!(read(&room).3, in_room, "{kind:?}");
    assert_eq!(in_room.len(), 1);

    into_a_file(&config, &told.stdout).await?;
    of_a_room_that_goes(kind, &lab, &config).await
}

/// An export of a room is interrupted, and then the room is destroyed: the document has what was read of it, and ends.
async fn of_a_room_that_goes(kind: Kind, lab: &Lab, config: &DaemonConfig) -> Result<()> {
    let pool = lab.database.superuser();
    let said = (0..1_300).map(|at| Put::room("den", &format!("den-{at:04}"), 9_000 - at));
    kind.put(pool, &said.collect::<Vec<_>>()).await?;
    let folder = tempdir()?;
    let path = folder.path().join("den.xml");
    let file = path.display().to_string();
    let whom = ["export", "--owner", "den@conference.localhost", "--output", &file];
    let resume = [&whom[..], &["--resume"]].concat();
    assert_eq!(on_a_full_disk(config, 200, &whom).await?.code, Some(1));

    let part = fs::OpenOptions::new().write(true).open(folder.path().join("den.xml.part"))?;
    part.lock()?;
    let under_way = run(config, &resume).await?;
    assert!(
        under_way.code == Some(1) && under_way.stderr.contains("is writing to it"),
        "{under_way:?}"
    );
    part.unlock()?;

    let table = if matches!(kind, Kind::Prosody) { "prosodyarchive" } else { "archive" };
    sqlx::raw_sql(AssertSqlSafe(format!("TRUNCATE {table}"))).execute(pool).await?;
    let resumed = run(config, &resume).await?;
    assert_eq!(resumed.code, Some(0), "{kind:?}: {}", resumed.stderr);
    let (_, _, _, archived) = read(&fs::read_to_string(&path)?);
    assert!((500..1_300).contains(&archived.len()), "{kind:?}: {}", archived.len());
    Ok(())
}

/// It ends in the middle, goes on, and comes out the same; what is there is never overwritten.
async fn into_a_file(config: &DaemonConfig, document: &str) -> Result<()> {
    let folder = tempdir()?;
    let path = folder.path().join("peter.xml");
    let file = path.display().to_string();
    let whom = ["export", "--owner", "peter@localhost", "--output", &file];
    let nothing = run(config, &[&whom[..], &["--resume"]].concat()).await?;
    assert!(nothing.code == Some(1) && nothing.stderr.contains("nothing to resume"));
    let kib = document.len() / 2 / 1024;
    let full = on_a_full_disk(config, kib, &whom).await?;
    assert_eq!(full.code, Some(1), "{}", full.stderr);
    assert!(full.stderr.contains("peter.xml.part: "), "{}", full.stderr);
    let again = run(config, &whom).await?;
    assert!(again.code == Some(1) && again.stderr.contains("--resume"), "{}", again.stderr);
    let other = ["export", "--owner", "ida@localhost", "--output", &file, "--resume"];
    let other = run(config, &other).await?;
    assert!(other.code == Some(1) && other.stderr.contains("another owner"), "{}", other.stderr);

    let resumed = run(config, &[&whom[..], &["--resume"]].concat()).await?;
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert!(resumed.stderr.contains("Going on after 5"), "a part was kept: {}", resumed.stderr);
    assert!(resumed.stdout.contains("1,298 messages"), "{}", resumed.stdout);
    assert!(fs::read_to_string(&path)? == document, "what came out in two parts is the same");
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(names(folder.path())?, ["peter.xml"]);
    let there = run(config, &whom).await?;
    assert!(there.code == Some(1) && there.stderr.contains("not overwritten"), "{}", there.stderr);
    Ok(())
}

/// The document has each readable row once, in order, as the table has it; hostile rows are counted and left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_has_what_the_tables_have() -> Result<()> {
    on_every_kind(exported).await
}
