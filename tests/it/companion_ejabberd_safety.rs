//! What must never happen with the companion module in ejabberd: that others than the component use it, that
//! text leaves the server, that a message gets lost.

use std::fs;
use std::time::Duration;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema, evaluate};
use ephemerd_lab::snapshot::{EJABBERD_QUEUE, Snapshot};
use ephemerd_lab::xmpp::{Client, Component, MamQuery, Stanza};
use ephemerd_lab::{PATIENCE, Result, Server as _, eventually};

use crate::companion::{NS, Notice, host_of, item, request};
use crate::companion_ejabberd::{EPHEMERAL, World, mnesia, sql};

/// An account, a user of another virtual host, another component, and one that uses the daemon's name: all
/// are refused, and nothing changes.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_component_may_ask() -> Result<()> {
    let config = EjabberdConfig { more_hosts: vec!["second.localhost"], ..mnesia() };
    let mut world = World::new(&config).await?;
    let mut peter = world.lab.online("peter").await?;
    let den = world.lab.endpoints().room("den");
    peter.join(&den, "Peter").await?;
    peter.chat("peter@localhost", "words", EPHEMERAL).await?; // two rows: as sent and as received
    peter.groupchat(&den, "words", EPHEMERAL).await?;
    peter.wait_for_body("words").await?;
    peter.sync().await?;
    let told = world.told().await?;
    // The room is told of beside the user: their order is open.
    let of = |store: &str| told.iter().find(|it| it.store == store).expect("it is told of");
    let (of_peter, of_den) = (of("archive"), of("room"));
    assert_eq!(told.len(), 3, "{told:?}");

    let mut endpoints = world.lab.endpoints().clone();
    endpoints.domain = "second.localhost".to_owned();
    let mut neighbour = Client::login(&endpoints, "peter", "lab").await?;
    let mut other = Component::connect_as(&endpoints, &endpoints.other_component).await?;
    let of = |told: &Notice| {
        let host = host_of(&told.owner).to_owned();
        requests(told).into_iter().map(move |(kind, payload)| (kind, host.clone(), payload))
    };
    for (at, (kind, host, payload)) in of(of_peter).chain(of(of_den)).enumerate() {
        let refused = |error: Option<&str>| assert_eq!(error, Some("forbidden"), "{payload}");
        refused(peter.iq(kind, Some(&host), &payload).await.expect_err("refused").condition());
        refused(neighbour.iq(kind, Some(&host), &payload).await.expect_err("refused").condition());
        refused(other.iq(kind, &host, &payload).await.expect_err("refused").condition());
        // ejabberd lets a component use any name of its listener; the answer goes to the name's owner.
        let id = format!("borrowed-{at}");
        let borrowed = format!(
            "<iq type='{kind}' id='{id}' from='ephemerd.localhost' to='{host}'>{payload}</iq>"
        );
        other.send(&borrowed).await?;
        let is_answer = |it: &Stanza| it.attribute("id") == Some(&id);
        let answer = world.component.wait_for("a refusal", PATIENCE, is_answer).await?;
        refused(answer.error().expect("refused").condition());
        assert_eq!(answer.children.len(), 1, "nothing of the request is quoted: {}", answer.xml);
    }
    // Nor may the component ask one host about another.
    let erase = request("erase", &of_peter.owner, &of_peter.store, "", &of_peter.item());
    let error = world.component.iq("set", "second.localhost", &erase).await.expect_err("refused");
    assert_eq!(error.condition(), Some("item-not-found"));

    assert_eq!(world.lab.archive("peter", &MamQuery::default()).await?.len(), 2);
    assert_eq!(world.lab.archive("peter", &MamQuery::room(&den)).await?.len(), 1);
    let joined = world.lab.online("rosa").await?.join(&den, "Rosa").await?;
    assert_eq!(joined.history.len(), 1);
    assert!(world.told().await?.is_empty());
    Ok(())
}

/// Every kind of request, about this row.
fn requests(told: &Notice) -> Vec<(&'static str, String)> {
    let (owner, store, item) = (&told.owner, &told.store, told.item());
    let until = "until='2099-01-01T00:00:00Z'";
    let pages = "max='9' max-bytes='262144'";
    vec![
        ("set", request("erase", owner, store, "", &item)),
        ("set", request("blank", owner, store, until, &item)),
        ("set", request("scrub", owner, store, "", &item)),
        ("get", request("list", owner, store, pages, "")),
        ("get", request("owners", owner, store, "max='9'", "")),
        ("get", format!("<companion xmlns='{NS}' version='1'/>")),
    ]
}

