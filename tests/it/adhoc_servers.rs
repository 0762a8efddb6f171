//! Users' commands on real servers, beside real archived messages: what a form says is what then happens in the archive.

use chrono::NaiveDateTime;
use ephemerd::words::{Language, Message, say};
use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Client, Component, Element, Stanza};
use ephemerd_lab::{
    Daemon, DaemonConfig, Lab, PATIENCE, Prosody, ProsodyConfig, Result, Server, eventually,
};

use crate::adhoc_erasing::all_of;
use crate::adhoc_talk::{COMMANDS, DATA, ERASE, KEPT, POLICY, command, which};
use crate::holds::{hold, release};
use crate::support::{pause, resume, start};

/// The timer of the message that goes, in seconds: the forms are looked at before it has run out, however busy the machine is.
const TIMER: u64 = 20;
/// How long the other message is kept.
const KEEP_FOR: &str = "1h";
/// Hints with which the servers archive a message nevertheless: Prosody knows no older names, and on ejabberd `store` wins.
const PROSODY_HINT: &str = "<no-permanent-storage xmlns='urn:xmpp:hints'/>";
const EJABBERD_HINT: &str =
    "<store xmlns='urn:xmpp:hints'/><no-permanent-store xmlns='urn:xmpp:hints'/>";

/// A daemon with commands beside a server, and who talks.
struct World<S> {
    lab: Lab<S>,
    daemon: Daemon,
    config: DaemonConfig,
    peter: Client,
    rosa: Client,
    /// The component's address.
    us: String,
}

impl<S: Server> World<S> {
    /// Two messages of Peter's to Rosa: one with a timer, one that is not to be stored.
    async fn begin(lab: Lab<S>, config: DaemonConfig, hint: &str) -> Result<Self> {
        let config = config
            .set("archive.poll", "200ms")
            .set("hints.keep_for", KEEP_FOR)
            .set("hints.conflict", "no-permanent-store")
            // The test asks again and again.
            .set("commands.per_minute", 1000);
        let daemon = start(&config).await?;
        pause(&config).await?;
        let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
        let timer = format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{TIMER}'/>");
        for (body, extra) in [("with a timer", timer.as_str()), ("not to be stored", hint)] {
            peter.chat(rosa.bare_jid(), body, extra).await?;
            rosa.wait_for_body(body).await?;
        }
        let us = lab.endpoints().component_jid.clone();
        let mut world = Self { lab, daemon, config, peter, rosa, us };
        eventually("both messages are recorded", PATIENCE, async || {
            let recorded = "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'rosa'";
            let pool = world.lab.database.superuser();
            let recorded: i64 = sqlx::query_scalar(recorded).fetch_one(pool).await?;
            Ok((recorded == 2).then_some(()))
        })
        .await?;
        world.wait_until_open().await?;
        Ok(world)
    }

    /// The component is connected, and knows which hosts have users.
    async fn wait_until_open(&mut self) -> Result<()> {
        let (us, rosa) = (self.us.clone(), &mut self.rosa);
        eventually("the commands are there", PATIENCE, async || {
            Ok(rosa.iq("set", Some(&us), &command(POLICY, "", "")).await.is_ok().then_some(()))
        })
        .await
    }

    /// Rosa's command, which must succeed.
    async fn rosa(&mut self, payload: &str) -> Result<Stanza> {
        self.rosa.iq("set", Some(&self.us), payload).await
    }

    /// What is kept of Rosa in her archive.
    async fn kept(&mut self) -> Result<Element> {
        let begun = self.rosa(&command(KEPT, "action='execute'", "")).await?;
        let id = reply(&begun).attribute("sessionid").unwrap_or_default().to_owned();
        let attributes = format!("sessionid='{id}' action='complete'");
        let done = self.rosa(&command(KEPT, &attributes, &which("archive"))).await?;
        assert_eq!(reply(&done).attribute("status"), Some("completed"));
        Ok(form(&done).clone())
    }
}

pub(crate) fn reply(answer: &Stanza) -> &Element {
    answer.child(COMMANDS, "command").expect("a command")
}

pub(crate) fn form(answer: &Stanza) -> &Element {
    reply(answer).child(DATA, "x").expect("a form")
}

/// The value of a form's field.
pub(crate) fn value(form: &Element, var: &str) -> Option<String> {
    let field = form.children.iter().find(|it| it.attribute("var") == Some(var))?;
    Some(field.child(DATA, "value")?.text.clone())
}

