//! `explain` says what the daemon would do, and why.

use ephemerd_lab::daemon::command_with_input;
use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{DaemonConfig, Lab, Result};

use crate::support::{marked, now, number, printed, program, run, start, told, wait_for_number};

/// A configuration whose database does not answer.
fn without_database() -> DaemonConfig {
    DaemonConfig::empty()
        .set("component.jid", "ephemerd.localhost")
        .set("component.server", "127.0.0.1:1")
        .set("component.secret", "nobody asks")
        .set("database.url", "postgres://ephemerd@127.0.0.1:1/nowhere")
        .set("archive.kind", "prosody")
        .set("archive.hosts", vec!["localhost"])
}

async fn explained(xml: &str, args: &[&str]) -> Result<String> {
    let args = [&["explain"], args].concat();
    let output = command_with_input(program(), &without_database(), &args, xml).await?;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    Ok(output.stdout)
}

const AT: [&str; 2] = ["--archived-at", "2026-01-31T12:00:00Z"];

/// A stanza is explained without a database, whether or not it has a verdict or can be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_stanza_is_explained_in_a_sentence() -> Result<()> {
    let timer = marked("word", 60);
    let two = timer
        .replace("</message>", "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='90'/></message>");
    let cases = [
        (
            timer.clone(),
            "goes 2026-01-31 12:01:01 UTC: a timer of 60 s; counted from the end of the second in which it was archived; \
             kept as a placeholder until 2026-03-02 12:01:01 UTC\n\
             found: a timer of 60 s, content\n",
        ),
        (
            two,
            "goes 2026-01-31 12:01:01 UTC: the shortest of 2 timers, 60 s; counted from the end of the second in which it was archived; \
             kept as a placeholder until 2026-03-02 12:01:01 UTC\n\
             found: 2 timers, the shortest 60 s, content\n",
        ),
        (
            marked("word", 0),
            "stays: a timer of zero means off; neither a timer nor a hint asks for it to go\n\
             found: 1 timer of zero, content\n",
        ),
        (
            timer.replace("</message>", ""),
            "stays: it cannot be read, so it is left alone: the stanza is cut off, at byte 139\n\
             found: nothing that can be read\n",
        ),
        (
            "<message><body>word</body></message>".to_owned(),
            "stays: neither a timer nor a hint asks for it to go\nfound: content\n",
        ),
    ];
    for (xml, expected) in cases {
        assert_eq!(explained(&xml, &AT).await?, expected, "{xml}");
    }
    let queued = explained(&timer, &[&["-", "--store", "queue"][..], &AT].concat()).await?;
    assert!(queued.starts_with("goes 2026-02-14 12:01:01 UTC: "), "{queued}");
    assert!(queued.contains("nobody has received it yet, which adds 14d"), "{queued}");
    let other = explained(&timer, &["--owner", "peter@other.localhost"]).await?;
    assert!(other.starts_with("stays: its host is not in archive.hosts"), "{other}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_reported() -> Result<()> {
    let config = without_database();
    for args in [
        &["explain", "--id", "1"][..],
        &["explain", "--owner", "nobody", "--id", "1"],
        &["explain", "--store", "attic"],
        &["explain", "--archived-at", "yesterday"],
        &["explain", "file", "--owner", "a@b", "--id", "1"],
    ] {
        assert_eq!(run(&config, args).await?.code, Some(2), "{args:?}");
    }
    let output = run(&config, &["explain", "/nonexistent.xml"]).await?;
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.starts_with("error: cannot read /nonexistent.xml: "),
        "{}",
        output.stderr
    );
    Ok(())
}

