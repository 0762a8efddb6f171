//! What replies quote is cut out of them when the messages that they quote go.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{PATIENCE, Result, eventually};

use crate::belonging::{ANN, BOB, is_recorded, naming, with_message};
use crate::belonging_races::{ERASED, FORGOTTEN, claim, end, waits};
use crate::holds::{hold, release};
use crate::reading_chats::{Chats, EPHEMERAL, Entry, TIMER};
use crate::support::{REFUSED, number, pause, printed, refusals, resume, told, wait_for_number};

/// What everybody quotes, with a reference and a character outside of the first plane.
const QUOTED: &str = "&gt; words of target 👋\n";
pub(crate) const WORDS: &str = "words of target";

/// The elements of a reply: which message it is to, and which part of its body quotes that one.
pub(crate) fn reply_to(id: &str, range: &str) -> String {
    format!(
        "<reply xmlns='urn:xmpp:reply:0' to='ann@localhost/phone' id='{id}'/>\
         <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body{range}/></fallback>"
    )
}

/// The same for what a body begins with.
fn quoting(id: &str) -> String {
    reply_to(id, " start='0' end='20'")
}

fn cut(elements: &str) -> String {
    let at = elements.find("<fallback").unwrap_or(elements.len());
    let end = elements.find("</fallback>").map_or(elements.len(), |it| it + "</fallback>".len());
    format!("{}{}", elements.get(..at).unwrap_or_default(), elements.get(end..).unwrap_or_default())
}

fn stanza(from: &str, id: &str, body: &str, extra: &str) -> String {
    let to = if from == ANN { BOB } else { ANN };
    format!(
        "<message from='{from}' to='{to}' id='{id}' type='chat'><body>{body}</body>{extra}</message>"
    )
}

/// A reply in Bob's archive.
fn reply(chats: &Chats, from: &str, key: &str, ago: i64, extra: &str) -> ArchiveRow {
    chats.row("bob", key, ago, &stanza(from, key, &format!("{QUOTED}Own words."), extra))
}

/// The message that is quoted.
fn target(chats: &Chats, key: &str, ago: i64, extra: &str) -> ArchiveRow {
    chats.row("bob", key, ago, &stanza(ANN, key, WORDS, extra))
}

async fn text(chats: &Chats, key: &str) -> Result<String> {
    let text = "SELECT value FROM prosodyarchive WHERE key = $1";
    Ok(sqlx::query_scalar(text).bind(key).fetch_one(chats.pool()).await?)
}

/// When the quote in this row is to be cut, in seconds after the test began.
async fn due(chats: &Chats, key: &str) -> Result<Option<i64>> {
    let due =
        "SELECT extract(epoch FROM due_at)::bigint FROM ephemerd.quotes WHERE archive_id = $1";
    let due: Option<i64> = sqlx::query_scalar(due).bind(key).fetch_optional(chats.pool()).await?;
    Ok(due.map(|it| it - chats.began))
}

async fn wait_for_cut(chats: &Chats, key: &str) -> Result<()> {
    eventually(&format!("{key} is cut"), PATIENCE, async || {
        Ok((!text(chats, key).await?.contains(WORDS)).then_some(()))
    })
    .await
}

/// The words of messages live for a second.
async fn soon(settings: &[(&str, &str)]) -> Result<Chats> {
    let all = [&[("timers.start", "archived"), ("timers.max", "1s")], settings].concat();
    Chats::start_with(&all).await
}

