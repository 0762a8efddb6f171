//! Accounts that are removed, rooms that are destroyed, owners that are renamed: the ledger follows.

use std::time::Duration;

use ephemerd_lab::ejabberd::{self, EjabberdConfig, Schema};
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{
    DaemonConfig, Lab, LabError, PATIENCE, ProsodyConfig, Result, Server, eventually, free_address,
    http,
};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::quotes::{WORDS, reply_to};
use crate::support::{marked, now, number, show_read, start, tail_has_passed, wait_for_number};

/// How late the ledger may follow.
const WITHIN: Duration = Duration::from_secs(120);
const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='86400'/>";

/// What the ledger has of an owner: entries, quotes, and the date of what was read last.
async fn named(pool: &PgPool, owner: &str) -> Result<(i64, i64, i64)> {
    let count = "SELECT (SELECT count(*) FROM ephemerd.expiries WHERE owner = $1),
                        (SELECT count(*) FROM ephemerd.quotes WHERE owner = $1),
                        (SELECT count(*) FROM ephemerd.readers WHERE owner = $1)";
    Ok(sqlx::query_as(count).bind(owner).fetch_one(pool).await?)
}

/// Peter and Rosa talk, alone and in the den; then Rosa's account goes by `remove`, and Peter destroys the den.
async fn kind<S: Server>(
    lab: Lab<S>,
    remove: impl AsyncFnOnce(Client) -> Result<()>,
) -> Result<()> {
    let config = lab.daemon_config().set("archive.poll", "100ms");
    let daemon = start(&config).await?;
    let pool = lab.database.superuser();
    // The sweep of the first start would drop entries, too.
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.sweeps WHERE completed_at IS NULL", 0)
        .await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let (den, peters) = (lab.endpoints().room("den"), lab.endpoints().jid("peter"));
    peter.join(&den, "Peter").await?;
    let to_rosa = lab.endpoints().jid("rosa");
    let said = format!(
        "<message to='{to_rosa}' type='chat' id='said'><body>{WORDS}</body>{TIMER}</message>"
    );
    peter.send(&said).await?;
    peter.groupchat(&den, "in the den", TIMER).await?;
    rosa.wait_for_body(WORDS).await?;
    let reply = format!(
        "<message to='{peters}' type='chat' id='reply'><body>&gt; {WORDS}\nmine</body>{}</message>",
        reply_to("said", " start='0' end='18'")
    );
    rosa.send(&reply).await?;
    show_read(&mut rosa, &peters, "said").await?;
    eventually("all is recorded", PATIENCE, async || {
        let known =
            (named(pool, "rosa").await?, named(pool, "peter").await?, named(pool, "den").await?);
        Ok((known == ((1, 1, 1), (1, 1, 0), (1, 0, 0))).then_some(()))
    })
    .await?;

    remove(rosa).await?;
    let destroy = "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>";
    peter.iq("set", Some(&den), destroy).await?;
    eventually("nothing is known of Rosa and the den", WITHIN, async || {
        let left = (named(pool, "rosa").await?, named(pool, "den").await?);
        Ok((left == ((0, 0, 0), (0, 0, 0))).then_some(()))
    })
    .await?;
    assert_eq!(named(pool, "peter").await?, (1, 1, 0), "Peter stays, and so does his archive");
    // No sweep did it.
    daemon.counts("ephemerd_removed_entries_total", &[], 2.0).await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

async fn prosody() -> Result<()> {
    let mut config = ProsodyConfig::default();
    config.modules.push("user_account_management".to_owned());
    kind(Lab::prosody_with(&config).await?, async |mut rosa| {
        let unregister = "<query xmlns='jabber:iq:register'><remove/></query>";
        rosa.iq("set", None, unregister).await.map(drop)
    })
    .await
}

async fn ejabberd(schema: Schema) -> Result<()> {
    let commands = free_address()?;
    let config = EjabberdConfig { commands: Some(commands), ..EjabberdConfig::default() };
    kind(Lab::ejabberd(&config.schema(schema)).await?, async |_| {
        let rosa = r#"{"user": "rosa", "host": "localhost"}"#;
        let answer = http::post(commands, "/api/unregister", rosa, PATIENCE).await?;
        let refused = || LabError::new(format!("{}: {}", answer.status, answer.body));
        if answer.status == 200 { Ok(()) } else { Err(refused()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_known_of_who_was_removed() -> Result<()> {
    tokio::try_join!(prosody(), ejabberd(Schema::Classic), ejabberd(Schema::MultiHost)).map(drop)
}

/// Peter's rows become Petra's. Another Peter, on another host, and Ida, of whom one row of two was removed, stay known.
#[tokio::test(flavor = "multi_thread")]
async fn entries_follow_rows_to_another_owner() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let hosts = ["localhost", "other.localhost"];
    let config = DaemonConfig::for_database(&lab.database)?
        .set("archive.poll", "100ms")
        .set("archive.hosts", hosts.to_vec());
    let daemon = start(&config).await?;
    let now = now(pool).await?;
    let row = |user: &str, key: &str| ArchiveRow::archive(user, key, now, &marked(key, 86_400));
    let other = ArchiveRow { host: "other.localhost".to_owned(), ..row("peter", "other") };
    insert(
        pool,
        &[row("peter", "one"), row("peter", "two"), other, row("ida", "a"), row("ida", "b")],
    )
    .await?;
    tail_has_passed(pool).await?;
    assert_eq!(number(pool, "SELECT count(*) FROM ephemerd.expiries").await?, 5);

    sqlx::query(
        r#"UPDATE prosodyarchive SET "user" = 'petra' WHERE "user" = 'peter' AND host = 'localhost'"#,
    )
    .execute(pool)
    .await?;
    sqlx::query("DELETE FROM prosodyarchive WHERE key = 'a'").execute(pool).await?;
    let followed = "SELECT count(*) FROM ephemerd.expiries AS e JOIN prosodyarchive AS a
                     ON (a.host, a.\"user\", a.key) = (e.host, e.owner, e.archive_id)";
    eventually("entries follow", WITHIN, async || {
        let all = number(pool, "SELECT count(*) FROM ephemerd.expiries").await?;
        Ok(((all, number(pool, followed).await?) == (4, 4)).then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// Of Rosa a row that quotes was removed, and others stay: the quote is forgotten, or her entries would be looked at for
/// ever. An entry that another session keeps locked delays nobody but its owner.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_owner_waits_for_delays_nobody() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "100ms");
    let daemon = start(&config).await?;
    let now = now(pool).await?;
    let row = |user: &str, key: &str, text: &str| ArchiveRow::archive(user, key, now, text);
    let said = format!(
        "<message type='chat' id='said' from='peter@localhost/a' to='rosa@localhost'><body>{WORDS}</body>{TIMER}</message>"
    );
    let reply = format!(
        "<message type='chat' id='reply' from='rosa@localhost/a' to='peter@localhost'><body>&gt; {WORDS}\nmine</body>{}</message>",
        reply_to("said", " start='0' end='18'")
    );
    let gone = marked("gone", 86_400);
    let rows = [
        row("rosa", "said", &said),
        row("rosa", "reply", &reply),
        row("anna", "gone", &gone),
        row("zoe", "gone", &gone),
    ];
    insert(pool, &rows).await?;
    tail_has_passed(pool).await?;
    assert_eq!(named(pool, "rosa").await?, (1, 1, 1));

    let mut other = PgConnection::connect(&lab.database.superuser_url()).await?;
    sqlx::raw_sql("BEGIN; SELECT FROM ephemerd.expiries WHERE owner = 'anna' FOR UPDATE")
        .execute(&mut other)
        .await?;
    sqlx::query("DELETE FROM prosodyarchive WHERE key IN ('gone', 'reply')").execute(pool).await?;
    eventually("only what is locked waits", WITHIN, async || {
        let left = (named(pool, "rosa").await?, named(pool, "zoe").await?);
        Ok((left == ((1, 0, 1), (0, 0, 0))).then_some(()))
    })
    .await?;
    assert_eq!(named(pool, "anna").await?, (1, 0, 0));
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'anna'", 0).await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// Somebody changed a row's text in ejabberd's table, where rows are told apart by it: the message goes on time all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_another_text_stays_known() -> Result<()> {
    let lab = Lab::ejabberd_tables(&EjabberdConfig::default()).await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_ejabberd_tables(&lab.database)?.set("archive.poll", "100ms");
    // The tail would read what is new once more.
    let hour_ago = "SELECT (extract(epoch FROM now() - interval '1 hour') * 1000000)::bigint";
    let at = number(pool, hour_ago).await?;
    let text = marked("before", 86_400);
    let known = "SELECT count(*) FROM ephemerd.expiries AS e JOIN archive AS a
                  ON e.digest = sha256(convert_to(a.xml, 'UTF8'))";
    let row = ejabberd::rows::ArchiveRow::user("rosa", at, &text);
    ejabberd::rows::insert(&lab.database, Schema::Classic, &[row]).await?;
    let daemon = start(&config).await?;
    let sweeps = "SELECT count(*) FROM ephemerd.sweeps WHERE completed_at IS NULL";
    wait_for_number(pool, sweeps, 0).await?;
    assert_eq!(number(pool, known).await?, 1);
    sqlx::query("UPDATE archive SET xml = replace(xml, 'before', 'after')").execute(pool).await?;
    eventually("the row is known by its new text", WITHIN, async || {
        Ok((number(pool, known).await? == 1).then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}
