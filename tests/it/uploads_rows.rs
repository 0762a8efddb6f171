//! Which rows hold an uploaded file, by the archive's tables and the ledger; nothing removes files here.

use ephemerd::archive::{Archive, Namers, Range};
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{DaemonConfig, Lab, Result};
use sqlx::PgPool;

use crate::support::{number, printed, start, told, wait_for_number};

const URL: &str = "https://up.example.org/file_share/";
const HOUR: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3600'/>";
const FILES: &str = "SELECT count(*) FROM ephemerd.files";
const KEPT: &str = "SELECT count(*) FROM ephemerd.files WHERE kept";
const NAMES: &str = "SELECT count(*) FROM ephemerd.file_names";
const SWEPT: &str = "SELECT count(*) FROM ephemerd.sweeps
                      WHERE completed_at IS NOT NULL AND requested_at IS NULL AND started_at IS NULL";

fn shared(slot: &str, more: &str) -> String {
    let url = format!("{URL}{slot}/a.jpg");
    format!(
        "<message type='chat' to='rosa@localhost' from='peter@localhost/phone'><body>{url}</body>\
         <x xmlns='jabber:x:oob'><url>{url}</url></x>{more}</message>"
    )
}

fn row(key: &str, when: i64, stanza: &str) -> ArchiveRow {
    ArchiveRow::archive("peter", key, when, stanza)
}

async fn now(pool: &PgPool) -> Result<i64> {
    number(pool, "SELECT extract(epoch FROM now())::bigint").await
}