/// Whoever replies, and wherever the message was: what is quoted goes with it, and the rest of the row is the same, byte for
/// byte. What cannot be told for certain, is encrypted, or quotes another message, stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_quoted_is_cut() -> Result<()> {
    let chats = soon(&[]).await?;
    pause(&chats.config).await?;
    let said = |from: &str, body: &str, extra: &str| {
        format!(
            "<message from='den@conference.localhost/{from}' id='{from}' type='groupchat'><body>{body}</body>{extra}</message>"
        )
    };
    let in_den = |key: &str, stanza: &str| ArchiveRow::room("den", key, chats.began - 50, stanza);
    let full = format!("{QUOTED}Own words.");
    let goes = [
        reply(&chats, BOB, "his", 50, &quoting("target")),
        reply(&chats, ANN, "hers", 50, &quoting("target")),
        reply(&chats, BOB, "corrected", 40, &(naming("replace", "his") + &quoting("target"))),
        chats.row(
            "bob",
            "all-of-it",
            40,
            &stanza(BOB, "all-of-it", QUOTED, &reply_to("target", "")),
        ),
        ArchiveRow::queue(
            "bob",
            "in-queue",
            chats.began - 40,
            &stanza(ANN, "in-queue", &full, &quoting("target")),
            "somewhere",
        ),
        in_den("key-den", &said("Bob", &full, &quoting("key-there"))),
    ];
    let doubtful = [
        reply(&chats, BOB, "too-long", 30, &reply_to("target", " start='0' end='31'")),
        reply(&chats, BOB, "half", 30, &reply_to("target", " start='0'")),
        reply(
            &chats,
            BOB,
            "secret",
            30,
            &(quoting("target") + "<encryption xmlns='urn:xmpp:eme:0'/>"),
        ),
    ];
    let others = [
        reply(&chats, BOB, "of-plain", 30, &quoting("plain")),
        reply(&chats, BOB, "no-quote", 30, &cut(&quoting("target"))),
        reply(&chats, BOB, "of-nothing", 30, &quoting("nothing")),
        reply(&chats, BOB, "before", 61, &quoting("target")),
        chats.row("rosa", "of-rosa", 30, &stanza(BOB, "of-rosa", &full, &quoting("target"))),
        chats.row(
            "bob",
            "elsewhere",
            30,
            &stanza(BOB, "elsewhere", &full, &quoting("target")).replace(ANN, "eve@localhost"),
        ),
        in_den("key-by-id", &said("Bob", &full, &quoting("Ann"))),
    ];
    let mut rows = vec![
        target(&chats, "target", 60, EPHEMERAL),
        target(&chats, "plain", 60, ""),
        in_den("key-there", &said("Ann", WORDS, EPHEMERAL)),
    ];
    rows.extend([&goes[..], &doubtful, &others].concat());
    chats.add(&rows).await?;
    let recorded = "SELECT count(*) FROM ephemerd.quotes";
    assert_eq!(number(chats.pool(), recorded).await?, 6);
    resume(&chats.config).await?;
    for row in &goes {
        wait_for_cut(&chats, &row.key).await?;
        let left = cut(&row.value).replace(QUOTED, "");
        assert_eq!(text(&chats, &row.key).await?, left, "{}", row.key);
    }
    for row in doubtful.iter().chain(&others) {
        assert_eq!(text(&chats, &row.key).await?, row.value, "{}", row.key);
    }
    assert_eq!(number(chats.pool(), recorded).await?, 0);
    chats.daemon.counts("ephemerd_quotes_cut_total", &[], 6.0).await?;
    chats.daemon.counts("ephemerd_quotes_left_total", &[], 3.0).await?;
    let figures = chats.daemon.figures().await?;
    assert_eq!(figures.get("ephemerd_erase_failures_total", &REFUSED), Some(0.0));
    assert_eq!(refusals(&chats.lab.database)?, [""; 0]);
    Ok(())
}