/// While the component is away messages flow, no server is looked up under its name, and the numbers
/// continue: when it is back it notices that something is missing, and a list has it. A restart of the server
/// shows as a new boot.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_announced_stays_inside() -> Result<()> {
    let World { lab, component } = World::new(&mnesia()).await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    peter.chat("rosa@localhost", "before", EPHEMERAL).await?;
    rosa.wait_for_body("before").await?;
    let mut world = World { lab, component };
    let before = world.told().await?;
    assert_eq!(before.len(), 2);
    world.component.close().await?;
    let lab = world.lab;

    for words in ["away 1", "away 2"] {
        peter.chat("rosa@localhost", words, EPHEMERAL).await?;
        rosa.wait_for_body(words).await?;
    }
    rosa.sync().await?;
    // Even what is deliberately sent to that name stays here: it is returned, as from a server that cannot be
    // found.
    peter.chat("ephemerd.localhost", "to the component", "").await?;
    peter.chat("somebody@nowhere.invalid", "elsewhere", "").await?;
    for from in ["ephemerd.localhost", "somebody@nowhere.invalid"] {
        let bounced = |it: &Stanza| it.attribute("from") == Some(from) && it.error().is_some();
        peter.wait_for("a bounce", PATIENCE, bounced).await?;
    }
    let log = eventually("a search for another server", PATIENCE, async || {
        let log = fs::read_to_string(lab.server.log())?;
        Ok(log.contains("-> nowhere.invalid").then_some(log))
    })
    .await?;
    assert!(
        !log.contains("-> ephemerd.localhost"),
        "no server is looked for under the component's name"
    );

    let component = Component::connect(lab.endpoints()).await?;
    let mut world = World { lab, component };
    let (boot, number) = world.number("localhost").await?;
    assert_eq!((boot.as_str(), number), (before[0].boot.as_str(), 6));
    peter.chat("rosa@localhost", "after", EPHEMERAL).await?;
    rosa.wait_for_body("after").await?;
    let after = world.told().await?;
    assert_eq!(after.iter().map(|it| it.number).collect::<Vec<_>>(), [7, 8]);
    let payload = "<list xmlns='NS' version='1' owner='rosa@localhost' store='archive' max='9' max-bytes='262144'/>";
    let words = async |world: &mut World| -> Result<Vec<String>> {
        let listed = world.list("localhost", payload).await?;
        let bodies = listed.children.iter().filter_map(|row| row.children[0].body());
        Ok(bodies.map(str::to_owned).collect())
    };
    assert_eq!(words(&mut world).await?, ["before", "away 1", "away 2", "after"]);

    world.lab.server.restart().await?;
    world.component = Component::connect(world.lab.endpoints()).await?;
    let (new, number) = world.number("localhost").await?;
    assert!(new != boot && number == 0);
    assert_eq!(words(&mut world).await?, ["before", "away 1", "away 2", "after"]);
    let log = fs::read_to_string(world.lab.server.log())?;
    assert!(!log.lines().any(|it| it.contains("mod_ephemerd") && it.contains("[error]")), "{log}");
    Ok(())
}

/// Somebody gets far more messages than are remembered: nothing is kept of all the others.
#[tokio::test]
async fn what_is_forgotten_takes_no_room() -> Result<()> {
    let sizes = "{ok, Empty} = mod_ephemerd_sessions:init([<<\"localhost\">>]),
        Archived = fun(N, State) ->
                       Told = {archived, <<\"rita\">>, integer_to_binary(N), node()},
                       {noreply, Next} = mod_ephemerd_sessions:handle_cast(Told, State),
                       Next
                   end,
        Soon = lists:foldl(Archived, Empty, lists:seq(10001, 11000)),
        Later = lists:foldl(Archived, Soon, lists:seq(11001, 39999)),
        io:format(\"~b ~b\", [erts_debug:flat_size(State) || State <- [Soon, Later]])";
    let sizes = evaluate(sizes).await?;
    let words: Vec<u32> = sizes.split(' ').filter_map(|it| it.parse().ok()).collect();
    let [soon, later] = words.as_slice() else { panic!("two sizes: {sizes}") };
    assert!(later.abs_diff(*soon) < soon / 10, "{soon} words after 1,000, {later} after 29,999");
    Ok(())
}

/// Many people talk at once while rows are erased and blanked: every notice has the next number, and no
/// unmarked message is lost.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_many_speak_at_once() -> Result<()> {
    const SENDERS: u64 = 4;
    const EACH: u64 = 15;
    let mut world = World::new(&mnesia()).await?;
    let den = world.lab.endpoints().room("den");
    world.lab.client("otto").await?.close().await?; // away: each message goes to his queue as well
    let mut first = world.lab.online("peter").await?;
    first.join(&den, "Peter").await?;
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let mut client = world.lab.online(&format!("sender{sender}")).await?;
        client.join(&den, &format!("Sender {sender}")).await?;
        let den = den.clone();
        tasks.spawn(async move {
            for at in 0..EACH {
                client.chat("otto@localhost", &format!("marked {sender} {at}"), EPHEMERAL).await?;
                client.chat("otto@localhost", &format!("plain {sender} {at}"), "").await?;
                client.groupchat(&den, &format!("room {sender} {at}"), EPHEMERAL).await?;
            }
            client.wait_for_body(&format!("room {sender} {}", EACH - 1)).await?;
            client.sync().await?;
            Ok::<_, ephemerd_lab::LabError>(client)
        });
    }
    let mut told: Vec<Notice> = Vec::new();
    let mut outcomes = Vec::new();
    while !tasks.is_empty() || outcomes.is_empty() {
        let ended = tokio::time::timeout(Duration::from_millis(1), tasks.join_next()).await;
        if let Ok(Some(client)) = ended {
            client.expect("no panic")?;
        }
        let news = world.told().await?;
        for it in news.iter().filter(|it| it.owner == "otto@localhost") {
            let what = if it.store == "queue" { "blank" } else { "erase" };
            outcomes.extend(world.change(what, it, &[it.item()]).await?);
        }
        told.extend(news);
    }
    told.extend(world.told().await?);
    for (host, count) in
        [("localhost", SENDERS * EACH * 3), ("conference.localhost", SENDERS * EACH)]
    {
        let of_host = told.iter().filter(|it| it.owner.ends_with(&format!("@{host}")));
        let numbers: Vec<_> = of_host.map(|it| it.number).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "{host}");
    }
    assert!(outcomes.iter().all(|it| it == "done"), "{outcomes:?}");
    let plain = SENDERS * EACH;
    let archive = world.lab.archive("otto", &MamQuery::default()).await?;
    let plainly =
        archive.iter().filter(|it| it.body().is_some_and(|it| it.starts_with("plain"))).count();
    assert_eq!(plainly as u64, plain);
    let mut otto = world.lab.online("otto").await?;
    for sender in 0..SENDERS {
        for at in 0..EACH {
            otto.wait_for_body(&format!("plain {sender} {at}")).await?;
        }
    }
    Ok(())
}

