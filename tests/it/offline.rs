//! What nobody has received yet is not lost: a copy in the offline queue delays the archive row.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::xmpp::{Client, Element, MamQuery};
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Prosody, ProsodyConfig, Result, eventually};

use crate::sent_watch::{SLACK, Watch, let_pass, now, wait_until};
use crate::support::{standing, start, wait_for_number};

/// In seconds.
const TIMER: f64 = 3.0;
const UNDELIVERED: f64 = 18.0;
const PLACEHOLDER: f64 = 6.0;

/// The messages with a timer: several rows of one queue.
const MARKED: [&str; 3] = ["one", "two", "three"];
const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3'/>";
const HINT: &str = "<no-permanent-store xmlns='urn:xmpp:hints'/>";
const LEGACY_HINT: &str = "<no-permanent-storage xmlns='urn:xmpp:hints'/>";

/// Sends a message with this id, which is also its body, to a user.
async fn say(peter: &mut Client, user: &str, id: &str, extra: &str) -> Result<()> {
    let stanza = format!(
        "<message to='{user}@localhost' type='chat' id='{id}'><body>{id}</body>{extra}</message>"
    );
    peter.send(&stanza).await?;
    peter.sync().await
}

/// A Prosody where Peter is online and everybody else offline.
async fn lab_with(users: &[&str], config: &ProsodyConfig) -> Result<(Lab<Prosody>, Client)> {
    let lab = Lab::prosody_with(config).await?;
    let peter = lab.online("peter").await?;
    for user in users {
        lab.client(user).await?.close().await?;
    }
    Ok((lab, peter))
}

/// The bodies in a user's own archive, for a client that sends no presence.
async fn bodies(lab: &Lab<Prosody>, user: &str) -> Result<Vec<String>> {
    let items = lab.archive(user, &MamQuery::default()).await?;
    Ok(items.iter().filter_map(|it| it.body().map(str::to_owned)).collect())
}

/// Ada stays offline, Lea logs in in time, Ron reads his archive and leaves the queue alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_copy_holds_the_archive_row_back() -> Result<()> {
    let users = ["ada", "lea", "ron"];
    let (lab, mut peter) = lab_with(&users, &ProsodyConfig::default()).await?;
    let config = lab
        .daemon_config()
        .set("archive.poll", "200ms")
        .set("offline.undelivered_for", format!("{UNDELIVERED}s"))
        .set("erase.placeholder_for", format!("{PLACEHOLDER}s"));
    let _daemon = start(&config).await?;
    let pool = lab.database.superuser().clone();
    let watch = Watch::prosody(&pool);

    for user in users {
        say(&mut peter, user, "plain", "").await?;
        for id in MARKED {
            say(&mut peter, user, id, EPHEMERAL).await?;
        }
        say(&mut peter, user, "hint", HINT).await?;
    }
    let said = now(&pool).await?;

    // Later than the timer, earlier than `undelivered_for`.
    wait_until(&pool, said + TIMER + 1.0 + SLACK).await?;
    let all = ["plain", "one", "two", "three"];
    for user in users {
        assert_eq!(bodies(&lab, user).await?, all, "{user}'s archive waits");
    }
    let came = now(&pool).await?;
    let mut lea = lab.online("lea").await?;
    let came_by = now(&pool).await?;
    let handed_out: Vec<String> = lea
        .take(|it| it.name == "message")
        .iter()
        .map(|it| it.body().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(handed_out, ["plain", "one", "two", "three", "hint"], "Lea gets all");

    wait_until(&pool, said + UNDELIVERED + TIMER + 1.0 + SLACK).await?;
    for id in MARKED {
        let sent = watch.of("archive", "peter", id);
        assert!(sent.len() == users.len() && sent.iter().all(|it| it.went(TIMER)), "{sent:?}");
        let hers = watch.one("archive", "lea", id);
        let after = hers.changed_at.map(|at| at - came).unwrap_or_default();
        let latest = came_by - came + 1.0 + TIMER + SLACK;
        assert!((TIMER..latest).contains(&after), "from when it was noticed: {hers:?}");
        for user in ["ada", "ron"] {
            let archived = watch.one("archive", user, id);
            assert!(archived.went(UNDELIVERED + TIMER), "{user}: {archived:?}");
            let queued = watch.one("offline", user, id);
            assert!(queued.went(UNDELIVERED + TIMER), "{user}: {queued:?}");
            assert!(queued.is_blank() && !queued.is_spoilt, "{user}: {queued:?}");
            see_same_ids(&queued.first, &queued.value)?;
        }
    }
    assert_eq!(bodies(&lab, "ron").await?, ["plain"], "the archive has no words any more");

    wait_until(&pool, said + UNDELIVERED + TIMER + PLACEHOLDER + 1.0 + 2.0 * SLACK).await?;
    see_placeholders_gone(&lab, &watch).await
}

