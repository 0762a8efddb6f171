//! Rows that are due but not erased because of what others did: it is noticed, counted and logged.

use ephemerd_lab::ejabberd::rows::{ArchiveRow as EjabberdRow, insert as insert_ejabberd};
use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, eventually};
use sqlx::{AssertSqlSafe, PgPool};

use crate::reliability::saw;
use crate::support::{archive_marked, gone, marked, number, start, wait_for_number};

/// Now, as ejabberd stamps it.
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

const ENTRIES: &str = "SELECT count(*) FROM ephemerd.expiries";

/// How often the log says that rows cannot be erased.
fn said(daemon: &Daemon) -> Result<usize> {
    Ok(daemon.log()?.lines().filter(|line| line.contains("rows cannot be erased")).count())
}

async fn figure(daemon: &Daemon, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
    Ok(daemon.figures().await?.get(name, labels).unwrap_or(f64::NAN))
}

/// A trigger that keeps all rows of a table as they are.
fn trigger(table: &str, on: &str, body: &str) -> String {
    format!(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
         CREATE TRIGGER keep BEFORE {on} ON {table} FOR EACH ROW EXECUTE FUNCTION keep();"
    )
}

async fn words(pool: &PgPool, table: &str, column: &str) -> Result<i64> {
    let count = format!("SELECT count(*) FROM {table} WHERE {column} LIKE '%<body>kept%'");
    Ok(sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(pool).await?)
}

/// A row that a trigger keeps is never counted as erased nor forgotten, and goes once the trigger is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_keeps_is_a_failure() -> Result<()> {
    const ROWS: i64 = 20;
    let cases = [
        ("prosodyarchive", "value", "placeholder", "UPDATE", "RETURN NULL;"),
        ("prosodyarchive", "value", "placeholder", "UPDATE", "NEW.value := OLD.value; RETURN NEW;"),
        ("prosodyarchive", "value", "delete", "DELETE", "RETURN NULL;"),
        ("archive", "xml", "placeholder", "UPDATE", "RETURN NULL;"),
        ("archive", "xml", "placeholder", "UPDATE", "NEW.xml := OLD.xml; RETURN NEW;"),
        ("archive", "xml", "delete", "DELETE", "RETURN NULL;"),
        ("spool", "xml", "delete", "UPDATE", "RETURN NULL;"),
        ("spool", "xml", "placeholder", "UPDATE", "NEW.xml := OLD.xml; RETURN NEW;"),
    ];
    for (table, column, mode, on, body) in cases {
        let case = format!("{table}, {mode}, {body}");
        let is_prosody = table == "prosodyarchive";
        let lab = match is_prosody {
            true => Lab::database_only().await?,
            false => Lab::ejabberd_tables(&EjabberdConfig::default()).await?,
        };
        let pool = lab.database.superuser();
        sqlx::raw_sql(AssertSqlSafe(trigger(table, on, body))).execute(pool).await?;
        let config = match is_prosody {
            true => DaemonConfig::for_database(&lab.database)?,
            false => DaemonConfig::for_ejabberd_tables(&lab.database)?,
        };
        let config = config.set("timers.unread_for", "1s");
        let daemon = start(&config.set("erase.mode", mode)).await?;
        if is_prosody {
            archive_marked(pool, "kept", ROWS as usize).await?;
        } else if table == "spool" {
            let insert =
                "INSERT INTO spool (username, xml) SELECT 'peter', $1 FROM generate_series(1, $2)";
            sqlx::query(insert).bind(marked("kept", 1)).bind(ROWS).execute(pool).await?;
        } else {
            let now = number(pool, NOW).await?;
            let row = |nr| EjabberdRow::user("peter", now + nr, &marked(&format!("kept {nr}"), 1));
            let rows: Vec<_> = (0..ROWS).map(row).collect();
            insert_ejabberd(&lab.database, Schema::Classic, &rows).await?;
        }
        // Each row again after its retry.
        let labels = [("cause", "unchanged")];
        let twice = |count: f64| count >= 2.0 * ROWS as f64;
        let failures = "ephemerd_erase_failures_total";
        daemon.wait_for_figure(failures, &labels, PATIENCE, twice).await?;
        assert_eq!(words(pool, table, column).await?, ROWS, "{case}");
        assert_eq!(figure(&daemon, "ephemerd_erased_total", &[]).await?, 0.0, "{case}");
        assert_eq!(number(pool, ENTRIES).await?, ROWS, "{case}: entries were forgotten");
        assert_eq!(said(&daemon)?, 1, "{case}: {}", daemon.log()?);
        let drop = format!("DROP TRIGGER keep ON {table}");
        sqlx::query(AssertSqlSafe(drop)).execute(pool).await?;
        eventually(&format!("{case}: they go"), PATIENCE, async || {
            Ok((words(pool, table, column).await? == 0).then_some(()))
        })
        .await?;
    }
    saw(
        "triggers that keep rows",
        "triggers before UPDATE and DELETE on both servers' archives and on ejabberd's queue that return nothing, or put the old words back",
        "no row counted as erased, each put off with the cause `unchanged`, one line in the log; all gone once the trigger is dropped",
    );
    Ok(())
}

