//! A real Prosody and its clients.

use std::sync::Arc;

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Client, MamItem, MamQuery};
use ephemerd_lab::{Database, Lab, Postgres, PostgresConfig, ProsodyConfig, Result, Server as _};

const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>";

fn bodies(items: &[MamItem]) -> Vec<&str> {
    items.iter().filter_map(MamItem::body).collect()
}

async fn count(database: &Database, store: &str) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM prosodyarchive WHERE store = $1")
        .bind(store)
        .fetch_one(database.superuser())
        .await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_is_received_and_archived() -> Result<()> {
    let lab = Lab::prosody().await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    let to_rosa = rosa.bare_jid().to_owned();
    peter.chat(&to_rosa, "plain", "").await?;
    peter.chat(&to_rosa, "marked", TIMER).await?;
    let marked = rosa.wait_for_body("marked").await?;
    assert!(marked.xml.contains("timer='60'"), "{}", marked.xml);

    for user in ["peter", "rosa"] {
        let items = lab.archive(user, &MamQuery::default()).await?;
        assert_eq!(bodies(&items), ["plain", "marked"], "{user}");
        let xml = &items[1].xml;
        assert!(xml.starts_with("<message") && xml.ends_with("</message>"), "{xml}");
        assert!(xml.contains("urn:xmpp:ephemeral:0"), "{xml}");
    }
    assert_eq!(count(&lab.database, "archive").await?, 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_archives_and_replays_its_history() -> Result<()> {
    let lab = Lab::prosody().await?;
    let room = lab.endpoints().room("garden");
    let mut peter = lab.online("peter").await?;
    assert!(peter.join(&room, "peter").await?.history.is_empty());
    peter.groupchat(&room, "first", "").await?;
    peter.groupchat(&room, "second", TIMER).await?;
    peter.wait_for_body("second").await?;

    let mut rosa = lab.online("rosa").await?;
    let joined = rosa.join(&room, "rosa").await?;
    let history: Vec<_> = joined.history.iter().filter_map(|it| it.body()).collect();
    assert_eq!(history, ["first", "second"]);
    let items = rosa.query_all(&MamQuery::room(&room)).await?;
    assert_eq!(bodies(&items), ["first", "second"]);
    assert_eq!(count(&lab.database, "muc_log").await?, 2);

    let refused = lab.online("eve").await?.join(&room, "rosa").await.unwrap_err();
    assert_eq!(refused.condition(), Some("conflict"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_finds_the_message_in_the_offline_queue() -> Result<()> {
    let lab = Lab::prosody().await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.client("rosa").await?;
    peter.chat("rosa@localhost", "are you there", TIMER).await?;
    peter.sync().await?;
    assert_eq!(count(&lab.database, "offline").await?, 1);
    rosa.send_presence().await?;
    rosa.wait_for_body("are you there").await?;
    rosa.sync().await?;
    assert_eq!(count(&lab.database, "offline").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_read_page_by_page_and_a_lost_cursor_is_an_error() -> Result<()> {
    let lab = Lab::prosody().await?;
    let mut peter = lab.online("peter").await?;
    let words: Vec<_> = (0..7).map(|n| format!("word {n}")).collect();
    for word in &words {
        peter.chat("rosa@localhost", word, "").await?;
    }
    let pages_of_two = MamQuery { max: Some(2), ..MamQuery::default() };
    let items = peter.query_all(&pages_of_two).await?;
    assert_eq!(bodies(&items), words);

    let first = peter.query(&pages_of_two).await?;
    assert_eq!((first.items.len(), first.complete, first.count), (2, false, Some(7)));
    assert_eq!(first.last.as_deref(), Some(items[1].id.as_str()));
    let before = MamQuery { before: Some(items[5].id.clone()), ..pages_of_two.clone() };
    assert_eq!(bodies(&peter.query(&before).await?.items), ["word 3", "word 4"]);
    let last = MamQuery { before: Some(String::new()), ..pages_of_two.clone() };
    assert_eq!(bodies(&peter.query(&last).await?.items), ["word 5", "word 6"]);
    let with = MamQuery { with: Some("eve@localhost".to_owned()), ..MamQuery::default() };
    assert!(peter.query_all(&with).await?.is_empty());

    sqlx::query("DELETE FROM prosodyarchive WHERE key = $1")
        .bind(&items[1].id)
        .execute(lab.database.superuser())
        .await?;
    let after = MamQuery { after: Some(items[1].id.clone()), ..pages_of_two };
    let error = peter.query(&after).await.unwrap_err();
    assert_eq!(error.condition(), Some("item-not-found"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_end_and_come_back_with_their_data() -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::prosody_on(Arc::clone(&postgres), &ProsodyConfig::default()).await?;
    let mut peter = lab.online("peter").await?;
    peter.chat("rosa@localhost", "remember", "").await?;
    peter.sync().await?;
    lab.server.stop().await?;
    assert!(Client::login(lab.endpoints(), "peter", "x").await.is_err());
    postgres.kill().await?;
    postgres.resume().await?;
    lab.server.resume().await?;
    assert_eq!(bodies(&lab.archive("peter", &MamQuery::default()).await?), ["remember"]);
    lab.server.kill().await?;
    lab.server.restart().await?;
    assert_eq!(bodies(&lab.archive("peter", &MamQuery::default()).await?), ["remember"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_can_lie_outside_postgresql() -> Result<()> {
    for (storage, file) in
        [(Storage::Files, "localhost/archive/peter.list"), (Storage::Sqlite, "prosody.sqlite")]
    {
        let config = ProsodyConfig { storage, ..ProsodyConfig::default() };
        let lab = Lab::prosody_with(&config).await?;
        let mut peter = lab.online("peter").await?;
        peter.chat("rosa@localhost", "elsewhere", "").await?;
        peter.sync().await?;
        assert_eq!(bodies(&lab.archive("peter", &MamQuery::default()).await?), ["elsewhere"]);
        assert!(lab.server.data().join(file).exists());
    }
    Ok(())
}

/// Columns, defaults, sequence, indexes and the daemon's privileges, one line each.
async fn shape(database: &Database) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT concat_ws(' ', column_name, data_type, is_nullable, column_default) \
           FROM information_schema.columns WHERE table_name = 'prosodyarchive' \
         UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename = 'prosodyarchive' \
         UNION ALL SELECT pg_get_serial_sequence('prosodyarchive', 'sort_id') \
         UNION ALL SELECT c.relname || ' ' || pg_get_userbyid(c.relowner) || ' ' || c.relacl::text \
           FROM pg_class c WHERE c.relname LIKE 'prosodyarchive%' AND c.relkind IN ('r', 'S') ORDER BY 1",
    )
    .fetch_all(database.superuser())
    .await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_made_without_prosody_are_as_prosody_makes_them() -> Result<()> {
    let real = shape(&Lab::prosody().await?.database).await?;
    assert!(real.len() > 16, "{real:#?}");
    assert_eq!(shape(&Lab::database_only().await?.database).await?, real);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_told_with_the_end_of_the_log() -> Result<()> {
    let config =
        ProsodyConfig { globals: vec!["this is no Lua".to_owned()], ..ProsodyConfig::default() };
    let error = Lab::prosody_with(&config).await.err().unwrap().to_string();
    assert!(error.contains("prosody.cfg.lua"), "{error}");
    assert!(error.contains("ended at its start"), "nobody waits for what has ended: {error}");
    Ok(())
}
