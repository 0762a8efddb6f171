//! What users and operators do to the archive under a running daemon.

use std::time::Duration;

use ephemerd_lab::reliability::note;
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{Daemon, PATIENCE, Result, eventually};
use tokio::time::sleep;

use crate::ensure;
use crate::house::{House, program};

/// Rows of one owner, every second one marked with a timer of 3 s.
async fn talk(
    house: &House,
    row: impl Fn(&str, i64, &str) -> ArchiveRow,
    name: &str,
) -> Result<()> {
    let now = house.number("SELECT floor(extract(epoch FROM now()))::bigint").await?;
    let rows: Vec<_> = (0..100)
        .map(|at| {
            let mark = if at % 2 == 0 {
                "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3'/>"
            } else {
                ""
            };
            let stanza = format!("<message type='chat'><body>{name} {at}</body>{mark}</message>");
            row(&format!("{name}-{at}"), now, &stanza)
        })
        .collect();
    insert(house.pool(), &rows).await.map(drop)
}

/// The server deletes an account's data, and the shadow forgets it.
async fn deleted(house: &House, condition: &str) -> Result<()> {
    house.sql(&format!("DELETE FROM prosodyarchive WHERE {condition}")).await?;
    let condition =
        condition.replace("\"user\"", "row ->> 'user'").replace("store", "row ->> 'store'");
    house.sql(&format!("DELETE FROM shadow_prosodyarchive WHERE {condition}")).await
}

/// An account is deleted with its archive and registered again by somebody else, whose messages get the same
/// archive ids; a room is destroyed and created again.
pub(crate) async fn accounts_and_rooms_come_and_go(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    let daemon = house.daemon().await?;
    house.load();
    for _ in 0..5 {
        let account = |key: &str, now, stanza: &str| ArchiveRow::archive("anna", key, now, stanza);
        let room = |key: &str, now, stanza: &str| ArchiveRow::room("attic", key, now, stanza);
        talk(&house, account, "before").await?;
        talk(&house, room, "before").await?;
        sleep(Duration::from_millis(1_500)).await;
        deleted(&house, "\"user\" = 'anna'").await?;
        deleted(&house, "\"user\" = 'attic' AND store = 'muc_log'").await?;
        // Another person's messages, with the same ids but times of their own.
        talk(&house, account, "before").await?;
        talk(&house, room, "before").await?;
        sleep(Duration::from_secs(1)).await;
        let standing = "SELECT count(*) FROM prosodyarchive WHERE \"user\" IN ('anna', 'attic') AND value LIKE '%<body>%'";
        ensure!(house.number(standing).await? == 200, "the new account's messages went early");
        sleep(Duration::from_secs(5)).await;
        deleted(&house, "\"user\" = 'anna'").await?;
        deleted(&house, "\"user\" = 'attic' AND store = 'muc_log'").await?;
    }
    // The next sweep forgets what others deleted.
    house.sql("UPDATE ephemerd.sweeps SET requested_at = now()").await?;
    let checked = house.check().await?;
    let gone = daemon.figures().await?.get("ephemerd_already_gone_total", &[]).unwrap_or_default();
    note(
        "accounts and rooms come and go",
        "an account and a room deleted with their archives, then made again by others with the same archive ids, 5 times under load",
        &format!(
            "nothing of the new ones went early or stayed; {gone} entries found their rows gone; {checked}"
        ),
    )
}

/// A host leaves the list and comes back, by restarts.
pub(crate) async fn hosts_come_and_go(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    // What existed before the first start is backlog, and held.
    ensure!(house.daemon().await?.terminate().await?.success(), "the first start failed");
    house.load();
    let of = |host: &str, age: u32| {
        format!(
            "SELECT count(*) FROM prosodyarchive WHERE host = '{host}' AND value LIKE '%urn:xmpp:ephemeral:0%'
                AND \"when\" < extract(epoch FROM now()) - {age}"
        )
    };
    let mut kept = 0;
    for _ in 0..2 {
        let with = house.daemon().await?;
        sleep(Duration::from_secs(3)).await;
        ensure!(with.terminate().await?.success(), "the daemon ended badly");
        let without = house.config().set("archive.hosts", vec!["localhost"]);
        let without = Daemon::start(program(), &without).await?;
        sleep(Duration::from_secs(10)).await;
        // The room's messages that fell due meanwhile are still there, and the other host's have gone.
        let standing = house.number(&of("conference.localhost", 5)).await?;
        ensure!(standing > 0, "messages of a host that is not listed went");
        let gone = eventually("messages of a listed host go", PATIENCE, async || {
            Ok((house.number(&of("localhost", 8)).await? == 0).then_some(()))
        });
        ensure!(gone.await.is_ok(), "of a listed host stayed: {}", without.log()?);
        kept += standing;
        ensure!(without.terminate().await?.success(), "the daemon ended badly");
    }
    let _daemon = house.daemon().await?;
    let checked = house.check_within(PATIENCE * 2).await?;
    note(
        "hosts come and go",
        "under load a host leaves archive.hosts for 10 s and comes back, twice, by restarts",
        &format!(
            "{kept} overdue messages of the host stayed meanwhile and went afterwards; {checked}"
        ),
    )
}

/// Timers are shortened and lengthened for recorded messages.
pub(crate) async fn timers_change_for_what_is_recorded(seed: u64) -> Result<()> {
    let mut house = House::new(seed).await?;
    let mut daemon = house.daemon().await?;
    let now = house.number("SELECT floor(extract(epoch FROM now()))::bigint").await?;
    let row = |key: &str, timer: u32| {
        let stanza = format!(
            "<message><body>{key}</body><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{timer}'/></message>"
        );
        ArchiveRow::archive("anna", key, now, &stanza)
    };
    insert(house.pool(), &[row("long", 86_400), row("short", 10)]).await?;
    house.load();
    let recorded = "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'anna'";
    eventually("both are recorded", PATIENCE, async || {
        Ok((house.number(recorded).await? == 2).then_some(()))
    })
    .await?;
    // The short one is to last longer now.
    daemon.reload(&house.config().set("timers.min", "30s"))?;
    sleep(Duration::from_secs(14)).await;
    let words = |key: &str| {
        format!("SELECT count(*) FROM prosodyarchive WHERE key = '{key}' AND value LIKE '%<body>%'")
    };
    ensure!(house.number(&words("short")).await? == 1, "timers.min was not heard");
    // And the long one shorter: it goes earlier than its sender asked, as the operator decided.
    daemon.reload(&house.config().set("timers.max", "5s"))?;
    for key in ["short", "long"] {
        eventually("both go", PATIENCE, async || {
            Ok((house.number(&words(key)).await? == 0).then_some(()))
        })
        .await?;
    }
    daemon.reload(&house.config())?;
    deleted(&house, "\"user\" = 'anna'").await?;
    house.sql("UPDATE ephemerd.sweeps SET requested_at = now()").await?;
    let checked = house.check_within(PATIENCE * 2).await?;
    note(
        "timers change for what is recorded",
        "timers.min raised above a recorded timer of 10 s, then timers.max lowered below one of a day, by SIGHUP under load",
        &format!("the first stayed, then both went within seconds; {checked}"),
    )
}
