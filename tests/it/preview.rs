//! `preview` counts what the tables contain, and `--scan` finds the same without them.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{DaemonConfig, Lab, Result};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::belonging::naming;
use crate::reading_chats::message;
use crate::support::{marked, now, number, printed, told};

const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;

const HINT: &str = "<message type='chat' to='rosa@localhost' from='peter@localhost/phone'>\
    <body>hint</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>";

/// Timers of every span, a hint, a room, an undelivered message, and some that never go.
async fn archive(pool: &PgPool) -> Result<()> {
    let now = now(pool).await?;
    let timers = [1, HOUR / 2, 12 * HOUR, 3 * DAY, 20 * DAY, 60 * DAY];
    let mut rows: Vec<ArchiveRow> = timers
        .iter()
        .map(|timer| {
            let key = format!("timer-{timer}");
            ArchiveRow::archive("peter", &key, now - 60, &marked("timer", *timer))
        })
        .collect();
    let plain = marked("plain", 5).replace("ephemeral:0", "other:0");
    let waiting = marked("waiting", HOUR);
    rows.extend([
        ArchiveRow::archive("peter", "hint", now - 60, HINT),
        ArchiveRow::room("den", "room", now - 60, &marked("room", 2 * HOUR)),
        ArchiveRow::archive("peter", "plain", now - 60, &plain),
        ArchiveRow::archive("peter", "broken", now - 60, &marked("broken", 1).replace("</", "<")),
        ArchiveRow::archive("rosa", "waiting", now - 60, &waiting),
        ArchiveRow::queue("rosa", "queued", now - 60, &waiting, "waiting"),
    ]);
    let other = ArchiveRow::archive("peter", "other-host", now - 60, &marked("other", 1));
    rows.push(ArchiveRow { host: "other.localhost".to_owned(), ..other });
    insert(pool, &rows).await.map(drop)
}

/// What is previewed, by store and reason.
fn sorted(value: &Value) -> Value {
    let mut groups = value["by_store_and_reason"].as_array().unwrap().clone();
    groups.sort_by_key(|it| format!("{}{}", it["store"], it["reason"]));
    Value::from(groups)
}