/// Sends a request that must be refused; returns the error's children, by name.
pub(crate) async fn refused(client: &mut Client, us: &str, payload: &str) -> Result<Vec<String>> {
    client.send(&format!("<iq type='set' id='refused' to='{us}'>{payload}</iq>")).await?;
    let is_it = |it: &Stanza| it.attribute("id") == Some("refused");
    let answer = client.wait_for("a refusal", PATIENCE, is_it).await?;
    assert_eq!(answer.attribute("type"), Some("error"), "{}", answer.xml);
    let error = answer.children.iter().find(|it| it.name == "error").expect("an error");
    Ok(error.children.iter().map(|it| it.name.clone()).collect())
}

/// List, execute, look; then the archive does what the form said.
async fn what_is_shown_is_what_happens<S: Server>(world: &mut World<S>) -> Result<()> {
    let us = world.us.clone();
    let items =
        format!("<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>");
    let listed = world.rosa.iq("get", Some(&us), &items).await?;
    let nodes: Vec<_> =
        listed.children[0].children.iter().filter_map(|it| it.attribute("node")).collect();
    assert_eq!(nodes, [POLICY, KEPT], "users erase only where the operator lets them");
    let erase = refused(&mut world.rosa, &us, &command(ERASE, "", "")).await?;
    assert_eq!(erase, ["item-not-found"]);

    let policy = world.rosa(&command(POLICY, "action='execute' xml:lang='de'", "")).await?;
    assert_eq!(policy.attribute("xml:lang"), Some("de"));
    assert_eq!(value(form(&policy), "hint-keep-for").as_deref(), Some("1 Stunde"));
    let paused = say(Language::German, Message::Paused, &[]);
    assert_eq!(value(form(&policy), "paused"), Some(paused));

    let page = world.kept().await?;
    let told = |page: &Element, var: &str| value(page, &format!("archive-{var}"));
    let counts = ["going", "by-timer", "by-hint"].map(|it| told(&page, it));
    assert_eq!(counts.map(Option::unwrap_or_default), ["2", "1", "1"]);
    assert_eq!(told(&page, "next-wish").as_deref(), Some("the sender set a timer"));
    let next = told(&page, "next").expect("it goes");
    let next = NaiveDateTime::parse_from_str(&next, "%Y-%m-%d %H:%M:%S UTC").expect("a time");
    assert_eq!(standing(&world.lab, "with a timer").await?, 2, "it stands in both archives");

    resume(&world.config).await?;
    let gone: NaiveDateTime = eventually("the message goes", PATIENCE * 2, async || {
        if standing(&world.lab, "with a timer").await? > 0 {
            return Ok(None);
        }
        let now = "SELECT clock_timestamp() AT TIME ZONE 'UTC'";
        Ok(Some(sqlx::query_scalar(now).fetch_one(world.lab.database.superuser()).await?))
    })
    .await?;
    assert!(gone >= next, "not before the time that was shown: {gone} {next}");
    assert_eq!(standing(&world.lab, "not to be stored").await?, 2);
    let page = world.kept().await?;
    assert_eq!(told(&page, "going").as_deref(), Some("1"));
    assert_eq!(told(&page, "by-timer"), None);
    assert_eq!(told(&page, "next-wish").as_deref(), Some("the sender asked not to store it"));
    assert_eq!(told(&page, "title").as_deref(), Some("In your archive"));
    Ok(())
}

/// How often these words stand in what the server's archives return to Peter and Rosa.
async fn standing<S: Server>(lab: &Lab<S>, words: &str) -> Result<usize> {
    let mut found = 0;
    for user in ["peter", "rosa"] {
        let items = lab.archive(user, &ephemerd_lab::xmpp::MamQuery::default()).await?;
        found += items.iter().filter(|it| it.xml.contains(words)).count();
    }
    Ok(found)
}

