//! What nobody has had is not erased: messages to sessions whose connection broke (XEP-0198), and to nobody. The cases that are the same in every
//! kind of archive are in `conformance_hanging`.
//!
//! A query of the archive counts as receiving what it returns, so the recipient's own archive is only queried
//! at the end of the wait.

use std::time::Duration;

use ephemerd_lab::ejabberd::{self, EjabberdConfig};
use ephemerd_lab::prosody::{ProsodyConfig, Storage};
use ephemerd_lab::xmpp::{Client, Component, MamQuery, Resumption};
use ephemerd_lab::{DaemonConfig, Ejabberd, Lab, PATIENCE, Prosody, Result, Server, eventually};

use crate::reliability::saw;
use crate::remote::{gone_within, says, timer, until_gone};
use crate::sent_watch::let_pass;
use crate::support::{number, printed, run, start, wait_for_number};

const TIMER: u32 = 3;
/// Servers wait so long for a session to be resumed: longer than a timer and what erasing takes on a busy machine.
pub(crate) const HANGS: Duration = Duration::from_secs(40);
/// A timer, the rest of a whole second, and a busy machine; shorter than what hangs.
pub(crate) const IN_TIME: Duration = Duration::from_secs(30);

pub(crate) async fn prosody(storage: Storage) -> Result<Lab<Prosody>> {
    let config = ProsodyConfig::default().storage_in(storage).with_companion();
    let globals = vec![format!("smacks_hibernation_time = {}", HANGS.as_secs())];
    Lab::prosody_with(&ProsodyConfig { globals, ..config }).await
}

fn ejabberd_in(storage: ejabberd::Storage) -> EjabberdConfig {
    let stream_mgmt = "resume_timeout: 40";
    EjabberdConfig { storage, companion: true, stream_mgmt, ..EjabberdConfig::default() }
}

pub(crate) async fn ejabberd(storage: ejabberd::Storage) -> Result<Lab<Ejabberd>> {
    Lab::ejabberd(&ejabberd_in(storage)).await
}

const RECORDED: &str = "SELECT count(*) FROM ephemerd.expiries";

/// The daemon with archives that only the module reaches, or that it reads itself while the module helps.
pub(crate) fn config_of<S: Server>(lab: &Lab<S>, only_module: bool) -> DaemonConfig {
    let config = lab.daemon_config().set("archive.poll", "200ms");
    // What is archived in the second of the first start counts as older.
    let config = config.set("erase.backlog", "erase");
    if only_module { config.set("archive.kind", "component") } else { config }
}

/// A client whose session can be resumed, and which has asked its archive, as phones do.
pub(crate) async fn phone<S: Server>(lab: &Lab<S>, user: &str) -> Result<(Client, Resumption)> {
    let mut client = lab.client(user).await?;
    let mut session = client.enable_resumption().await?;
    client.query(&MamQuery::default()).await?;
    client.send_presence().await?;
    client.sync().await?;
    client.acknowledge(&mut session).await?;
    Ok((client, session))
}

pub(crate) async fn say(from: &mut Client, user: &str, word: &str) -> Result<()> {
    from.chat(&format!("{user}@localhost"), word, &timer(TIMER)).await?;
    from.sync().await
}

