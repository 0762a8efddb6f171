//! What ejabberd keeps of rooms that archive, beside the archive: its own table of rooms, and what it shows to whoever joins.

use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::xmpp::{Client, MamQuery};
use ephemerd_lab::{DaemonConfig, Ejabberd, Lab, PATIENCE, Result, Server as _, eventually};
use sqlx::PgPool;

use crate::companion_memory::{bodies, set_subject, shown, until_subject};
use crate::reliability::saw;
use crate::remote::timer;
use crate::support::{pause, resume, start};

const NO_STORE: &str = "<no-store xmlns='urn:xmpp:hints'/>";
const NO_PERMANENT_STORE: &str = "<no-permanent-store xmlns='urn:xmpp:hints'/>";

/// An ejabberd with its companion module and all it keeps in SQL: persistent rooms, each with an archive, which
/// are unloaded when nobody is there.
async fn tables() -> Result<Lab<Ejabberd>> {
    let config = EjabberdConfig { companion: true, ..EjabberdConfig::default() };
    Lab::ejabberd(&EjabberdConfig { rooms_hibernate: true, ..config }).await
}

async fn joined(lab: &Lab<Ejabberd>, name: &str) -> Result<(Client, String)> {
    let room = lab.endpoints().room(name);
    let mut peter = lab.online("peter").await?;
    peter.join(&room, "peter").await?;
    Ok((peter, room))
}

/// How many rows of this table say so, in any column.
async fn rows(pool: &PgPool, table: &str, words: &str) -> Result<i64> {
    let count = match table {
        "muc_room" => "SELECT count(*) FROM muc_room AS t WHERE strpos(t::text, $1) > 0",
        _ => "SELECT count(*) FROM archive AS t WHERE strpos(t::text, $1) > 0",
    };
    Ok(sqlx::query_scalar(count).bind(words).fetch_one(pool).await?)
}

/// The room's own row has no words of a subject that was cleared, while somebody is in the room and when nobody is.
async fn its_row_has_no_old_subject(lab: &Lab<Ejabberd>, config: &DaemonConfig) -> Result<()> {
    let pool = lab.database.superuser();
    let (mut peter, room) = joined(lab, "garden").await?;
    for (subject, is_there) in [("until-noon", true), ("until-evening", false)] {
        pause(config).await?;
        set_subject(&mut peter, &room, subject, &timer(1)).await?;
        eventually("the room's row has the subject", PATIENCE, async || {
            Ok((rows(pool, "muc_room", subject).await? == 1).then_some(()))
        })
        .await?;
        if !is_there {
            peter.close().await?;
            peter = lab.online("peter").await?;
        }
        resume(config).await?;
        eventually("the room's row has no subject", PATIENCE, async || {
            Ok((rows(pool, "muc_room", subject).await? == 0).then_some(()))
        })
        .await?;
        eventually("the archive has no subject", PATIENCE, async || {
            Ok((rows(pool, "archive", subject).await? == 0).then_some(()))
        })
        .await?;
        until_subject(lab, &room, "").await?;
    }
    saw(
        "ejabberd's table of rooms",
        "a persistent room's subject with a timer falls due, with somebody in the room, and with the room unloaded",
        "neither `muc_room` nor `archive` has its words any more",
    );
    Ok(())
}

/// A hint keeps a message out of the archive. Where the room shows it to whoever joins (ejabberd 23.01 does not), its timer
/// ends that.
async fn hints_do_not_outlast_a_timer(lab: &Lab<Ejabberd>) -> Result<()> {
    let pool = lab.database.superuser();
    let (mut peter, room) = joined(lab, "hall").await?;
    for (words, extra) in [
        ("plain", String::new()),
        ("not-stored", format!("{NO_STORE}{}", timer(3))),
        ("not-kept", format!("{NO_PERMANENT_STORE}{}", timer(3))),
        ("not-stored-for-long", format!("{NO_STORE}{}", timer(3600))),
        ("only-hinted", NO_STORE.to_owned()),
        ("last", String::new()),
    ] {
        peter.groupchat(&room, words, &extra).await?;
        peter.wait_for_body(words).await?;
    }
    // What is only hinted may stay or not; a first look would not tell which, as it may go at once.
    let lasting: [&[&str]; 2] =
        [&["plain", "last"], &["plain", "not-stored-for-long", "only-hinted", "last"]];
    eventually("whoever asks the room is shown no more than that", PATIENCE, async || {
        let asked = peter.query_all(&MamQuery::room(&room)).await?;
        let says = |words: &str| asked.iter().any(|it| it.xml.contains(words));
        assert!(says("plain"), "{asked:?}");
        Ok((!says("not-kept") && !says("not-stored<")).then_some(()))
    })
    .await?;
    eventually("whoever joins is shown no more than that", PATIENCE, async || {
        let (history, _) = shown(lab, "ada", &room).await?;
        Ok(lasting.contains(&bodies(&history).as_slice()).then_some(()))
    })
    .await?;
    for words in ["not-stored", "not-kept", "only-hinted"] {
        assert_eq!(rows(pool, "archive", words).await?, 0, "{words}");
    }
    saw(
        "a hint not to store, in a room that archives",
        "`no-store` and `no-permanent-store`, each with a timer; ejabberd",
        "no table has them, and people who join are shown none whose timer has run out",
    );
    Ok(())
}

/// A busy room whose last words have all expired greets nobody with empty messages.
async fn placeholders_are_not_loaded(lab: &Lab<Ejabberd>) -> Result<()> {
    let pool = lab.database.superuser();
    let (mut peter, room) = joined(lab, "busy").await?;
    peter.groupchat(&room, "plain", "").await?;
    for at in 0..5 {
        peter.groupchat(&room, &format!("goes {at}"), &timer(1)).await?;
    }
    peter.wait_for_body("goes 4").await?;
    eventually("five placeholders", PATIENCE, async || {
        let archived = peter.query_all(&MamQuery::room(&room)).await?;
        let is_placeholder = |it: &str| it.contains("urn:ephemerd:0");
        Ok((archived.iter().filter(|it| is_placeholder(&it.xml)).count() == 5).then_some(()))
    })
    .await?;
    assert_eq!(rows(pool, "archive", "goes ").await?, 0);
    for restarts in [false, true] {
        if restarts {
            peter.close().await?;
            lab.server.restart().await?;
            peter = lab.online("peter").await?;
        }
        let (history, _) = shown(lab, "rosa", &room).await?;
        // This ejabberd forgets a room's history when it ends; later ones read the archive.
        let words: &[&str] = if restarts && history.is_empty() { &[] } else { &["plain"] };
        assert_eq!(bodies(&history), words, "after a restart: {restarts}");
        assert_eq!(history.len(), words.len(), "after a restart: {restarts}: {history:#?}");
    }
    saw(
        "a busy room of ejabberd whose last words have expired",
        "somebody joins where the archive holds five placeholders and one message, before and after a restart of ejabberd",
        "no empty message is replayed",
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_beside_the_archive_keeps_words() -> Result<()> {
    let lab = tables().await?;
    let config = lab.daemon_config().set("erase.mode", "placeholder").set("archive.poll", "200ms");
    let _running = start(&config).await?;
    its_row_has_no_old_subject(&lab, &config).await?;
    hints_do_not_outlast_a_timer(&lab).await?;
    placeholders_are_not_loaded(&lab).await
}
