//! Rows that nobody should have archived: the process survives, good rows go on time, the others stay as they
//! were and are counted.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::snapshot::PROSODY_ARCHIVES;
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, Shadow};

use crate::reliability::saw;
use crate::support::{archive, gone, marked, seconds, start};

const MIB: usize = 1 << 20;

/// Maximum memory for one page of rows, including temporary copies.
const MOST_BYTES: u64 = 100 << 20;

const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/>";

fn message(content: &str) -> String {
    format!("<message type='chat'>{content}{TIMER}</message>")
}

fn unreadable() -> Vec<String> {
    let body = |text: &str| message(&format!("<body>stays {text}</body>"));
    vec![
        "stays, for urn:xmpp:ephemeral:0 is all of it".to_owned(),
        format!("stays {TIMER}"),
        body("cut off").strip_suffix("</message>").unwrap_or_default().to_owned(),
        body("cut in two").chars().take(90).collect(),
        format!("<!DOCTYPE message [<!ENTITY a 'b'>]>{}", body("with a document type")),
        format!("<?xml version='1.0'?><!-- stays -->{}<a/>", body("twice")),
        body("with &wibble;"),
        body("with <p:undeclared/>"),
        body("with \u{1} and \u{1f}"),
        body("with &#1; and &#xffff;"),
        body("with two attributes <a b='' b=''/>"),
        body("crossed <b></a></b>"),
        format!("<message a='stays <'>{TIMER}</message>"),
        // A row over 4 MiB is not read at all.
        body(&"x".repeat(5 * MIB)),
    ]
}

fn readable() -> Vec<String> {
    let deep = "<a>".repeat(200) + &"</a>".repeat(200);
    let mut stanzas = vec![message(&format!("<body>goes</body>{deep}"))];
    stanzas.extend((0..16).map(|_| message(&format!("<body>goes {}</body>", "x".repeat(MIB)))));
    stanzas.push(message(&format!("<body>goes {}</body>", "y".repeat(3 * MIB))));
    stanzas.extend((0..50).map(|at| marked(&format!("goes {at}"), 1)));
    stanzas
}

/// In the archives.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_rows_are_left_alone_and_the_rest_goes() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let shadow = Shadow::cast(&lab.database, PROSODY_ARCHIVES).await?;
    let daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    let unreadable = unreadable();
    // Each hostile row has good ones before and after it.
    let mut rows = readable();
    for (at, row) in unreadable.iter().enumerate() {
        rows.insert(at * 5, row.clone());
    }
    let keyed: Vec<_> =
        rows.into_iter().enumerate().map(|(at, row)| (format!("h{at}"), row)).collect();
    archive(pool, &keyed).await?;
    let took = gone(pool, "<body>goes", PATIENCE * 2).await?;

    let count = unreadable.len() as f64;
    let exactly = |it: f64| it == count;
    daemon.wait_for_figure("ephemerd_unreadable_stanzas_total", &[], PATIENCE, exactly).await?;
    // A poll later nothing was counted twice or touched.
    let polled = "ephemerd_last_inspection_timestamp_seconds";
    let before = daemon.figures().await?.get(polled, &[]).unwrap_or_default();
    daemon.wait_for_figure(polled, &[], PATIENCE, |at| at > before + 1.0).await?;
    daemon.wait_for_figure("ephemerd_unreadable_stanzas_total", &[], PATIENCE, exactly).await?;
    let compared = shadow.compare(&lab.database, "xml LIKE '%<body>goes%'").await?;
    assert_eq!((compared.marked_left, compared.unmarked_harmed), (0, 0), "{compared:?}");
    let peak = daemon.usage()?.peak_bytes;
    assert!(peak < MOST_BYTES, "the daemon held {peak} bytes");
    assert!(daemon.terminate().await?.success());
    saw(
        "hostile rows",
        "14 kinds that cannot be read (not XML, cut off, DOCTYPE, undeclared, control characters, 5 MiB) among 68 that can (200 levels, 1 MB and 3 MB bodies)",
        &format!(
            "all that can be read gone {} after archiving, timer of 1 s; the others byte for byte as they were, each counted once; peak memory {} MiB",
            seconds(took),
            peak >> 20
        ),
    );
    Ok(())
}

/// In an offline queue, whose rows are read in full to be blanked.
#[tokio::test(flavor = "multi_thread")]
async fn long_rows_of_a_queue_are_blanked_in_bounded_memory() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("offline.undelivered_for", "0s");
    let daemon = start(&config).await?;
    let now: i64 =
        sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?;
    let rows: Vec<_> = (0..18)
        .map(|at| {
            let body = format!("goes {}", "x".repeat(if at % 6 == 0 { 3 * MIB } else { MIB }));
            let key = format!("q{at}");
            ArchiveRow::queue("peter", &key, now, &marked(&body, 1), &format!("a{at}"))
        })
        .collect();
    insert(pool, &rows).await?;
    let took = gone(pool, "<body>goes", PATIENCE * 2).await?;
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM prosodyarchive WHERE store = 'offline'")
            .fetch_one(pool)
            .await?;
    assert_eq!(left, 18, "queue rows are blanked in place");
    let peak = daemon.usage()?.peak_bytes;
    assert!(peak < MOST_BYTES, "the daemon held {peak} bytes");
    saw(
        "long rows in a queue",
        "18 rows of 1 and 3 MB in an offline queue, timer of 1 s",
        &format!("all blanked {} after archiving; peak memory {} MiB", seconds(took), peak >> 20),
    );
    Ok(())
}