/// Placeholders have gone in time, from archive and queue; unmarked messages beside them stay, and are
/// delivered.
async fn see_placeholders_gone(lab: &Lab<Prosody>, watch: &Watch) -> Result<()> {
    for (store, user) in [("archive", "ada"), ("offline", "ada"), ("offline", "ron")] {
        for id in MARKED {
            let row = watch.one(store, user, id);
            assert!(row.stood_blank(PLACEHOLDER), "{row:?}");
        }
        assert!(watch.one(store, user, "plain").is_untouched(), "{user}'s {store}");
    }
    for user in ["ada", "ron"] {
        assert!(watch.one("offline", user, "hint").is_untouched(), "hints leave the queue alone");
        let mut client = lab.online(user).await?;
        let handed_out = client.take(|it| it.name == "message");
        let bodies: Vec<_> = handed_out.iter().map(|it| it.body()).collect();
        assert_eq!(bodies, [Some("plain"), Some("hint")], "{user} gets what stays");
    }
    let left = "SELECT count(*) FROM ephemerd.expiries WHERE store = 'queue'";
    let left: i64 = sqlx::query_scalar(left).fetch_one(lab.database.superuser()).await?;
    assert_eq!(left, 0, "the ledger has forgotten the queue");
    Ok(())
}

/// A blanked queue row still has its ids, addresses and stanza ids.
fn see_same_ids(before: &str, after: &str) -> Result<()> {
    let (before, after) = (Element::parse(before)?, Element::parse(after)?);
    for name in ["id", "from", "to", "type"] {
        assert_eq!(before.attribute(name), after.attribute(name), "{name}");
    }
    let ids = |message: &Element| -> Vec<_> {
        let ids = message.children.iter().filter(|it| it.is("urn:xmpp:sid:0", "stanza-id"));
        ids.map(|it| it.attributes.clone()).collect()
    };
    assert_eq!(ids(&before), ids(&after));
    assert!(!ids(&after).is_empty(), "the queue row names its archive row");
    Ok(())
}

