//! Nothing on hold is erased, whatever asks for it to go; and what a hold kept goes when it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use ephemerd_lab::rows::{ArchiveRow, Bulk, insert};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, eventually};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::{Instant, sleep};

use crate::support::{
    gone, marked, now, number, printed, program, run, standing, start, told, wait_for_number,
};

const RECORDED: &str = "SELECT count(*) FROM ephemerd.expiries";
const ASIDE: &str = "SELECT count(*) FROM ephemerd.expiries WHERE retry_at = 'infinity'";
const DIFFER: &str = "SELECT count(*) FROM ephemerd.entries AS e
    WHERE on_hold IS DISTINCT FROM EXISTS (SELECT FROM ephemerd.holds_on(e.host, e.owner, e.peer, e.stamped_at))";
/// Real time: an eraser that overlooked a hold would have erased long ago.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// Places a hold and returns its number.
pub(crate) async fn hold(config: &DaemonConfig, on: &[&str]) -> Result<String> {
    let add = [&["hold", "add", "--reason", "test", "--by", "tester"], on].concat();
    Ok(told(config, &add).await?["hold"].to_string())
}

pub(crate) async fn release(config: &DaemonConfig, hold: &str) -> Result<()> {
    let release = ["hold", "release", hold, "--reason", "over", "--by", "tester"];
    printed(config, &release).await.map(drop)
}

/// Peter's message to this address, due at once.
fn row(with: &str, key: &str, when: i64) -> ArchiveRow {
    let words = marked(&format!("{key}."), 1).replace("rosa@localhost", with);
    ArchiveRow { with: with.to_owned(), ..ArchiveRow::archive("peter", key, when, &words) }
}

/// Which of these keys' words still stand.
async fn left(pool: &PgPool, keys: &[&str]) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for key in keys {
        if standing(pool, &format!("<body>{key}.</body>")).await? > 0 {
            left.push((*key).to_owned());
        }
    }
    Ok(left)
}

