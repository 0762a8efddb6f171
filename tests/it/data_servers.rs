//! What somebody asks to be erased, with real servers: judged by what clients find in their archives and receive.

use std::time::Duration;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::{MamItem, MamQuery};
use ephemerd_lab::{Lab, LabError, Result, Server, eventually};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::support::{now, start, told};

/// How long a server may take to show what was archived, on a busy machine.
const LATEST: Duration = Duration::from_secs(240);

/// The words in an archive, oldest first; rows without words are `""`.
async fn words<S: Server>(lab: &Lab<S>, user: &str, query: &MamQuery) -> Result<Vec<String>> {
    let word = |item: &MamItem| {
        let body = item.xml.split_once("<body>").and_then(|it| it.1.split_once("</body>"));
        body.map_or_else(String::new, |it| it.0.to_owned())
    };
    Ok(lab.archive(user, query).await?.iter().map(word).collect())
}

/// One kind, whose queue is what this follows in a count.
async fn kind<S: Server>(lab: Lab<S>, name: &str, queue: &str) -> Result<()> {
    let pool = lab.database.superuser();
    let config = lab.daemon_config().set("archive.poll", "200ms");
    let jid = |user: &str| lab.endpoints().jid(user);
    let den = lab.endpoints().room("den");
    let (own, room) = (MamQuery::default(), MamQuery::room(&den));
    lab.client("otto").await?.close().await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    peter.join(&den, "Peter").await?;
    for word in ["one", "two"] {
        peter.chat(&jid("rosa"), word, "").await?;
        rosa.wait_for_body(word).await?;
        peter.groupchat(&den, word, "").await?;
    }
    peter.chat(&jid("otto"), "queued", "").await?;
    let queued = async || {
        let count = format!("SELECT count(*) FROM {queue} LIKE '%queued%'");
        Ok::<i64, LabError>(sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(pool).await?)
    };
    eventually("all is archived", LATEST, async || {
        let all = words(&lab, "peter", &own).await? == ["one", "two", "queued"]
            && words(&lab, "rosa", &own).await? == ["one", "two"]
            && words(&lab, "peter", &room).await?.ends_with(&["one".into(), "two".into()])
            && queued().await? == 1;
        Ok(all.then_some(()))
    })
    .await?;
    // Prosody stamps whole seconds, and what has the asking's second is later.
    let archived = now(pool).await?;
    eventually("the next second", LATEST, async || {
        Ok((now(pool).await? > archived + 1).then_some(()))
    })
    .await?;
    let daemon = start(&config).await?;
    let erase = async |what: &[&str]| -> Result<Value> {
        told(&config, &[&["erase", "--yes", "--by", "tester"], what].concat()).await
    };

    // One chat: of the owner's archive only.
    let said = erase(&["--owner", &jid("peter"), "--with", &jid("rosa")]).await?;
    assert_eq!((&said["erased"], &said["done"]), (&2.into(), &true.into()), "{name}: {said:#}");
    assert_eq!(words(&lab, "peter", &own).await?, ["queued"], "{name}");
    assert_eq!(words(&lab, "rosa", &own).await?, ["one", "two"], "{name}");
    assert_eq!(queued().await?, 1, "{name}");

    // All of it: the newest row keeps its id, from which a client goes on.
    let last = lab.archive("peter", &own).await?.last().map(|it| it.id.clone());
    let said = erase(&["--owner", &jid("peter")]).await?;
    assert_eq!((&said["erased"], &said["done"]), (&1.into(), &true.into()), "{name}: {said:#}");
    assert_eq!(words(&lab, "peter", &own).await?, [""], "{name}");
    peter.chat(&jid("rosa"), "later", "").await?;
    let after = MamQuery { after: last, ..MamQuery::default() };
    eventually("a client goes on", LATEST, async || {
        Ok((words(&lab, "peter", &after).await? == ["later"]).then_some(()))
    })
    .await?;

    // A room, and a queue before anybody has received it.
    assert_eq!(erase(&["--owner", &den]).await?["done"], true, "{name}");
    let left = words(&lab, "peter", &room).await?;
    assert!(left.iter().all(String::is_empty), "{name}: {left:?}");
    assert_eq!(erase(&["--owner", &jid("otto")]).await?["done"], true, "{name}");
    assert_eq!(queued().await?, 0, "{name}");
    let about = told(&config, &["about", "--owner", &jid("otto")]).await?;
    let messages = about["stores"].as_array().expect("stores").iter();
    let messages: i64 = messages.filter_map(|it| it["messages"].as_i64()).sum();
    assert_eq!(messages, 0, "{name}: {about:#}");
    assert!(daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_goes_on_every_kind() -> Result<()> {
    let classic = EjabberdConfig::default().schema(Schema::Classic);
    let (prosody, classic) = tokio::try_join!(Lab::prosody(), Lab::ejabberd(&classic))?;
    tokio::try_join!(
        kind(prosody, "prosody", "prosodyarchive WHERE store = 'offline' AND value"),
        kind(classic, "classic", "spool WHERE xml"),
    )?;
    let multi_host = EjabberdConfig::default().schema(Schema::MultiHost);
    kind(Lab::ejabberd(&multi_host).await?, "multi-host", "spool WHERE xml").await
}
