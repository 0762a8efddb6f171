//! Messages that expire by specifications older than timers (XEP-0023, XEP-0079), where the operator wants that to count.

use ephemerd_lab::rows::ArchiveRow;
use ephemerd_lab::{EjabberdConfig, Lab, PATIENCE, Result, eventually};

use crate::reading_chats::{Chats, EPHEMERAL, Entry, TIMER, message};
use crate::support::{number, start, wait_for_number};

const ANN: &str = "ann@localhost/phone";
const LEGACY: &str = "SELECT count(*) FROM ephemerd.expiries WHERE reason = 'legacy'";

fn expire(seconds: i64) -> String {
    format!("<x xmlns='jabber:x:expire' seconds='{seconds}'/>")
}

fn received(chats: &Chats, key: &str, ago: i64, extra: &str) -> ArchiveRow {
    chats.row("bob", key, ago, &message(ANN, "bob@localhost", key, extra))
}

/// Nothing is looked for until it counts; then a sweep finds what is there, the tail what comes, and both forget it when it
/// counts no more.
#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_counts_from_when_the_operator_says_so() -> Result<()> {
    let mut chats = Chats::start_with(&[]).await?;
    let rule = "<amp xmlns='http://jabber.org/protocol/amp'>\
                <rule condition='expire-at' action='drop' value='2040-01-01T00:00:00Z'/></amp>";
    let rows = [
        received(&chats, "one", 900, &expire(TIMER)),
        received(&chats, "two", 900, rule),
        received(&chats, "both", 900, &format!("{EPHEMERAL}{}", expire(TIMER / 2))),
    ];
    chats.add(&rows).await?;
    let bobs = "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'bob'";
    assert_eq!(number(chats.pool(), bobs).await?, 1, "only a timer counts");
    assert_eq!(chats.entry("bob", "both").await?, Entry::read("archived", 900));

    let counting = chats.config.clone().set("timers.legacy_expiry", "true");
    chats.reload(&counting).await?;
    assert_eq!(number(chats.pool(), LEGACY).await?, 3);
    let legacy =
        |timer| Entry { timer, reason: "legacy".to_owned(), ..Entry::read("archived", 900) };
    assert_eq!(chats.entry("bob", "one").await?, legacy(TIMER));
    assert_eq!(chats.entry("bob", "both").await?, legacy(TIMER / 2));
    let at =
        "SELECT extract(epoch FROM due_at)::bigint FROM ephemerd.expiries WHERE archive_id = 'two'";
    assert_eq!(number(chats.pool(), at).await?, 2_208_988_800, "2040");
    let soon = "<x xmlns='jabber:x:expire' seconds='soon'/>";
    let rows = [received(&chats, "new", 500, &expire(TIMER)), received(&chats, "soon", 500, soon)];
    chats.add(&rows).await?;
    wait_for_number(chats.pool(), LEGACY, 4).await?;
    let invalid = "ephemerd_invalid_timers_total";
    chats.daemon.wait_for_figure(invalid, &[], PATIENCE, |it| it >= 1.0).await?;

    chats.reload(&chats.config.clone()).await?;
    assert_eq!(number(chats.pool(), LEGACY).await?, 0);
    assert_eq!(number(chats.pool(), bobs).await?, 1, "only a timer counts");
    assert_eq!(chats.entry("bob", "both").await?, Entry::read("archived", 900));
    Ok(())
}

/// Both speak of messages that nobody has read until then; reading may start an earlier timer, and never puts an expiry off.
#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_does_not_wait_for_a_reader() -> Result<()> {
    let chats =
        Chats::start_with(&[("timers.start", "read"), ("timers.legacy_expiry", "true")]).await?;
    let both = |seconds| format!("{EPHEMERAL}{}", expire(seconds));
    let rows = [
        received(&chats, "short", 900, &both(TIMER / 2)),
        received(&chats, "long", 900, &both(TIMER * 7)),
    ];
    chats.add(&rows).await?;
    let due =
        "SELECT count(*) FROM ephemerd.expiries WHERE started_by = 'unread' AND reason = 'legacy'
                  AND due_at - stamped_at IN (interval '43201 s', interval '604801 s')";
    assert_eq!(
        number(chats.pool(), due).await?,
        2,
        "it waits for a reader, and no longer than that"
    );
    chats.add(&[chats.marker("bob", ANN, "long", 500)]).await?;
    assert_eq!(chats.entry("bob", "long").await?, Entry::read("marker", 500));
    let short = chats.entry("bob", "short").await?;
    // Read 400 s after it was archived.
    let timer = TIMER / 2 - 400;
    assert_eq!(short, Entry { timer, reason: "legacy".to_owned(), ..Entry::read("marker", 500) });
    Ok(())
}

/// What waits in ejabberd's queue expires there too, whether or not anybody logs in, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_queue_expires() -> Result<()> {
    let lab = Lab::ejabberd(&EjabberdConfig::default()).await?;
    let config =
        lab.daemon_config().set("archive.poll", "200ms").set("timers.legacy_expiry", "true");
    let _daemon = start(&config).await?;
    lab.client("otto").await?.close().await?;
    let mut peter = lab.online("peter").await?;
    for (id, extra) in [("plain", String::new()), ("short", expire(2)), ("long", expire(3_600))] {
        let body = format!("<body>said {id}.</body>{extra}");
        peter
            .send(&format!("<message to='otto@localhost' type='chat' id='{id}'>{body}</message>"))
            .await?;
    }
    peter.sync().await?;
    let pool = lab.database.superuser();
    for table in ["archive", "spool"] {
        let standing = |words: &'static str| {
            let count = format!("SELECT count(*) FROM {table} WHERE strpos(xml, $1) > 0");
            async move {
                let count = sqlx::query_scalar(sqlx::AssertSqlSafe(count)).bind(words);
                Ok::<i64, ephemerd_lab::LabError>(count.fetch_one(pool).await?)
            }
        };
        eventually("what expires goes", PATIENCE, async || {
            Ok((standing("said short.").await? == 0).then_some(()))
        })
        .await?;
        for words in ["said plain.", "said long."] {
            assert!(standing(words).await? > 0, "{words} {table}");
        }
    }
    Ok(())
}
