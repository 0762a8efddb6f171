//! `check` names each problem on its own line, with what to do.

use ephemerd_lab::postgres::PostgresConfig;
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{DaemonConfig, Lab, PgBouncer, Postgres, Result};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::{marked, now, printed, run, told};

/// The output of `check`, whose exit code must be 1.
async fn failing(config: &DaemonConfig) -> Result<String> {
    let output = run(config, &["check"]).await?;
    assert_eq!(output.code, Some(1), "{}{}", output.stdout, output.stderr);
    Ok(output.stdout)
}

async fn sql(pool: &PgPool, statements: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(pool).await?;
    Ok(())
}

/// A database where nothing is wrong; nobody listens where the component connects.
async fn lab() -> Result<(Lab, DaemonConfig)> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let rows = [
        ArchiveRow::archive("peter", "1", now(pool).await?, &marked("word", 60)),
        ArchiveRow::room("den", "2", now(pool).await?, &marked("word", 60)),
    ];
    insert(pool, &rows).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    Ok((lab, config))
}

/// If nothing is wrong each line is good, except for hosts without a message yet.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_wrong_is_0() -> Result<()> {
    let lab = Lab::prosody().await?;
    let config = lab.daemon_config();
    let before = told(&config, &["check"]).await?;
    let levels = |value: &serde_json::Value| -> Vec<String> {
        let findings = value["findings"].as_array().unwrap().iter();
        findings.map(|it| it["level"].as_str().unwrap().to_owned()).collect()
    };
    assert!(levels(&before).contains(&"warning".to_owned()), "not migrated yet: {before}");
    printed(&config, &["migrate"]).await?;
    let mut client = lab.online("peter").await?;
    let room = lab.endpoints().room("den");
    client.join(&room, "Peter").await?;
    client.groupchat(&room, "hello", "").await?;
    client.wait_for_body("hello").await?;
    let to = client.bare_jid().to_owned();
    client.chat(&to, "to myself", "").await?;
    client.wait_for_body("to myself").await?;
    let text = printed(&config, &["check"]).await?;
    assert!(text.lines().all(|line| line.starts_with("good     ")), "{text}");
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(!text.contains('\u{1b}'), "colours are for terminals");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_configuration_is_3() -> Result<()> {
    let (_lab, config) = lab().await?;
    let output = run(&config.set("erase.mode", "burn"), &["check"]).await?;
    assert_eq!(output.code, Some(3));
    assert!(output.stderr.starts_with("error: erase.mode"), "{}", output.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_the_database() -> Result<()> {
    let (_lab, config) = lab().await?;
    let url = |url: &str| config.clone().set("database.url", url);
    let away = failing(&url("postgres://ephemerd@127.0.0.1:1/prosody")).await?;
    let expected = "problem  The database cannot be used: connect: connection refused.\n         \
                    check the host and port in database.url, and that PostgreSQL runs there\n";
    assert!(away.contains(expected), "{away}");
    let wrong = failing(&config.clone().set_file("database.password_file", "wrong")).await?;
    let expected = "problem  The database cannot be used: connect: SQLSTATE 28P01 (the database does not accept our role or password).\n         \
                    check the role in database.url, its password, and the server's pg_hba.conf\n";
    assert!(wrong.contains(expected), "{wrong}");
    let postgres = Postgres::shared().await?;
    let other = format!("postgres://ephemerd@{}/no_such_database", postgres.address());
    let missing = failing(&url(&other)).await?;
    assert!(missing.contains("\n         check the name of the database at the end"), "{missing}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_wrong_rights() -> Result<()> {
    let (lab, config) = lab().await?;
    let pool = lab.database.superuser();
    let superuser = config
        .clone()
        .unset("database.password_file")
        .set("database.url", lab.database.superuser_url());
    let text = failing(&superuser).await?;
    let expected = "warning  Our role is a superuser: it has far more rights than it needs.\n         \
                    use the role that deploy/grants.sql creates\n";
    assert!(text.contains(expected), "{text}");

    sql(pool, "ALTER TABLE prosodyarchive OWNER TO ephemerd").await?;
    let text = failing(&config).await?;
    assert!(text.contains("warning  Our role owns prosodyarchive: "), "{text}");
    sql(pool, "ALTER TABLE prosodyarchive OWNER TO prosody").await?;
    lab.database.apply_grants().await?;

    for (revoke, lacks) in [
        ("REVOKE SELECT ON prosodyarchive FROM ephemerd", "SELECT on prosodyarchive"),
        ("REVOKE DELETE ON prosodyarchive FROM ephemerd", "DELETE on prosodyarchive"),
        (
            "REVOKE UPDATE (value) ON prosodyarchive FROM ephemerd",
            "UPDATE (value) on prosodyarchive",
        ),
        (
            "REVOKE SELECT ON prosodyarchive_sort_id_seq FROM ephemerd",
            "SELECT on prosodyarchive_sort_id_seq",
        ),
    ] {
        sql(pool, revoke).await?;
        let text = failing(&config).await?;
        let expected = format!(
            "problem  Our role lacks {lacks}.\n         \
             run deploy/grants.sql in this database as a superuser\n"
        );
        assert!(text.contains(&expected), "{text}");
        lab.database.apply_grants().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_schema() -> Result<()> {
    let (lab, config) = lab().await?;
    let pool = lab.database.superuser();
    sql(pool, "ALTER TABLE prosodyarchive ADD COLUMN more text").await?;
    let text = failing(&config).await?;
    assert!(
        text.contains("good     Prosody's archive is readable"),
        "one more does no harm: {text}"
    );
    sql(pool, "ALTER TABLE prosodyarchive ALTER COLUMN \"when\" TYPE text").await?;
    let text = failing(&config).await?;
    assert!(
        text.contains(
            "problem  Column when of prosodyarchive is missing or is not integer or bigint.\n"
        ),
        "{text}"
    );
    sql(pool, "ALTER TABLE prosodyarchive RENAME COLUMN key TO name").await?;
    let text = failing(&config).await?;
    assert!(
        text.contains("problem  Column key of prosodyarchive is missing or is not text.\n"),
        "{text}"
    );
    sql(pool, "DROP TABLE prosodyarchive").await?;
    let text = failing(&config).await?;
    assert!(
        text.contains("problem  There is no table prosodyarchive in this database.\n"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_schema() -> Result<()> {
    let (lab, config) = lab().await?;
    let pool = lab.database.superuser();
    let rename = "UPDATE ephemerd._sqlx_migrations SET version = 9999
                   WHERE version = (SELECT max(version) FROM ephemerd._sqlx_migrations)";
    sql(pool, rename).await?;
    let text = failing(&config).await?;
    assert!(text.contains("problem  Schema ephemerd is newer than this program.\n"), "{text}");
    sql(pool, "DELETE FROM ephemerd._sqlx_migrations WHERE version = 9999").await?;
    let text = failing(&config).await?;
    let expected =
        "warning  Schema ephemerd is older than this program.\n         run `ephemerd migrate`";
    assert!(text.contains(expected), "{text}");
    sql(pool, "DROP TABLE ephemerd._sqlx_migrations").await?;
    let text = failing(&config).await?;
    assert!(text.contains("warning  Schema ephemerd has no tables yet.\n"), "{text}");
    sql(pool, "ALTER SCHEMA ephemerd OWNER TO postgres").await?;
    let text = failing(&config).await?;
    assert!(text.contains("problem  Our role may not use schema ephemerd"), "{text}");
    sql(pool, "DROP SCHEMA ephemerd CASCADE").await?;
    let text = failing(&config).await?;
    let expected = "problem  There is no schema ephemerd in this database.\n         \
                    run deploy/grants.sql in this database as a superuser\n";
    assert!(text.contains(expected), "{text}");
    Ok(())
}

/// A real standby, and a database that is set read-only.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_written_to() -> Result<()> {
    let postgres = std::sync::Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::database_only_on(std::sync::Arc::clone(&postgres)).await?;
    let config = DaemonConfig::for_database(&lab.database)?;
    printed(&config, &["migrate"]).await?;
    let expected = "problem  The database is a standby or read-only: nothing can be recorded or erased there.\n         \
                    point database.url at the primary, which accepts writes\n";
    let pool = lab.database.superuser();
    let name = lab.database.name();
    sql(pool, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await?;
    let text = failing(&config).await?;
    assert!(text.contains(expected), "{text}");
    sql(pool, &format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await?;
    let text = failing(&config).await?;
    assert!(text.contains("good     The database accepts writes.\n"), "{text}");
    sql(pool, "COPY (SELECT 1) TO PROGRAM 'touch standby.signal'").await?;
    postgres.restart().await?;
    let text = failing(&config).await?;
    assert!(text.contains(expected), "{text}");
    Ok(())
}

/// A database whose clock is wrong: a function of its own shadows the real one.
#[tokio::test(flavor = "multi_thread")]
async fn the_clocks() -> Result<()> {
    let (lab, config) = lab().await?;
    let pool = lab.database.superuser();
    let name = lab.database.name();
    // To the second, more or less: on a busy machine the database answers late.
    let apart = |seconds: std::ops::RangeInclusive<i64>, which: &str| -> Vec<String> {
        let start = "problem  The database's clock is";
        seconds.map(|it| format!("{start} {it} s {which} this machine's: ")).collect()
    };
    let agree = "good     The clocks of the database and this machine agree.\n".to_owned();
    for (seconds, expected) in [
        (3_600, apart(3_595..=3_605, "ahead of")),
        (-20, apart(15..=25, "behind")),
        (1, vec![agree]),
    ] {
        sql(
            pool,
            &format!(
                "CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql
                   AS 'SELECT pg_catalog.clock_timestamp() + interval ''{seconds} s''';
                 ALTER ROLE ephemerd IN DATABASE {name}
                   SET search_path = ephemerd, public, pg_catalog"
            ),
        )
        .await?;
        let text = failing(&config).await?;
        assert!(expected.iter().any(|it| text.contains(it)), "{text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_differ() -> Result<()> {
    let (lab, config) = lab().await?;
    let text = failing(&config).await?;
    assert!(
        text.contains("good     archive.hosts lists the same hosts as the archive.\n"),
        "{text}"
    );
    let pool = lab.database.superuser();
    let row = ArchiveRow::archive("peter", "3", now(pool).await?, &marked("word", 60));
    insert(pool, &[ArchiveRow { host: "other.localhost".to_owned(), ..row }]).await?;
    let config = config.set("archive.hosts", vec!["localhost", "conference.localhost", "typo"]);
    let text = failing(&config).await?;
    let expected = "warning  archive.hosts does not list other.localhost, but the archive has rows of that host: 1.\n         \
                    add it to archive.hosts if its messages may be erased; otherwise leave it\n         \
                    see docs/install-prosody.md\n\
                    warning  archive.hosts lists typo, but the archive has no rows of that host.\n";
    assert!(text.contains(expected), "{text}");
    Ok(())
}

/// PgBouncer in common setups, in each way that breaks us, and its answer to parameters that it does not
/// know.
#[tokio::test(flavor = "multi_thread")]
async fn pools_that_break_sessions() -> Result<()> {
    let (lab, config) = lab().await?;
    let through =
        |pool: &PgBouncer| config.clone().set("database.url", pool.url_without_password());
    let remedy = "\n         there is a connection pooler in between: point database.url at PostgreSQL itself; ";

    let pool = PgBouncer::start(&lab.database, "pool_mode = session").await?;
    let text = failing(&through(&pool)).await?;
    let refused = "problem  The database cannot be used: connect: SQLSTATE 08P01.";
    assert!(text.contains(&format!("{refused}{remedy}")), "{text}");

    let ignored = "ignore_startup_parameters = extra_float_digits, options";
    let in_sessions = format!("pool_mode = session\n{ignored}");
    let pool = PgBouncer::start(&lab.database, &in_sessions).await?;
    let text = failing(&through(&pool)).await?;
    let lost = "problem  The settings of our sessions do not arrive, for example lock_timeout.";
    assert!(text.contains(&format!("{lost}{remedy}")), "{text}");
    assert!(!text.contains("Sessions do not belong to us alone"), "{text}");

    let name = lab.database.name();
    let settings = format!("ALTER ROLE ephemerd IN DATABASE {name} SET lock_timeout = '100ms'");
    sql(lab.database.superuser(), &settings).await?;
    let pool = PgBouncer::start(&lab.database, &in_sessions).await?;
    let text = failing(&through(&pool)).await?;
    let good = "good     Sessions keep their settings and locks, and receive notifications.\n";
    assert!(text.contains(good), "{text}");

    let pool = PgBouncer::start(&lab.database, ignored).await?;
    let text = failing(&through(&pool)).await?;
    let shared =
        "problem  Our sessions are shared by a pooler: one session's settings appear in another.";
    assert!(text.contains(&format!("{shared}{remedy}")), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_component() -> Result<()> {
    let lab = Lab::prosody().await?;
    let config = lab.daemon_config();
    let text = failing(&config.clone().set_file("component.secret_file", "wrong")).await?;
    assert!(text.contains("problem  component: the XMPP server refused our secret\n"), "{text}");
    let text = failing(&config.clone().set("component.server", "127.0.0.1:1")).await?;
    let expected = "problem  component: the XMPP server cannot be reached: connection refused\n";
    assert!(text.contains(expected), "{text}");
    Ok(())
}
