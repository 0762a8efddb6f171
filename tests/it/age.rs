//! Retention by age: when it begins, what stops it, and what a daemon that dies leaves behind.

use std::time::Duration;

use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, eventually};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::{Instant, sleep};

use crate::age_rows::{Kind, Put, on_every_kind};
use crate::age_sets::inspected;
use crate::holds::{hold, release};
use crate::support::{number, printed, program, run, start, told};

const HOUR: i64 = 3_600;
/// Shorter than an hour, the age of what is to go, and longer than any test: what is new when it begins is so at its end.
const SHORT: &str = "30m";
/// A daemon that did not wait would have erased long ago: it looks every two seconds.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_secs(6);
const GOES: &str = "ephemerd_age_erased_total";
const ENTRIES: &str = "SELECT count(*) FROM ephemerd.expiries";

/// So many rows of Peter's that are two hours old, and one that is new.
fn old_rows(count: i64) -> Vec<Put> {
    let old =
        (0..count).map(|at| Put::archive("peter", &format!("old{at}"), 2 * HOUR + count - at));
    old.chain([Put::archive("peter", "new", 0)]).collect()
}

async fn left(kind: Kind, pool: &PgPool) -> Result<usize> {
    Ok(kind.names(pool).await?.len())
}

async fn only_the_new_one(kind: Kind, pool: &PgPool) -> Result<()> {
    eventually("all that is too old goes", PATIENCE, async || {
        Ok((kind.names(pool).await? == ["new"]).then_some(()))
    })
    .await
}

async fn prosody() -> Result<(Lab, DaemonConfig)> {
    let lab = Kind::Prosody.lab().await?;
    let config = Kind::Prosody.config(&lab)?.set("retention.archive_for", "1h");
    Ok((lab, config))
}

/// Whatever else it finds: there is no server.
async fn checks(config: &DaemonConfig, says: &str) -> Result<()> {
    let checked = run(config, &["check"]).await?;
    assert!(checked.stdout.contains(says), "{}", checked.stdout);
    Ok(())
}

/// Nothing goes in the grace, and what is much waits to be accepted; a shortened policy waits again.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_waits_for_its_grace_and_for_the_operator() -> Result<()> {
    let (lab, config) = prosody().await?;
    let (kind, pool) = (Kind::Prosody, lab.database.superuser());
    let mut rows = old_rows(20);
    rows.insert(20, Put::archive("peter", "younger", HOUR / 2));
    kind.put(pool, &rows).await?;
    let config = config.set("retention.grace", "5s").set("retention.confirm_above", 19);

    let refused = run(&config, &["migrate"]).await?;
    assert_eq!(refused.code, Some(0), "{}", refused.stderr);
    let accept = run(&config, &["retention", "accept"]).await?;
    assert_eq!(accept.code, Some(1), "nothing was announced: {}", accept.stdout);
    let preview = told(&config, &["preview", "--age"]).await?;
    assert_eq!(preview["by_store"][0]["too_old"], 20, "{preview}");
    assert!(preview["announced"].is_null(), "{preview}");

    checks(&config, "No daemon has announced the retention policy").await?;

    let mut daemon = start(&config).await?;
    daemon.wait_for_figure("ephemerd_age_unaccepted", &[], PATIENCE, |it| it == 20.0).await?;
    checks(&config, "The retention policy waits to be accepted: more than 19 messages").await?;
    let preview = printed(&config, &["preview", "--age"]).await?;
    assert!(
        preview.contains("Nothing goes by its age before `ephemerd retention accept`"),
        "{preview}"
    );
    sleep(LONG_ENOUGH).await;
    assert_eq!(left(kind, pool).await?, 22, "it waits to be accepted");
    assert!(daemon.log()?.contains("more than 19 messages would go"), "{}", daemon.log()?);
    assert_eq!(told(&config, &["retention", "accept"]).await?["accepted"], true);
    assert_eq!(told(&config, &["retention", "accept"]).await?["accepted"], false, "it is");
    daemon.wait_for_figure(GOES, &[("mode", "delete")], PATIENCE, |it| it == 20.0).await?;
    assert_eq!(kind.names(pool).await?, ["new", "younger"]);
    checks(&config, "Messages go by their age.").await?;
    checks(&config.clone().set("retention.archive_for", "9m"), "Another retention policy").await?;
    daemon.wait_for_figure("ephemerd_age_unaccepted", &[], PATIENCE, |it| it == 0.0).await?;

    // Shortened: one row would go, which nobody need accept, but not before the grace is over.
    let shorter = config.clone().set("retention.archive_for", "10m");
    daemon.reload(&shorter)?;
    let announced =
        "SELECT count(*) FROM ephemerd.retention WHERE accepted_at IS NULL AND first_rows = 1";
    let waiting = eventually("the shortened policy to be announced", PATIENCE, async || {
        Ok((number(pool, announced).await? == 1).then_some(()))
    });
    waiting.await?;
    only_the_new_one(kind, pool).await?;
    // By the database's clock: on a busy machine it may be over before anybody looks.
    let early = "SELECT count(*) FROM ephemerd.retention WHERE begins_at > clock_timestamp()";
    assert_eq!(number(pool, early).await?, 0, "it went before its grace was over");

    // Shortened further, it would be too much.
    kind.put(
        pool,
        &(0..30).map(|at| Put::archive("otto", &format!("m{at}"), 300)).collect::<Vec<_>>(),
    )
    .await?;
    daemon.reload(&shorter.set("retention.archive_for", "1m"))?;
    daemon.wait_for_figure("ephemerd_age_unaccepted", &[], PATIENCE, |it| it == 20.0).await?;
    sleep(LONG_ENOUGH).await;
    assert_eq!(left(kind, pool).await?, 31);
    Ok(())
}

