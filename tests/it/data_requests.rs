//! What somebody asks to be erased of one owner goes, and nothing else; holds win. Judged by the server's tables.

use std::time::Duration;

use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, Words, eventually};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::age_rows::{Kind, Left, Put, on_every_kind};
use crate::age_sets::{
    HALF, HOUR, OLDEST, OWNERS, PEERS, any_hold, any_rows, inspected, is_held, lay_out, model,
};
use crate::holds::{hold, release};
use crate::support::{
    now, number, pause, printed, program, resume, run, start, told, wait_for_number,
};

const ROUNDS: u64 = 6;
const STANDING: &str = "SELECT count(*) FROM ephemerd.requests";
const DONE: &str = "SELECT count(*) FROM ephemerd.request_log WHERE event = 'done'";

async fn erase(config: &DaemonConfig, what: &[&str]) -> Result<Value> {
    told(config, &[&["erase", "--yes", "--by", "tester"], what].concat()).await
}

/// A request of the random sets.
#[derive(Debug)]
struct Asked {
    owner: (&'static str, &'static str),
    with: Option<&'static str>,
    /// Only what is older than so many seconds.
    older: Option<i64>,
}

impl Asked {
    fn any(random: &mut StdRng) -> Self {
        let (_, host, owner) = *OWNERS.choose(random).unwrap();
        let is_user = host == "localhost";
        Self {
            owner: (host, owner),
            with: (is_user && random.random_bool(0.5)).then(|| *PEERS.choose(random).unwrap()),
            older: random.random_bool(0.5).then(|| random.random_range(0..OLDEST) * HOUR + HALF),
        }
    }

    fn names(&self, row: &Put) -> bool {
        (row.host.as_str(), row.owner.as_str()) == self.owner
            && self.with.is_none_or(|with| row.store != "room" && row.peer == with)
            && self.older.is_none_or(|older| row.age > older)
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments =
            vec!["--owner".to_owned(), format!("{}@{}", self.owner.1, self.owner.0)];
        let older = self.older.map(|it| format!("{it}s"));
        for (name, value) in [("--with", self.with.map(str::to_owned)), ("--before", older)] {
            arguments.extend(value.map(|value| [name.to_owned(), value]).into_iter().flatten());
        }
        arguments
    }
}

/// One request after the other, each beside some holds: what it counts, what goes and what it says.
async fn rounds(kind: Kind, seed: u64) -> Result<()> {
    let lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let base = kind.config(&lab)?;
    printed(&base, &["migrate"]).await?;
    for round in 0..ROUNDS {
        let seed = seed.wrapping_add(round);
        let random = &mut StdRng::seed_from_u64(seed);
        lay_out(random, kind, &lab).await?;
        let mut rows = any_rows(random, kind);
        // What came just now is later on each clock.
        rows.iter_mut().filter(|it| it.age == 0).for_each(|it| it.age = HOUR);
        kind.put(pool, &rows).await?;
        inspected(&base, pool).await?;
        let at = now(pool).await?;
        let mut holds = Vec::new();
        for _ in 0..random.random_range(0..3) {
            let placed = any_hold(random, at);
            hold(&base, &placed.arguments.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            holds.push(placed);
        }
        let asked: Vec<Asked> =
            (0..random.random_range(1..3)).map(|_| Asked::any(random)).collect();
        let config = base.clone().set("erase.batch", random.random_range(1..20));
        let case = || format!("{kind:?}, seed {seed}: {asked:?} {holds:?} {rows:#?}");
        let daemon = start(&config).await?;
        for (at, request) in asked.iter().enumerate() {
            let earlier = asked.get(..at).unwrap_or_default();
            let is_there = |row: &&Put| {
                request.names(row)
                    && (is_held(row, &holds) || !earlier.iter().any(|it| it.names(row)))
            };
            let there: Vec<&Put> = rows.iter().filter(is_there).collect();
            let arguments = request.arguments();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let said = erase(&config, &arguments).await?;
            let counted = said["counted"].as_array().expect("counts");
            let counted: i64 = counted.iter().filter_map(|it| it["messages"].as_i64()).sum();
            assert_eq!(counted, there.len() as i64, "counted {said:#}: {}", case());
            if !there.is_empty() {
                let held = there.iter().filter(|it| is_held(it, &holds)).count();
                assert_eq!(said["on_hold"], held, "{said:#}: {}", case());
                assert_eq!(said["done"], held == 0, "{said:#}: {}", case());
            }
        }
        let is_to_go = |row: &Put| asked.iter().any(|it| it.names(row));
        let expected = model(kind, &rows, is_to_go, &holds);
        assert_eq!(kind.standing(pool).await?, expected, "{}", case());
        assert!(daemon.terminate().await?.success());
        let stand: Vec<&String> = expected.values().flat_map(|it| &it.names).collect();
        let entries = rows.iter().filter(|it| {
            it.is_marked && it.host != "unlisted.localhost" && stand.contains(&&it.name)
        });
        let recorded = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'pending'";
        assert_eq!(number(pool, recorded).await?, entries.count() as i64, "{}", case());
    }
    Ok(())
}

/// The seed is printed with a failure, and `AGE_SEED` repeats it.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_was_asked_for_goes() -> Result<()> {
    let seed = std::env::var("AGE_SEED").ok().and_then(|it| it.parse().ok());
    let seed = seed.unwrap_or_else(|| Words::random().seed());
    on_every_kind(|kind| rounds(kind, seed)).await
}

