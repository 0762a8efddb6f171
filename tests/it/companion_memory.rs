//! What rooms keep in their own memory, and their subjects: expired messages are shown to nobody who joins,
//! even if no archive holds them, whether ephemerd reaches the archives itself or through the module.

use std::fs;

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Client, Element, MamItem, MamQuery, Stanza, escape};
use ephemerd_lab::{DaemonConfig, Lab, LabError, PATIENCE, Prosody, Result, Server, eventually};

use crate::holds::{hold, release};
use crate::reliability::saw;
use crate::remote::{config, mnesia, prosody, timer};
use crate::support::{pause, resume, start};

const EXPIRED: &str = "urn:ephemerd:0";

/// Joins as somebody who was not there, and gives what is replayed and the subject.
pub(crate) async fn shown<S: Server>(
    lab: &Lab<S>,
    user: &str,
    room: &str,
) -> Result<(Vec<Element>, String)> {
    let mut client = lab.online(user).await?;
    // A message may have both a subject and a body; the room's subject comes last and has no body.
    let is_subject =
        |it: &Stanza| it.child("jabber:client", "subject").is_some() && it.body().is_none();
    let join = format!(
        "<presence to='{room}/{user}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    );
    // ejabberd loses what reaches a room that is just being unloaded.
    let mut joined = Err(LabError::new("nobody has joined"));
    for _ in 0..4 {
        client.send(&join).await?;
        joined = client.wait_for("the subject", PATIENCE / 4, is_subject).await;
        if joined.is_ok() {
            break;
        }
    }
    let subject = match joined {
        Ok(subject) => subject,
        Err(error) => return Err(said_so_far(lab, &error, &client.take(|_| true))),
    };
    let history = client.take(|it| it.name == "message");
    client.close().await?;
    let text = subject.child("jabber:client", "subject").map(|it| it.text.clone());
    Ok((history.into_iter().map(|it| it.element).collect(), text.unwrap_or_default()))
}

/// What a client that waited in vain received, and what the server said last.
fn said_so_far<S: Server>(lab: &Lab<S>, error: &LabError, received: &[Stanza]) -> LabError {
    let log = fs::read_to_string(lab.server.log()).unwrap_or_default();
    let last: Vec<_> = log.lines().rev().take(40).collect();
    let last: Vec<_> = last.into_iter().rev().collect();
    LabError::new(format!("{error}: {received:?}\nthe server's log: {}", last.join("\n")))
}

pub(crate) fn bodies(history: &[Element]) -> Vec<&str> {
    history.iter().filter_map(Element::body).collect()
}

/// Waits until somebody who joins is shown these words and no others.
pub(crate) async fn until_shown<S: Server>(lab: &Lab<S>, room: &str, words: &[&str]) -> Result<()> {
    let mut last = Vec::new();
    let what = format!("{room} shows {words:?}");
    let waiting = eventually(&what, PATIENCE, async || {
        last = shown(lab, "ada", room).await?.0;
        Ok((bodies(&last) == words).then_some(()))
    });
    let waited = waiting.await;
    waited.map_err(|error| LabError::new(format!("{error}, but {:?}", bodies(&last))))
}

pub(crate) async fn until_subject<S: Server>(lab: &Lab<S>, room: &str, is: &str) -> Result<()> {
    eventually(&format!("{}: {room} with the subject {is:?}", S::NAME), PATIENCE, async || {
        Ok((shown(lab, "ada", room).await?.1 == is).then_some(()))
    })
    .await
}

pub(crate) async fn set_subject(
    client: &mut Client,
    room: &str,
    subject: &str,
    extra: &str,
) -> Result<()> {
    let subject = escape(subject);
    client
        .send(&format!(
            "<message to='{room}' type='groupchat'><subject>{subject}</subject>{extra}</message>"
        ))
        .await?;
    client.sync().await
}

/// A room without an archive, and an occupant.
async fn without_archive<S: Server>(
    lab: &Lab<S>,
    name: &str,
    field: &str,
) -> Result<(Client, String)> {
    let room = lab.endpoints().room(name);
    let mut peter = lab.online("peter").await?;
    peter.join(&room, "peter").await?;
    peter.configure(&room, &[(field, "0")]).await?;
    Ok((peter, room))
}

async fn forgets<S: Server>(lab: &Lab<S>, daemon: &DaemonConfig, field: &str) -> Result<()> {
    let (mut peter, room) = without_archive(lab, "garden", field).await?;
    let running = start(daemon).await?;
    pause(daemon).await?;
    for (words, extra) in [
        ("plain", String::new()),
        ("short", timer(3)),
        ("long", timer(3600)),
        ("last", String::new()),
    ] {
        peter.groupchat(&room, words, &extra).await?;
    }
    peter.wait_for_body("last").await?;
    let (history, _) = shown(lab, "rosa", &room).await?;
    assert_eq!(
        bodies(&history),
        ["plain", "short", "long", "last"],
        "the room keeps them in memory"
    );
    resume(daemon).await?;
    until_shown(lab, &room, &["plain", "long", "last"]).await?;
    // A query is answered from memory, or it finds nothing: no archive holds any of this.
    let asked = peter.query_all(&MamQuery::room(&room)).await?;
    let asked: Vec<_> = asked.iter().filter_map(MamItem::body).collect();
    let answers: &[&str] = if S::NAME == "ejabberd" { &["plain", "long", "last"] } else { &[] };
    assert_eq!(asked, answers);

    // The daemon does not hear of this one.
    drop(running);
    peter.groupchat(&room, "unheard", &timer(1)).await?;
    peter.wait_for_body("unheard").await?;
    let _running = start(daemon).await?;
    until_shown(lab, &room, &["plain", "long", "last"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_without_an_archive_forgets() -> Result<()> {
    let files = async {
        let lab = prosody(Storage::Files).await?;
        forgets(&lab, &config(&lab), "muc#roomconfig_enablearchiving").await
    };
    let tables = async {
        let lab = prosody(Storage::Postgres).await?;
        forgets(&lab, &lab.daemon_config(), "muc#roomconfig_enablearchiving").await
    };
    let ejabberd = async {
        let lab = mnesia().await?;
        forgets(&lab, &config(&lab), "mam").await
    };
    tokio::try_join!(files, tables, ejabberd)?;
    saw(
        "a room that keeps no archive",
        "a marked message in its memory falls due; another while the daemon is stopped",
        "people who join are shown neither, but all the others, on Prosody and ejabberd",
    );
    Ok(())
}

async fn subjects_go<S: Server>(lab: &Lab<S>, daemon: &DaemonConfig) -> Result<()> {
    let (kept, goes) = (lab.endpoints().room("kept"), lab.endpoints().room("goes"));
    let mut peter = lab.online("peter").await?;
    for room in [&kept, &goes] {
        peter.join(room, "peter").await?;
    }
    let _running = start(daemon).await?;
    pause(daemon).await?;
    set_subject(&mut peter, &kept, "marked", &timer(1)).await?;
    set_subject(&mut peter, &kept, "stays", "").await?;
    set_subject(&mut peter, &goes, "gone in a moment", &timer(3)).await?;
    assert_eq!(shown(lab, "rosa", &goes).await?.1, "gone in a moment");
    resume(daemon).await?;
    until_subject(lab, &goes, "").await?;
    assert_eq!(shown(lab, "rosa", &kept).await?.1, "stays", "another subject was set meanwhile");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_with_a_timer_is_cleared() -> Result<()> {
    let files = async {
        let lab = prosody(Storage::Files).await?;
        subjects_go(&lab, &config(&lab)).await?;
        survives_a_restart(&lab, &config(&lab)).await
    };
    let tables = async {
        let lab = prosody(Storage::Postgres).await?;
        subjects_go(&lab, &lab.daemon_config()).await
    };
    let ejabberd = async {
        let lab = mnesia().await?;
        subjects_go(&lab, &config(&lab)).await
    };
    tokio::try_join!(files, tables, ejabberd)?;
    saw(
        "a room's subject",
        "one with a timer falls due; in another room a subject without one was set after it",
        "the first is cleared, the second stays, on Prosody and ejabberd",
    );
    Ok(())
}

/// What a room remembers is kept by a hold on the room, and goes once that is released.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_on_hold_stays() -> Result<()> {
    let lab = prosody(Storage::Files).await?;
    let config = config(&lab);
    let _running = start(&config).await?;
    let (held, other) = (lab.endpoints().room("held"), lab.endpoints().room("other"));
    let mut peter = lab.online("peter").await?;
    let placed = hold(&config, &["--room", &held]).await?;
    for room in [&held, &other] {
        peter.join(room, "peter").await?;
        set_subject(&mut peter, room, "words", &timer(2)).await?;
    }
    until_subject(&lab, &other, "").await?;
    assert_eq!(shown(&lab, "rosa", &held).await?.1, "words", "it is on hold");
    release(&config, &placed).await?;
    until_subject(&lab, &held, "").await
}

/// Prosody keeps a room's subject, and the module remembers whether it is to go.
async fn survives_a_restart(lab: &Lab<Prosody>, daemon: &DaemonConfig) -> Result<()> {
    let room = lab.endpoints().room("lasting");
    let mut peter = lab.online("peter").await?;
    peter.join(&room, "peter").await?;
    set_subject(&mut peter, &room, "over a restart", &timer(2)).await?;
    lab.server.restart().await?;
    let _running = start(daemon).await?;
    until_subject(lab, &room, "").await
}

/// What Prosody stores of a room, without its messages.
fn stored(lab: &Lab<Prosody>, name: &str) -> Result<String> {
    Ok(fs::read_to_string(lab.server.data().join(file_of(name)))?)
}

fn file_of(name: &str) -> String {
    format!("conference%2elocalhost/config/{name}.dat")
}

/// Starts Prosody again with or without the module on its hosts; `change` changes meanwhile what is stored of the room.
async fn restart(
    lab: &Lab<Prosody>,
    (loaded, is): (&str, &str),
    change: impl Fn(String) -> String,
) -> Result<()> {
    lab.server.stop().await?;
    let config = fs::read_to_string(lab.server.config_file())?;
    assert!(config.contains(loaded));
    fs::write(lab.server.config_file(), config.replace(loaded, is))?;
    let changed = change(stored(lab, "garden")?);
    fs::write(lab.server.data().join(file_of("garden")), changed)?;
    lab.server.resume().await
}

/// As if the subject had been set in the second of the one that the module noted.
fn in_the_same_second(stored: String) -> String {
    let is = |line: &str, of: &str| line.trim_start().starts_with(&format!("[\"{of}\"] = "));
    let times = ["at", "subject_time"].map(|of| stored.lines().find(|it| is(it, of)));
    let [noted, set] = times.map(Option::unwrap_or_default);
    assert!(!noted.is_empty() && !set.is_empty(), "both times are stored: {stored}");
    stored.replace(noted, &set.replace("subject_time", "at"))
}

async fn until_stored(
    lab: &Lab<Prosody>,
    room: &str,
    is_so: impl Fn(&str) -> bool,
) -> Result<String> {
    eventually("what is stored of the room", PATIENCE, async || {
        Ok(Some(stored(lab, room)?).filter(|it| is_so(it)))
    })
    .await
}

/// A replaced subject leaves nothing in what Prosody stores of the room, also where it is replaced without the module, however
/// soon: else the new one would be taken for it, and be cleared;
/// and what the module notes has neither words nor who wrote them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_a_room_has_no_old_subject() -> Result<()> {
    const NOTE: &str = "ephemerd_subject";
    let lab = prosody(Storage::Files).await?;
    let room = lab.endpoints().room("garden");
    let mut peter = lab.online("peter").await?;
    peter.join(&room, "peter").await?;
    set_subject(&mut peter, &room, "until noon", &timer(3600)).await?;
    // People are told of a subject before it is noted.
    let noted = until_stored(&lab, "garden", |it| it.contains(NOTE)).await?;
    assert_eq!(noted.matches("until noon").count(), 1, "it is the subject: {noted}");
    assert!(!noted.contains(peter.jid()), "{noted}");
    set_subject(&mut peter, &room, "plain", "").await?;
    let replaced = until_stored(&lab, "garden", |it| !it.contains(NOTE)).await?;
    assert!(!replaced.contains("until noon"), "{replaced}");

    set_subject(&mut peter, &room, "until evening", &timer(3600)).await?;
    until_stored(&lab, "garden", |it| it.contains(NOTE)).await?;
    let (loaded, without) = ("\"muc_mam\"; \"ephemerd\"; ", "\"muc_mam\"; ");
    restart(&lab, (loaded, without), |it| it).await?;
    let mut peter = lab.online("peter").await?;
    peter.join(&room, "peter").await?;
    set_subject(&mut peter, &room, "meanwhile", "").await?;
    assert!(stored(&lab, "garden")?.contains(NOTE), "nobody was there to drop it");
    restart(&lab, (without, loaded), in_the_same_second).await?;
    assert_eq!(shown(&lab, "rosa", &room).await?.1, "meanwhile");
    until_stored(&lab, "garden", |it| !it.contains(NOTE)).await?;
    Ok(())
}

/// Somebody who is not in the room repeats its subject: that is refused, and nothing else happens.
#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_sets_no_subject() -> Result<()> {
    let lab = prosody(Storage::Files).await?;
    let room = lab.endpoints().room("garden");
    let mut peter = lab.online("peter").await?;
    peter.join(&room, "peter").await?;
    set_subject(&mut peter, &room, "words", "").await?;
    let mut rosa = lab.online("rosa").await?;
    set_subject(&mut rosa, &room, "words", &timer(1)).await?;
    let is_refusal = |it: &Stanza| it.name == "message" && it.error().is_some();
    let refused = rosa.wait_for("a refusal", PATIENCE, is_refusal).await?;
    let refused = refused.error();
    assert_eq!(refused.as_ref().and_then(LabError::condition), Some("not-acceptable"));
    let log = fs::read_to_string(lab.server.log())?;
    assert!(!log.contains("Traceback"), "{log}");
    Ok(())
}

/// A busy room whose latest messages have all expired shows no empty messages to people who join.
#[tokio::test(flavor = "multi_thread")]
async fn placeholders_are_not_replayed() -> Result<()> {
    let lab = prosody(Storage::Files).await?;
    let room = lab.endpoints().room("busy");
    let mut peter = lab.online("peter").await?;
    peter.join(&room, "peter").await?;
    let _running = start(&config(&lab).set("erase.mode", "placeholder")).await?;
    peter.groupchat(&room, "plain", "").await?;
    for at in 0..5 {
        peter.groupchat(&room, &format!("goes {at}"), &timer(1)).await?;
    }
    peter.wait_for_body("goes 4").await?;
    let placeholders = eventually("five placeholders", PATIENCE, async || {
        let archived = peter.query_all(&MamQuery::room(&room)).await?;
        let is_placeholder = |it: &Element| it.child(EXPIRED, "expired").is_some();
        let count = archived.iter().filter(|it| is_placeholder(&it.message)).count();
        Ok((count == 5).then_some(archived.len()))
    });
    assert_eq!(placeholders.await?, 6);
    // When asked for twenty, the room has fewer in memory and reads its archive.
    let (history, _) = shown(&lab, "rosa", &room).await?;
    assert_eq!(bodies(&history), ["plain"]);
    assert_eq!(history.len(), 1, "{history:#?}");
    saw(
        "a busy room whose last words have expired",
        "somebody joins where the archive holds five placeholders and one message",
        "one message is replayed, and no empty one",
    );
    Ok(())
}