/// Another client, another user, another component; and a daemon that restarts in the middle of a conversation.
async fn nobody_else_goes_on<S: Server>(world: &mut World<S>) -> Result<()> {
    let us = world.us.clone();
    let begun = world.rosa(&command(KEPT, "", "")).await?;
    let id = reply(&begun).attribute("sessionid").unwrap_or_default().to_owned();
    let go_on = command(KEPT, &format!("sessionid='{id}' action='next'"), "");
    let mut other = Client::login(world.lab.endpoints(), "rosa", "other").await?;
    for client in [&mut other, &mut world.peter] {
        let refused = refused(client, &us, &go_on).await?;
        assert_eq!(refused, ["bad-request", "text", "bad-sessionid"]);
    }
    let name = world.lab.endpoints().other_component.clone();
    let mut component = Component::connect_as(world.lab.endpoints(), &name).await?;
    let jid = format!("rosa@{name}/r");
    let request = command(POLICY, "", "");
    let ask = format!("<iq type='set' id='c' from='{jid}' to='{us}'>{request}</iq>");
    component.send(&ask).await?;
    let is_it = |it: &Stanza| it.attribute("id") == Some("c");
    let answer = component.wait_for("a refusal", PATIENCE, is_it).await?;
    assert_eq!(answer.error().expect("an error").condition(), Some("forbidden"));

    world.daemon.kill().await?;
    world.daemon.resume().await?;
    world.wait_until_open().await?;
    let refused = refused(&mut world.rosa, &us, &go_on).await?;
    assert_eq!(refused, ["bad-request", "text", "bad-sessionid"], "a new daemon knows no session");
    let completed = [("node", "policy"), ("outcome", "completed")];
    let figures = world.daemon.figures().await?;
    assert!(figures.get("ephemerd_commands_total", &completed) >= Some(1.0));
    Ok(())
}

async fn round<S: Server>(lab: Lab<S>, config: DaemonConfig, hint: &str) -> Result<()> {
    let mut world = World::begin(lab, config, hint).await?;
    what_is_shown_is_what_happens(&mut world).await?;
    nobody_else_goes_on(&mut world).await?;
    a_reload_switches_them_off(&mut world).await
}

async fn a_reload_switches_them_off<S: Server>(world: &mut World<S>) -> Result<()> {
    world.daemon.reload(&world.config.clone().set("commands.enabled", false))?;
    let (us, rosa) = (world.us.clone(), &mut world.rosa);
    eventually("the commands are gone", PATIENCE, async || {
        let answer = rosa.iq("set", Some(&us), &command(POLICY, "", "")).await;
        let refused = answer.err();
        let condition = refused.as_ref().and_then(|it| it.condition());
        Ok((condition == Some("service-unavailable")).then_some(()))
    })
    .await
}

#[tokio::test]
async fn on_prosody_users_see_what_then_happens() -> Result<()> {
    let lab = Lab::prosody().await?;
    let config = lab.daemon_config();
    round(lab, config, PROSODY_HINT).await
}

#[tokio::test]
async fn on_ejabberd_users_see_what_then_happens() -> Result<()> {
    let lab = Lab::ejabberd(&EjabberdConfig::default()).await?;
    let config = lab.daemon_config();
    round(lab, config, EJABBERD_HINT).await
}

/// The archive is in files, and only the companion module reaches it.
#[tokio::test]
async fn behind_a_module_users_see_what_then_happens() -> Result<()> {
    let server = ProsodyConfig::default().storage_in(Storage::Files).with_companion();
    let lab = Lab::prosody_with(&server).await?;
    // Nothing can be erased there for a user who asks, so that command is not there.
    let config = lab.daemon_config().set("archive.kind", "component").set("commands.erase", true);
    round(lab, config, PROSODY_HINT).await
}

/// Whether somebody keeps a message by a hold cannot be seen: neither before it is due nor after.
#[tokio::test]
async fn a_hold_does_not_show() -> Result<()> {
    let lab: Lab<Prosody> = Lab::prosody().await?;
    let config = lab.daemon_config();
    let mut world = World::begin(lab, config, PROSODY_HINT).await?;
    let before = world.kept().await?;
    let held = hold(&world.config, &["--user", "rosa@localhost"]).await?;
    assert_eq!(all_of(&world.kept().await?), all_of(&before), "the hold changes nothing");
    resume(&world.config).await?;
    let due = "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'rosa' AND due_at < now()";
    eventually("the timer has run out", PATIENCE * 2, async || {
        let pool = world.lab.database.superuser();
        let due: i64 = sqlx::query_scalar(due).fetch_one(pool).await?;
        Ok((due == 1).then_some(()))
    })
    .await?;
    let page = world.kept().await?;
    assert_eq!(value(&page, "archive-going").as_deref(), Some("2"));
    let vars = |page: &Element| {
        let vars = page.children.iter().filter_map(|it| it.attribute("var").map(str::to_owned));
        vars.collect::<Vec<_>>()
    };
    let mut expected = vars(&before);
    expected.retain(|it| it != "paused");
    assert_eq!(vars(&page), expected, "no field more, and none less");
    release(&world.config, &held).await
}