fn group(store: &str, reason: &str, figures: [i64; 8]) -> Value {
    let [overdue, held, within_1h, within_24h, within_7d, within_30d, total, placeholders] =
        figures;
    json!({
        "store": store, "reason": reason, "overdue": overdue, "held": held, "on_hold": 0,
        "within_1h": within_1h, "within_24h": within_24h, "within_7d": within_7d,
        "within_30d": within_30d, "total": total, "placeholders": placeholders,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_and_the_archive_tell_the_same() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    archive(pool).await?;
    let config = DaemonConfig::for_database(&lab.database)?.set("erase.backlog", "erase");
    let scanned = told(&config, &["preview", "--scan"]).await?;
    let expected = json!([
        group("archive", "hint", [1, 0, 0, 0, 0, 0, 1, 0]),
        group("archive", "timer", [1, 0, 1, 2, 3, 4, 6, 0]),
        group("archive", "undelivered", [0, 0, 0, 0, 0, 1, 1, 0]),
        group("queue", "undelivered", [0, 0, 0, 0, 0, 1, 1, 0]),
        group("room", "timer", [0, 0, 0, 1, 1, 1, 1, 0]),
    ]);
    assert_eq!(sorted(&scanned), expected);
    assert_eq!(scanned["scan"], json!({"rows": 13, "unreadable": 1}));
    let schema = "SELECT count(*) FROM pg_class WHERE relnamespace = 'ephemerd'::regnamespace";
    assert_eq!(number(pool, schema).await?, 0, "a scan needs and leaves nothing in our schema");

    printed(&config, &["migrate"]).await?;
    assert_eq!(printed(&config, &["preview"]).await?, "Nothing goes.\n");
    printed(&config, &["sweep"]).await?;
    let previewed = told(&config, &["preview"]).await?;
    assert_eq!(sorted(&previewed), expected);
    let text = printed(&config, &["preview"]).await?;
    let all =
        "\nall                         2     0        0      1       3      4       7   10     0\n";
    assert!(text.ends_with(all), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_and_what_is_gone_stand_apart() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    archive(pool).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    printed(&config, &["sweep"]).await?;
    let gone = "UPDATE ephemerd.expiries SET phase = 'placeholder', backlog = false
                 WHERE archive_id = 'room'";
    sqlx::query(gone).execute(pool).await?;
    let previewed = told(&config, &["preview"]).await?;
    assert_eq!(
        previewed["by_store_and_reason"],
        json!([
            group("archive", "hint", [0, 1, 0, 0, 0, 0, 1, 0]),
            group("archive", "timer", [0, 6, 0, 0, 0, 0, 6, 0]),
            group("archive", "undelivered", [0, 1, 0, 0, 0, 0, 1, 0]),
            group("queue", "undelivered", [0, 1, 0, 0, 0, 0, 1, 0]),
            group("room", "timer", [0, 0, 0, 0, 0, 0, 0, 1]),
        ])
    );
    Ok(())
}

/// A scan knows no ledger, and finds out by itself what belongs to what.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_and_the_ledger_agree_on_what_belongs_to_messages() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let at = now(pool).await? - 60;
    let (ann, bob) = ("ann@localhost/x", "bob@localhost/x");
    let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='7200'/>";
    let row = |key: &str, from: &str, extra: &str| {
        let to = if from == ann { bob } else { ann };
        ArchiveRow::archive("bob", key, at, &message(from, to, key, extra))
    };
    let in_room = |key: &str, extra: &str| {
        let ann = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='ann'/>";
        let said = message("den@conference.localhost/Ann", "", key, &format!("{extra}{ann}"));
        ArchiveRow::room("den", &format!("key-{key}"), at, &said)
    };
    let rows = [
        row("early", ann, &naming("replace", "plain")),
        row("words", ann, timer),
        row("better", ann, &naming("replace", "words")),
        row("best", ann, &naming("replace", "better")),
        row("heart", bob, &naming("reactions", "words")),
        row("not-his", bob, &naming("replace", "words")),
        row("shorter", ann, &(naming("attach-to", "words") + &timer.replace("7200", "1800"))),
        in_room("said", timer),
        in_room("again", &naming("replace", "said")),
        in_room("smile", &naming("reactions", "key-said")),
        in_room("by-id", &naming("reactions", "said")),
    ];
    insert(pool, &rows).await?;
    let config = DaemonConfig::for_database(&lab.database)?
        .set("erase.backlog", "erase")
        .set("timers.start", "archived");
    let scanned = told(&config, &["preview", "--scan"]).await?;
    assert_eq!(
        sorted(&scanned),
        json!([
            group("archive", "inherited", [0, 0, 0, 3, 3, 3, 3, 0]),
            group("archive", "timer", [0, 0, 1, 2, 2, 2, 2, 0]),
            group("room", "inherited", [0, 0, 0, 2, 2, 2, 2, 0]),
            group("room", "timer", [0, 0, 0, 1, 1, 1, 1, 0]),
        ])
    );
    printed(&config, &["migrate"]).await?;
    printed(&config, &["sweep"]).await?;
    let previewed = told(&config, &["preview"]).await?;
    assert_eq!(sorted(&previewed), sorted(&scanned));
    Ok(())
}

/// Where timers start at reading, a scan counts as the ledger will: what nobody is known to have read is not overdue.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_and_the_ledger_agree_on_what_waits_for_its_reader() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let at = now(pool).await? - 60;
    let rows = [
        ArchiveRow::archive("rosa", "received", at, &marked("words", 1)),
        ArchiveRow::archive("peter", "sent", at, &marked("words", 1)),
    ];
    insert(pool, &rows).await?;
    let config = DaemonConfig::for_database(&lab.database)?
        .set("erase.backlog", "erase")
        .set("timers.start", "read");
    let scanned = told(&config, &["preview", "--scan"]).await?;
    assert_eq!(
        scanned["by_store_and_reason"],
        json!([group("archive", "timer", [1, 0, 0, 0, 0, 1, 2, 0])]),
        "peter's copy is overdue, and rosa's waits"
    );
    printed(&config, &["migrate"]).await?;
    printed(&config, &["sweep"]).await?;
    let previewed = told(&config, &["preview"]).await?;
    assert_eq!(previewed["by_store_and_reason"], scanned["by_store_and_reason"]);
    Ok(())
}