/// With `never`, what nobody has received stays for ever; once it is received its timer starts. A message
/// with a hint that Prosody does not know (so that it archives it) waits as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_given_up_waits_for_its_reader() -> Result<()> {
    let users = ["ada", "lea"];
    let (lab, mut peter) = lab_with(&users, &ProsodyConfig::default()).await?;
    let config =
        lab.daemon_config().set("archive.poll", "200ms").set("offline.undelivered_for", "never");
    let daemon = start(&config).await?;
    let pool = lab.database.superuser().clone();
    let watch = Watch::prosody(&pool);
    for user in users {
        say(&mut peter, user, "plain", "").await?;
        say(&mut peter, user, "timer", EPHEMERAL).await?;
        say(&mut peter, user, "hint", LEGACY_HINT).await?;
    }
    let said = now(&pool).await?;
    wait_until(&pool, said + TIMER + 1.0 + SLACK).await?;
    for user in users {
        for (store, id) in [("archive", "timer"), ("archive", "hint"), ("offline", "timer")] {
            let row = watch.one(store, user, id);
            assert!(row.is_untouched(), "{user}'s {store} waits: {row:?}");
        }
    }
    // She logs in while the daemon is away: the timer runs from when that was noticed.
    assert!(daemon.terminate().await?.success());
    let mut lea = lab.online("lea").await?;
    assert_eq!(lea.take(|it| it.name == "message").len(), 3, "Lea gets all");
    let_pass(&pool, 1.0).await?;
    let noticed = now(&pool).await?;
    let _daemon = start(&config).await?;
    wait_until(&pool, noticed + TIMER + 2.0 * SLACK).await?;
    let timer = watch.one("archive", "lea", "timer");
    let after = timer.changed_at.map(|at| at - noticed).unwrap_or_default();
    assert!((TIMER..TIMER + 2.0 * SLACK).contains(&after), "{timer:?}");
    let hint = watch.one("archive", "lea", "hint");
    let after = hint.changed_at.map(|at| at - noticed).unwrap_or_default();
    assert!((0.0..2.0 * SLACK).contains(&after) && after > 0.0, "{hint:?}");
    for (store, id) in [("archive", "timer"), ("archive", "hint"), ("offline", "timer")] {
        assert!(watch.one(store, "ada", id).is_untouched(), "Ada's {store} waits still");
    }
    for id in ["timer", "plain", "hint"] {
        assert!(watch.one("offline", "ada", id).is_untouched(), "Ada's queue waits still");
    }
    Ok(())
}

/// Prosody counts the rows of a queue for its item limit and caches the count: rows that are blanked in place
/// and delivered leave room for as many as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_blanked_queue_takes_as_many_as_before() -> Result<()> {
    const LIMIT: u32 = 4;
    let prosody = ProsodyConfig { archive_item_limit: Some(LIMIT), ..ProsodyConfig::default() };
    let (lab, mut peter) = lab_with(&["ada", "bea"], &prosody).await?;
    let config = lab.daemon_config().set("offline.undelivered_for", "0s");
    let daemon = start(&config).await?;
    let pool = lab.database.superuser().clone();
    let watch = Watch::prosody(&pool);
    for round in 0..2 {
        let ids: Vec<String> = (0..LIMIT).map(|nr| format!("r{round}n{nr}")).collect();
        for id in &ids {
            say(&mut peter, "ada", id, EPHEMERAL).await?;
        }
        eventually("the queue is blank", PATIENCE, async || {
            let rows = ids.iter().map(|id| watch.of("offline", "ada", id));
            let blank = rows.flatten().filter(|it| it.is_blank()).count();
            Ok((blank == ids.len()).then_some(()))
        })
        .await?;
        let bounces = peter.take(|it| it.attribute("type") == Some("error"));
        assert!(bounces.is_empty(), "round {round}: {bounces:?}");
        let mut ada = lab.online("ada").await?;
        assert_eq!(ada.take(|it| it.name == "message").len(), LIMIT as usize, "round {round}");
        ada.close().await?;
    }
    drop(daemon);

    // Blanked rows that were deleted in time still count until somebody receives the queue, and no longer.
    // (Archived messages trip the archive's own limit, and Prosody then forgets all its counts.)
    let _daemon = start(&config.set("erase.placeholder_for", "1s")).await?;
    for nr in 0..LIMIT {
        say(&mut peter, "bea", &format!("n{nr}"), &[HINT, EPHEMERAL].concat()).await?;
    }
    eventually("the queue is empty", PATIENCE, async || {
        let rows = (0..LIMIT).flat_map(|nr| watch.of("offline", "bea", &format!("n{nr}")));
        let gone = rows.filter(|it| it.gone_at.is_some()).count();
        Ok((gone == LIMIT as usize).then_some(()))
    })
    .await?;
    say(&mut peter, "bea", "one-more", HINT).await?;
    let bounces = peter.take(|it| it.attribute("type") == Some("error"));
    assert_eq!(bounces.len(), 1, "as if her queue were full still");
    lab.online("bea").await?.close().await?;
    for nr in 0..LIMIT {
        say(&mut peter, "bea", &format!("o{nr}"), HINT).await?;
    }
    let bounces = peter.take(|it| it.attribute("type") == Some("error"));
    assert!(bounces.is_empty(), "{bounces:?}");
    Ok(())
}

