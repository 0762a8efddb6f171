//! Databases that are laid out in other ways than the servers do it: it works, or `check` and `run` say what is wrong.

use std::fs;
use std::time::Duration;

use ephemerd::archive::{Archive, Search};
use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Postgres, PostgresConfig, Result, eventually};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::support::{REFUSED, archive_marked, gone, marked, now, number, printed, run, start};

async fn sql(pool: &PgPool, statements: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(pool).await?;
    Ok(())
}

/// What `check` says.
async fn checked(config: &DaemonConfig) -> Result<String> {
    Ok(run(config, &["check"]).await?.stdout)
}

/// `check` says this in one line with a remedy, and `run` ends with the same sentence.
async fn is_refused(config: &DaemonConfig, what: &str, remedy: &str) -> Result<()> {
    let said = checked(config).await?;
    assert!(said.contains(&format!("problem  {what}\n         {remedy}\n")), "{what}: {said}");
    let output = run(config, &["run"]).await?;
    assert_eq!(output.code, Some(3), "{what}: {}", output.stderr);
    assert!(output.stderr.contains(what.trim_end_matches('.')), "{what}: {}", output.stderr);
    assert!(output.stderr.contains(remedy), "{what}: {}", output.stderr);
    Ok(())
}

const GRANTS: &str = "run deploy/grants.sql in this database as a superuser";

/// Another schema, a closed `public`, another owner, a sequence that was renamed, a bigint `"when"`: once `grants.sql` was
/// run again everything works, and running it once more takes nothing away.
#[tokio::test(flavor = "multi_thread")]
async fn tables_may_be_in_any_schema() -> Result<()> {
    let lab = Lab::database_only().await?;
    let (pool, name) = (lab.database.superuser(), lab.database.name());
    let config = DaemonConfig::for_database(&lab.database)?;
    sql(
        pool,
        r#"CREATE SCHEMA "XMPP data"; ALTER TABLE prosodyarchive SET SCHEMA "XMPP data";
           ALTER TABLE "XMPP data".prosodyarchive OWNER TO postgres, ALTER COLUMN "when" TYPE bigint;
           ALTER SEQUENCE "XMPP data".prosodyarchive_sort_id_seq RENAME TO rows_seq;
           REVOKE ALL ON SEQUENCE "XMPP data".rows_seq FROM ephemerd;
           REVOKE ALL ON SCHEMA public FROM PUBLIC"#,
    )
    .await?;
    let hidden = "Table prosodyarchive is in the schema XMPP data, which our role may not use.";
    is_refused(&config, hidden, GRANTS).await?;
    sql(pool, r#"GRANT USAGE ON SCHEMA "XMPP data" TO ephemerd"#).await?;
    let not_named =
        "Table prosodyarchive is in the schema XMPP data, which is not in our role's search_path.";
    is_refused(&config, not_named, GRANTS).await?;

    lab.database.apply_grants().await?;
    let path = |path: &str| {
        let set = format!("ALTER ROLE ephemerd IN DATABASE {name} SET search_path = {path};");
        format!("{set} ALTER DATABASE {name} SET search_path = {path}")
    };
    // As an operator may have it: grants.sql leaves that alone.
    sql(pool, &path(r#""$user", "XMPP data""#)).await?;
    lab.database.apply_grants().await?;
    let left = "SELECT count(*) FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
                 WHERE datname = current_database() AND setrole <> 0
                   AND setconfig = ARRAY['search_path=\"$user\", \"XMPP data\"']";
    assert_eq!(number(pool, left).await?, 1, "grants.sql changed a good path");
    pool.set_connect_options(pool.connect_options().as_ref().clone());
    let daemon = start(&config).await?;
    let said = checked(&config).await?;
    assert!(said.contains("good     Prosody's archive is readable"), "{said}");
    let rows = sqlx::PgPool::connect(&lab.database.superuser_url()).await?;
    archive_marked(&rows, "anywhere", 20).await?;
    gone(&rows, "anywhere", PATIENCE).await?;
    // With the newest row deleted, its number is known by the sequence alone.
    sql(&rows, "DELETE FROM prosodyarchive").await?;
    archive_marked(&rows, "later", 1).await?;
    gone(&rows, "later", PATIENCE).await?;
    assert!(!daemon.log()?.contains("restored from a backup"), "{}", daemon.log()?);

    sql(&rows, "REVOKE ALL ON SEQUENCE rows_seq FROM ephemerd").await?;
    let said = checked(&config).await?;
    assert!(said.contains("problem  Our role lacks SELECT on rows_seq.\n"), "{said}");
    sql(&rows, "ALTER TABLE prosodyarchive ALTER sort_id DROP DEFAULT; DROP SEQUENCE rows_seq")
        .await?;
    let said = checked(&config).await?;
    assert!(
        said.contains("problem  No sequence numbers the rows of prosodyarchive.sort_id: "),
        "{said}"
    );
    Ok(())
}

/// The default names its sequence in a text, as dumps and tools leave it: PostgreSQL knows no tie between the two.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_may_be_named_in_a_text() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    sql(
        pool,
        "ALTER SEQUENCE prosodyarchive_sort_id_seq OWNED BY NONE;
         ALTER TABLE prosodyarchive ALTER sort_id SET DEFAULT nextval('prosodyarchive_sort_id_seq'::text);
         REVOKE ALL ON prosodyarchive_sort_id_seq FROM ephemerd",
    )
    .await?;
    lab.database.apply_grants().await?;
    start(&config).await?.terminate().await?;
    let said = checked(&config).await?;
    assert!(said.contains("good     Prosody's archive is readable"), "{said}");
    Ok(())
}

/// Somebody else has tables of the same names, where we may not look, and all of them are published.
#[tokio::test(flavor = "multi_thread")]
async fn namesakes_in_a_closed_schema_are_no_matter() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    sql(
        lab.database.superuser(),
        "CREATE SCHEMA closed; CREATE TABLE closed.prosodyarchive (id integer);
         CREATE PUBLICATION everything FOR ALL TABLES",
    )
    .await?;
    start(&config).await?.terminate().await?;
    let said = checked(&config).await?;
    assert!(said.contains("good     Prosody's archive is readable"), "{said}");
    assert!(!said.contains("publication"), "{said}");
    Ok(())
}

