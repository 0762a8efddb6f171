//! The members of a room, as both modules list them and as the daemon reads that.

use std::fs;

use ephemerd::archive::companion::{Answer, Request, Unanswered};
use ephemerd::model::Occupant;
use ephemerd_lab::ejabberd;
use ephemerd_lab::prosody::{ProsodyConfig, Storage};
use ephemerd_lab::xmpp::{Component, Element};
use ephemerd_lab::{EjabberdConfig, Lab, PATIENCE, Result, Server, eventually};

use crate::companion::answer;
use crate::companion_protocol::{NS, exchanged, result};
use crate::component_stand_in::{HOST, Running};
use crate::hanging::config_of;
use crate::reading_rooms_servers::{WAITING, displayed, show};
use crate::remote::timer;
use crate::support::{run, start, wait_for_number};

fn asked() -> Request {
    Request::Members { owner: "den".to_owned() }
}

/// The answer to a request about a room: this is inside it, and these are its attributes.
async fn read(inside: &str, attributes: &str) -> (String, std::result::Result<Answer, Unanswered>) {
    let (running, _server, mut peer) = Running::connected().await;
    let payload =
        format!("<members xmlns='{NS}' owner='den@{HOST}' {attributes}>{inside}</members>");
    exchanged(&running, &mut peer, asked(), |id| result(id, &payload)).await
}

/// All members are known or none are.
#[tokio::test]
async fn members_are_read_all_or_none() {
    const ALL: &str = "members-only='true' complete='true'";
    let member = |rest: &str| format!("<member {rest}/>");
    let (bob, eve) = (
        member("jid='bob@h' occupant='den@example.org/Bob' occupant-id='o' new='x'"),
        member("jid='eve@h'"),
    );
    let (sent, known) = read(&format!("{bob}{eve}<other/>"), ALL).await;
    let payload = format!("<members xmlns='{NS}' version='2' owner='den@{HOST}'/>");
    assert!(sent.contains("type='get'") && sent.contains(&payload), "{sent}");
    let Ok(Answer::Members(Some(known))) = known else { panic!("{known:?}") };
    let text = |it: &str| Some(it.to_owned());
    let of = |nick, jid, id| Occupant { nick, jid, id };
    let bob_is = of(text("den@example.org/Bob"), text("bob@h"), text("o"));
    assert_eq!(known, [bob_is, of(None, text("eve@h"), None)]);

    for partly in
        ["", "members-only='true'", "complete='true'", "members-only='no' complete='true'"]
    {
        let (_, known) = read(&bob, partly).await;
        assert!(matches!(known, Ok(Answer::Members(None))), "{partly}: {known:?}");
    }
    let long = format!("jid='{}'", "j".repeat(3_072));
    let bad = [
        String::new(),
        bob.repeat(501),
        format!("{bob}{}", member("occupant='den@example.org/Eve'")),
        format!("{bob}{}", member("jid=''")),
        format!("{bob}{}", member("jid='eve&#10;@h'")),
        format!("{bob}{}", member(&long)),
        format!("{bob}{}", member("jid='eve@h' occupant-id=''")),
    ];
    for bad in bad {
        let (_, known) = read(&bad, ALL).await;
        assert!(matches!(known, Err(Unanswered::Unreadable)), "{bad:.200}: {known:?}");
    }
    let (_, most) = read(&bob.repeat(500), ALL).await;
    assert!(matches!(most, Ok(Answer::Members(Some(all))) if all.len() == 500));
}

struct Asking<'a> {
    component: Component,
    rooms: &'a str,
}

impl Asking<'_> {
    async fn about(&mut self, room: &str) -> Result<Element> {
        let payload = format!("<members xmlns='{NS}' version='2' owner='{room}'/>");
        answer(&mut self.component, "get", self.rooms, &payload).await
    }

    /// The members' addresses with their addresses in the room, and whether that is all.
    async fn list(&mut self, room: &str) -> Result<(Vec<(String, String)>, bool, bool)> {
        let told = self.about(room).await?;
        let named = |it: &Element, name: &str| it.attribute(name).unwrap_or_default().to_owned();
        let members = told.children.iter().filter(|it| it.name == "member");
        let members = members.map(|it| (named(it, "jid"), named(it, "occupant"))).collect();
        let is = |name: &str| told.attribute(name) == Some("true");
        Ok((members, is("members-only"), is("complete")))
    }

    async fn refused(&mut self, kind: &str, host: &str, payload: &str) -> Option<String> {
        let error = answer(&mut self.component, kind, host, payload).await.err()?;
        error.condition().map(str::to_owned)
    }
}