/// An archive row whose copy in the queue is on the next page is not released in between. A page of the sweep
/// ends after 500 marked rows, or after 5,000 rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_on_the_next_page_holds_as_well() -> Result<()> {
    // At such a rate the pages come 2 s apart.
    for (before, mark, rate) in [(499, EPHEMERAL, 250), (4_999, "", 2_500)] {
        let lab = Lab::database_only().await?;
        let pool = lab.database.superuser();
        let when = now(pool).await? as i64 - 60;
        let value = |id: &str, mark: &str| {
            format!(
                "<message type='chat' from='a@localhost/x' to='b@localhost' id='{id}'>\
                 <body>{id}</body>{mark}</message>"
            )
        };
        let row = |nr| ArchiveRow::archive("peter", &format!("{nr}"), when, &value("x", mark));
        let mut rows: Vec<ArchiveRow> = (0..before).map(row).collect();
        let held = value("held", EPHEMERAL);
        rows.push(ArchiveRow::archive("ada", "held", when, &held));
        rows.push(ArchiveRow::queue("ada", "queued", when, &held, "held"));
        rows.push(ArchiveRow::archive("peter", "free", when, &value("free", EPHEMERAL)));
        insert(pool, &rows).await?;
        let config = DaemonConfig::for_database(&lab.database)?
            .set("erase.backlog", "erase")
            .set("sweep.rows_per_second", rate);
        let daemon = start(&config).await?;
        let done = "ephemerd_sweep_last_completion_timestamp_seconds";
        daemon.wait_for_figure(done, &[], PATIENCE, |at| at > 0.0).await?;
        eventually("what nobody waits for goes", PATIENCE, async || {
            let words =
                "SELECT key FROM prosodyarchive WHERE value LIKE '%<ephemeral%' ORDER BY sort_id";
            let words: Vec<String> = sqlx::query_scalar(words).fetch_all(pool).await?;
            assert!(words.contains(&"held".to_owned()), "after {before} rows: {words:?}");
            Ok((words == ["held", "queued"]).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// A copy that came into the queue while no daemon ran holds its row back, though that is due when the next one starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_came_while_no_daemon_ran_holds_as_well() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "100ms");
    let mut daemon = start(&config).await?;
    let value = |id: &str| {
        format!(
            "<message type='chat' from='a@localhost/x' to='b@localhost' id='{id}'>\
             <body>{id}</body><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='15'/></message>"
        )
    };
    let when = now(pool).await?.ceil();
    let row = |user, key| ArchiveRow::archive(user, key, when as i64, &value(key));
    insert(pool, &[row("ada", "held"), row("peter", "free")]).await?;
    let recorded = "SELECT count(*) FROM ephemerd.expiries";
    wait_for_number(pool, recorded, 2).await?;
    daemon.kill().await?;
    assert_eq!(standing(pool, "<ephemeral").await?, 2, "the machine was too slow");
    let copy = ArchiveRow::queue("ada", "queued", when as i64, &value("held"), "held");
    insert(pool, &[copy]).await?;
    wait_until(pool, when + 16.0).await?;
    daemon.resume().await?;
    eventually("what nobody waits for goes", PATIENCE, async || {
        Ok((standing(pool, ">free<").await? == 0).then_some(()))
    })
    .await?;
    assert_eq!(standing(pool, ">held<").await?, 2, "the row and its copy in the queue");
    Ok(())
}