/// Nobody is there, and no offline queue takes it: it waits, until it is read from the archive.
async fn nobody_is_there<S: Server>(lab: Lab<S>, only_module: bool, before: u32) -> Result<()> {
    let daemon = start(&config_of(&lab, only_module)).await?;
    daemon.wait_for_figure("ephemerd_component_connected", &[], PATIENCE, |it| it == 1.0).await?;
    let mut peter = lab.online("peter").await?;
    lab.client("ada").await?.close().await?;
    for at in 0..before {
        peter.chat("ada@localhost", &format!("fills-the-queue-{at}"), "").await?;
    }
    say(&mut peter, "ada", "for-ada").await?;
    until_gone(&lab, "peter", "for-ada").await?;
    assert!(says(&lab, "ada", "for-ada").await?, "nobody has had it");
    gone_within(IN_TIME, &lab, "ada", "for-ada").await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_no_queue_takes_wait() -> Result<()> {
    let prosody = async |storage| {
        let config = ProsodyConfig::default().storage_in(storage).with_companion();
        let globals =
            vec!["modules_disabled = { \"s2s\"; \"tls\"; \"http\"; \"offline\" }".to_owned()];
        Lab::prosody_with(&ProsodyConfig { globals, ..config }).await
    };
    let sql = ejabberd_in(ejabberd::Storage::Sql);
    let mnesia = ejabberd_in(ejabberd::Storage::Mnesia);
    let without = EjabberdConfig { no_offline: true, ..sql.clone() };
    let full = EjabberdConfig { offline_limit: Some(1), ..sql };
    let full_mnesia = EjabberdConfig { offline_limit: Some(1), ..mnesia };
    tokio::try_join!(
        async { nobody_is_there(prosody(Storage::Postgres).await?, false, 0).await },
        async { nobody_is_there(prosody(Storage::Files).await?, true, 0).await },
        async { nobody_is_there(Lab::ejabberd(&without).await?, false, 0).await },
        async { nobody_is_there(Lab::ejabberd(&full).await?, false, 1).await },
        async { nobody_is_there(Lab::ejabberd(&full_mnesia).await?, true, 1).await },
    )?;
    Ok(())
}

/// The daemon is away while the connection breaks: it asks for what it has not heard before it erases anything.
async fn a_notice_is_lost<S: Server>(lab: Lab<S>, only_module: bool) -> Result<()> {
    let mut daemon = start(&config_of(&lab, only_module)).await?;
    if !only_module {
        // Whether there is a module, a later daemon knows from this one.
        wait_for_number(lab.database.superuser(), "SELECT count(*) FROM ephemerd.feeds", 1).await?;
    }
    let mut peter = lab.online("peter").await?;
    let (mut rita, _) = phone(&lab, "rita").await?;
    say(&mut peter, "rita", "unheard-of").await?;
    rita.wait_for_body("unheard-of").await?;
    wait_for_number(lab.database.superuser(), RECORDED, 2).await?;
    daemon.kill().await?;
    rita.break_off();
    // Due by the time the daemon is back.
    let_pass(lab.database.superuser(), f64::from(TIMER) + 1.0).await?;
    daemon.resume().await?;
    until_gone(&lab, "peter", "unheard-of").await?;
    assert!(says(&lab, "rita", "unheard-of").await?, "nobody has had it");
    gone_within(IN_TIME, &lab, "rita", "unheard-of").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_notice_of_a_hanging_session_is_made_up_for() -> Result<()> {
    tokio::try_join!(
        async { a_notice_is_lost(prosody(Storage::Files).await?, true).await },
        async { a_notice_is_lost(prosody(Storage::Postgres).await?, false).await },
        async { a_notice_is_lost(ejabberd(ejabberd::Storage::Mnesia).await?, true).await },
        async { a_notice_is_lost(ejabberd(ejabberd::Storage::Sql).await?, false).await },
    )?;
    saw(
        "the daemon is away while a recipient's connection breaks",
        "the message to it is due at once when the daemon is back; Prosody and ejabberd, archives in SQL and elsewhere",
        "it stays until it is read from the archive; the sender's copy goes",
    );
    Ok(())
}

/// How many rows with these words the servers' archives in SQL have; asking them counts as receiving nothing.
async fn rows<S: Server>(lab: &Lab<S>, word: &str) -> Result<i64> {
    let pool = lab.database.superuser();
    let has_prosodys = "SELECT count(*) FROM pg_class WHERE relname = 'prosodyarchive'";
    let rows = match number(pool, has_prosodys).await? {
        0 => "SELECT count(*) FROM archive WHERE xml LIKE '%' || $1 || '%'",
        _ => "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%' || $1 || '%'",
    };
    Ok(sqlx::query_scalar(rows).bind(word).fetch_one(pool).await?)
}

/// The timer starts when the session is resumed, even if nobody asks the archive.
async fn resuming_is_receiving<S: Server>(lab: Lab<S>, only_module: bool) -> Result<()> {
    let daemon = start(&config_of(&lab, only_module)).await?;
    daemon.wait_for_figure("ephemerd_component_connected", &[], PATIENCE, |it| it == 1.0).await?;
    let mut peter = lab.online("peter").await?;
    let (rita, session) = phone(&lab, "rita").await?;
    let (mut toni, mut his) = phone(&lab, "toni").await?;
    rita.break_off();
    say(&mut peter, "rita", "for-rita").await?;
    // He has it, but the connection breaks before he says so.
    say(&mut peter, "toni", "for-toni").await?;
    toni.wait_for_body("for-toni").await?;
    toni.keep_count(&mut his);
    toni.break_off();
    until_gone(&lab, "peter", "for-").await?;
    assert_eq!(rows(&lab, "for-").await?, 2, "nobody has had them");
    let mut rita = Client::resume(lab.endpoints(), "rita", &session).await?;
    rita.wait_for_body("for-rita").await?;
    let _toni = Client::resume(lab.endpoints(), "toni", &his).await?;
    eventually("they go by their timers", IN_TIME, async || {
        Ok((rows(&lab, "for-").await? == 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_has_received_it() -> Result<()> {
    tokio::try_join!(
        async { resuming_is_receiving(prosody(Storage::Postgres).await?, false).await },
        async { resuming_is_receiving(prosody(Storage::Postgres).await?, true).await },
        async { resuming_is_receiving(ejabberd(ejabberd::Storage::Sql).await?, false).await },
        async { resuming_is_receiving(ejabberd(ejabberd::Storage::Sql).await?, true).await },
    )
    .map(drop)
}

/// A session that acknowledges but cannot be resumed ends with the message on its way.
async fn nothing_is_resumed<S: Server>(lab: Lab<S>, only_module: bool) -> Result<()> {
    let daemon = start(&config_of(&lab, only_module)).await?;
    daemon.wait_for_figure("ephemerd_component_connected", &[], PATIENCE, |it| it == 1.0).await?;
    let mut peter = lab.online("peter").await?;
    let mut rita = lab.client("rita").await?;
    rita.enable_acknowledgements().await?;
    rita.query(&MamQuery::default()).await?;
    rita.send_presence().await?;
    rita.sync().await?;
    say(&mut peter, "rita", "for-rita").await?;
    rita.wait_for_body("for-rita").await?;
    rita.break_off();
    until_gone(&lab, "peter", "for-rita").await?;
    assert!(says(&lab, "rita", "for-rita").await?, "nobody has had it");
    gone_within(IN_TIME, &lab, "rita", "for-rita").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_acknowledged_waits_without_resumption() -> Result<()> {
    tokio::try_join!(
        async { nothing_is_resumed(prosody(Storage::Files).await?, true).await },
        async { nothing_is_resumed(prosody(Storage::Postgres).await?, false).await },
        async { nothing_is_resumed(ejabberd(ejabberd::Storage::Mnesia).await?, true).await },
        async { nothing_is_resumed(ejabberd(ejabberd::Storage::Sql).await?, false).await },
    )
    .map(drop)
}

/// One session hangs; another gets the message from the archive, and breaks off before it says so.
async fn nothing_is_kept<S: Server>(lab: Lab<S>, only_module: bool) -> Result<()> {
    let daemon = start(&config_of(&lab, only_module)).await?;
    daemon.wait_for_figure("ephemerd_component_connected", &[], PATIENCE, |it| it == 1.0).await?;
    let (mut peter, mut anna) = (lab.online("peter").await?, lab.online("anna").await?);
    let (rita, _) = phone(&lab, "rita").await?;
    rita.break_off();
    say(&mut peter, "rita", "for-rita").await?;
    until_gone(&lab, "peter", "for-rita").await?;
    let mut rita = Client::login(lab.endpoints(), "rita", "other").await?;
    rita.enable_resumption().await?;
    let items = rita.query(&MamQuery::default()).await?.items;
    assert!(items.iter().any(|item| item.xml.contains("for-rita")), "nobody has had it");
    rita.break_off();
    // A timer that starts now is over later than one that starts with what she was sent.
    say(&mut peter, "anna", "for-anna").await?;
    anna.wait_for_body("for-anna").await?;
    gone_within(IN_TIME, &lab, "anna", "for-anna").await?;
    assert!(says(&lab, "rita", "for-rita").await?, "nobody has acknowledged it");
    gone_within(IN_TIME, &lab, "rita", "for-rita").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_from_the_archive_and_was_never_acknowledged_waits() -> Result<()> {
    tokio::try_join!(
        async { nothing_is_kept(prosody(Storage::Files).await?, true).await },
        async { nothing_is_kept(prosody(Storage::Postgres).await?, false).await },
        async { nothing_is_kept(ejabberd(ejabberd::Storage::Mnesia).await?, true).await },
        async { nothing_is_kept(ejabberd(ejabberd::Storage::Sql).await?, false).await },
    )?;
    saw(
        "a recipient gets a message from the archive, and the connection breaks",
        "no session has acknowledged it; Prosody and ejabberd, archives in SQL and elsewhere",
        "it stays until it is read again",
    );
    Ok(())
}

/// What `check` says about an ejabberd with these options of `mod_stream_mgmt`.
async fn checked_beside(stream_mgmt: &'static str) -> Result<String> {
    let config = EjabberdConfig { stream_mgmt, ..ejabberd_in(ejabberd::Storage::Mnesia) };
    let lab = Lab::ejabberd(&config).await?;
    let config = config_of(&lab, true);
    printed(&config, &["migrate"]).await?;
    Ok(run(&config, &["check"]).await?.stdout)
}

/// `check` names the setting that makes ejabberd drop unacknowledged stanzas, and accepts the other.
#[tokio::test(flavor = "multi_thread")]
async fn check_names_what_ejabberd_drops() -> Result<()> {
    let named = "resend_on_timeout of mod_stream_mgmt is false";
    let checked = checked_beside("").await?;
    assert!(checked.contains(named) && checked.contains("to if_offline"), "{checked}");
    let checked = checked_beside("resend_on_timeout: if_offline").await?;
    assert!(checked.contains("companion module on localhost: version"), "{checked}");
    assert!(!checked.contains(named), "{checked}");
    Ok(())
}

/// Neither an account nor another component can claim that nobody has received a message.
#[tokio::test(flavor = "multi_thread")]
async fn forged_word_of_hanging_sessions_is_refused() -> Result<()> {
    let lab = prosody(Storage::Postgres).await?;
    let daemon = start(&config_of(&lab, false)).await?;
    let at = lab.endpoints().clone();
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    say(&mut peter, "rosa", "forged").await?;
    let came = rosa.wait_for_body("forged").await?;
    let id = came.child("urn:xmpp:sid:0", "stanza-id").and_then(|it| it.attribute("id")).unwrap();
    let forged = format!(
        "<undelivered xmlns='urn:ephemerd:companion:0' boot='b' number='1' owner='rosa@localhost'>\
         <item id='{id}'/></undelivered>"
    );
    let to = &at.component_jid;
    peter.send(&format!("<message to='{to}' type='headline'>{forged}</message>")).await?;
    peter.sync().await?;
    let mut other = Component::connect_as(&at, &at.other_component).await?;
    let from = &at.other_component;
    other
        .send(&format!("<message from='{from}' to='{to}' type='headline'>{forged}</message>"))
        .await?;
    other.sync("localhost").await?;
    let refused = "ephemerd_notices_refused_total";
    daemon.wait_for_figure(refused, &[], PATIENCE, |it| it == 2.0).await?;
    gone_within(IN_TIME, &lab, "rosa", "forged").await
}

/// Components of one listener of ejabberd may use each other's names, so one can have the server return its words to
/// the daemon: the bounce comes from the host itself, and is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_of_forged_words_is_refused() -> Result<()> {
    let lab = ejabberd(ejabberd::Storage::Mnesia).await?;
    let daemon = start(&config_of(&lab, true)).await?;
    daemon.wait_for_figure("ephemerd_component_connected", &[], PATIENCE, |it| it == 1.0).await?;
    let at = lab.endpoints().clone();
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    say(&mut peter, "rosa", "forged").await?;
    let came = rosa.wait_for_body("forged").await?;
    let id = came.child("urn:xmpp:sid:0", "stanza-id").and_then(|it| it.attribute("id")).unwrap();
    let mut other = Component::connect_as(&at, &at.other_component).await?;
    let from = &at.component_jid;
    other
        .send(&format!(
            "<message from='{from}' to='localhost'><undelivered xmlns='urn:ephemerd:companion:0' boot='b' number='1' \
             owner='rosa@localhost'><item id='{id}'/></undelivered></message>"
        ))
        .await?;
    daemon.wait_for_figure("ephemerd_notices_refused_total", &[], PATIENCE, |it| it == 1.0).await?;
    gone_within(IN_TIME, &lab, "rosa", "forged").await
}