/// A pause and a dry run stop it, and it goes on afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_a_dry_run_stop_it() -> Result<()> {
    let (lab, config) = prosody().await?;
    let (kind, pool) = (Kind::Prosody, lab.database.superuser());
    kind.put(pool, &old_rows(20)).await?;
    printed(&config, &["migrate"]).await?;
    printed(&config, &["pause"]).await?;
    let mut daemon = start(&config.clone().set("erase.dry_run", true)).await?;
    sleep(LONG_ENOUGH).await;
    printed(&config, &["resume"]).await?;
    sleep(LONG_ENOUGH).await;
    assert_eq!(left(kind, pool).await?, 21, "a dry run erases nothing");
    printed(&config, &["pause"]).await?;
    daemon.reload(&config)?;
    sleep(LONG_ENOUGH).await;
    assert_eq!(left(kind, pool).await?, 21, "nothing is erased in a pause");
    printed(&config, &["resume"]).await?;
    only_the_new_one(kind, pool).await
}

/// A newest row keeps its id, and goes when a newer one has come.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_stays_blank_until_a_newer_one_comes() -> Result<()> {
    on_every_kind(async |kind| {
        let lab = kind.lab().await?;
        let pool = lab.database.superuser();
        let stores = ["archive_for", "rooms_for", "queue_for"];
        let config = stores
            .into_iter()
            .fold(kind.config(&lab)?, |it, store| it.set(&format!("retention.{store}"), SHORT));
        let rows = [
            Put::archive("peter", "older", 2 * HOUR),
            Put::archive("peter", "newest", HOUR),
            Put::room("den", "newest-in-room", HOUR),
            Put { store: "queue", ..Put::archive("otto", "queued", 20 * HOUR) },
        ];
        kind.put(pool, &rows).await?;
        let _daemon = start(&config).await?;
        let count = |row: &str, address: &str| (row.to_owned(), address.to_owned());
        let (peter, den) =
            (count("archive", "peter@localhost"), count("room", "den@conference.localhost"));
        eventually("the newest is blank", PATIENCE, async || {
            let standing = kind.standing(pool).await?;
            let is_blank =
                |it| standing.get(it).is_some_and(|it| it.blank == 1 && it.names.is_empty());
            let queued = standing.get(&count("queue", "otto@localhost"));
            let is_queued = queued.is_some_and(|it| !it.names.is_empty());
            Ok((is_blank(&peter) && is_blank(&den) && !is_queued).then_some(()))
        })
        .await?;
        let shown = printed(&config, &["preview", "--age"]).await?;
        assert!(
            ["archive", "room  ", "queue"].iter().all(|it| !shown.contains(it)),
            "nothing more can go: {shown}"
        );
        kind.put(pool, &[Put::archive("peter", "newer", 0)]).await?;
        eventually("the blank one goes", PATIENCE, async || {
            let standing = kind.standing(pool).await?;
            Ok((standing[&peter].blank == 0).then_some(()))
        })
        .await?;
        assert_eq!(kind.names(pool).await?, ["newer"], "{kind:?}");
        assert_eq!(kind.standing(pool).await?[&den].blank, 1, "{kind:?}");
        Ok(())
    })
    .await
}

