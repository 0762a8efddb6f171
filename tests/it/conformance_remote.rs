//! The same suite with archives that only the companion module can reach: Prosody with files and with SQLite,
//! ejabberd with Mnesia. Nothing else can read these while the server runs, so it is judged by what clients
//! find: each user's archive and the room's, message by message: id, stamp, elements, attributes and text.
//! (Prosody changes the order of attributes at each start, so bytes are not compared.)

use std::collections::BTreeMap;
use std::time::Duration;

use ephemerd_lab::ejabberd::{self, EjabberdConfig};
use ephemerd_lab::prosody::{Prosody, ProsodyConfig, Storage};
use ephemerd_lab::xmpp::{MamItem, MamQuery};
use ephemerd_lab::{Ejabberd, Lab, Result, Server, eventually};
use tokio::time::Instant;

use crate::conformance::{Column, LATEST, TIMER, Talk, goes_now, talk_with, token};
use crate::conformance_cases::{CASES, Case, Fate, Place, archived, fate};
use crate::support::{REFUSED, resume, show_read};

/// Messages as clients find them: which archive and id, and the message as received.
type View = BTreeMap<(String, String), MamItem>;

async fn view<S: Server>(lab: &Lab<S>) -> Result<View> {
    let den = MamQuery::room(&lab.endpoints().room("den"));
    let own = MamQuery::default();
    let mut view = View::new();
    for (name, user, query) in [
        ("peter", "peter", &own),
        ("rosa", "rosa", &own),
        ("otto", "otto", &own),
        ("den", "rosa", &den),
    ] {
        for item in lab.archive(user, query).await? {
            view.insert((name.to_owned(), item.id.clone()), item);
        }
    }
    Ok(view)
}

/// How many archived messages belong to a case.
fn rows(view: &View, case: &Case) -> i64 {
    let token = token(case);
    view.values().filter(|item| item.xml.contains(&token)).count() as i64
}

fn all_rows(view: &View) -> BTreeMap<&'static str, i64> {
    CASES.iter().map(|case| (case.name, rows(view, case))).collect()
}

/// What happened to messages that must not go.
fn harmed(kind: &str, before: &View, after: &View) -> Vec<String> {
    let goes = |item: &MamItem| {
        let is_it = |case: &Case| item.xml.contains(&token(case));
        CASES.iter().any(|case| fate(case, kind) == Fate::Goes && is_it(case))
    };
    let same = |one: &MamItem, other: &MamItem| {
        (&one.stamp, &one.message) == (&other.stamp, &other.message)
    };
    let kept = before.iter().filter(|(_, item)| !goes(item));
    kept.filter(|(key, item)| !after.get(*key).is_some_and(|now| same(item, now)))
        .map(|((name, id), _)| {
            format!("{name}'s message {id} is not as it was, and nobody marked it")
        })
        .collect()
}