/// A quote goes when the message that it quotes goes, as that one moves; `explain` and `preview` say so.
#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_its_message() -> Result<()> {
    let chats = Chats::start().await?;
    let own = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='172800'/>";
    let rows = [
        target(&chats, "target", 900, EPHEMERAL),
        target(&chats, "better", 800, &naming("replace", "target")),
        reply(&chats, ANN, "reply", 700, &quoting("target")),
        reply(&chats, ANN, "to-better", 700, &quoting("better")),
        reply(&chats, ANN, "own", 600, &(quoting("target") + own)),
    ];
    chats.add(&rows).await?;
    let latest = Entry::unread(900);
    assert_eq!(due(&chats, "reply").await?, Some(latest.timer - latest.ago));
    assert!(!is_recorded(&chats, "reply").await?, "the reply itself stays");
    assert_eq!(
        chats.entry("bob", "own").await?.reason,
        "timer",
        "its own timer counts for the rest"
    );
    chats.add(&[chats.marker("bob", "ann@localhost", "better", 400)]).await?;
    assert_eq!(chats.entry("bob", "better").await?, with_message(400));
    for key in ["reply", "to-better", "own"] {
        assert_eq!(due(&chats, key).await?, Some(TIMER - 399), "{key}");
    }
    let of_reply = ["explain", "--owner", "bob@localhost", "--id", "reply"];
    let explained = printed(&chats.config, &of_reply).await?;
    assert!(explained.contains("\n  quote: cut out "), "{explained}");
    let explained = told(&chats.config, &of_reply).await?;
    assert_eq!(explained["rows"][0]["quote"]["on_hold"], false, "{explained}");
    for from in [&["preview"][..], &["preview", "--scan"]] {
        let shown = told(&chats.config, from).await?;
        assert!(shown.to_string().contains(r#""reason":"quote""#), "{from:?} {shown}");
    }
    Ok(())
}

/// For a day after a message went, what quotes it is cut at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_is_cut_at_once() -> Result<()> {
    for mode in ["delete", "placeholder"] {
        let chats = soon(&[("erase.mode", mode)]).await?;
        insert(chats.pool(), &[target(&chats, "target", 60, EPHEMERAL)]).await?;
        let gone = "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%words of target%'";
        wait_for_number(chats.pool(), gone, 0).await?;
        let late = reply(&chats, BOB, "late", 5, &quoting("target"));
        insert(chats.pool(), std::slice::from_ref(&late)).await?;
        wait_for_cut(&chats, "late").await?;
        assert_eq!(text(&chats, "late").await?, cut(&late.value).replace(QUOTED, ""), "{mode}");
    }
    Ok(())
}

/// A reply that goes by its own timer has no quote left until then, and goes when it would have gone.
#[tokio::test(flavor = "multi_thread")]
async fn its_own_timer_goes_on() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let timer =
        |seconds: i64| format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{seconds}'/>");
    let rows = [
        target(&chats, "target", 60, &timer(5)),
        reply(&chats, BOB, "reply", 50, &(quoting("target") + EPHEMERAL)),
    ];
    chats.add(&rows).await?;
    let entry = "SELECT id FROM ephemerd.expiries WHERE archive_id = 'reply'";
    let before = number(chats.pool(), entry).await?;
    wait_for_cut(&chats, "reply").await?;
    assert!(text(&chats, "reply").await?.contains("Own words."));
    assert_eq!(number(chats.pool(), entry).await?, before);
    assert_eq!(chats.entry("bob", "reply").await?, Entry::read("archived", 50));
    Ok(())
}

/// A hold on a reply keeps all of it, although the message that it quotes goes; released, the quote goes as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_the_whole_reply() -> Result<()> {
    let chats = soon(&[("erase.mode", "delete")]).await?;
    let since = chrono::DateTime::from_timestamp(chats.began - 30, 0).expect("a time");
    let since = since.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let held = hold(&chats.config, &["--user", "bob@localhost", "--from", &since]).await?;
    let kept = reply(&chats, BOB, "reply", 5, &quoting("target"));
    insert(chats.pool(), &[target(&chats, "target", 60, EPHEMERAL), kept.clone()]).await?;
    let aside = "SELECT count(*) FROM ephemerd.quotes WHERE retry_at = 'infinity'";
    wait_for_number(chats.pool(), aside, 1).await?;
    assert_eq!(text(&chats, "reply").await?, kept.value);
    let explained =
        printed(&chats.config, &["explain", "--owner", "bob@localhost", "--id", "reply"]).await?;
    assert!(explained.contains("on hold"), "{explained}");
    // Two days later nobody knows the message any more, and a sweep reads the reply.
    sqlx::query("UPDATE ephemerd.gone SET gone_at = gone_at - interval '2 d'")
        .execute(chats.pool())
        .await?;
    printed(&chats.config, &["sweep"]).await?;
    assert_eq!(number(chats.pool(), aside).await?, 1, "it is still to be cut");
    release(&chats.config, &held).await?;
    wait_for_cut(&chats, "reply").await
}

