//! Whatever fails, at whatever level: the output contains no message text, people, archive ids or secrets.

use std::time::Duration;

use ephemerd_lab::daemon::command;
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, Words, eventually};
use sqlx::PgPool;

use crate::reliability::saw;
use crate::support::{archive, gone, program, start};

const QUOTING: &str = "
    CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'no: %', OLD.value USING DETAIL = OLD.key, HINT = OLD.\"user\",
            CONSTRAINT = 'a_constraint', TABLE = 'prosodyarchive';
    END $$;
    CREATE TRIGGER quote BEFORE UPDATE ON prosodyarchive
       FOR EACH ROW WHEN (OLD.value LIKE '%refused%') EXECUTE FUNCTION quote();";

/// What the log says instead of the message.
const REFUSAL: &str = "SQLSTATE P0001, constraint a_constraint";

/// What no output may contain.
struct Planted {
    needles: Vec<String>,
    stanzas: Vec<(String, String)>,
}

fn planted(words: &mut Words, count: usize) -> Planted {
    let (mut needles, mut stanzas) = (vec!["peter".to_owned(), "rosa@".to_owned()], Vec::new());
    for at in 0..count {
        let [body, user, key] = [(); 3].map(|()| words.word());
        let kind = match at % 4 {
            0 => "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/>",
            1 => "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/><refused/>",
            2 => "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='wibble'/><cut off",
            _ => "<no-store xmlns='urn:xmpp:hints'/>&undeclared;",
        };
        let stanza = format!(
            "<message type='chat' to='{user}@localhost/x' from='{user}@there' id='{key}'><body>{body}</body>{kind}</message>"
        );
        stanzas.push((key.clone(), stanza));
        needles.extend([body, user, key]);
    }
    Planted { needles, stanzas }
}

/// Breaks everything that can be broken under a running daemon.
async fn torment(pool: &PgPool, stanzas: &[(String, String)]) -> Result<()> {
    let pause = async || tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (first, rest) = stanzas.split_at(stanzas.len() / 2);
    archive(pool, first).await?;
    pause().await;
    let mut holding = pool.begin().await?;
    sqlx::query("SELECT FROM prosodyarchive FOR UPDATE").execute(&mut *holding).await?;
    archive(pool, rest).await?;
    pause().await;
    holding.rollback().await?;
    for statement in [
        "ALTER TABLE prosodyarchive RENAME TO away",
        "ALTER TABLE away RENAME TO prosodyarchive",
        "REVOKE UPDATE, DELETE ON prosodyarchive FROM ephemerd",
        "GRANT UPDATE (value), DELETE ON prosodyarchive TO ephemerd",
        "ALTER TABLE ephemerd.expiries RENAME TO away",
        "ALTER TABLE ephemerd.away RENAME TO expiries",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ephemerd' AND datname = current_database()",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(pool).await?;
        pause().await;
    }
    Ok(())
}

fn clean(output: &str, needles: &[String], what: &str) {
    for needle in needles {
        let line = output.lines().find(|line| line.contains(needle.as_str()));
        assert!(line.is_none(), "{what} holds {needle:?}: {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_tells_on_anybody() -> Result<()> {
    let mut words = Words::random();
    let Planted { mut needles, stanzas } = planted(&mut words, 80);
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    sqlx::raw_sql(QUOTING).execute(pool).await?;
    let secret = "a-component-secret-of-ours".to_owned();
    let password = lab.database.postgres().password().to_owned();
    needles.extend([secret.clone(), password.clone()]);
    let config = DaemonConfig::for_database(&lab.database)?
        .set("log.level", "trace")
        .set("erase.batch", 5)
        .set_file("component.secret_file", &secret);
    let human = start(&config).await?;
    let json = start(&config.clone().set("log.format", "json")).await?;
    torment(pool, &stanzas).await?;
    // Which of them takes what is due is chance.
    for daemon in [&human, &json] {
        eventually("it is refused a row", PATIENCE, async || {
            let more = planted(&mut words, 2);
            archive(pool, &more.stanzas).await?;
            needles.extend(more.needles);
            Ok(daemon.log()?.contains(REFUSAL).then_some(()))
        })
        .await?;
    }
    sqlx::query("ALTER TABLE prosodyarchive DISABLE TRIGGER quote").execute(pool).await?;
    let more: Vec<_> =
        (0..4).map(|at| (format!("last-{at}"), crate::support::marked("last.", 1))).collect();
    archive(pool, &more).await?;
    gone(pool, "<body>last.", PATIENCE).await?;

    let mut lines = 0;
    for daemon in [&human, &json] {
        clean(&command_line_of(daemon)?, &needles, "ps");
        for page in ["/metrics", "/readyz", "/healthz", "/", "/nothing"] {
            clean(&daemon.get(page).await?.body, &needles, page);
        }
        assert!(daemon.figures().await?.get("ephemerd_database_errors_total", &[]) > Some(0.0));
        assert!(daemon.figures().await?.get("ephemerd_unreadable_stanzas_total", &[]).is_some());
        daemon.signal(ephemerd_lab::Signal::SIGTERM)?;
        assert!(daemon.wait(PATIENCE).await?.success());
        let log = daemon.log()?;
        lines += log.lines().count();
        clean(&log, &needles, "the log");
        assert!(log.contains(REFUSAL), "{log}");
    }
    let wrong = config.clone().set_file("database.password_file", "another-password-of-ours");
    let inline = config
        .unset("database.password_file")
        .set("database.url", lab.database.daemon_url().replace(&password, "wrong-one-of-ours"));
    needles.extend(["another-password-of-ours".to_owned(), "wrong-one-of-ours".to_owned()]);
    for config in [wrong, inline] {
        let output = command(program(), &config, &["migrate"]).await?;
        assert_eq!(output.code, Some(1), "{}", output.stderr);
        assert!(output.stderr.contains("28P01"), "{}", output.stderr);
        clean(&(output.stdout + &output.stderr), &needles, "migrate");
    }
    saw(
        "what the log tells",
        "level trace, in both formats, under load and under each failure: rows that cannot be read, locks, a trigger that quotes the row, a table away, grants revoked, sessions ended, wrong passwords",
        &format!(
            "{lines} lines, the pages, the command line: none of {} planted words, JIDs, archive ids and secrets",
            needles.len()
        ),
    );
    Ok(())
}

fn command_line_of(daemon: &Daemon) -> Result<String> {
    let read = std::fs::read(format!("/proc/{}/cmdline", daemon.pid()))?;
    Ok(String::from_utf8_lossy(&read).replace('\0', " "))
}
