//! The same that `sent` sends through Prosody, through a real ejabberd: the second table of docs/semantics.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::xmpp::{Client, Element};
use ephemerd_lab::{Lab, Result};
use sqlx::PgPool;

use crate::pages::Page;
use crate::sent::{CASES, DELAYS, KEEP_FOR, NEGOTIATION, PLACES, UNDELIVERED, id, stanza};
use crate::sent_watch::{SLACK, now};
use crate::support::start;

/// How much earlier than it was stored a row may have been stamped.
const EARLIER: f64 = 0.5;

/// A row, seen many times a second from outside. Times are the database's, in seconds.
#[derive(Debug, Clone)]
struct Seen {
    came: f64,
    first: String,
    now: Option<String>,
    changed: Option<f64>,
}

/// By table, owner and number.
type Rows = BTreeMap<(String, String, i64), Seen>;

async fn look(pool: &PgPool, rows: &Mutex<Rows>) -> Result<()> {
    let select = "SELECT 'archive', username, timestamp, xml FROM archive
                  UNION ALL SELECT 'spool', username, seq::bigint, xml FROM spool";
    let at = now(pool).await?;
    let found: Vec<(String, String, i64, String)> = sqlx::query_as(select).fetch_all(pool).await?;
    let mut found: BTreeMap<_, _> = found
        .into_iter()
        .map(|(table, owner, number, xml)| ((table, owner, number), xml))
        .collect();
    let mut rows = rows.lock().expect("nobody panics meanwhile");
    for (key, row) in rows.iter_mut() {
        let is = found.remove(key);
        if is != row.now {
            row.changed = Some(at);
            row.now = is;
        }
    }
    for (key, xml) in found {
        rows.insert(key, Seen { came: at, first: xml.clone(), now: Some(xml), changed: None });
    }
    Ok(())
}

/// What became of a message in one place, in the document's words.
fn fate(rows: &Rows, table: &str, owner: &str, id: &str) -> String {
    let is_it = |row: &Seen| {
        let message = Element::parse(&row.first).expect("what the server stores is XML");
        message.attribute("id") == Some(id)
    };
    let of = rows.iter().filter(|(key, row)| key.0 == table && key.1 == owner && is_it(row));
    let rows: Vec<&Seen> = of.map(|(_, row)| row).collect();
    let [row] = rows[..] else {
        return if rows.is_empty() { "–".to_owned() } else { format!("{} rows", rows.len()) };
    };
    let Some(changed) = row.changed else { return "stays".to_owned() };
    let is_blank =
        row.now.as_ref().is_some_and(|it| it.contains("urn:ephemerd:0") && !it.contains("said"));
    if (table == "archive") != row.now.is_none() || (table == "spool") != is_blank {
        return format!("spoilt: {row:?}");
    }
    let after = changed - row.came;
    let named = DELAYS.iter().find(|(_, delay)| (*delay - EARLIER..delay + SLACK).contains(&after));
    named.map_or_else(|| format!("after {after} s"), |(name, _)| (*name).to_owned())
}

/// The document's table, as it was seen.
fn table(rows: &Rows, room: &str) -> String {
    let mut table = String::from(
        "| sent, with ejabberd | archives | archive of a recipient who is away | offline queue | room |\n\
         |---|---|---|---|---|\n",
    );
    for (case, (name, _)) in CASES.iter().enumerate() {
        let of = |table, owner, place| fate(rows, table, owner, &id(case, place));
        let archives = of("archive", "peter", "rosa");
        for (user, place) in [("rosa", "rosa"), ("peter", "otto")] {
            assert_eq!(of("archive", user, place), archives, "{name}: {user}'s archive");
        }
        let _ = writeln!(
            table,
            "| {name} | {archives} | {} | {} | {} |",
            of("archive", "otto", "otto"),
            of("spool", "otto", "otto"),
            of("archive", room, "den"),
        );
    }
    table
}

async fn say_all(lab: &Lab<impl ephemerd_lab::Server>, peter: &mut Client) -> Result<()> {
    for case in 0..CASES.len() {
        for place in PLACES {
            peter.send(&stanza(lab.endpoints(), case, place)).await?;
        }
        // ejabberd slows down who sends too much at once.
        peter.sync().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_sent_through_ejabberd_goes_or_stays_as_documented() -> Result<()> {
    let lab = Lab::ejabberd(&EjabberdConfig::default()).await?;
    let pool = lab.database.superuser().clone();
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    lab.client("otto").await?.close().await?;
    let room = lab.endpoints().room("den");
    peter.join(&room, "Peter").await?;
    rosa.join(&room, "Rosa").await?;
    let config = lab
        .daemon_config()
        .set("archive.poll", "200ms")
        .set("hints.keep_for", format!("{KEEP_FOR}s"))
        .set("timers.negotiation_for", format!("{NEGOTIATION}s"))
        .set("offline.undelivered_for", format!("{UNDELIVERED}s"));
    let _daemon = start(&config).await?;
    let rows: Arc<Mutex<Rows>> = Arc::default();
    let (seen, watched) = (Arc::clone(&rows), pool.clone());
    let watch = tokio::spawn(async move {
        while look(&watched, &seen).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    say_all(&lab, &mut peter).await?;
    let last = UNDELIVERED + NEGOTIATION + SLACK + 2.0;
    tokio::time::sleep(Duration::from_secs_f64(last)).await;
    watch.abort();

    let seen = table(&rows.lock().expect("nobody panics meanwhile"), &room);
    let page = Page::read("docs/semantics.md").text;
    assert!(page.contains(&seen), "docs/semantics.md says otherwise; this was seen:\n{seen}");
    Ok(())
}