/// Somebody has rewritten the reply since it was read: it is left alone until a sweep has read it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_somebody_rewrote_is_judged_anew() -> Result<()> {
    let chats = soon(&[]).await?;
    pause(&chats.config).await?;
    let rows = [
        target(&chats, "target", 60, EPHEMERAL),
        reply(&chats, BOB, "reply", 50, &quoting("target")),
    ];
    chats.add(&rows).await?;
    // The tail does not read it again.
    let passed = "SELECT count(*) FROM ephemerd.cursors
                   WHERE position >= (SELECT sort_id FROM prosodyarchive WHERE key = 'reply')";
    wait_for_number(chats.pool(), passed, 1).await?;
    let rewritten = stanza(BOB, "reply", "Not the words that were there.", &quoting("target"));
    let write = "UPDATE prosodyarchive SET value = $1 WHERE key = 'reply'";
    sqlx::query(write).bind(&rewritten).execute(chats.pool()).await?;
    resume(&chats.config).await?;
    wait_for_number(chats.pool(), "SELECT count(*) FROM ephemerd.quotes", 0).await?;
    assert_eq!(text(&chats, "reply").await?, rewritten);
    chats.daemon.counts("ephemerd_taken_over_total", &[], 1.0).await?;
    printed(&chats.config, &["sweep"]).await?;
    let left = cut(&rewritten).replace("Not the words that w", "");
    eventually("it is cut", PATIENCE, async || {
        Ok((text(&chats, "reply").await? == left).then_some(()))
    })
    .await
}

/// `inherit.quotes`: a quote may stay, or take its reply along; a change counts for what is recorded already.
#[tokio::test(flavor = "multi_thread")]
async fn a_quote_may_stay_or_take_its_reply_along() -> Result<()> {
    let mut chats =
        Chats::start_with(&[("timers.start", "archived"), ("inherit.quotes", "leave")]).await?;
    let rows = [
        target(&chats, "target", 900, EPHEMERAL),
        reply(&chats, BOB, "reply", 800, &quoting("target")),
        reply(&chats, BOB, "no-quote", 800, &cut(&quoting("target"))),
    ];
    chats.add(&rows).await?;
    assert_eq!((due(&chats, "reply").await?, is_recorded(&chats, "reply").await?), (None, false));
    let quotes = "SELECT count(*) FROM ephemerd.quotes";
    chats.reload(&chats.config.clone().set("inherit.quotes", "cut")).await?;
    assert_eq!(number(chats.pool(), quotes).await?, 1);
    assert_eq!(due(&chats, "reply").await?, Some(TIMER - 899));
    chats.reload(&chats.config.clone().set("inherit.quotes", "erase")).await?;
    assert_eq!(number(chats.pool(), quotes).await?, 0);
    assert_eq!(chats.entry("bob", "reply").await?, with_message(900));
    assert!(!is_recorded(&chats, "no-quote").await?);
    let explained = printed(
        &chats.config.clone().set("inherit.quotes", "erase"),
        &["explain", "--owner", "bob@localhost", "--id", "reply"],
    )
    .await?;
    assert!(explained.contains("it goes with the message it quotes"), "{explained}");
    Ok(())
}

/// With `erase` a reply is erased when the message that it quotes is.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_may_go_whole() -> Result<()> {
    let chats = soon(&[("inherit.quotes", "erase")]).await?;
    let rows = [
        target(&chats, "target", 60, EPHEMERAL),
        reply(&chats, BOB, "reply", 50, &quoting("target")),
    ];
    insert(chats.pool(), &rows).await?;
    wait_for_cut(&chats, "reply").await?;
    assert!(!text(&chats, "reply").await?.contains("Own words."));
    Ok(())
}

