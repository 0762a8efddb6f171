//! deploy/grants.sql grants what is needed: the role can do nothing else.

use ephemerd_lab::ejabberd::{EjabberdConfig, create_tables};
use ephemerd_lab::{DaemonConfig, Lab, Result};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::printed;

/// Tables beside the archive, as servers have them.
const OTHERS: &str = "
    CREATE TABLE prosody (host text, \"user\" text, store text, key text, type text, value text);
    INSERT INTO prosody VALUES ('localhost', 'peter', 'accounts', 'password', 'string', 'secret');
    CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.notes (text text);
    ALTER TABLE prosody OWNER TO prosody;";

/// Refused with 42501, insufficient_privilege.
const REFUSED: &[&str] = &[
    // Other tables, whoever owns them.
    "SELECT * FROM prosody",
    "UPDATE prosody SET value = ''",
    "DELETE FROM prosody",
    "SELECT password FROM users",
    "SELECT * FROM rosterusers",
    "DELETE FROM vcard",
    "SELECT * FROM elsewhere.notes",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY prosodyarchive (value) TO '/tmp/ephemerd-must-not'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    // Other columns of the archives, and rows of our own.
    "UPDATE prosodyarchive SET \"user\" = 'rosa'",
    "UPDATE prosodyarchive SET key = ''",
    "UPDATE prosodyarchive SET \"when\" = 0",
    "UPDATE prosodyarchive SET \"with\" = ''",
    "UPDATE prosodyarchive SET host = ''",
    "INSERT INTO prosodyarchive SELECT * FROM prosodyarchive",
    "UPDATE archive SET username = ''",
    "UPDATE archive SET peer = ''",
    "UPDATE archive SET timestamp = 0",
    "INSERT INTO archive SELECT * FROM archive",
    "UPDATE spool SET username = ''",
    "DELETE FROM spool",
    "INSERT INTO spool SELECT * FROM spool",
    // Everything at once, and changes to the tables themselves.
    "TRUNCATE prosodyarchive",
    "TRUNCATE archive",
    "TRUNCATE spool",
    "ALTER TABLE prosodyarchive ADD COLUMN more text",
    "ALTER TABLE archive DISABLE TRIGGER ALL",
    "CREATE INDEX ON prosodyarchive (key)",
    "DROP TABLE prosodyarchive",
    "CREATE TRIGGER mine AFTER INSERT ON prosodyarchive FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE mine AS ON DELETE TO archive DO INSTEAD NOTHING",
    "ALTER TABLE prosodyarchive OWNER TO ephemerd",
    "SELECT nextval('prosodyarchive_sort_id_seq')",
    "SELECT setval('prosodyarchive_sort_id_seq', 1)",
    "SELECT nextval('spool_seq_seq')",
    // Anything anywhere else.
    "CREATE TABLE public.mine (id int)",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE elsewhere.mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE EXTENSION pg_trgm",
    "CREATE DATABASE mine",
    "CREATE ROLE mine",
    "SET ROLE prosody",
    "SET ROLE postgres",
    "ALTER ROLE ephemerd SUPERUSER",
    "ALTER SYSTEM SET log_statement = 'all'",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "CREATE PUBLICATION mine FOR ALL TABLES",
    "SELECT pg_create_physical_replication_slot('mine')",
    "SET session_replication_role = replica",
];

#[tokio::test]
async fn the_role_can_do_nothing_else() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    create_tables(&EjabberdConfig::default(), &lab.database).await?;
    sqlx::raw_sql(OTHERS).execute(pool).await?;
    lab.database.apply_grants().await?;
    // With its own schema created, as when the daemon runs.
    printed(&DaemonConfig::for_database(&lab.database)?, &["migrate"]).await?;
    let others: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'postgres'")
            .fetch_one(pool)
            .await?;
    assert!(others > 0, "there is nobody to end");
    let mut role = PgConnection::connect(&lab.database.daemon_url()).await?;
    for statement in REFUSED {
        let done = sqlx::raw_sql(AssertSqlSafe(*statement)).execute(&mut role).await;
        let error = done.err().unwrap_or_else(|| panic!("allowed: {statement}"));
        let code = error.as_database_error().and_then(|it| it.code().map(|it| it.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
    }
    Ok(())
}

/// The role owns its schema, and nothing outside.
#[tokio::test]
async fn the_role_owns_its_schema_alone() -> Result<()> {
    let lab = Lab::database_only().await?;
    printed(&DaemonConfig::for_database(&lab.database)?, &["migrate"]).await?;
    let outside: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c
          WHERE pg_get_userbyid(c.relowner) = 'ephemerd'
            AND c.relnamespace NOT IN ('ephemerd'::regnamespace, 'pg_toast'::regnamespace)",
    )
    .fetch_all(lab.database.superuser())
    .await?;
    assert!(outside.is_empty(), "{outside:?}");
    let may: bool = sqlx::query_scalar(
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
           FROM pg_roles WHERE rolname = 'ephemerd'",
    )
    .fetch_one(lab.database.superuser())
    .await?;
    assert!(!may, "the role may more than it needs");
    Ok(())
}