/// A daemon that dies in the middle of it loses nothing, and leaves no entry of a row that went.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_leaves_rows_and_ledger_alike() -> Result<()> {
    on_every_kind(async |kind| {
        let lab = kind.lab().await?;
        let pool = lab.database.superuser();
        let config = kind.config(&lab)?.set("erase.backlog", "erase");
        let mut rows = old_rows(200);
        for row in &mut rows {
            row.is_marked = true;
        }
        kind.put(pool, &rows).await?;
        printed(&config, &["migrate"]).await?;
        inspected(&config, pool).await?;
        assert_eq!(number(pool, ENTRIES).await?, 201, "{kind:?}");
        let config = config.set("retention.archive_for", "1h").set("erase.batch", 7);
        let alike = async |left: usize, point: &str| {
            let entries = number(pool, ENTRIES).await?;
            assert_eq!(entries as usize, left, "{kind:?}, {point}: entries and rows");
            Ok::<_, ephemerd_lab::LabError>(())
        };
        for (point, goes) in [("aged", 0), ("aged_and_committed", 7)] {
            let before = left(kind, pool).await?;
            let daemon = Daemon::spawn(program(), &config.clone().env("LAB_CRASH_AT", point))?;
            assert!(!daemon.wait(PATIENCE).await?.success(), "{kind:?}: it reached {point}");
            let after = left(kind, pool).await?;
            assert_eq!(before - after, goes, "{kind:?}, {point}");
            alike(after, point).await?;
        }
        // Killed at any moment.
        let slowly = config.clone().set("erase.rows_per_second", 60);
        for milliseconds in [300, 700, 1_100] {
            let daemon = Daemon::spawn(program(), &slowly)?;
            sleep(Duration::from_millis(milliseconds)).await;
            daemon.kill().await?;
            let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, 'ephemerd')";
            let waiting = eventually("its sessions end", PATIENCE, async || {
                Ok((number(pool, idle).await? == 0).then_some(()))
            });
            waiting.await?;
            alike(left(kind, pool).await?, "killed").await?;
        }
        let _daemon = start(&config).await?;
        only_the_new_one(kind, pool).await?;
        alike(1, "at the end").await?;
        Ok(())
    })
    .await
}

/// Two daemons erase, a hold is placed meanwhile, and one of them is killed: what stands when `hold add` has returned
/// stands until it is released.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_after_a_hold_was_placed() -> Result<()> {
    on_every_kind(async |kind| {
        let lab = kind.lab().await?;
        let pool = lab.database.superuser();
        let config = kind.config(&lab)?;
        let mut rows = old_rows(2_000);
        rows.extend((0..50).map(|at| Put::archive("rosa", &format!("rosa{at}"), 2 * HOUR)));
        rows.push(Put::archive("rosa", "rosa-new", 0));
        kind.put(pool, &rows).await?;
        printed(&config, &["migrate"]).await?;
        let before = hold(&config, &["--user", "rosa@localhost"]).await?;
        let config = config
            .set("retention.archive_for", SHORT)
            .set("erase.batch", 10)
            // Slowly, so that there is time to place a hold, on a busy machine too.
            .set("erase.rows_per_second", 40);
        let (mut one, other) = tokio::try_join!(start(&config), start(&config))?;
        eventually("some went", PATIENCE, async || {
            Ok((left(kind, pool).await? < rows.len()).then_some(()))
        })
        .await?;
        let held = hold(&config, &["--user", "peter@localhost"]).await?;
        let then = kind.names(pool).await?;
        assert!(then.len() > 100, "{kind:?}: the hold came too late to show anything");
        one.kill().await?;
        one.resume().await?;
        sleep(LONG_ENOUGH).await;
        assert_eq!(kind.names(pool).await?, then, "{kind:?}: after the hold was placed");
        // As fast as it can.
        let fast = config.set("erase.rows_per_second", 0).set("erase.batch", 1000);
        one.reload(&fast)?;
        other.terminate().await?;
        let released = Instant::now();
        release(&fast, &held).await?;
        eventually("Peter's go", PATIENCE, async || {
            let names = kind.names(pool).await?;
            Ok((names.iter().all(|it| it == "new" || it.starts_with("rosa"))).then_some(()))
        })
        .await?;
        assert_eq!(left(kind, pool).await?, 52, "{kind:?}: Rosa's stand, {:?}", released.elapsed());
        release(&fast, &before).await?;
        eventually("Rosa's go", PATIENCE, async || {
            Ok((kind.names(pool).await? == ["new", "rosa-new"]).then_some(()))
        })
        .await?;
        Ok(())
    })
    .await
}