/// In a database of other people's, without an XMPP server's tables, `grants.sql` opens nothing of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_others_is_left_alone() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    sql(
        pool,
        "DROP TABLE prosodyarchive; CREATE SCHEMA office; CREATE TABLE office.archive (id integer)",
    )
    .await?;
    lab.database.apply_grants().await?;
    let may = "SELECT has_schema_privilege('ephemerd', 'office', 'USAGE')::int::bigint";
    assert_eq!(number(pool, may).await?, 0);
    Ok(())
}

/// The same for ejabberd's two tables, with another name for the queue's sequence.
#[tokio::test(flavor = "multi_thread")]
async fn ejabberds_tables_may_be_in_any_schema() -> Result<()> {
    let lab = Lab::ejabberd_tables(&EjabberdConfig::default()).await?;
    let config = DaemonConfig::for_ejabberd_tables(&lab.database)?;
    sql(
        lab.database.superuser(),
        "CREATE SCHEMA xmpp; ALTER TABLE archive SET SCHEMA xmpp; ALTER TABLE spool SET SCHEMA xmpp;
         ALTER SEQUENCE xmpp.spool_seq_seq RENAME TO queue_numbers; REVOKE ALL ON xmpp.queue_numbers FROM ephemerd",
    )
    .await?;
    let hidden = "Table archive is in the schema xmpp, which our role may not use.";
    is_refused(&config, hidden, GRANTS).await?;
    lab.database.apply_grants().await?;
    start(&config).await?.terminate().await?;
    let said = checked(&config).await?;
    assert!(said.contains("good     ejabberd's archive is readable"), "{said}");
    Ok(())
}

