//! What is kept of one owner is what the tables have, on every kind of archive in SQL; nobody else's is counted.

use ephemerd_lab::{DaemonConfig, Lab, Result};
use serde_json::Value;

use crate::age_rows::{Kind, Put, on_every_kind};
use crate::age_sets::inspected;
use crate::holds::hold;
use crate::support::{now, printed, run, told};

const HOUR: i64 = 3_600;

fn store<'a>(about: &'a Value, name: &str) -> &'a Value {
    let stores = about["stores"].as_array().expect("stores");
    stores.iter().find(|it| it["store"] == name).unwrap_or(&Value::Null)
}

async fn of(kind: Kind) -> Result<()> {
    let lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind.config(&lab)?;
    printed(&config, &["migrate"]).await?;
    let marked = |row: Put| Put { is_marked: true, ..row };
    let queued = |row: Put| Put { store: "queue", ..row };
    let rows = [
        Put::archive("peter", "one", 9 * HOUR),
        marked(Put::archive("peter", "two", 5 * HOUR)),
        marked(Put::archive("peter", "three", HOUR)),
        marked(queued(Put::archive("peter", "four", HOUR))),
        marked(Put::archive("otto", "five", HOUR)),
        Put::room("den", "six", 3 * HOUR),
        marked(Put::room("den", "seven", 2 * HOUR)),
        Put::room("attic", "eight", HOUR),
    ];
    kind.put(pool, &rows).await?;
    inspected(&config, pool).await?;
    let asked_at = now(pool).await?;
    let base = config.clone();
    let config = config.set("retention.archive_for", "30d");
    let of = async |owner: &str| told(&config, &["about", "--owner", owner]).await;

    let about = of("Peter@localhost").await?;
    let archive = store(&about, "archive");
    let count = |of: &Value, what: &str| of[what].as_i64();
    assert_eq!(count(archive, "messages"), Some(3), "{kind:?}: {about:#}");
    assert_eq!(count(archive, "with_timer_or_hint"), Some(2), "{kind:?}: {about:#}");
    assert_eq!(archive["next_reason"], "timer", "{kind:?}: {about:#}");
    let hours_ago = |of: &Value| {
        let at = of.as_str().and_then(|it| it.parse::<chrono::DateTime<chrono::Utc>>().ok());
        (asked_at - at.expect("a time").timestamp() + HOUR / 2).div_euclid(HOUR)
    };
    assert_eq!([&archive["oldest"], &archive["newest"]].map(hours_ago), [9, 1], "{kind:?}");
    // 30 days after the oldest.
    assert_eq!(hours_ago(&archive["first_too_old"]), 9 - 720, "{kind:?}");
    let queue = store(&about, "queue");
    assert_eq!(count(queue, "messages"), Some(1), "{kind:?}: {about:#}");
    assert_eq!(count(queue, "undelivered"), Some(1), "{kind:?}: {about:#}");
    assert_eq!(queue["kept_for"], "never", "{kind:?}: {about:#}");
    assert_eq!(store(&about, "room"), &Value::Null, "{kind:?}: {about:#}");
    assert_eq!(count(&about["holds"], "in_force"), Some(0), "{kind:?}");
    assert_eq!(about["retention"], "not_announced", "{kind:?}");

    let room = of("den@conference.localhost").await?;
    assert_eq!(count(store(&room, "room"), "messages"), Some(2), "{kind:?}: {room:#}");
    assert_eq!(count(store(&room, "room"), "with_timer_or_hint"), Some(1), "{kind:?}: {room:#}");
    assert_eq!(of("nobody@localhost").await?["stores"], Value::Array(vec![]), "{kind:?}");

    // Holds are said apart: all else is as it was.
    hold(&config, &["--user", "peter@localhost"]).await?;
    let mut held = of("peter@localhost").await?;
    assert_eq!(held["holds"], serde_json::json!({"in_force": 1, "messages": 3}), "{kind:?}");
    held["holds"] = about["holds"].clone();
    assert_eq!(held, about, "{kind:?}");

    // Where only a module reaches the archive, the ledger answers, and it is said what that means.
    let remote = base.set("archive.kind", "component");
    let about = told(&remote, &["about", "--owner", "peter@localhost"]).await?;
    assert_eq!(store(&about, "archive")["messages"], Value::Null, "{kind:?}: {about:#}");
    assert_eq!(count(store(&about, "archive"), "with_timer_or_hint"), Some(2), "{kind:?}");
    let text = printed(&remote, &["about", "--owner", "peter@localhost"]).await?;
    assert!(text.contains("without a timer or hint are not counted"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_an_owner_is_what_the_tables_have() -> Result<()> {
    on_every_kind(of).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_about_is_refused() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    for (owner, code, says) in [
        ("peter@elsewhere.example", 3, "not in archive.hosts"),
        ("peter", 2, "--owner"),
        ("peter@localhost/phone", 2, "--owner"),
    ] {
        let refused = run(&config, &["about", "--owner", owner]).await?;
        assert_eq!(refused.code, Some(code), "{owner}: {}", refused.stderr);
        assert!(refused.stderr.contains(says), "{owner}: {}", refused.stderr);
    }
    Ok(())
}