/// Rows that another session has locked, or that the database refuses to delete, stop nothing, are counted, and go later.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_go_stops_no_other() -> Result<()> {
    on_every_kind(async |kind| {
        let lab = kind.lab().await?;
        let pool = lab.database.superuser();
        let config = kind.config(&lab)?.set("retention.archive_for", SHORT);
        kind.put(pool, &old_rows(50)).await?;
        let (table, column) = match kind {
            Kind::Prosody => ("prosodyarchive", "value"),
            Kind::Classic | Kind::MultiHost => ("archive", "xml"),
        };
        let refuse = format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF OLD.{column} LIKE '%<body>old30.%' THEN RAISE EXCEPTION 'no'; END IF;
                 IF OLD.{column} LIKE '%<body>old31.%' THEN RETURN NULL; END IF;
                 RETURN OLD; END $$;
             CREATE TRIGGER refuse BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse();"
        );
        sqlx::raw_sql(AssertSqlSafe(refuse)).execute(pool).await?;
        let mut other = pool.begin().await?;
        let lock = format!("SELECT FROM {table} WHERE {column} LIKE '%<body>old7.%' FOR UPDATE");
        sqlx::query(AssertSqlSafe(lock)).execute(&mut *other).await?;
        let daemon = start(&config).await?;
        eventually("all others go", PATIENCE, async || {
            Ok((kind.names(pool).await? == ["new", "old30", "old31", "old7"]).then_some(()))
        })
        .await?;
        for cause in ["refused", "unchanged", "locked"] {
            let labels = [("cause", cause)];
            let failures = "ephemerd_erase_failures_total";
            daemon.wait_for_figure(failures, &labels, PATIENCE, |it| it >= 1.0).await?;
        }
        other.rollback().await?;
        let drop = format!("DROP TRIGGER refuse ON {table}");
        sqlx::query(AssertSqlSafe(drop)).execute(pool).await?;
        only_the_new_one(kind, pool).await?;
        Ok(())
    })
    .await
}

/// Whoever places a hold waits for the batch under way: none of its rows goes after `hold add` has returned.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_waits_for_the_batch_under_way() -> Result<()> {
    on_every_kind(async |kind| {
        let lab = kind.lab().await?;
        let pool = lab.database.superuser();
        let config = kind.config(&lab)?.set("retention.archive_for", SHORT).set("erase.batch", 20);
        // Half a minute's work: the command that places the hold must first start.
        kind.put(pool, &old_rows(300)).await?;
        printed(&config, &["migrate"]).await?;
        let table = kind.tables()[0];
        let slow = format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN OLD; END $$;
             CREATE TRIGGER slow BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION slow();"
        );
        sqlx::raw_sql(AssertSqlSafe(slow)).execute(pool).await?;
        let _daemon = start(&config).await?;
        let deleting = "SELECT count(*) FROM pg_stat_activity
                         WHERE datname = current_database() AND state = 'active' AND query LIKE '-- %\\_delete%'";
        let waiting = eventually("a batch is under way", PATIENCE, async || {
            Ok((number(pool, deleting).await? > 0).then_some(()))
        });
        waiting.await?;
        hold(&config, &["--user", "peter@localhost"]).await?;
        let then = kind.names(pool).await?;
        assert!(then.len() > 1, "{kind:?}: the hold came too late to show anything");
        sleep(LONG_ENOUGH).await;
        assert_eq!(kind.names(pool).await?, then, "{kind:?}: after the hold was placed");
        Ok(())
    })
    .await
}