/// What hides rows from us, or is no table: nothing would ever go, and that is said.
#[tokio::test(flavor = "multi_thread")]
async fn what_hides_rows_is_refused() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    let hides =
        "Row level security hides rows of prosodyarchive from our role: they would stay for ever.";
    let lets = "CREATE POLICY ephemerd ON prosodyarchive TO ephemerd USING (true)";
    sql(
        pool,
        r#"ALTER TABLE prosodyarchive ENABLE ROW LEVEL SECURITY;
           CREATE POLICY mine ON prosodyarchive USING (host = current_setting('my.host', true))"#,
    )
    .await?;
    is_refused(&config, hides, &format!("{lets}; archive.hosts already says whose rows may go"))
        .await?;
    sql(pool, lets).await?;
    assert!(!checked(&config).await?.contains("Row level security"), "the remedy helps");
    sql(pool, "CREATE POLICY less ON prosodyarchive AS RESTRICTIVE USING (store = 'archive')")
        .await?;
    assert!(checked(&config).await?.contains(hides), "a restrictive policy");
    sql(pool, "ALTER TABLE prosodyarchive DISABLE ROW LEVEL SECURITY").await?;

    let elsewhere = "point database.url at the database that holds the table itself";
    sql(
        pool,
        "ALTER TABLE prosodyarchive RENAME TO kept; CREATE VIEW prosodyarchive AS SELECT * FROM kept;
         GRANT SELECT, UPDATE, DELETE ON prosodyarchive TO ephemerd",
    )
    .await?;
    let view = "prosodyarchive is a view: its rows can be neither locked nor told apart.";
    is_refused(&config, view, elsewhere).await?;
    sql(
        pool,
        r#"DROP VIEW prosodyarchive; CREATE EXTENSION postgres_fdw; CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw;
           CREATE FOREIGN TABLE prosodyarchive (host text, "user" text) SERVER away"#,
    )
    .await?;
    let foreign = "prosodyarchive is a foreign table: rows that commit late would be missed there.";
    is_refused(&config, foreign, elsewhere).await?;
    sql(
        pool,
        "DROP FOREIGN TABLE prosodyarchive; ALTER TABLE kept RENAME TO prosodyarchive;
         CREATE FOREIGN TABLE away () INHERITS (prosodyarchive) SERVER away",
    )
    .await?;
    let part = "prosodyarchive has a part that is a foreign table: its rows cannot be told apart from others.";
    is_refused(&config, part, "detach that part; what was archived there stays as it is").await
}

/// What is in the way of changes, or may keep erased words elsewhere: `check` names it, and the daemon runs.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_named() -> Result<()> {
    let settings = vec!["max_prepared_transactions = 2".to_owned()];
    let postgres =
        Postgres::start(PostgresConfig { settings, ..PostgresConfig::default() }).await?;
    let lab = Lab::database_only_on(postgres.into()).await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    let usual = checked(&config).await?;
    for never in ["Triggers", "publication", "prepared transaction"] {
        assert!(!usual.contains(never), "{usual}");
    }
    sql(
        pool,
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
         CREATE TRIGGER audit AFTER DELETE ON prosodyarchive FOR EACH ROW EXECUTE FUNCTION audit();
         CREATE TRIGGER arrives BEFORE INSERT ON prosodyarchive FOR EACH ROW EXECUTE FUNCTION audit();
         CREATE TRIGGER off BEFORE DELETE ON prosodyarchive FOR EACH ROW EXECUTE FUNCTION audit();
         ALTER TABLE prosodyarchive DISABLE TRIGGER off;
         CREATE RULE keeps AS ON UPDATE TO prosodyarchive WHERE OLD.store = 'none' DO INSTEAD NOTHING;
         CREATE PUBLICATION everything FOR ALL TABLES",
    )
    .await?;
    let said = checked(&config).await?;
    let acting =
        "warning  Triggers or rules act when we change rows of prosodyarchive: audit, keeps.\n";
    assert!(said.contains(acting), "{said}");
    assert!(!said.contains("publication"), "a primary key is a replica identity: {said}");
    sql(pool, "ALTER TABLE prosodyarchive REPLICA IDENTITY NOTHING").await?;
    let said = checked(&config).await?;
    let published = "problem  A publication covers prosodyarchive, which has no replica identity: PostgreSQL refuses our changes.\n         \
                     ALTER TABLE prosodyarchive REPLICA IDENTITY FULL, and the same for its partitions\n";
    assert!(said.contains(published), "{said}");
    sql(pool, "ALTER TABLE prosodyarchive REPLICA IDENTITY FULL").await?;
    assert!(!checked(&config).await?.contains("publication"), "the remedy helps");

    let mut session = PgConnection::connect(&lab.database.superuser_url()).await?;
    sqlx::raw_sql("BEGIN; CREATE TABLE later (); PREPARE TRANSACTION 'forgotten'")
        .execute(&mut session)
        .await?;
    assert!(!checked(&config).await?.contains("prepared transaction"), "it has just been prepared");
    // As if time had passed: a function of its own shadows the real one.
    sql(
        pool,
        &format!(
            "CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.now() + interval ''2 hours''';
             ALTER ROLE ephemerd IN DATABASE {} SET search_path = ephemerd, public, pg_catalog",
            lab.database.name()
        ),
    )
    .await?;
    let said = checked(&config).await?;
    assert!(
        said.contains("warning  A prepared transaction has waited for 120 minutes: "),
        "{said}"
    );
    sqlx::raw_sql("ROLLBACK PREPARED 'forgotten'").execute(&mut session).await?;
    Ok(())
}

