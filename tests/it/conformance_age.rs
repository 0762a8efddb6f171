//! Retention by age on every kind of archive in SQL and in both modes, with real servers, judged by what clients find.

use std::fmt::Write as _;
use std::time::Duration;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::{MamItem, MamQuery};
use ephemerd_lab::{Lab, LabError, Result, Server, eventually};
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::support::{REFUSED, start};

/// How old a message may become. The daemon starts when all has been seen.
const LIMIT: &str = "12s";
/// How long after that a message may still exist, on a busy machine.
const LATEST: Duration = Duration::from_secs(240);

async fn items<S: Server>(lab: &Lab<S>, user: &str, query: &MamQuery) -> Result<Vec<MamItem>> {
    lab.archive(user, query).await
}

async fn has<S: Server>(lab: &Lab<S>, user: &str, query: &MamQuery, word: &str) -> Result<bool> {
    Ok(items(lab, user, query).await?.iter().any(|item| item.xml.contains(word)))
}

/// One kind in one mode; returns a row of the matrix.
async fn kind<S: Server>(lab: Lab<S>, name: &str, queue: &str) -> Result<String> {
    let mode = name.rsplit(' ').next().unwrap_or_default();
    let jid = |user: &str| lab.endpoints().jid(user);
    // Rosa's archive is kept for ever.
    let rules = json!([{ "users": [jid("rosa")], "archive_for": "never" }]).to_string();
    let config = lab.daemon_config().set("archive.poll", "200ms").set("erase.mode", mode);
    lab.client("otto").await?.close().await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let den = lab.endpoints().room("den");
    peter.join(&den, "Peter").await?;
    rosa.join(&den, "Rosa").await?;
    let (own, room) = (MamQuery::default(), MamQuery::room(&den));
    for word in ["word-first", "word-second"] {
        peter.chat(&jid("rosa"), word, "").await?;
        peter.groupchat(&den, word, "").await?;
        rosa.wait_for_body(word).await?;
    }
    peter.chat(&jid("otto"), "word-queued", "").await?;
    eventually("all is archived", LATEST, async || {
        let archived = has(&lab, "peter", &own, "word-queued").await?
            && has(&lab, "rosa", &own, "word-second").await?
            && has(&lab, "rosa", &room, "word-second").await?;
        Ok(archived.then_some(()))
    })
    .await?;
    let newest = |items: Vec<MamItem>| {
        items.last().map(|it| it.id.clone()).ok_or_else(|| LabError::new("an empty archive"))
    };
    let last = newest(items(&lab, "peter", &own).await?)?;
    let last_in_room = newest(items(&lab, "rosa", &room).await?)?;
    let queued = async || {
        let count = format!("SELECT count(*) FROM {queue} LIKE '%word-queued%'");
        let pool = lab.database.superuser();
        Ok::<i64, LabError>(sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(pool).await?)
    };
    assert_eq!(queued().await?, 1, "{name}: it is in the queue");

    let config = ["archive_for", "rooms_for", "queue_for"]
        .into_iter()
        .fold(config, |config, key| config.set(&format!("retention.{key}"), LIMIT))
        .set("retention.grace", "0s")
        .env("EPHEMERD__RETENTION__RULE", &rules);
    let daemon = start(&config).await?;
    eventually("what is too old goes", LATEST, async || {
        let stands = has(&lab, "peter", &own, "word-").await?
            || has(&lab, "rosa", &room, "word-").await?
            || queued().await? > 0;
        Ok((!stands).then_some(()))
    })
    .await?;
    assert!(has(&lab, "rosa", &own, "word-first").await?, "{name}: Rosa's is kept for ever");
    let failures = daemon.figures().await?.get("ephemerd_erase_failures_total", &REFUSED);
    assert_eq!(failures, Some(0.0), "{name}");
    // What comes now would soon be too old as well.
    assert!(daemon.terminate().await?.success());

    // A client that saw the newest before continues there.
    peter.chat(&jid("rosa"), "later-chat", "").await?;
    peter.groupchat(&den, "later-room", "").await?;
    for (user, mut query, id, word) in [
        ("peter", MamQuery::default(), last, "later-chat"),
        ("rosa", MamQuery::room(&den), last_in_room, "later-room"),
    ] {
        query.after = Some(id);
        eventually("a client continues", LATEST, async || {
            Ok(has(&lab, user, &query, word).await?.then_some(()))
        })
        .await?;
    }
    Ok(format!("{name:24} | goes, the newest stays blank | the same | goes | stays\n"))
}

async fn sql_prosody(mode: &str) -> Result<String> {
    let lab = Lab::prosody().await?;
    let queue = "prosodyarchive WHERE store = 'offline' AND value";
    kind(lab, &format!("prosody, {mode}"), queue).await
}

async fn sql_ejabberd(schema: Schema, name: &str) -> Result<String> {
    let lab = Lab::ejabberd(&EjabberdConfig::default().schema(schema)).await?;
    kind(lab, name, "spool WHERE xml").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes_on_every_kind() -> Result<()> {
    let mut matrix = format!("{:24} | archive | room | queue | user with a rule\n", "kind");
    let (one, other) = tokio::try_join!(
        sql_prosody("placeholder"),
        sql_ejabberd(Schema::Classic, "classic, delete")
    )?;
    let _ = write!(matrix, "{one}{other}");
    let (one, other) = tokio::try_join!(
        sql_prosody("delete"),
        sql_ejabberd(Schema::MultiHost, "multihost, placeholder")
    )?;
    let _ = write!(matrix, "{one}{other}");
    let (one, other) = tokio::try_join!(
        sql_ejabberd(Schema::Classic, "classic, placeholder"),
        sql_ejabberd(Schema::MultiHost, "multihost, delete")
    )?;
    let _ = write!(matrix, "{one}{other}");
    #[expect(clippy::print_stdout, reason = "the matrix is what this suite is run for")]
    {
        println!("{matrix}");
    }
    Ok(())
}