/// Each kind of hold keeps what it covers, from before and after it was placed, and nothing else; released, that goes.
#[tokio::test(flavor = "multi_thread")]
async fn each_scope_keeps_what_it_covers_and_nothing_else() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?
        .set("archive.poll", "50ms")
        .set("archive.hosts", vec!["localhost", "conference.localhost"]);
    let daemon = start(&config).await?;
    let now = now(pool).await?;
    let keys = ["chat", "other-chat", "room", "queued", "old"];
    let rows = |when: i64| {
        let queued = marked("queued.", 1).replace("peter@localhost/phone", "otto@localhost/x");
        [
            row("rosa@localhost", "chat", when),
            row("otto@localhost", "other-chat", when),
            ArchiveRow::room("den", "room", when, &marked("room.", 1)),
            ArchiveRow::queue("rosa", "queued", when - 60 * 86_400, &queued, "none"),
            row("rosa@localhost", "old", when - 86_400),
        ]
    };
    let yesterday = chrono_day(now - 3 * 86_400);
    let today = chrono_day(now - 3_600);
    let cases: [(&[&str], &[&str]); 7] = [
        (&["--all"], &keys),
        (&["--host", "localhost"], &["chat", "other-chat", "queued", "old"]),
        (&["--user", "Peter@localhost"], &["chat", "other-chat", "old"]),
        (&["--user", "peter@localhost", "--with", "rosa@localhost"], &["chat", "old"]),
        (&["--room", "den@conference.localhost"], &["room"]),
        (&["--user", "rosa@localhost", "--with", "otto@localhost"], &["queued"]),
        (&["--user", "peter@localhost", "--from", &yesterday, "--to", &today], &["old"]),
    ];
    for (on, kept) in cases {
        let placed = hold(&config, on).await?;
        insert(pool, &rows(now - 10)).await?;
        let goes: Vec<&str> = keys.iter().filter(|it| !kept.contains(it)).copied().collect();
        for key in goes {
            gone(pool, &format!("<body>{key}.</body>"), PATIENCE).await?;
        }
        wait_for_number(pool, ASIDE, kept.len() as i64).await?;
        assert_eq!(left(pool, &keys).await?, kept, "{on:?}");
        assert_eq!(number(pool, DIFFER).await?, 0, "{on:?}: the view and the function agree");
        release(&config, &placed).await?;
        for key in kept {
            gone(pool, &format!("<body>{key}.</body>"), PATIENCE).await?;
        }
        sqlx::query("TRUNCATE prosodyarchive, ephemerd.expiries").execute(pool).await?;
    }
    assert_eq!(told(&config, &["hold", "list"]).await?["holds"], Value::Array(vec![]));
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// A day, or a time, as the command line takes it.
fn chrono_day(at: i64) -> String {
    let time = chrono::DateTime::from_timestamp(at, 0).expect("a time");
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What is due and on hold is not overdue; it is counted apart everywhere. `explain` says so. It goes when the last hold
/// is released, and a hold with an end ends by itself: an eraser that nobody tells sleeps for up to a minute, longer than
/// anybody waits here.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_hold_is_counted_apart_and_goes_at_once() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let daemon = start(&config).await?;
    let first = hold(&config, &["--user", "peter@localhost"]).await?;
    let second = hold(&config, &["--host", "localhost", "--for", "1h"]).await?;
    let now = now(pool).await?;
    insert(pool, &[row("rosa@localhost", "kept", now - 10)]).await?;
    wait_for_number(pool, RECORDED, 1).await?;
    wait_for_number(pool, ASIDE, 1).await?;
    let status = told(&config, &["status"]).await?;
    assert_eq!((&status["on_hold"], &status["holds"]), (&1.into(), &2.into()));
    assert_eq!((&status["overdue"], &status["oldest_overdue"]), (&0.into(), &Value::Null));
    let preview = told(&config, &["preview"]).await?;
    let group = &preview["by_store_and_reason"][0];
    assert_eq!((&group["on_hold"], &group["overdue"]), (&1.into(), &0.into()), "{group}");
    let explain = ["explain", "--owner", "peter@localhost", "--id", "kept"];
    let text = printed(&config, &explain).await?;
    assert!(text.contains("; on hold: nothing is erased before that ends"), "{text}");
    assert_eq!(told(&config, &explain).await?["rows"][0]["ledger"]["on_hold"], true);
    let shown = told(&config, &["hold", "show", &first]).await?;
    assert_eq!((&shown["rows"], &shown["due"]), (&1.into(), &1.into()), "{shown}");

    release(&config, &first).await?;
    assert_eq!(left(pool, &["kept"]).await?, ["kept"], "the other hold keeps it");
    let third = hold(&config, &["--host", "localhost", "--for", "3s"]).await?;
    release(&config, &second).await?;
    gone(pool, "<body>kept.</body>", PATIENCE).await?;
    let early = "SELECT count(*) FROM ephemerd.hold_log AS placed
                  WHERE event = 'placed' AND ends_at BETWEEN clock_timestamp() AND at + interval '1 min'";
    assert_eq!(number(pool, early).await?, 0, "it went before the hold's end");

    let fourth = hold(&config, &["--all"]).await?;
    insert(pool, &[row("rosa@localhost", "again", now - 10)]).await?;
    daemon.wait_for_figure("ephemerd_held_expiries", &[], PATIENCE, |it| it == 1.0).await?;
    assert_eq!(daemon.figures().await?.get("ephemerd_overdue_expiries", &[]), Some(0.0));
    let page = daemon.get("/").await?.body;
    assert!(page.contains("1 row is due and on hold"), "{page}");
    release(&config, &fourth).await?;
    gone(pool, "<body>again.</body>", PATIENCE).await?;

    let log = told(&config, &["hold", "log"]).await?;
    let mut events: Vec<(String, &str)> = (log["log"].as_array().unwrap().iter())
        .map(|it| (it["hold"].to_string(), it["event"].as_str().unwrap()))
        .collect();
    // On a busy machine the third ends before the second is released.
    events.sort_by_key(|it| it.0.clone());
    let ends = [(first, "released"), (second, "released"), (third, "ended"), (fourth, "released")];
    let expected: Vec<_> =
        ends.into_iter().flat_map(|(hold, end)| [(hold.clone(), "placed"), (hold, end)]).collect();
    assert_eq!(events, expected);
    assert_eq!(
        (&log["log"][0]["by"], &log["log"][0]["reason"]),
        (&"tester".into(), &"test".into())
    );
    Ok(())
}

