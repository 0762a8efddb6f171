//! What a walk by age costs inside PostgreSQL when nothing is too old, by the plans that it followed.

use std::sync::Arc;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::{Lab, PATIENCE, Postgres, Result, eventually};
use sqlx::AssertSqlSafe;

use crate::age_rows::{Kind, Put, on_every_kind};
use crate::age_sets::inspected;
use crate::statement_costs::explaining;
use crate::support::{number, printed, start};

/// The number after this name in a line of a plan.
fn figure(line: &str, name: &str) -> f64 {
    let rest = line.split_once(name).map_or("0", |it| it.1);
    let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
    rest[..end].parse().unwrap_or(0.0)
}

/// How many rows the scans of a walk's statements read, those included that a filter removed.
fn rows_read(log: &str) -> f64 {
    let mut read = 0.0;
    for statement in log.split("Query Text: -- ").skip(1) {
        let name = statement.split_whitespace().next().unwrap_or_default();
        if !name.ends_with("_old") && !name.ends_with("_holders") {
            continue;
        }
        let mut loops = 1.0;
        // The plan ends where the next entry of the log begins.
        for line in statement.lines().take_while(|it| !it.contains("LOG: ")) {
            if line.contains("actual rows=") {
                loops = figure(line, "loops=");
                let is_scan = line.contains("Scan ") && !line.contains("Scan on k");
                read += if is_scan { figure(line, "actual rows=") * loops } else { 0.0 };
            } else if line.contains("Rows Removed by Filter: ") {
                read += figure(line, "Rows Removed by Filter: ") * loops;
            }
        }
    }
    read
}

/// However long the test takes, no second walk follows the first, whose statements would be counted too.
const ONE_WALK: &str = "
    CREATE FUNCTION one_walk() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.next_at := NEW.next_at + interval '1 day'; RETURN NEW; END $$;
    CREATE TRIGGER one_walk BEFORE UPDATE OF finished_at ON ephemerd.age_walks
        FOR EACH ROW EXECUTE FUNCTION one_walk();";

async fn lab_on(kind: Kind, postgres: &Arc<Postgres>) -> Result<Lab> {
    let schema = match kind {
        Kind::Prosody => return Lab::database_only_on(Arc::clone(postgres)).await,
        Kind::Classic => Schema::Classic,
        Kind::MultiHost => Schema::MultiHost,
    };
    let config = EjabberdConfig { schema, ..EjabberdConfig::default() };
    Lab::ejabberd_tables_on(Arc::clone(postgres), &config).await
}

/// Rows that one daemon's first walk reads in an archive of four owners with so many rows each, none of which is to go.
async fn walk(kind: Kind, rows: i64) -> Result<f64> {
    let postgres = explaining().await?;
    let lab = lab_on(kind, &postgres).await?;
    let pool = lab.database.superuser();
    // Eva's are old, and kept for ever.
    let all: Vec<Put> = (0..rows * 4)
        .map(|at| {
            let owner = ["peter", "rosa", "otto", "eva"][at as usize % 4];
            let age = if owner == "eva" { 800 * 86_400 } else { 0 };
            Put::archive(owner, &format!("row{at}"), age + rows * 4 - at)
        })
        .collect();
    kind.put(pool, &all).await?;
    for table in kind.tables() {
        sqlx::query(AssertSqlSafe(format!("ANALYZE {table}"))).execute(pool).await?;
    }
    let limits = ["archive_for", "rooms_for", "queue_for"];
    let config = kind.config(&lab)?;
    let config = limits.iter().fold(config, |it, key| it.set(&format!("retention.{key}"), "365d"));
    let rules = r#"[{"users": ["eva@localhost"], "archive_for": "never"}]"#;
    let config = config.env("EPHEMERD__RETENTION__RULE", rules);
    printed(&config, &["migrate"]).await?;
    sqlx::raw_sql(ONE_WALK).execute(pool).await?;
    let daemon = start(&config).await?;
    let walked = "SELECT count(*) FROM ephemerd.age_walks WHERE finished_at IS NOT NULL";
    let tables = kind.tables().len() as i64;
    eventually("a walk ends", PATIENCE, async || {
        Ok((number(pool, walked).await? == tables).then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    let log = postgres.log_text()?;
    assert!(log.contains("_holders"), "plans are logged");
    Ok(rows_read(&log))
}

/// A quiet hour costs the same, whatever the archive's size: owners are found by a probe each, and so is what is too old.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_too_old_is_not_read() -> Result<()> {
    on_every_kind(async |kind| {
        let (small, large) = (walk(kind, 100).await?, walk(kind, 2_000).await?);
        assert!(small > 0.0 && large <= 60.0, "{kind:?}: {small} rows of 400, {large} of 8000");
        assert!(large <= 2.0 * small, "{kind:?}: {small} rows of 400, {large} of 8000");
        Ok(())
    })
    .await
}

/// Where no hold is and nobody has a row locked, the identity of none leaves the database, and none is compared with each
/// other one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes_in_the_database_alone() -> Result<()> {
    const ROWS: i64 = 1_500;
    on_every_kind(async |kind| {
        let postgres = explaining().await?;
        let lab = lab_on(kind, &postgres).await?;
        let pool = lab.database.superuser();
        let config = kind.config(&lab)?.set("erase.backlog", "erase").set("erase.batch", 100);
        start(&config).await?.terminate().await?;
        let mut all = Vec::new();
        for (owner, at) in (0..ROWS).map(|at| (["peter", "rosa", "otto"][at as usize % 3], at)) {
            let row = Put::archive(owner, &format!("row{at}"), 7_200 + ROWS - at);
            all.push(Put { is_marked: at % 5 == 0, ..row });
        }
        all.extend(["peter", "rosa", "otto"].map(|owner| Put::archive(owner, owner, 0)));
        kind.put(pool, &all).await?;
        inspected(&config, pool).await?;
        let _daemon = start(&config.set("retention.archive_for", "1h")).await?;
        eventually("all that is too old goes", PATIENCE, async || {
            Ok((kind.names(pool).await? == ["otto", "peter", "rosa"]).then_some(()))
        })
        .await?;
        assert_eq!(number(pool, "SELECT count(*) FROM ephemerd.expiries").await?, 0, "{kind:?}");
        let log = postgres.log_text()?;
        let ran = |name: &str| log.matches(&format!("Query Text: -- {name}\n")).count();
        let (many, each) = match kind {
            Kind::Prosody => ("prosody_delete_old", "prosody_delete"),
            Kind::Classic | Kind::MultiHost => ("ejabberd_delete_old", "ejabberd_delete"),
        };
        assert_eq!(ran(each), 0, "{kind:?}: none was deleted by a key that the daemon sent");
        assert!((1..40).contains(&ran(many)), "{kind:?}: {} batches", ran(many));
        let pairs =
            log.lines().filter_map(|it| it.trim().strip_prefix("Rows Removed by Join Filter: "));
        let most = pairs.filter_map(|it| it.parse().ok()).max().unwrap_or(0);
        assert!(most <= 10 * ROWS, "{kind:?}: {most} pairs");
        Ok(())
    })
    .await
}
