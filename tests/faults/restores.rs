//! Backups are restored: the whole database, or the archive alone, with pg_dump and pg_restore.

use std::path::Path;

use ephemerd_lab::reliability::note;
use ephemerd_lab::{LabError, Result};
use sqlx::Connection as _;
use tokio::time::{Duration, sleep};

use crate::ensure;
use crate::house::{House, ON_TIME};

/// The highest number ever assigned.
const LAST: &str = "SELECT last_value FROM prosodyarchive_sort_id_seq";

/// Instruments of the laboratory in the dump, which must not be restored.
const SHADOWS: [&str; 2] = ["--exclude-table=shadow_*", "--no-publications"];

async fn dump(house: &House, file: &Path, what: &[&str]) -> Result<()> {
    let file = format!("--file={}", file.display());
    let args = [&["--format=custom", file.as_str()], &SHADOWS[..], what].concat();
    house.database().postgres().run("pg_dump", house.database().name(), &args).await
}

async fn restore(house: &House, file: &Path, what: &[&str]) -> Result<()> {
    let file = file.display().to_string();
    let args = [&["--single-transaction", "--exit-on-error"], what, &[file.as_str()]].concat();
    house.database().postgres().run("pg_restore", house.database().name(), &args).await
}

/// The shadow follows the restore: what is not in the backup never existed, and nothing was touched. Its
/// triggers are restored with the table.
async fn follow(house: &House) -> Result<()> {
    house
        .sql(
            "DELETE FROM shadow_prosodyarchive
              WHERE (row ->> 'sort_id')::bigint NOT IN (SELECT sort_id FROM prosodyarchive);
             DELETE FROM shadow_prosodyarchive_touched;",
        )
        .await
}

/// Yesterday's dump of everything, restored under a running daemon in one transaction, twice; and then a row
/// that commits late, with a number that had been used before.
pub(crate) async fn everything_is_restored(seed: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("dump");
    let mut house = House::new(seed).await?;
    let daemon = house.daemon().await?;
    let mut late_missed = 0;
    for _ in 0..2 {
        house.load();
        sleep(Duration::from_secs(3)).await;
        dump(&house, &file, &[]).await?;
        let dumped = house.number(LAST).await?;
        sleep(Duration::from_secs(8)).await;
        house.check().await?;
        let highest = house.number(LAST).await?;
        ensure!(highest > dumped + 100, "nothing was archived since the dump");
        restore(&house, &file, &["--clean", "--if-exists"]).await?;
        follow(&house).await?;
        late_missed += late(&house).await?;
    }
    house.load();
    sleep(Duration::from_secs(3)).await;
    let checked = house.check_within(ON_TIME * 2).await?;
    ensure!(daemon.get("/readyz").await?.status == 200, "not ready afterwards");
    note(
        "everything is restored",
        "pg_dump of the whole database, then 8 s of load, then pg_restore --clean --single-transaction under the running daemon, and a row that commits late with a number used before; twice",
        &format!("{checked}; {late_missed} late rows missed"),
    )
}

/// A row whose number is drawn first and that commits last. Returns 1 if it is not seen.
async fn late(house: &House) -> Result<i64> {
    let insert = |key: &str| {
        format!(
            "INSERT INTO prosodyarchive (host, \"user\", store, key, \"when\", \"with\", type, value)
             VALUES ('localhost', 'late', 'archive', '{key}' || txid_current(), floor(extract(epoch FROM now())), 'x@localhost', 'xml',
               '<message><body>late</body><ephemeral xmlns=''urn:xmpp:ephemeral:0'' timer=''1''/></message>')"
        )
    };
    let mut other = sqlx::PgConnection::connect(&house.database().server_url()).await?;
    let mut open = other.begin().await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(insert("first"))).execute(&mut *open).await?;
    house.sql(&insert("second")).await?;
    sleep(Duration::from_secs(3)).await;
    open.commit().await?;
    let standing =
        "SELECT count(*) FROM prosodyarchive WHERE \"user\" = 'late' AND value LIKE '%<body>%'";
    sleep(Duration::from_secs(6)).await;
    let missed = house.number(standing).await?;
    ensure!(missed == 0, "{missed} rows that committed late after a restore were missed");
    Ok(missed)
}

/// The archive alone is restored, and with it numbers that others have had, in each mode.
pub(crate) async fn the_archive_alone_is_restored(seed: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut seen = Vec::new();
    for mode in ["placeholder", "delete"] {
        let file = folder.path().join(mode);
        let mut house = House::new(seed).await?;
        house.set("erase.mode", mode);
        let _daemon = house.daemon().await?;
        house.load();
        sleep(Duration::from_secs(4)).await;
        dump(&house, &file, &["--table=prosodyarchive*"]).await?;
        sleep(Duration::from_secs(4)).await;
        house.check().await?;
        restore(&house, &file, &["--clean", "--if-exists"]).await?;
        // A role's grants are restored with the table; a dump made with --no-privileges needs
        // deploy/grants.sql again.
        let kept = house.number(LAST).await?;
        follow(&house).await?;
        house.load();
        sleep(Duration::from_secs(4)).await;
        let again = house.number(LAST).await?;
        ensure!(again > kept, "no number was used again");
        let checked = house.check_within(ON_TIME * 2).await?;
        seen.push(format!("{mode}: {checked}"));
    }
    note(
        "the archive alone is restored",
        "pg_dump of prosodyarchive under load, pg_restore --clean --single-transaction of it 4 s later under the running daemon, then more load, whose numbers were used before",
        &seen.join("; "),
    )
}

/// The archive is restored while the daemon is away, and the dump is older than its ledger.
pub(crate) async fn restored_while_the_daemon_is_away(seed: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("dump");
    let mut house = House::new(seed).await?;
    let daemon = house.daemon().await?;
    house.load();
    sleep(Duration::from_secs(4)).await;
    dump(&house, &file, &["--table=prosodyarchive*"]).await?;
    sleep(Duration::from_secs(4)).await;
    house.check().await?;
    ensure!(daemon.terminate().await?.success(), "the daemon ended badly");
    restore(&house, &file, &["--clean", "--if-exists"]).await?;
    follow(&house).await?;
    // So much that the sequence has passed the ledger's cursor when the daemon is back.
    let cursor = house.number("SELECT max(frontier) FROM ephemerd.cursors").await?;
    house.load();
    while house.number(LAST).await? <= cursor + 100 {
        sleep(Duration::from_millis(200)).await;
    }
    let _daemon = house.daemon().await?;
    let checked = house.check_within(ON_TIME * 2).await.map_err(|error| {
        LabError::new(format!("the sequence had overtaken the cursor {cursor}: {error}"))
    })?;
    note(
        "restored while the daemon is away",
        "the archive alone is put back while no daemon runs, and grows beyond the ledger's cursor before one starts",
        &checked.to_string(),
    )
}