/// Peter's `count` messages with Rosa and one with Eva, and Otto's.
async fn peters(kind: Kind, pool: &PgPool, count: usize) -> Result<()> {
    let mut rows: Vec<Put> =
        (0..count).map(|at| Put::archive("peter", &format!("rosa{at}"), 2 * HOUR)).collect();
    let eva = Put::archive("peter", "eva", HOUR);
    rows.push(Put { peer: "eva@example.org".to_owned(), ..eva });
    rows.push(Put::archive("otto", "otto", 2 * HOUR));
    rows.push(Put { store: "queue", ..Put::archive("peter", "queued", HOUR) });
    kind.put(pool, &rows).await
}

async fn left(kind: Kind, pool: &PgPool, store: &str, owner: &str) -> Result<Left> {
    let of = (store.to_owned(), format!("{owner}@localhost"));
    Ok(kind.standing(pool).await?.remove(&of).unwrap_or_default())
}

/// While a request waits, made twice and by two daemons: what came after the asking stays, in the chat and beside it.
async fn waits(kind: Kind) -> Result<()> {
    let lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind.config(&lab)?;
    peters(kind, pool, 30).await?;
    let (one, other) = tokio::try_join!(start(&config), start(&config))?;
    pause(&config).await?;
    let what = ["--owner", "peter@localhost", "--with", "rosa@localhost", "--no-wait"];
    let first = erase(&config, &what).await?;
    assert_eq!(erase(&config, &what).await?["request"], first["request"], "{kind:?}");
    let listed = told(&config, &["erase", "--list"]).await?;
    assert_eq!(listed["requests"].as_array().map(Vec::len), Some(1), "{listed:#}");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(kind.names(pool).await?.len(), 33, "{kind:?}: nothing goes while it is paused");
    kind.put(pool, &[Put::archive("peter", "later", 0)]).await?;
    resume(&config).await?;
    wait_for_number(pool, STANDING, 0).await?;
    // The queue's row is from Rosa too.
    let names = kind.names(pool).await?;
    assert_eq!(names, ["eva", "later", "otto"], "{kind:?}");
    // What came later is the newest, so nothing is kept blank but what ejabberd's queue needs.
    assert_eq!(left(kind, pool, "archive", "peter").await?.blank, 0, "{kind:?}");
    let log = told(&config, &["erase", "--log"]).await?;
    let events: Vec<&Value> =
        log["log"].as_array().unwrap().iter().map(|it| &it["event"]).collect();
    assert_eq!(events, ["asked", "asked", "done"], "{log:#}");
    assert_eq!((&log["log"][0]["by"], &log["log"][2]["erased"]), (&"tester".into(), &31.into()));
    // Counted after the commits.
    eventually(&format!("{kind:?}: each is counted once"), PATIENCE, async || {
        let figures = [one.figures().await?, other.figures().await?];
        let erased = figures.iter().filter_map(|it| it.get("ephemerd_request_erased_total", &[]));
        Ok((erased.sum::<f64>() == 31.0).then_some(()))
    })
    .await?;
    assert!(one.terminate().await?.success());
    assert!(other.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_asking_stays() -> Result<()> {
    on_every_kind(waits).await
}

/// A dry run erases nothing; a daemon that dies in the middle loses nothing, and the next one finishes it.
async fn dies(kind: Kind) -> Result<()> {
    let lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind.config(&lab)?.set("erase.batch", 7);
    peters(kind, pool, 60).await?;
    let dry = start(&config.clone().set("erase.dry_run", true)).await?;
    erase(&config, &["--owner", "peter@localhost", "--no-wait"]).await?;
    sleep(Duration::from_secs(2)).await;
    assert!(dry.terminate().await?.success());
    assert_eq!(kind.names(pool).await?.len(), 63, "{kind:?}: a dry run");
    let erased = "SELECT coalesce(sum(erased), 0)::bigint FROM ephemerd.requests";
    for point in ["aged", "aged_and_committed", "aged_and_committed", "aged"] {
        let (before, noted) = (kind.names(pool).await?.len(), number(pool, erased).await?);
        let daemon = Daemon::spawn(program(), &config.clone().env("LAB_CRASH_AT", point))?;
        assert!(!daemon.wait(PATIENCE).await?.success(), "{kind:?}: it reached {point}");
        let went = before - kind.names(pool).await?.len();
        assert_eq!(went > 0, point == "aged_and_committed", "{kind:?}: at {point}");
        let noted = number(pool, erased).await? - noted;
        assert_eq!(noted, went as i64, "{kind:?}: the request says what went at {point}");
    }
    let daemon = start(&config).await?;
    wait_for_number(pool, DONE, 1).await?;
    assert_eq!(kind.names(pool).await?, ["otto"], "{kind:?}");
    // The newest of the archive keeps its row, and so its id.
    assert_eq!(left(kind, pool, "archive", "peter").await?.blank, 1, "{kind:?}");
    let log = "SELECT erased FROM ephemerd.request_log WHERE event = 'done'";
    assert_eq!(number(pool, log).await?, 62, "{kind:?}");
    assert!(daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_leaves_the_request_to_the_next() -> Result<()> {
    on_every_kind(dies).await
}

/// What is on hold stays, and the request stands with it, until the hold is released.
async fn held(kind: Kind) -> Result<()> {
    let lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind.config(&lab)?;
    peters(kind, pool, 20).await?;
    let daemon = start(&config).await?;
    let placed = hold(&config, &["--user", "peter@localhost", "--with", "eva@example.org"]).await?;
    let text = printed(&config, &["erase", "--owner", "peter@localhost", "--yes", "--by", "t"]);
    let text = text.await?;
    assert!(text.contains("1 hold concerns this owner"), "{kind:?}: {text}");
    assert!(text.contains("1 message on hold: request"), "{kind:?}: {text}");
    assert_eq!(kind.names(pool).await?, ["eva", "otto"], "{kind:?}");
    let listed = told(&config, &["erase", "--list"]).await?;
    assert_eq!(listed["requests"][0]["on_hold"], 1, "{kind:?}: {listed:#}");
    release(&config, &placed).await?;
    wait_for_number(pool, DONE, 1).await?;
    assert_eq!(kind.names(pool).await?, ["otto"], "{kind:?}");
    assert_eq!(left(kind, pool, "archive", "peter").await?.blank, 1, "{kind:?}");

    // One that is withdrawn goes no further.
    let placed = hold(&config, &["--user", "otto@localhost"]).await?;
    let asked = erase(&config, &["--owner", "otto@localhost"]).await?;
    assert_eq!((&asked["done"], &asked["on_hold"]), (&false.into(), &1.into()), "{asked:#}");
    let id = asked["request"].to_string();
    printed(&config, &["erase", "--withdraw", &id, "--by", "tester"]).await?;
    release(&config, &placed).await?;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(kind.names(pool).await?, ["otto"], "{kind:?}: it was withdrawn");
    let again = run(&config, &["erase", "--withdraw", &id, "--by", "tester"]).await?;
    assert!(again.stderr.contains("no request"), "{}", again.stderr);
    assert!(daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_hold_stays_until_the_hold_is_released() -> Result<()> {
    on_every_kind(held).await
}

/// A hold that is placed while two daemons erase: nothing goes after `hold add` has returned.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_after_a_hold_was_placed() -> Result<()> {
    let kind = Kind::MultiHost;
    let lab = kind.lab().await?;
    let pool = lab.database.superuser();
    // Slowly, so that there is time to place a hold, on a busy machine too.
    let config = kind.config(&lab)?.set("erase.batch", 10).set("erase.rows_per_second", 40);
    peters(kind, pool, 2_000).await?;
    let (one, mut other) = tokio::try_join!(start(&config), start(&config))?;
    erase(&config, &["--owner", "peter@localhost", "--no-wait"]).await?;
    eventually("some went", PATIENCE, async || {
        Ok((kind.names(pool).await?.len() < 2_003).then_some(()))
    })
    .await?;
    let placed = hold(&config, &["--user", "peter@localhost"]).await?;
    let then = kind.names(pool).await?;
    assert!(then.len() > 100, "the hold came too late to show anything");
    one.kill().await?;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(kind.names(pool).await?, then, "after the hold was placed");
    other.reload(&config.clone().set("erase.rows_per_second", 0).set("erase.batch", 1_000))?;
    release(&config, &placed).await?;
    wait_for_number(pool, DONE, 1).await?;
    assert_eq!(kind.names(pool).await?, ["otto"]);
    let log = "SELECT erased FROM ephemerd.request_log WHERE event = 'done'";
    assert_eq!(number(pool, log).await?, 2_002);
    assert!(other.terminate().await?.success());
    Ok(())
}

/// In ejabberd's queue nothing says when a message came that was not archived; what is there when somebody asks goes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_without_a_time_goes() -> Result<()> {
    let kind = Kind::Classic;
    let lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind.config(&lab)?;
    let daemon = start(&config).await?;
    pause(&config).await?;
    let put = async |name: &str| {
        let insert = "INSERT INTO spool (username, xml, created_at)
                      VALUES ('otto', '<message to=\"otto@localhost\" from=\"rosa@localhost/x\"><body>' || $1
                              || '.</body></message>', now() AT TIME ZONE 'UTC' + interval '2 hours')";
        sqlx::query(insert).bind(name).execute(pool).await.map(drop)
    };
    put("before").await?;
    let older = ["--owner", "otto@localhost", "--before", "1d"];
    assert_eq!(erase(&config, &older).await?["request"], Value::Null, "it may be newer");
    let asked = erase(&config, &["--owner", "otto@localhost", "--no-wait"]).await?;
    assert_eq!(asked["counted"][0]["messages"], 1, "{asked:#}");
    put("after").await?;
    resume(&config).await?;
    wait_for_number(pool, DONE, 1).await?;
    assert_eq!(kind.names(pool).await?, ["after"]);
    assert_eq!(left(kind, pool, "queue", "otto").await?.blank, 1);
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// On a terminal the owner's address is typed, as the server stores it or not; after anything else nothing goes.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_owners_address_is_typed() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    Kind::Prosody.put(pool, &[Put::archive("peter", "one", HOUR)]).await?;
    let keys = "mkfifo keys
        timeout 300 script --quiet --flush --return --command \
            \"$PROGRAM --config $CONFIG erase --owner peter@localhost --by tester\" seen <keys >/dev/null &
        exec 3>keys
        for wait in $(seq 600); do grep --quiet --text 'Type peter@localhost' seen 2>/dev/null && break; sleep 0.1; done
        printf '%s\\n' \"$ANSWER\" >&3
        wait $!
        echo $? >code";
    for (answer, code, says, left) in [
        ("rosa@localhost", "1", "nothing is erased", 1),
        ("yes", "1", "nothing is erased", 1),
        ("Peter@LOCALHOST", "0", "1 message erased", 0),
    ] {
        let folder = tempfile::tempdir()?;
        let typed = tokio::process::Command::new("bash")
            .args(["-uc", keys])
            .current_dir(folder.path())
            .env("PROGRAM", program())
            .env("CONFIG", daemon.config_file())
            .env("ANSWER", answer)
            .kill_on_drop(true)
            .status();
        assert!(typed.await?.success());
        let seen = std::fs::read_to_string(folder.path().join("seen"))?;
        assert!(seen.contains(says), "{answer}: {seen}");
        let exit = std::fs::read_to_string(folder.path().join("code"))?;
        assert_eq!(exit.trim(), code, "{answer}: {seen}");
        assert_eq!(Kind::Prosody.names(pool).await?.len(), left, "{answer}: {seen}");
    }
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// Refused with what to do, and nothing is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_out_is_refused() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    Kind::Prosody.put(pool, &[Put::archive("peter", "one", HOUR)]).await?;
    let peter = ["erase", "--owner", "peter@localhost", "--by", "tester"];
    let remote = config.clone().set("archive.kind", "component");
    let cases: [(&DaemonConfig, &[&str], i32, &str); 8] = [
        (&config, &["--yes"], 1, "no daemon runs"),
        (&config, &[], 2, "--yes"),
        (&config, &["--yes", "--owner", "peter@elsewhere.example"], 2, "--owner"),
        (&config, &["--yes", "--with", "rosa@localhost/phone"], 2, "--with"),
        (&config, &["--yes", "--before", "soon"], 2, "30d"),
        (&config, &["--list"], 2, "--list"),
        (&config, &["--yes", "--last", "3"], 2, "--last"),
        (&remote, &["--yes"], 3, "archives in PostgreSQL"),
    ];
    for (config, more, code, says) in cases {
        let refused = run(config, &[&peter, more].concat()).await?;
        assert_eq!(refused.code, Some(code), "{more:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(says), "{more:?}: {}", refused.stderr);
    }
    let unlisted = ["erase", "--owner", "peter@elsewhere.example", "--yes", "--by", "tester"];
    let refused = run(&config, &unlisted).await?;
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("not in archive.hosts"), "{}", refused.stderr);
    // An archive that may only be read.
    let daemon = start(&config).await?;
    let role = "REVOKE DELETE, UPDATE ON prosodyarchive FROM ephemerd";
    sqlx::query(role).execute(pool).await?;
    let refused = run(&config, &[&peter[..], &["--yes"]].concat()).await?;
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("the archive cannot be used"), "{}", refused.stderr);
    assert_eq!(number(pool, "SELECT count(*) FROM ephemerd.request_log").await?, 0);
    // The log only grows, even for our own role.
    sqlx::query("GRANT DELETE, UPDATE ON prosodyarchive TO ephemerd").execute(pool).await?;
    assert_eq!(erase(&config, &peter[1..3]).await?["done"], true);
    for change in ["DELETE FROM ephemerd.request_log", "TRUNCATE ephemerd.request_log"] {
        let refused = sqlx::query(change).execute(pool).await;
        let refused = refused.map(drop).expect_err("the log only grows").to_string();
        assert!(refused.contains("the log of requests only grows"), "{refused}");
    }
    eventually("it is gone", PATIENCE, async || {
        Ok(Kind::Prosody.names(pool).await?.is_empty().then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}