async fn run<S: Server>(mut talk: Talk<S>) -> Result<Column> {
    let started = Instant::now();
    talk.say_all().await?;
    talk.read_all().await?;
    let before = view(&talk.lab).await?;
    let first = all_rows(&before);
    talk.wait_until_recorded(&first).await?;
    resume(&talk.config).await?;

    // Both ends stop and come back while the timers run.
    talk.daemon.kill().await?;
    talk.lab.server.restart().await?;
    talk.daemon.resume().await?;

    // Nothing goes before; each look costs four logins.
    tokio::time::sleep_until(started + Duration::from_secs(TIMER)).await;
    let meanwhile = eventually(&format!("{}: what is due goes", talk.kind), LATEST, async || {
        let now = view(&talk.lab).await?;
        Ok(goes_now(talk.kind).all(|case| rows(&now, case) == 0).then_some(now))
    })
    .await?;
    let mut faults = Vec::new();
    let waiting: Vec<&Case> =
        CASES.iter().filter(|it| it.place == Place::Offline && it.fate == Fate::Goes).collect();
    for case in &waiting {
        // The sender has received it, and its copy is gone; the other one waits.
        if rows(&meanwhile, case) == 0 && archived(case, talk.kind) > 0 {
            faults.push(format!("{}: gone although nobody had it", case.name));
        }
    }
    let mut otto = talk.lab.online("otto").await?;
    otto.sync().await?;
    if talk.waits_for_readers() {
        // The module that remembers where others stand is a new one.
        let after =
            "<message to='otto@localhost' type='chat' id='after'><body>after</body></message>";
        let mut peter = talk.lab.online("peter").await?;
        peter.send(after).await?;
        otto.wait_for_body("after").await?;
        show_read(&mut otto, &talk.lab.endpoints().jid("peter"), "after").await?;
    }
    let after =
        eventually(&format!("{}: what was delivered goes", talk.kind), LATEST, async || {
            let after = view(&talk.lab).await?;
            let left: i64 = waiting.iter().map(|case| rows(&after, case)).sum();
            Ok((left == 0).then_some(after))
        })
        .await?;
    faults.extend(harmed(talk.kind, &before, &after));
    let failures = talk.daemon.figures().await?.get("ephemerd_erase_failures_total", &REFUSED);
    if failures != Some(0.0) {
        faults.push(format!("erasing failed: {failures:?}"));
    }
    let rows = all_rows(&after);
    let rows = first.into_iter().map(|(name, first)| (name, (first, rows[name]))).collect();
    Ok((talk.kind, rows, faults))
}

async fn column<S: Server>(lab: Lab<S>, kind: &'static str, mode: &str) -> Result<Column> {
    let config = lab.daemon_config().set("archive.kind", "component");
    run(talk_with(lab, config, kind, mode).await?).await
}

async fn pair<S: Server, F: Future<Output = Result<Lab<S>>>>(
    lab: impl Fn() -> F,
    [placeholder, delete]: [&'static str; 2],
) -> Result<[Column; 2]> {
    let (one, other) = tokio::try_join!(
        async { column(lab().await?, placeholder, "placeholder").await },
        async { column(lab().await?, delete, "delete").await },
    )?;
    Ok([one, other])
}

async fn prosody(storage: Storage) -> Result<Lab<Prosody>> {
    Lab::prosody_with(&ProsodyConfig::default().storage_in(storage).with_companion()).await
}

/// Timers that start at reading, which only the module shows.
pub(crate) async fn by_readers() -> Result<[Column; 3]> {
    let (files, sqlite) = tokio::try_join!(
        async { column_by_readers(prosody(Storage::Files).await?, "prosody files, read").await },
        async { column_by_readers(prosody(Storage::Sqlite).await?, "prosody sqlite, read").await },
    )?;
    let mnesia = column_by_readers(mnesia().await?, "mnesia, read").await?;
    Ok([files, sqlite, mnesia])
}

async fn column_by_readers<S: Server>(lab: Lab<S>, kind: &'static str) -> Result<Column> {
    let config = lab
        .daemon_config()
        .set("archive.kind", "component")
        .set("timers.start", "read")
        .set("rooms.start", "first_reader");
    run(talk_with(lab, config, kind, "auto").await?).await
}

/// Prosody's default: files.
pub(crate) async fn prosody_files() -> Result<[Column; 2]> {
    pair(|| prosody(Storage::Files), ["prosody files, placeholder", "prosody files, delete"]).await
}

/// Prosody with SQLite.
pub(crate) async fn prosody_sqlite() -> Result<[Column; 2]> {
    pair(|| prosody(Storage::Sqlite), ["prosody sqlite, placeholder", "prosody sqlite, delete"])
        .await
}

async fn mnesia() -> Result<Lab<Ejabberd>> {
    let storage = ejabberd::Storage::Mnesia;
    let config = EjabberdConfig { storage, companion: true, ..EjabberdConfig::default() };
    Lab::ejabberd(&config).await
}

/// ejabberd's default: Mnesia.
pub(crate) async fn ejabberd_mnesia() -> Result<[Column; 2]> {
    pair(mnesia, ["mnesia, placeholder", "mnesia, delete"]).await
}