/// What is unlike the policy of another daemon is not followed: of two that differ, the later one rules.
#[tokio::test(flavor = "multi_thread")]
async fn of_daemons_that_differ_only_the_later_one_erases() -> Result<()> {
    let (lab, config) = prosody().await?;
    let (kind, pool) = (Kind::Prosody, lab.database.superuser());
    let config = config.set("retention.archive_for", SHORT);
    printed(&config, &["migrate"]).await?;
    let mut short = start(&config).await?;
    let walked = "SELECT count(*) FROM ephemerd.age_walks WHERE finished_at IS NOT NULL";
    let waiting = eventually("it follows its policy", PATIENCE, async || {
        Ok((number(pool, walked).await? == 1).then_some(()))
    });
    waiting.await?;
    // Its walks follow each other after three seconds.
    let _long = start(&config.clone().set("retention.archive_for", "90m")).await?;
    let log = eventually("the first says why it stopped", PATIENCE, async || {
        let log = short.log()?;
        Ok(log.contains("another daemon has announced another retention policy").then_some(log))
    });
    log.await?;
    let rows = [Put::archive("peter", "between", HOUR), Put::archive("peter", "new", 0)];
    kind.put(pool, &rows).await?;
    sleep(2 * LONG_ENOUGH).await;
    assert_eq!(kind.names(pool).await?, ["between", "new"]);
    // A reload announces its own again, although nothing of it has changed.
    short.reload(&config)?;
    only_the_new_one(kind, pool).await
}

/// In ejabberd's queue the time of what was not archived is not known exactly, and a sender may claim any: nothing goes
/// early for that.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_make_a_queued_message_older_than_it_is() -> Result<()> {
    for kind in [Kind::Classic, Kind::MultiHost] {
        let lab = kind.lab().await?;
        let pool = lab.database.superuser();
        let config = kind.config(&lab)?.set("retention.queue_for", "1h");
        let (column, value) =
            if kind == Kind::MultiHost { ("server_host, ", "'localhost', ") } else { ("", "") };
        let micros = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let now = number(pool, micros).await?;
        // How many hours ago it was queued, and how many its own archive id claims.
        for (name, queued, claimed) in [
            ("unarchived", 2, None),
            ("forged", 2, Some(2_000)),
            ("forged-by-hours", 0, Some(30)),
            ("long-ago", 20, None),
            ("archived", 2, Some(2)),
        ] {
            let id = claimed.map(|hours: i64| {
                let at = now - hours * HOUR * 1_000_000;
                format!("<stanza-id by='otto@localhost' xmlns='urn:xmpp:sid:0' id='{at}'/>")
            });
            let xml = format!(
                "<message type='chat' from='rosa@localhost/x' to='otto@localhost'><body>{name}.</body>{}</message>",
                id.unwrap_or_default()
            );
            let insert = format!(
                "INSERT INTO spool ({column}username, xml, created_at)
                 SELECT {value}'otto', $1, (now() - make_interval(hours => $2)) AT TIME ZONE 'UTC'"
            );
            sqlx::query(AssertSqlSafe(insert)).bind(xml).bind(queued).execute(pool).await?;
        }
        let _daemon = start(&config).await?;
        let walked = "SELECT count(*) FROM ephemerd.age_walks WHERE finished_at IS NOT NULL";
        let waiting = eventually("a walk ends", PATIENCE, async || {
            Ok((number(pool, walked).await? == 2).then_some(()))
        });
        waiting.await?;
        let stand = ["forged", "forged-by-hours", "unarchived"];
        assert_eq!(kind.names(pool).await?, stand, "{kind:?}");
    }
    Ok(())
}
