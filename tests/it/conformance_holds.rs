//! The same holds on every kind of archive, judged by what clients find: what is on hold stands when its timer has run
//! out, everything else goes, and what was on hold goes once it is released.

use std::fmt::Write as _;
use std::time::Duration;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{
    DaemonConfig, Ejabberd, Lab, LabError, PATIENCE, Prosody, Result, Server, eventually,
};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::holds::{hold, release};
use crate::remote::{config, mnesia, prosody, timer};
use crate::support::{REFUSED, pause, resume, run, start, wait_for_number};

/// The timer of all messages, in seconds.
const TIMER: u32 = 5;
/// How long after its due time a message may still exist, on a busy machine with rests on files.
const LATEST: Duration = Duration::from_secs(240);

/// What clients find of these words: in Peter's archive, in Rosa's, and in the room's.
async fn found<S: Server>(lab: &Lab<S>, word: &str) -> Result<[bool; 3]> {
    let den = MamQuery::room(&lab.endpoints().room("den"));
    let own = MamQuery::default();
    let mut found = [false; 3];
    for (found, (user, query)) in
        found.iter_mut().zip([("peter", &own), ("rosa", &own), ("rosa", &den)])
    {
        *found = lab.archive(user, query).await?.iter().any(|item| item.xml.contains(word));
    }
    Ok(found)
}

async fn until<S: Server>(lab: &Lab<S>, what: &str, word: &str, is: [bool; 3]) -> Result<()> {
    eventually(what, LATEST, async || Ok((found(lab, word).await? == is).then_some(()))).await
}

/// One kind; returns a row of the matrix.
async fn kind<S: Server>(lab: Lab<S>, config: DaemonConfig, name: &str) -> Result<String> {
    let mode = name.rsplit(' ').next().unwrap_or_default();
    let config = config.set("archive.poll", "200ms").set("erase.mode", mode);
    let daemon = start(&config).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    lab.client("otto").await?.close().await?;
    let mut otto = lab.online("otto").await?;
    let (den, jid) = (lab.endpoints().room("den"), |user: &str| lab.endpoints().jid(user));
    peter.join(&den, "Peter").await?;
    rosa.join(&den, "Rosa").await?;

    // Before the fact: a room, and a user. After it: a conversation. Meanwhile nothing goes, however long it takes.
    pause(&config).await?;
    let before =
        [hold(&config, &["--room", &den]).await?, hold(&config, &["--user", &jid("rosa")]).await?];
    peter.chat(&jid("rosa"), "kept-chat", &timer(TIMER)).await?;
    peter.chat(&jid("otto"), "other-chat", &timer(TIMER)).await?;
    peter.groupchat(&den, "kept-room", &timer(TIMER)).await?;
    rosa.wait_for_body("kept-room").await?;
    otto.wait_for_body("other-chat").await?;
    until(&lab, "all is archived", "kept-chat", [true, true, false]).await?;
    let after = hold(&config, &["--user", &jid("peter"), "--with", &jid("rosa")]).await?;
    resume(&config).await?;

    until(&lab, "what is not on hold goes", "other-chat", [false; 3]).await?;
    let aside = "SELECT count(*) FROM ephemerd.expiries WHERE retry_at = 'infinity'";
    wait_for_number(lab.database.superuser(), aside, 3).await?;
    sleep(Duration::from_secs(2)).await;
    let kept = (found(&lab, "kept-chat").await?, found(&lab, "kept-room").await?);
    assert_eq!(kept, ([true, true, false], [false, false, true]), "{name}: what is on hold stands");
    // The figure is as old as the last look at the ledger.
    daemon.wait_for_figure("ephemerd_overdue_expiries", &[], PATIENCE, |it| it == 0.0).await?;

    release(&config, &after).await?;
    until(&lab, "the conversation goes", "kept-chat", [false, true, false]).await?;
    for hold in before {
        release(&config, &hold).await?;
    }
    until(&lab, "all goes", "kept-", [false; 3]).await?;
    let failures = daemon.figures().await?.get("ephemerd_erase_failures_total", &REFUSED);
    assert_eq!(failures, Some(0.0), "{name}");
    Ok(format!(
        "{name:24} | stands until released | stands until released | stands until released\n"
    ))
}

async fn sql_prosody(mode: &str) -> Result<String> {
    let lab = Lab::prosody().await?;
    let config = lab.daemon_config();
    kind(lab, config, &format!("prosody, {mode}")).await
}

async fn sql_ejabberd(schema: Schema, name: &str) -> Result<String> {
    let lab = Lab::ejabberd(&EjabberdConfig::default().schema(schema)).await?;
    let config = lab.daemon_config();
    kind(lab, config, name).await
}

async fn files(storage: Storage, name: &str) -> Result<String> {
    let lab: Lab<Prosody> = prosody(storage).await?;
    let config = config(&lab);
    kind(lab, config, name).await
}