/// Somebody who was offline gets nothing of a blanked message, and everything unmarked, however ejabberd
/// stores it.
#[tokio::test(flavor = "multi_thread")]
async fn a_blanked_queue_delivers_the_rest() -> Result<()> {
    let from_archive = |config: EjabberdConfig| {
        let schema = Schema::Classic;
        EjabberdConfig { mam_for_storage: true, schema, ..config }
    };
    tokio::try_join!(
        a_blanked_queue(mnesia()),
        a_blanked_queue(from_archive(mnesia())),
        a_blanked_queue(sql(Schema::MultiHost)),
        a_blanked_queue(EjabberdConfig {
            compress_xml: true,
            ..from_archive(sql(Schema::Classic))
        }),
    )
    .map(drop)
}

async fn a_blanked_queue(config: EjabberdConfig) -> Result<()> {
    let mut world = World::new(&config).await?;
    world.lab.client("otto").await?.close().await?;
    let mut peter = world.lab.online("peter").await?;
    for (words, extra) in [("marked", EPHEMERAL), ("plain 1", ""), ("plain 2", "")] {
        peter.chat("otto@localhost", words, extra).await?;
        peter.sync().await?;
    }
    let told = world.told().await?;
    let of_otto: Vec<_> = told.iter().filter(|it| it.owner == "otto@localhost").collect();
    let [archived, copy] = of_otto.as_slice() else { panic!("{config:?}: {of_otto:?}") };
    assert_eq!((copy.store.as_str(), copy.copy_of.as_ref()), ("queue", Some(&archived.id)));
    let before = Snapshot::take(&world.lab.database, EJABBERD_QUEUE).await?;
    let items = [item(&copy.id, "1970-01-01T00:00:01Z"), item("17", &copy.stamp)];
    assert_eq!(world.change("blank", copy, &items).await?, ["other", "gone"]);
    for _ in 0..2 {
        assert_eq!(world.change("blank", copy, &[copy.item()]).await?, ["done"]);
    }
    assert_eq!(world.change("erase", archived, &[archived.item()]).await?, ["done"]);
    let after = Snapshot::take(&world.lab.database, EJABBERD_QUEUE).await?;
    let faults = before.faults(&after, &["marked".to_owned()].into());
    assert!(faults.is_empty() && after.len() == before.len(), "{config:?}: {faults:?}");

    let mut otto = world.lab.online("otto").await?;
    for words in ["plain 1", "plain 2"] {
        otto.wait_for_body(words).await?;
    }
    otto.sync().await?;
    let rest = otto.take(|it| it.name == "message");
    assert!(rest.iter().all(|it| it.body().is_none() && !it.xml.contains("marked")), "{rest:?}");
    assert!(
        rest.iter().any(|it| it.child("urn:ephemerd:0", "expired").is_some()),
        "its place is kept"
    );
    assert!(world.told().await?.is_empty(), "no words were handed out that a timer starts for");
    Ok(())
}