/// What it says about a row is what the daemon has recorded, in each phase.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_row_is_explained_with_its_entry() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    let daemon = start(&config).await?;
    let now = now(pool).await?;
    let waiting = marked("waiting", 60);
    let rows = [
        ArchiveRow::archive("peter", "soon", now, &marked("soon", 3_600)),
        ArchiveRow::archive("peter", "gone", now - 60, &marked("gone", 1)),
        ArchiveRow::archive("rosa", "waiting", now, &waiting),
        ArchiveRow::queue("rosa", "queued", now, &waiting, "waiting"),
        ArchiveRow::room("den", "room", now, "<message><body>stays</body></message>"),
    ];
    insert(pool, &rows).await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries", 4).await?;
    let gone = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'placeholder'";
    wait_for_number(pool, gone, 1).await?;
    assert!(daemon.terminate().await?.success());

    let explain = |owner, id| ["explain", "--owner", owner, "--id", id];
    for (owner, id) in [("peter@localhost", "soon"), ("rosa@localhost", "waiting")] {
        let found = told(&config, &explain(owner, id)).await?;
        let row = &found["rows"][0];
        assert_eq!(row["verdict"], "goes", "{found}");
        assert_eq!(row["due_at"], row["ledger"]["due_at"], "{found}");
        assert_eq!(row["reason"], row["ledger"]["reason"], "{found}");
    }
    let text = printed(&config, &explain("peter@localhost", "soon")).await?;
    assert!(text.starts_with("archive, row 1, archived 20"), "{text}");
    assert!(text.contains("  found: a timer of 3600 s, content\n  ledger: goes 20"), "{text}");
    assert!(text.ends_with(" UTC, reason: timer\n"), "{text}");
    let text = printed(&config, &explain("rosa@localhost", "waiting")).await?;
    assert!(text.ends_with(" UTC, reason: undelivered\n"), "{text}");
    assert!(text.starts_with("archive, row 3, ") && text.contains("\nqueue, row 4, "), "{text}");
    let text = printed(&config, &explain("peter@localhost", "gone")).await?;
    assert!(text.contains("\n  stays: it is a placeholder: its text is gone\n"), "{text}");
    assert!(text.contains("\n  ledger: a placeholder, whose row goes 20"), "{text}");
    let text = printed(&config, &explain("den@conference.localhost", "room")).await?;
    assert!(text.ends_with("\n  ledger: nothing, as it should be\n"), "{text}");

    printed(&config, &["pause"]).await?;
    sqlx::query("UPDATE ephemerd.expiries SET backlog = true, due_at = now()")
        .execute(pool)
        .await?;
    let text = printed(&config, &explain("peter@localhost", "soon")).await?;
    let kept = "; held as backlog until `ephemerd backlog accept`; \
                erasing is paused until `ephemerd resume`; that differs, and the next sweep corrects it\n";
    assert!(text.ends_with(kept), "{text}");
    sqlx::query("DELETE FROM prosodyarchive WHERE key = 'soon'").execute(pool).await?;
    let text = printed(&config, &explain("peter@localhost", "soon")).await?;
    assert!(text.starts_with("archive, row 1: gone from the archive; "), "{text}");
    assert_eq!(number(pool, "SELECT count(*) FROM prosodyarchive").await?, 4);
    let output = run(&config, &explain("peter@localhost", "nothing")).await?;
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.starts_with("error: neither the archive nor the ledger"),
        "{}",
        output.stderr
    );
    Ok(())
}