/// Encodings and collations other than those of a usual cluster. Without an encoding (SQL_ASCII) `left` counts bytes, and
/// cut characters could not be read.
#[tokio::test(flavor = "multi_thread")]
async fn any_encoding_will_do() -> Result<()> {
    let swedish = "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'sv-SE' LOCALE 'C'";
    tokio::try_join!(
        encoded("ENCODING 'SQL_ASCII' LOCALE 'C'", "語", "placeholder"),
        encoded("ENCODING 'SQL_ASCII' LOCALE 'C'", "語", "delete"),
        encoded("ENCODING 'LATIN1' LOCALE 'C'", "é", "placeholder"),
        encoded(swedish, "語", "placeholder"),
    )
    .map(drop)
}

async fn encoded(clauses: &str, letter: &str, mode: &str) -> Result<()> {
    let lab = Lab::database_only_as(Postgres::shared().await?, clauses).await?;
    let (pool, words) = (lab.database.superuser(), letter.repeat(6_000));
    let config = DaemonConfig::for_database(&lab.database)?.set("erase.mode", mode);
    let daemon = start(&config).await?;
    let stamp = now(pool).await?;
    // Whatever the length of the start tag, some cut falls within a character.
    let rows = (0..6).flat_map(|at| {
        let body = format!("{}{words}", "x".repeat(at));
        let plain = format!("<message><body>{body}</body></message>");
        [("goes", marked(&body, 1)), ("stays", plain)]
            .map(|(key, xml)| ArchiveRow::archive("peter", &format!("{key}-{at}"), stamp, &xml))
    });
    insert(pool, &rows.collect::<Vec<_>>()).await?;
    const GO: &str =
        "SELECT count(*) FROM prosodyarchive WHERE key LIKE 'goes%' AND length(value) > 6000";
    const STAY: &str =
        "SELECT count(*) FROM prosodyarchive WHERE key LIKE 'stays%' AND length(value) > 6000";
    let all_gone = async || Ok((number(pool, GO).await? == 0).then_some(()));
    eventually(&format!("{clauses}, {mode}: they go"), PATIENCE, all_gone).await?;
    assert_eq!(number(pool, STAY).await?, 6, "{clauses}, {mode}");
    let figures = daemon.figures().await?;
    assert_eq!(
        figures.get("ephemerd_erase_failures_total", &REFUSED),
        Some(0.0),
        "{clauses}, {mode}"
    );
    Ok(())
}

/// One row of 100 MB is not searched, and costs no memory: PostgreSQL would hold it twice for each look.
#[tokio::test(flavor = "multi_thread")]
async fn a_giant_row_costs_no_memory() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    insert(pool, &[ArchiveRow::archive("peter", "giant", now(pool).await?, "")]).await?;
    sql(pool, "UPDATE prosodyarchive SET value = '<message><body>' || repeat('words ', 17000000)")
        .await?;
    let mut session = PgConnection::connect(&lab.database.daemon_url()).await?;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut session).await?;
    let peak = || -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap_or_default();
        Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or(u64::MAX))
    };
    let hosts = ["localhost".to_owned()];
    let (searched, all) = ((hosts.as_slice(), Search::MARKED), (0, i64::MAX));
    let table = Archive::Prosody.archive_table();
    let before = peak()?;
    let found = table.candidates(&mut session, searched, all, (100, 1 << 30)).await;
    let found = found.unwrap_or_default();
    assert!(found.len() == 1 && found[0].xml.is_none(), "it counts as unreadable");
    let grown = peak()? - before;
    assert!(grown < 40_000, "searching took {grown} kB more than before");
    tokio::time::timeout(Duration::from_secs(10), session.close()).await.ok();
    Ok(())
}