/// As mod_muc_moderation writes it, by a moderator whose nickname is a namespace.
const TOMBSTONE: &str = "<message type=''groupchat'' from=''den@conference.localhost/urn:xmpp:ephemeral:0''>\
    <moderated xmlns=''urn:xmpp:message-moderate:0'' by=''den@conference.localhost/rosa''>\
    <retracted xmlns=''urn:xmpp:message-retract:0'' stamp=''2026-01-01T00:00:00Z''/></moderated></message>";

/// All that waits is due now, whatever its timer says.
async fn make_due(pool: &PgPool) -> Result<()> {
    sqlx::query("UPDATE ephemerd.expiries SET due_at = now()").execute(pool).await?;
    sqlx::query("NOTIFY ephemerd, '0'").execute(pool).await?;
    Ok(())
}

/// Until then each poll reads the row again, and would drop its entry.
async fn wait_for_cursor(pool: &PgPool, row_number: i64) -> Result<()> {
    eventually("the tail to have passed the rows", PATIENCE, async || {
        let position =
            number(pool, "SELECT min(position) FROM ephemerd.cursors WHERE archive <> 'spool'");
        Ok((position.await? >= row_number).then_some(()))
    })
    .await
}

/// What was moderated before it was due, and a placeholder that was moderated, stay as the server wrote them.
#[tokio::test(flavor = "multi_thread")]
async fn a_moderated_row_stays_as_it_was_written() -> Result<()> {
    let lives = |mode: &'static str| async move {
        let lab = Lab::database_apart().await?;
        let pool = lab.database.superuser();
        let config = DaemonConfig::for_database(&lab.database)?.set("erase.mode", mode);
        let daemon = start(&config).await?;
        let rows = match mode {
            "placeholder" => vec![("pending", 3_600), ("blanked", 1)],
            _ => vec![("pending", 3_600)],
        };
        let rows: Vec<_> =
            rows.into_iter().map(|(name, timer)| (name.to_owned(), marked(name, timer))).collect();
        let count = rows.len() as i64;
        let sort_ids = crate::support::archive(pool, &rows).await?;
        wait_for_cursor(pool, sort_ids[rows.len() - 1]).await?;
        gone(pool, "<body>blanked", PATIENCE).await?;
        assert_eq!(number(pool, ENTRIES).await?, count, "{mode}");
        let moderate = format!("UPDATE prosodyarchive SET value = '{TOMBSTONE}'");
        sqlx::query(AssertSqlSafe(moderate)).execute(pool).await?;
        make_due(pool).await?;
        let all = |it: f64| it == count as f64;
        daemon.wait_for_figure("ephemerd_taken_over_total", &[], PATIENCE, all).await?;
        wait_for_number(pool, ENTRIES, 0).await?;
        let values: Vec<String> =
            sqlx::query_scalar("SELECT value FROM prosodyarchive").fetch_all(pool).await?;
        let tombstone = TOMBSTONE.replace("''", "'");
        assert_eq!(values, vec![tombstone; rows.len()], "{mode}");
        assert_eq!(figure(&daemon, "ephemerd_erase_failures_total", &[]).await?, 0.0, "{mode}");
        Ok(())
    };
    let lived: Result<((), ())> = tokio::try_join!(lives("placeholder"), lives("delete"));
    lived?;
    saw(
        "a message that a moderator replaced",
        "Prosody's row becomes a tombstone before it is due, and where it is a placeholder already; both modes",
        "the tombstone stays as it was written; its entry is dropped, counted as taken over",
    );
    Ok(())
}

