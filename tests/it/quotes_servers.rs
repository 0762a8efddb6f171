//! What replies quote is cut out of them, with real servers and clients.

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::{Client, MamQuery};
use ephemerd_lab::{Lab, PATIENCE, Result, Server, eventually};
use sqlx::{AssertSqlSafe, PgPool};

use crate::conformance::count;
use crate::quotes::{WORDS, reply_to};
use crate::support::{REFUSED, number, pause, resume, start, wait_for_number};

const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='4'/>";
const LONG_TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='86400'/>";

/// Says something that quotes the message with this id.
async fn answer(
    client: &mut Client,
    (to, kind): (&str, &str),
    id: &str,
    own: &str,
    extra: &str,
) -> Result<()> {
    let elements = reply_to(id, " start='0' end='18'");
    let body = format!("&gt; {WORDS}\n{own} &amp; more");
    let stanza = format!(
        "<message to='{to}' type='{kind}' id='{own}'><body>{body}</body>{elements}{extra}</message>"
    );
    client.send(&stanza).await?;
    client.sync().await
}

/// What an archive has, as its owner sees it.
async fn bodies(client: &mut Client, archive: Option<&str>) -> Result<Vec<String>> {
    let query = MamQuery { archive: archive.map(str::to_owned), ..MamQuery::default() };
    let page = client.query(&query).await?;
    Ok(page.items.iter().filter_map(|it| it.body().map(str::to_owned)).collect())
}

/// Rows with these words in any column of a table.
async fn anywhere(pool: &PgPool, table: &str, words: &str) -> Result<i64> {
    let select = format!("SELECT count(*) FROM {table} AS a WHERE strpos(a::text, $1) > 0");
    Ok(sqlx::query_scalar(AssertSqlSafe(select)).bind(words).fetch_one(pool).await?)
}

async fn converse<S: Server>(lab: Lab<S>, mode: &str) -> Result<()> {
    let config = lab.daemon_config().set("archive.poll", "100ms").set("erase.mode", mode);
    let daemon = start(&config).await?;
    let pool = lab.database.superuser();
    lab.client("otto").await?.close().await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let den = lab.endpoints().room("den");
    peter.join(&den, "Peter").await?;
    rosa.join(&den, "Rosa").await?;
    let jid = |user: &str| lab.endpoints().jid(user);
    pause(&config).await?;

    let say = |to: &str, kind: &str, id: &str| {
        format!("<message to='{to}' type='{kind}' id='{id}'><body>{WORDS}</body>{TIMER}</message>")
    };
    peter.send(&say(&jid("rosa"), "chat", "said")).await?;
    peter.send(&say(&den, "groupchat", "in-den")).await?;
    peter.sync().await?;
    let heard = eventually("the room's message", PATIENCE, async || {
        let page =
            rosa.query(&MamQuery { archive: Some(den.clone()), ..MamQuery::default() }).await?;
        Ok(page.items.into_iter().find(|it| it.body() == Some(WORDS)).map(|it| it.id))
    })
    .await?;
    let (rosas, peters) = (jid("rosa"), jid("peter"));
    answer(&mut rosa, (&peters, "chat"), "said", "hers", "").await?;
    answer(&mut peter, (&rosas, "chat"), "said", "his", LONG_TIMER).await?;
    answer(&mut rosa, (&den, "groupchat"), &heard, "there", "").await?;
    // Otto is away: both wait in his queue.
    let ottos = jid("otto");
    peter.send(&say(&ottos, "chat", "away")).await?;
    answer(&mut peter, (&ottos, "chat"), "away", "away-too", "").await?;
    // Nothing asks for this one to go.
    answer(&mut rosa, (&peters, "chat"), "hers", "kept", "").await?;

    let recorded = "SELECT count(*) FROM ephemerd.quotes";
    eventually("all are recorded", PATIENCE, async || {
        Ok((number(pool, recorded).await? >= 5).then_some(()))
    })
    .await?;
    let before = bodies(&mut rosa, None).await?;
    assert!(before.contains(&format!("> {WORDS}\nhers & more")), "{before:?}");
    resume(&config).await?;

    // Otto's archive and queue wait for him.
    let left = || async {
        let mut left = 0;
        for token in ["hers &amp;", "his &amp;", "there &amp;"] {
            left += count(pool, S::TABLES, &format!("{WORDS}\n{token}"), false).await?;
        }
        Result::<i64>::Ok(left)
    };
    eventually("what is quoted is cut", PATIENCE, async || Ok((left().await? == 0).then_some(())))
        .await?;
    let after = bodies(&mut rosa, None).await?;
    for own in ["hers & more", "his & more"] {
        assert!(after.iter().any(|it| it == own), "{own}: {after:?}");
    }
    assert!(after.contains(&format!("> {WORDS}\nkept & more")), "{after:?}");
    let in_den = bodies(&mut rosa, Some(&den)).await?;
    assert!(in_den.iter().any(|it| it == "there & more"), "{in_den:?}");
    // Its own timer still finds it.
    let own = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'pending' AND due_at > now() + interval '1 h'
                  AND reason = 'timer'";
    assert_eq!(number(pool, own).await?, 2, "both copies of his answer");

    let mut otto = lab.online("otto").await?;
    let waited = otto.wait_for_body(&format!("> {WORDS}\naway-too & more")).await;
    assert!(waited.is_ok(), "he gets it as it was sent");
    // He has heard it now: so its timer runs, and then the quote goes as well.
    eventually("his is cut", PATIENCE, async || {
        let words = format!("{WORDS}\naway-too");
        Ok((count(pool, S::TABLES, &words, false).await? == 0).then_some(()))
    })
    .await?;
    wait_for_number(pool, recorded, 0).await?;
    for table in S::TABLES {
        let kept = if table.is_queue { 0 } else { 2 };
        if !table.is_queue || S::TABLES.iter().all(|it| it.name != table.name || it.is_queue) {
            assert_eq!(anywhere(pool, table.name, WORDS).await?, kept, "{}", table.name);
        }
    }
    // What was cut of a row that has a timer of its own is still known by it: a sweep finds nothing to mend.
    crate::support::printed(&config, &["sweep"]).await?;
    assert_eq!(number(pool, own).await?, 2);
    let figures = daemon.figures().await?;
    assert_eq!(figures.get("ephemerd_erase_failures_total", &REFUSED), Some(0.0));
    assert_eq!(figures.get("ephemerd_sweep_repaired_total", &[("action", "dropped")]), Some(0.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_quotes_go_with_what_they_quote() -> Result<()> {
    converse(Lab::prosody().await?, "placeholder").await?;
    converse(Lab::prosody().await?, "delete").await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_quotes_go_with_what_they_quote() -> Result<()> {
    for (schema, mode) in [(Schema::Classic, "delete"), (Schema::MultiHost, "placeholder")] {
        converse(Lab::ejabberd(&EjabberdConfig::default().schema(schema)).await?, mode).await?;
    }
    Ok(())
}