async fn in_mnesia(name: &str) -> Result<String> {
    let lab: Lab<Ejabberd> = mnesia().await?;
    let config = config(&lab);
    kind(lab, config, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_beats_everything_on_every_kind() -> Result<()> {
    let mut matrix = format!("{:24} | user | conversation | room\n", "kind");
    let (one, other) = tokio::try_join!(
        sql_prosody("placeholder"),
        files(Storage::Files, "prosody files, delete")
    )?;
    let _ = write!(matrix, "{one}{other}");
    let (one, other) = tokio::try_join!(
        sql_prosody("delete"),
        files(Storage::Sqlite, "prosody sqlite, placeholder")
    )?;
    let _ = write!(matrix, "{one}{other}");
    let (one, other) = tokio::try_join!(
        sql_ejabberd(Schema::Classic, "classic, delete"),
        in_mnesia("mnesia, placeholder")
    )?;
    let _ = write!(matrix, "{one}{other}");
    let (one, other) = tokio::try_join!(
        sql_ejabberd(Schema::MultiHost, "multihost, placeholder"),
        in_mnesia("mnesia, delete")
    )?;
    let _ = write!(matrix, "{one}{other}");
    #[expect(clippy::print_stdout, reason = "the matrix is what this suite is run for")]
    {
        println!("{matrix}");
    }
    Ok(())
}

/// What the ledger still has, what the archive shows, and what the daemon said last.
async fn left(
    pool: &PgPool,
    daemon: &ephemerd_lab::Daemon,
    shown: usize,
    error: &LabError,
) -> Result<LabError> {
    let ledger = "SELECT coalesce(string_agg(format('%s of %s %s: %s, again %s, %s tries', n, owner, store, phase, again, tries), '; '), '')
        FROM (SELECT count(*) AS n, owner, store, phase, retry_at - now() AS again, max(attempts) AS tries
                FROM ephemerd.expiries GROUP BY owner, store, phase, again) AS e";
    let ledger: String = sqlx::query_scalar(ledger).fetch_one(pool).await?;
    let log = daemon.log()?;
    let said: Vec<_> = log.lines().rev().take(20).collect();
    let said: Vec<_> = said.into_iter().rev().collect();
    let figures = daemon.figures().await?;
    Ok(LabError::new(format!(
        "{error}: {shown} shown, the ledger has {ledger}\n{}\n{figures:?}",
        said.join("\n")
    )))
}

/// Behind a module: many messages are due at once, the daemon erases them in small batches, and a hold is placed
/// meanwhile. What stands when `hold add` returns stands, though the daemon is killed.
async fn race<S: Server>(lab: Lab<S>) -> Result<()> {
    // Placeholders, because a client that pages through an archive needs the rows of its cursors.
    let config = config(&lab).set("erase.batch", 5).set("erase.mode", "placeholder");
    // Slowly, so that there is time to place a hold, on a busy machine too: the 160 rows take half a minute.
    let config = config.set("erase.rows_per_second", 5);
    let mut daemon = start(&config).await?;
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    for at in 0..80 {
        peter.chat(&lab.endpoints().jid("rosa"), &format!("many-{at}."), &timer(8)).await?;
    }
    rosa.wait_for_body("many-79.").await?;
    let many = async || {
        let items = lab.archive("rosa", &MamQuery::default()).await?;
        Ok::<_, LabError>(
            items
                .into_iter()
                .filter(|it| it.xml.contains("many-"))
                .map(|it| it.id)
                .collect::<Vec<_>>(),
        )
    };
    let all = many().await?.len();
    eventually("some went", LATEST, async || Ok((many().await?.len() < all).then_some(()))).await?;
    let held = hold(&config, &["--host", "localhost"]).await?;
    let then = many().await?;
    daemon.kill().await?;
    daemon.resume().await?;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(many().await?, then, "nothing went after hold add had returned");
    assert!(!then.is_empty(), "the hold came too late to show anything");
    // In large batches: on files, each is followed by a rest.
    let config = config.set("erase.batch", 500).set("erase.rows_per_second", 0);
    daemon.reload(&config)?;
    release(&config, &held).await?;
    // The busier the machine, the longer the rests.
    let gone = eventually("all goes, from the other archive too", LATEST, async || {
        let pending = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'pending'";
        let pending: i64 = sqlx::query_scalar(pending).fetch_one(lab.database.superuser()).await?;
        Ok((pending == 0 && many().await?.is_empty()).then_some(()))
    });
    if let Err(error) = gone.await {
        return Err(left(lab.database.superuser(), &daemon, many().await?.len(), &error).await?);
    }

    // The daemon dies when the module has answered, and nobody knows that: placing a hold waits, as long as it may.
    daemon.terminate().await?;
    let crashing = config.clone().env("LAB_CRASH_AT", "asked");
    let crashed = ephemerd_lab::Daemon::spawn(crate::support::program(), &crashing)?;
    crashed.wait_ready(LATEST).await?;
    peter.chat(&lab.endpoints().jid("rosa"), "unsettled", &timer(1)).await?;
    assert!(!crashed.wait(LATEST).await?.success());
    let add = ["hold", "add", "--all", "--reason", "r", "--by", "b", "--wait", "3s"];
    let output = run(&config, &add).await?;
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert!(output.stdout.contains("is in force until"), "{}", output.stdout);
    assert!(
        output.stderr.contains("note: the hold is in force; waiting for companion modules"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("may still erase rows of"), "{}", output.stderr);
    let run_out = "UPDATE ephemerd.asked SET until = now()";
    sqlx::query(run_out).execute(lab.database.superuser()).await?;
    assert_eq!(run(&config, &add).await?.code, Some(0), "what has run out is not waited for");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_from_files_after_a_hold_was_placed() -> Result<()> {
    race(prosody(Storage::Files).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_from_mnesia_after_a_hold_was_placed() -> Result<()> {
    race(mnesia().await?).await
}