/// On ejabberd a row with different text has a different identity: it is left alone as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_row_of_ejabberd_stays() -> Result<()> {
    for (schema, mode) in [(Schema::Classic, "placeholder"), (Schema::MultiHost, "delete")] {
        let config = EjabberdConfig { schema, ..EjabberdConfig::default() };
        let lab = Lab::ejabberd_tables(&config).await?;
        let pool = lab.database.superuser();
        let config = DaemonConfig::for_ejabberd_tables(&lab.database)?.set("erase.mode", mode);
        let daemon = start(&config).await?;
        let now = number(pool, NOW).await?;
        let row = EjabberdRow::room("den", now, &marked("moderated", 3_600));
        insert_ejabberd(&lab.database, schema, &[row]).await?;
        wait_for_cursor(pool, now).await?;
        assert_eq!(number(pool, ENTRIES).await?, 1, "{schema:?}");
        let moderate = format!("UPDATE archive SET xml = '{TOMBSTONE}'");
        sqlx::query(AssertSqlSafe(moderate)).execute(pool).await?;
        make_due(pool).await?;
        daemon
            .wait_for_figure("ephemerd_already_gone_total", &[], PATIENCE, |it| it == 1.0)
            .await?;
        let xml: String = sqlx::query_scalar("SELECT xml FROM archive").fetch_one(pool).await?;
        assert_eq!(xml, TOMBSTONE.replace("''", "'"), "{schema:?}");
    }
    Ok(())
}

/// A table that cannot be changed at all: one log line with what to do, not ready, and everything goes once
/// it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_changed_is_said_once() -> Result<()> {
    const ROWS: usize = 60;
    let revoked = "REVOKE DELETE ON archive FROM ephemerd";
    let published = "ALTER TABLE archive REPLICA IDENTITY NOTHING; CREATE PUBLICATION everything FOR ALL TABLES";
    let cases = [
        ("grants", revoked, "GRANT DELETE ON archive TO ephemerd", "42501", "deploy/grants.sql"),
        ("publication", published, "DROP PUBLICATION everything", "55000", "REPLICA IDENTITY"),
    ];
    for (case, breaks, mends, sqlstate, remedy) in cases {
        let lab = Lab::ejabberd_tables(&EjabberdConfig::default()).await?;
        let pool = lab.database.superuser();
        let config = DaemonConfig::for_ejabberd_tables(&lab.database)?.set("erase.mode", "delete");
        let daemon = start(&config).await?;
        sqlx::raw_sql(breaks).execute(pool).await?;
        let now = number(pool, NOW).await?;
        let row = |nr| EjabberdRow::user("peter", now + nr, &marked(&format!("kept {nr}"), 1));
        let rows: Vec<_> = (0..ROWS as i64).map(row).collect();
        insert_ejabberd(&lab.database, Schema::Classic, &rows).await?;
        let labels = [("cause", "refused")];
        let twice = |count: f64| count >= 2.0 * ROWS as f64;
        daemon.wait_for_figure("ephemerd_erase_failures_total", &labels, PATIENCE, twice).await?;
        let log = daemon.log()?;
        assert_eq!(said(&daemon)?, 1, "{case}: {log}");
        let line = log.lines().find(|line| line.contains("rows cannot be erased"));
        let line = line.unwrap_or_default();
        assert!(line.contains(sqlstate) && line.contains(remedy), "{case}: {line}");
        let ready = daemon.get("/readyz").await?;
        assert_eq!(ready.status, 503, "{case}: {}", ready.body);
        assert!(ready.body.contains("nothing can be erased from archive"), "{}", ready.body);
        sqlx::raw_sql(mends).execute(pool).await?;
        eventually("they go", PATIENCE, async || {
            Ok((words(pool, "archive", "xml").await? == 0).then_some(()))
        })
        .await?;
        daemon.wait_ready(PATIENCE).await?;
        eventually(&format!("{case}: the log says so"), PATIENCE, async || {
            Ok(daemon.log()?.contains("no longer keeps rows").then_some(()))
        })
        .await?;
    }
    saw(
        "a table that cannot be changed",
        "privileges revoked, or a publication of all tables while the table has no replica identity, when 60 rows fall due",
        "one line in the log for the table with the cause and what to do, not ready; all gone and ready again once it is repaired",
    );
    Ok(())
}