/// Placeholders stay while they are on hold, and are deleted afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn placeholders_stay_too() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let _daemon = start(&config).await?;
    let now = now(pool).await?;
    insert(
        pool,
        &[row("rosa@localhost", "blanked", now - 10), row("otto@localhost", "other", now - 10)],
    )
    .await?;
    gone(pool, "<body>", PATIENCE).await?;
    let number_of_hold =
        hold(&config, &["--user", "peter@localhost", "--with", "rosa@localhost"]).await?;
    let due = "UPDATE ephemerd.expiries SET due_at = now() WHERE phase = 'placeholder'";
    sqlx::query(due).execute(pool).await?;
    sqlx::query("NOTIFY ephemerd, '0'").execute(pool).await?;
    wait_for_number(pool, "SELECT count(*) FROM prosodyarchive", 1).await?;
    sleep(LONG_ENOUGH).await;
    let kept = "SELECT count(*) FROM prosodyarchive WHERE key = 'blanked'";
    assert_eq!(number(pool, kept).await?, 1, "the placeholder is on hold");
    release(&config, &number_of_hold).await?;
    wait_for_number(pool, "SELECT count(*) FROM prosodyarchive", 0).await
}

/// All rows of `localhost`, by number.
async fn rows(pool: &PgPool) -> Result<BTreeMap<i64, String>> {
    let rows = "SELECT sort_id, value FROM prosodyarchive WHERE host = 'localhost'";
    Ok(sqlx::query_as(rows).fetch_all(pool).await?.into_iter().collect())
}

/// Two daemons erase as fast as they can, in slow transactions; holds are placed meanwhile, and daemons killed. What
/// stands when `hold add` returns stands as it is, until the hold is released.
#[tokio::test(flavor = "multi_thread")]
async fn no_row_goes_after_a_hold_was_placed() -> Result<()> {
    for mode in ["placeholder", "delete"] {
        let lab = Lab::database_apart().await?;
        let pool = lab.database.superuser();
        Bulk { rows: 20_000, marked_every: 1, timer_seconds: 1, users: 5, ..Bulk::default() }
            .insert(pool)
            .await?;
        let config = DaemonConfig::for_database(&lab.database)?
            .set("archive.poll", "50ms")
            .set("erase.backlog", "erase")
            .set("erase.mode", mode)
            .set("erase.batch", 40);
        printed(&config, &["migrate"]).await?;
        printed(&config, &["sweep"]).await?;
        // Each row takes 5 ms, and a batch 0.2 s: a hold is always placed during one.
        sqlx::raw_sql(AssertSqlSafe(
            "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_sleep(0.005); RETURN coalesce(new, old); END $$;
             CREATE TRIGGER slowly BEFORE UPDATE OR DELETE ON prosodyarchive
                FOR EACH ROW EXECUTE FUNCTION slowly();"
                .to_owned(),
        ))
        .execute(pool)
        .await?;
        let mut daemons = [start(&config).await?, start(&config).await?];
        let words = "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%<body>%'";
        for round in 0..4 {
            let before = number(pool, words).await?;
            eventually("something goes", PATIENCE, async || {
                Ok((number(pool, words).await? < before).then_some(()))
            })
            .await?;
            let hold = hold(&config, &["--host", "localhost"]).await?;
            let then = rows(pool).await?;
            assert!(then.values().any(|it| it.contains("<body>")), "{mode}: there is enough to go");
            let killed = &mut daemons[round % 2];
            killed.kill().await?;
            killed.resume().await?;
            sleep(LONG_ENOUGH).await;
            let changed = rows(pool).await?;
            let harmed = then.iter().filter(|(id, row)| changed.get(id) != Some(row)).count();
            assert_eq!(harmed, 0, "{mode}, round {round}: rows went after hold add had returned");
            release(&config, &hold).await?;
        }
    }
    Ok(())
}

/// A daemon dies at each point of its work, and then a hold is placed: what stood stands after the restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_at_each_crash_point() -> Result<()> {
    for point in ["claimed", "erased", "settled", "committed"] {
        let lab = Lab::database_only().await?;
        let pool = lab.database.superuser();
        let config = DaemonConfig::for_database(&lab.database)?
            .set("archive.poll", "50ms")
            .set("erase.batch", 5);
        let daemon = Daemon::spawn(program(), &config.clone().env("LAB_CRASH_AT", point))?;
        daemon.wait_ready(PATIENCE).await?;
        let now = now(pool).await?;
        let due: Vec<_> =
            (0..20).map(|at| row("rosa@localhost", &format!("row-{at}"), now - 10)).collect();
        insert(pool, &due).await?;
        assert!(!daemon.wait(PATIENCE).await?.success(), "it died at {point}");
        let hold = hold(&config, &["--all"]).await?;
        let then = rows(pool).await?;
        let _daemon = start(&config).await?;
        wait_for_number(pool, RECORDED, 20).await?;
        sleep(LONG_ENOUGH).await;
        assert_eq!(rows(pool).await?, then, "{point}");
        release(&config, &hold).await?;
        gone(pool, "<body>", PATIENCE).await?;
    }
    Ok(())
}