/// A message waiting in ejabberd's queue is looked up by its archive id, as MAM shows it, and both its rows
/// are explained: before the ledger has them, while they wait, and once their text is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_ejabberds_queue_is_explained_with_its_message() -> Result<()> {
    for schema in [Schema::Classic, Schema::MultiHost] {
        let lab = Lab::ejabberd(&EjabberdConfig { schema, ..EjabberdConfig::default() }).await?;
        let pool = lab.database.superuser();
        let config =
            lab.daemon_config().set("offline.undelivered_for", "1h").set("erase.backlog", "erase");
        lab.client("otto").await?.close().await?;
        let mut peter = lab.online("peter").await?;
        for word in ["plain", "marked"] {
            let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>";
            let extra = if word == "marked" { timer } else { "" };
            peter.chat("otto@localhost", word, extra).await?;
        }
        peter.sync().await?;
        let id = "SELECT timestamp FROM archive WHERE username = 'otto' AND txt = $1";
        let id = async |word: &str| -> Result<String> {
            let id: i64 = sqlx::query_scalar(id).bind(word).fetch_one(pool).await?;
            Ok(id.to_string())
        };
        let (plain, marked) = (id("plain").await?, id("marked").await?);
        let explain = |id: &str| -> Vec<String> {
            ["explain", "--owner", "otto@localhost", "--id", id].map(str::to_owned).into()
        };
        let asked = async |id: &str, more: &[&str]| -> Result<String> {
            let args = explain(id);
            printed(&config, &[&args.iter().map(String::as_str).collect::<Vec<_>>(), more].concat())
                .await
        };
        printed(&config, &["migrate"]).await?;
        let unknown = asked(&marked, &[]).await?;
        let waits = "a timer of 60 s; nobody has received it yet, which adds 1h";
        assert_eq!(unknown.matches(waits).count(), 2, "{unknown}");
        assert_eq!(unknown.matches("\n  ledger: nothing yet; ").count(), 2, "{unknown}");
        assert!(unknown.contains("; kept as a placeholder until its owner takes the queue\n"));
        let stays = asked(&plain, &[]).await?;
        assert_eq!(stays.matches("\n  stays: neither a timer nor").count(), 2, "{stays}");

        let daemon = start(&config).await?;
        wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries", 3).await?;
        assert!(daemon.terminate().await?.success());
        let known = asked(&marked, &[]).await?;
        let lines: Vec<&str> = known.lines().collect();
        assert!(lines[0].starts_with("archive, row ") && lines[4].starts_with("queue, row "));
        assert_eq!(known.matches(waits).count(), 2, "{known}");
        assert_eq!(known.matches(" UTC, reason: undelivered\n").count(), 2, "{known}");
        assert!(!known.contains("differs"), "{known}");
        let alone = asked(&marked, &["--store", "queue"]).await?;
        assert_eq!(alone, lines[4..].join("\n") + "\n");

        sqlx::query("UPDATE ephemerd.expiries SET due_at = now()").execute(pool).await?;
        let daemon = start(&config).await?;
        wait_for_number(pool, "SELECT count(*) FROM spool WHERE xml LIKE '%urn:ephemerd:0%'", 1)
            .await?;
        assert!(daemon.terminate().await?.success());
        let gone = asked(&marked, &[]).await?;
        assert!(gone.starts_with("queue, row "), "the archive's row is deleted: {gone}");
        assert!(gone.contains("\n  stays: it is a placeholder: its text is gone\n"), "{gone}");
        assert!(gone.ends_with("\n  ledger: nothing, as it should be\n"), "{gone}");
    }
    Ok(())
}

/// From when on a row is too old, and by which rule; nothing of that where its age does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_by_its_age_is_explained_by_its_rule() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let rules = r#"[{"users": ["peter@localhost"], "archive_for": "1h", "reason": "on request"}]"#;
    let config = DaemonConfig::for_database(&lab.database)?.env("EPHEMERD__RETENTION__RULE", rules);
    printed(&config, &["migrate"]).await?;
    // Prosody stamps whole seconds: the age counts from the end of 11:00:00.
    let at = 1_767_265_200;
    let plain = "<message type='chat'><body>word</body></message>";
    let rows = [
        ArchiveRow::archive("peter", "goes", at, plain),
        ArchiveRow::archive("rosa", "stays", at, plain),
    ];
    insert(pool, &rows).await?;
    let goes = ["explain", "--owner", "peter@localhost", "--id", "goes"];
    let by = "\n  age: too old from 2026-01-01 12:00:01 UTC, after 1h, by rule 1 (users), which names this address: on request";
    let text = printed(&config, &goes).await?;
    assert!(text.contains(&format!("{by}\n")), "{text}");
    assert_eq!(told(&config, &goes).await?["rows"][0]["age"]["rule"], 1);
    let text = printed(&config, &["explain", "--owner", "rosa@localhost", "--id", "stays"]).await?;
    assert!(!text.contains("age:"), "{text}");
    let hold = ["hold", "add", "--user", "peter@localhost", "--reason", "court", "--by", "legal"];
    printed(&config, &hold).await?;
    let text = printed(&config, &goes).await?;
    assert!(text.contains(&format!("{by}; a hold on its owner may keep it\n")), "{text}");
    Ok(())
}