async fn a_module_lists_members<S: Server>(lab: Lab<S>) -> Result<()> {
    let (room, rooms) = (lab.endpoints().room("den"), lab.endpoints().rooms.clone());
    let component = Component::connect(lab.endpoints()).await?;
    let mut asking = Asking { component, rooms: &rooms };
    let mut peter = lab.online("peter").await?;
    peter.join(&room, "Peter").await?;
    // Anybody may enter: nobody is listed.
    assert_eq!(asking.list(&room).await?, (vec![], false, false));
    let settings = [("muc#roomconfig_membersonly", "1"), ("muc#roomconfig_persistentroom", "1")];
    peter.configure(&room, &settings).await?;
    let affiliations = [
        ("rosa@localhost", "member"),
        ("ada@elsewhere.example", "admin"),
        ("eve@localhost", "outcast"),
    ];
    for one in affiliations {
        peter.affiliate(&room, one.0, one.1).await?;
    }
    let all = |peter: &str| {
        let of = |jid: &str, nick: &str| (jid.to_owned(), nick.to_owned());
        let ada = of("ada@elsewhere.example", "");
        let mut all = vec![ada, of("peter@localhost", peter), of("rosa@localhost", "")];
        all.sort();
        (all, true, true)
    };
    let sorted = |(mut members, only, complete): (Vec<_>, _, _)| {
        members.sort();
        (members, only, complete)
    };
    assert_eq!(sorted(asking.list(&room).await?), all(&format!("{room}/Peter")));

    let payload = |owner: &str| format!("<members xmlns='{NS}' version='2' owner='{owner}'/>");
    let unknown = payload(&lab.endpoints().room("attic"));
    for (kind, host, payload, is) in [
        ("get", rooms.as_str(), &unknown, "item-not-found"),
        ("get", &rooms, &payload("peter@localhost"), "item-not-found"),
        ("get", &rooms, &payload(&format!("{room}/Peter")), "bad-request"),
        ("get", &rooms, &payload(""), "bad-request"),
        ("set", &rooms, &payload(&room), "feature-not-implemented"),
        ("get", "localhost", &payload("peter@localhost"), "feature-not-implemented"),
    ] {
        assert_eq!(asking.refused(kind, host, payload).await.as_deref(), Some(is), "{payload}");
    }
    let as_user = peter.iq("get", Some(&rooms), &payload(&room)).await.err();
    assert_eq!(as_user.as_ref().and_then(|it| it.condition()), Some("forbidden"));

    // A whole domain, and too many.
    peter.affiliate(&room, "friends.example", "member").await?;
    assert_eq!(asking.list(&room).await?, (vec![], true, false));
    peter.affiliate(&room, "friends.example", "none").await?;
    assert!(asking.list(&room).await?.2);
    let crowd = lab.endpoints().room("crowd");
    peter.join(&crowd, "Peter").await?;
    peter.configure(&crowd, &settings[..1]).await?;
    for at in 1..500 {
        peter.affiliate(&crowd, &format!("m{at}@localhost"), "member").await?;
    }
    let (most, _, complete) = asking.list(&crowd).await?;
    assert_eq!((most.len(), complete), (500, true));
    peter.affiliate(&crowd, "m500@localhost", "member").await?;
    assert_eq!(asking.list(&crowd).await?, (vec![], true, false));
    // With nobody there the server may unload the room, and the answer is the same.
    peter.close().await?;
    let without = all("");
    eventually("the room is empty", PATIENCE, async || {
        Ok((sorted(asking.list(&room).await?) == without).then_some(()))
    })
    .await?;
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(sorted(asking.list(&room).await?), without);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_list_the_members_of_a_room() -> Result<()> {
    let with_module = |storage| EjabberdConfig {
        storage,
        companion: true,
        rooms_hibernate: true,
        ..EjabberdConfig::default()
    };
    let files = ProsodyConfig::default().storage_in(Storage::Files).with_companion();
    let (sql, mnesia) =
        (with_module(ejabberd::Storage::Sql), with_module(ejabberd::Storage::Mnesia));
    tokio::try_join!(
        async { a_module_lists_members(Lab::prosody_with(&files).await?).await },
        async { a_module_lists_members(Lab::ejabberd(&sql).await?).await },
        async { a_module_lists_members(Lab::ejabberd(&mnesia).await?).await },
    )?;
    Ok(())
}

/// A module from before does everything else as ever, what waits for everyone waits, and `check` says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_lists_no_members_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), everybody)?;
    let (of, to) = ("deploy/prosody/mod_ephemerd", folder.path().join("mod_ephemerd"));
    fs::create_dir(&to)?;
    for file in fs::read_dir(of)? {
        let file = file?;
        let text = fs::read_to_string(file.path())?;
        let older =
            text.replace(r#" can[#can+1] = "members";"#, "").replace(r#", members = "get""#, "");
        fs::write(to.join(file.file_name()), older)?;
    }
    let plugin_paths = vec![folder.path().to_owned()];
    let config = ProsodyConfig { plugin_paths, ..ProsodyConfig::default().with_companion() };
    let lab = Lab::prosody_with(&config).await?;
    let config = config_of(&lab, false).set("archive.poll", "50ms").set("rooms.start", "everyone");
    let daemon = start(&config).await?;
    let room = lab.endpoints().room("den");
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    peter.join(&room, "peter").await?;
    peter.configure(&room, &[("muc#roomconfig_membersonly", "1")]).await?;
    peter.affiliate(&room, "rosa@localhost", "member").await?;
    rosa.join(&room, "rosa").await?;
    peter.groupchat(&room, "words", &timer(1)).await?;
    let heard = rosa.wait_for_body("words").await?;
    let id = heard.child("urn:xmpp:sid:0", "stanza-id").and_then(|it| it.attribute("id"));
    show(&mut rosa, &room, &displayed(id.unwrap_or_default())).await?;
    let pool = lab.database.superuser();
    let noted =
        "SELECT count(*) FROM ephemerd.expiries WHERE cardinality(readers) > 0 AND NOT judged";
    wait_for_number(pool, noted, 1).await?;
    crate::sent_watch::let_pass(pool, 3.0).await?;
    wait_for_number(pool, WAITING, 1).await?;
    let logged = "rooms' members are not known, so messages there wait for timers.unread_for";
    assert_eq!(daemon.log()?.matches(logged).count(), 1, "{}", daemon.log()?);
    assert!(daemon.terminate().await?.success());
    let checked = run(&config, &["check"]).await?.stdout;
    let says =
        format!("companion module on {}: it does not list rooms' members", lab.endpoints().rooms);
    assert!(checked.contains(&says), "{checked}");
    Ok(())
}