/// The log only grows, even for ephemerd's own role; wrong commands are refused with what to do.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_only_grows_and_mistakes_are_refused() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    let number = hold(&config, &["--host", "elsewhere.example"]).await?;
    for change in [
        "UPDATE ephemerd.hold_log SET reason = ''",
        "DELETE FROM ephemerd.hold_log",
        "TRUNCATE ephemerd.hold_log",
    ] {
        let refused = sqlx::query(change).execute(lab.database.superuser()).await;
        let error = refused.expect_err(change).to_string();
        assert!(error.contains("the log of holds only grows"), "{error}");
    }
    let add = ["hold", "add", "--reason", "r", "--by", "b"];
    let wrong: [(&[&str], i32, &str); 9] = [
        (&[], 2, "required"),
        (&["--all", "--host", "h"], 2, "cannot be used"),
        (&["--user", "peter"], 2, "write alice@example.org"),
        (&["--user", "peter@h/phone"], 2, "bare address"),
        (&["--room", "r@h", "--with", "a@b"], 2, "cannot be used"),
        (&["--with", "a@b"], 2, "required"),
        (&["--all", "--until", "2001-01-01"], 1, "help: name a time to come"),
        (&["--all", "--from", "2026-02-01", "--to", "2026-01-01"], 1, "help: no message"),
        (&["--all", "--for", "0s"], 2, "no effect"),
    ];
    for (args, code, says) in wrong {
        let output = run(&config, &[&add, args].concat()).await?;
        assert_eq!(output.code, Some(code), "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains(says), "{args:?}: {}", output.stderr);
    }
    let output = run(&config, &["hold", "release", "99", "--reason", "r", "--by", "b"]).await?;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.starts_with("error: there is no hold 99 in force\nhelp: "));
    release(&config, &number).await?;
    let again = run(&config, &["hold", "show", &number]).await?;
    assert!(
        again.stderr.contains(&format!("there is no hold {number} in force")),
        "{}",
        again.stderr
    );
    let text = printed(&config, &["hold", "log"]).await?;
    assert!(text.contains("tester  host elsewhere.example  over"), "{text}");
    Ok(())
}

/// Ten thousand holds on others do not make claims slow: they are looked up by an index.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_holds_do_not_slow_claims() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    sqlx::query(
        "INSERT INTO ephemerd.expiries (store, host, owner, archive_id, stamped_at, runs_from, due_at, reason, peer)
         SELECT 'archive', 'localhost', 'user' || n % 1000, n, now(), now(), now() - interval '1 day', 'timer', '\\x01'
           FROM generate_series(1, 100000) AS n",
    )
    .execute(pool)
    .await?;
    sqlx::query("ANALYZE ephemerd.expiries").execute(pool).await?;
    let without = claim_takes(pool).await?;
    sqlx::query(
        "INSERT INTO ephemerd.holds (scope, host, owner, reason, placed_by)
         SELECT 'user', 'localhost', 'held' || n, 'r', 'b' FROM generate_series(1, 9999) AS n",
    )
    .execute(pool)
    .await?;
    hold(&config, &["--user", "nobody@localhost"]).await?;
    let with = claim_takes(pool).await?;
    let plan: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN {CLAIM}"))).fetch_all(pool).await?;
    let plan = plan.join("\n");
    assert!(plan.contains("holds_target"), "{plan}");
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    #[expect(clippy::print_stdout, reason = "the figure is what this test is run for")]
    {
        println!(
            "a claim of 1,000 takes {without:?} without holds, {with:?} with 10,000: {ratio:.2}"
        );
    }
    // A busy machine may make either slower. Comparing each of 1,000 rows with each hold takes hundreds of times as long.
    assert!(ratio < 20.0, "{without:?} without, {with:?} with: {ratio}\n{plan}");
    Ok(())
}

const CLAIM: &str = "SELECT *, clock_timestamp() FROM ephemerd.candidates
    WHERE next_at <= now() AND host = ANY ('{localhost}') ORDER BY next_at, id LIMIT 1000 FOR UPDATE SKIP LOCKED";

/// The median of 21.
async fn claim_takes(pool: &PgPool) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..21 {
        let mut transaction = pool.begin().await?;
        let began = Instant::now();
        let claimed = sqlx::query(CLAIM).fetch_all(&mut *transaction).await?;
        times.push(began.elapsed());
        assert_eq!(claimed.len(), 1_000);
        transaction.rollback().await?;
    }
    times.sort();
    Ok(times[times.len() / 2])
}