/// What is older than the first start is shown and held, and a dry run cuts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn old_quotes_wait_until_they_are_accepted() -> Result<()> {
    let mut chats = soon(&[]).await?;
    chats.daemon.kill().await?;
    sqlx::raw_sql("DELETE FROM ephemerd.cursors; DELETE FROM ephemerd.sweeps")
        .execute(chats.pool())
        .await?;
    let old = reply(&chats, BOB, "reply", 50, &quoting("target"));
    insert(chats.pool(), &[target(&chats, "target", 60, EPHEMERAL), old.clone()]).await?;
    chats.daemon.resume().await?;
    let held = "SELECT count(*) FROM ephemerd.quotes WHERE backlog";
    wait_for_number(chats.pool(), held, 1).await?;
    let shown = told(&chats.config, &["backlog", "show"]).await?;
    assert_eq!(
        (&shown["held"], shown.to_string().contains(r#""quote""#)),
        (&2.into(), true),
        "{shown}"
    );
    let dry = chats.config.clone().set("erase.dry_run", true);
    chats.daemon.reload(&dry)?;
    printed(&chats.config, &["backlog", "accept"]).await?;
    assert_eq!(number(chats.pool(), held).await?, 0);
    let counted = async |more: f64| {
        let labels = &[("mode", "dry_run")];
        let is = |counted: f64| counted >= more;
        chats.daemon.wait_for_figure("ephemerd_erased_total", labels, PATIENCE, is).await
    };
    counted(1.0).await?;
    // Once it has seen this one, it has looked at quotes as well.
    insert(chats.pool(), &[target(&chats, "another", 60, EPHEMERAL)]).await?;
    counted(2.0).await?;
    assert_eq!(text(&chats, "reply").await?, old.value);
    chats.daemon.reload(&chats.config.clone())?;
    wait_for_cut(&chats, "reply").await
}

/// What keeps one row from being cut keeps no other, and it is cut once that has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_locked_keeps_no_other() -> Result<()> {
    let chats = soon(&[]).await?;
    pause(&chats.config).await?;
    let mut rows = vec![target(&chats, "target", 60, EPHEMERAL)];
    rows.extend(
        (0..5).map(|nr| reply(&chats, BOB, &format!("reply-{nr}"), 50, &quoting("target"))),
    );
    chats.add(&rows).await?;
    let mut lock = chats.pool().begin().await?;
    sqlx::raw_sql("SELECT FROM prosodyarchive WHERE key = 'reply-0' FOR UPDATE")
        .execute(&mut *lock)
        .await?;
    // The database refuses another one.
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
         CREATE TRIGGER refuses BEFORE UPDATE ON prosodyarchive FOR EACH ROW WHEN (old.key = 'reply-1')
             EXECUTE FUNCTION refuse()",
    )
    .execute(chats.pool())
    .await?;
    resume(&chats.config).await?;
    for nr in 2..5 {
        wait_for_cut(&chats, &format!("reply-{nr}")).await?;
    }
    let left = "SELECT count(*) FROM prosodyarchive WHERE key LIKE 'reply-%' AND value LIKE '%words of target%'";
    assert_eq!(number(chats.pool(), left).await?, 2);
    lock.rollback().await?;
    sqlx::raw_sql("DROP TRIGGER refuses ON prosodyarchive").execute(chats.pool()).await?;
    wait_for_number(chats.pool(), left, 0).await
}

/// What is quoted is just being erased, let stay or moved by somebody else: whoever records the quote waits until that is
/// decided, and does as it was.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_message_is_claimed_its_quotes_wait() -> Result<()> {
    let unmarked =
        "UPDATE prosodyarchive SET value = replace(value, 'timer=', 'no=') WHERE key = 'words';";
    let moved = "UPDATE ephemerd.expiries SET runs_from = runs_from + interval '100 s', due_at = due_at + interval '100 s'
                  WHERE archive_id = 'words';";
    for (nr, outcome) in
        [format!("{ERASED}{FORGOTTEN}"), format!("{unmarked}{FORGOTTEN}"), moved.to_owned()]
            .iter()
            .enumerate()
    {
        let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
        let claimed = claim(&chats).await?;
        insert(chats.pool(), &[reply(&chats, BOB, "reply", 800, &quoting("words"))]).await?;
        eventually("the tail waits", PATIENCE, async || {
            Ok(waits(chats.pool()).await?.then_some(()))
        })
        .await?;
        end(claimed, outcome).await?;
        match nr {
            0 => wait_for_cut(&chats, "reply").await?,
            1 => {
                chats.settle().await?;
                assert_eq!(due(&chats, "reply").await?, None);
            }
            _ => {
                chats.settle().await?;
                assert_eq!(due(&chats, "reply").await?, Some(TIMER - 799));
            }
        }
    }
    Ok(())
}