fn config(lab: &Lab) -> Result<DaemonConfig> {
    Ok(DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms"))
}

fn with_uploads(config: DaemonConfig) -> DaemonConfig {
    config.set("uploads.urls", vec![URL]).set("uploads.hosts", vec!["up.example.org"])
}

/// The operator sees which files go with messages, and which stay: `explain` and `preview` say so. A row that comes later and
/// has no timer keeps a file, however it names it, and so does one that names more files than can be told apart.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_later_keeps_a_file_and_the_operator_sees_it() -> Result<()> {
    let lab = Lab::database_only().await?;
    let (pool, config) = (lab.database.superuser(), with_uploads(config(&lab)?));
    let daemon = start(&config).await?;
    let at = now(pool).await?;
    insert(pool, &[row("one", at, &shared("slot-0001", HOUR))]).await?;
    insert(pool, &[row("two", at, &shared("slot-0002", HOUR))]).await?;
    insert(pool, &[row("three", at, &shared("slot-0003", HOUR))]).await?;
    wait_for_number(pool, FILES, 3).await?;
    wait_for_number(pool, NAMES, 3).await?;
    let explain = ["explain", "--owner", "peter@localhost", "--id", "one"];
    let text = printed(&config, &explain).await?;
    assert!(text.contains("; with it, 1 uploaded file unless something else names it"), "{text}");
    let words = format!(
        "<message from='rosa@localhost/x'><body>see {URL}slot-0001/a.jpg .</body></message>"
    );
    insert(pool, &[row("later", at, &words)]).await?;
    wait_for_number(pool, KEPT, 1).await?;
    let text = printed(&config, &explain).await?;
    assert!(text.contains("; not with it, 1 uploaded file that something else names"), "{text}");
    assert_eq!(told(&config, &explain).await?["rows"][0]["ledger"]["files_kept"], 1);
    let text = printed(&config, &["preview"]).await?;
    assert!(text.contains("2 go with the last of them, 1 stay because"), "{text}");
    assert_eq!(told(&config, &["preview"]).await?["files"]["going"], 2);
    let about = ["about", "--owner", "peter@localhost"];
    let text = printed(&config, &about).await?;
    assert!(text.contains("unless others do: 2 uploaded files, the first at 2"), "{text}");
    assert_eq!(told(&config, &about).await?["files"]["pending"], 2);
    let of_others = told(&config, &["about", "--owner", "rosa@localhost"]).await?;
    assert_eq!(of_others["files"]["pending"], 0, "{of_others}");
    let many: String = (0..64).map(|nr| format!(" {URL}other-{nr:04}/a")).collect();
    let many = format!("<message><body>{many} {URL}slot-0002/a.jpg</body>{HOUR}</message>");
    insert(pool, &[row("many", at, &many)]).await?;
    wait_for_number(pool, KEPT, 2).await?;
    assert_eq!(number(pool, NAMES).await?, 3, "it is not linked with each of them");
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// What was archived before files were to go is found by the sweep, which a change of the setting starts; and so is what holds
/// them since then. Nothing goes as long as that is not known.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_old_messages_are_found_when_it_is_switched_on() -> Result<()> {
    let lab = Lab::database_only().await?;
    let (pool, config) = (lab.database.superuser(), config(&lab)?);
    let mut daemon = start(&config).await?;
    wait_for_number(pool, SWEPT, 1).await?;
    let at = now(pool).await?;
    let rows = [
        row("goes", at, &shared("slot-0001", HOUR)),
        row("kept", at, &shared("slot-0002", HOUR)),
        row("keeps", at, &shared("slot-0002", "")),
    ];
    insert(pool, &rows).await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries", 2).await?;
    assert_eq!(number(pool, FILES).await?, 0, "it is off");
    daemon.reload(&with_uploads(config))?;
    wait_for_number(pool, FILES, 2).await?;
    wait_for_number(pool, KEPT, 1).await?;
    let unseen = "SELECT count(*) FROM ephemerd.files WHERE unseen_upto >= (SELECT max(sort_id) FROM prosodyarchive)";
    assert_eq!(number(pool, unseen).await?, 2, "the tail had gone past all of these rows");
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// While it was off, or another daemon read the archive, nobody looked for what names files: those rows are searched before a
/// known file goes.
#[tokio::test(flavor = "multi_thread")]
async fn what_passed_while_it_was_off_is_searched_later() -> Result<()> {
    let lab = Lab::database_only().await?;
    let (pool, off) = (lab.database.superuser(), config(&lab)?);
    let on = with_uploads(off.clone());
    let passed = "SELECT count(*) FROM ephemerd.cursors WHERE frontier >= (SELECT max(sort_id) FROM prosodyarchive)";
    let unseen = "SELECT count(*) FROM ephemerd.files WHERE unseen_upto >= (SELECT max(sort_id) FROM prosodyarchive)";
    let mut daemon = start(&on).await?;
    let at = now(pool).await?;
    insert(pool, &[row("one", at, &shared("slot-0001", HOUR))]).await?;
    wait_for_number(pool, FILES, 1).await?;
    insert(pool, &[row("plain", at, &shared("slot-0002", ""))]).await?;
    wait_for_number(pool, passed, 1).await?;
    assert_eq!(number(pool, unseen).await?, 0, "the tail has looked at it");
    assert!(daemon.terminate().await?.success());
    daemon = start(&on).await?;
    insert(pool, &[row("more", at, &shared("slot-0003", ""))]).await?;
    wait_for_number(pool, passed, 1).await?;
    assert_eq!(number(pool, unseen).await?, 0, "a restart is no gap");
    assert!(daemon.terminate().await?.success());
    daemon = start(&off).await?;
    insert(pool, &[row("keeps", at, &shared("slot-0001", ""))]).await?;
    wait_for_number(pool, passed, 1).await?;
    assert!(daemon.terminate().await?.success());
    daemon = start(&on).await?;
    wait_for_number(pool, unseen, 1).await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// Before a file goes, the rows that the tail did not look at with it in mind are searched, back to the upload and whosever
/// they are; if they are too many, nobody can tell.
#[tokio::test(flavor = "multi_thread")]
async fn the_look_back_ends_at_the_upload_and_has_a_bound() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let at = now(pool).await?;
    let mut connection = pool.acquire().await?;
    let hosts = ["localhost".to_owned()];
    let mut look = async |seconds: i64, upto: i64| {
        let since = chrono::DateTime::from_timestamp(seconds, 0).expect("a time");
        let range = Range { above: i64::MIN, upto, since };
        Archive::Prosody.naming(&mut connection, (&hosts, "slot-0001"), range).await
    };
    let none = |it: &Namers| matches!(it, Namers::These(rows) if rows.is_empty());
    let old = insert(pool, &[row("old", at - 9_000, &shared("slot-0001", ""))]).await?[0];
    let plain = "INSERT INTO prosodyarchive (host, \"user\", store, key, \"when\", \"with\", type, value)
                 SELECT 'elsewhere', 'nobody', 'archive', nr::text, $1::bigint, '', 'xml', '<message/>' FROM generate_series($2::int, $3) AS nr";
    sqlx::query(plain).bind(at).bind(1).bind(18_000).execute(pool).await?;
    let Ok(Namers::These(rows)) = look(at - 10_000, i64::MAX).await else { panic!("it is there") };
    assert_eq!(rows.iter().map(|it| it.key.row_number).collect::<Vec<_>>(), [old]);
    assert!(none(&look(at - 10_000, old - 1).await.expect("a look")), "not what comes after");
    sqlx::query(plain).bind(at - 8_000).bind(18_001).bind(19_000).execute(pool).await?;
    assert!(none(&look(at - 60, i64::MAX).await.expect("a look")), "not what was there before");
    sqlx::query(plain).bind(at).bind(19_001).bind(21_000).execute(pool).await?;
    assert!(matches!(look(at - 10_000, i64::MAX).await, Ok(Namers::Unclear)), "too many");
    let elsewhere = ArchiveRow {
        store: "pep_urn:xmpp:microblog:0".to_owned(),
        ..row("post", at, &shared("slot-0001", ""))
    };
    let uploads = ArchiveRow {
        store: "uploads".to_owned(),
        ..row("up", at, "<request filename='slot-0001'/>")
    };
    insert(pool, &[uploads]).await?;
    assert!(none(&look(at - 60, i64::MAX).await.expect("a look")), "the upload itself");
    insert(pool, &[elsewhere]).await?;
    assert!(matches!(look(at - 60, i64::MAX).await, Ok(Namers::Others)), "a store not ours");
    Ok(())
}
