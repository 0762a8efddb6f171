//! What users wish for their own archives, on every kind of archive in SQL: what the forms say is what then happens in the
//! tables, and to nobody else. The test plays the server to which users' clients speak.

use ephemerd::words::{Language, Message, say};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, eventually};
use minidom::Element;
use sqlx::PgPool;

use crate::adhoc_talk::{CONFIGURE, CONTACT, command, filled, form, refusal, reply, value};
use crate::age_rows::{Kind, Put, on_every_kind};
use crate::component_stand_in::{JID, Peer, SECRET, Server, elements};
use crate::holds::{hold, release};
use crate::support::{now, number, printed, start, told, wait_for_number};

const HOUR: i64 = 3_600;
const PETER: &str = "peter@localhost";

/// A daemon beside a server's tables, and the server's end of its connection.
struct World {
    daemon: Daemon,
    peer: Peer,
    _server: Server,
}

impl World {
    async fn begin(config: DaemonConfig) -> Result<(Self, DaemonConfig)> {
        let server = Server::new().await;
        let config = config
            .set("component.jid", JID)
            .set("component.server", server.address())
            .set_file("component.secret_file", SECRET)
            .set("commands.settings", true)
            .set("commands.per_minute", 1000)
            .set("commands.shortest_archive_for", "1h");
        let daemon = start(&config).await?;
        let peer = server.accept_component().await;
        Ok((Self { daemon, peer, _server: server }, config))
    }

    /// What is answered to a user's command. Meanwhile each host says what it is.
    async fn ask(&mut self, owner: &str, payload: &str) -> Element {
        let request =
            format!("<iq type='set' id='asked' from='{owner}/phone' to='{JID}'>{payload}</iq>");
        self.peer.send(&request).await;
        loop {
            let said = self.peer.until("</iq>").await;
            for answer in elements(&said) {
                let (id, to) = (answer.attr("id").unwrap_or_default(), answer.attr("to"));
                match (id, to) {
                    ("asked", _) if is_busy(&answer) => self.peer.send(&request).await,
                    ("asked", _) => return answer,
                    (id, Some(host)) => {
                        let is_rooms = host.starts_with("conference.");
                        let category = if is_rooms { "conference" } else { "server" };
                        self.peer.send(crate::adhoc_talk::identified(id, host, category)).await;
                    }
                    _ => {}
                }
            }
        }
    }

    /// Goes on with a conversation.
    async fn go_on(&mut self, owner: &str, begun: &Element, fields: &[(&str, &str)]) -> Element {
        let (id, node) = (reply(begun).attr("sessionid"), reply(begun).attr("node"));
        let attributes = format!("sessionid='{}'", id.expect("a session"));
        self.ask(owner, &command(node.expect("a node"), &attributes, &filled(fields))).await
    }

    /// Chooses how long messages stay, and returns the form to confirm.
    async fn choose(
        &mut self,
        owner: &str,
        with: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Element {
        let begun = match with {
            None => self.ask(owner, &command(CONFIGURE, "", "")).await,
            Some(with) => {
                let asked = self.ask(owner, &command(CONTACT, "", "")).await;
                self.go_on(owner, &asked, &[("contact", with)]).await
            }
        };
        self.go_on(owner, &begun, fields).await
    }

    async fn confirm(&mut self, owner: &str, shown: &Element) -> Element {
        let done = self.go_on(owner, shown, &[("confirm", owner)]).await;
        assert_eq!(reply(&done).attr("status"), Some("completed"));
        assert_eq!(
            value(form(&done), "note"),
            Some(say(Language::English, Message::WishedSet, &[]))
        );
        done
    }
}

/// It does not know yet whether the host has users.
fn is_busy(answer: &Element) -> bool {
    answer.attr("type") == Some("error") && refusal(answer).1 == "resource-constraint"
}

/// The number at the end of a line.
fn counted(shown: &Element) -> String {
    let count = value(form(shown), "count").unwrap_or_default();
    count.rsplit(' ').next().unwrap_or_default().to_owned()
}

async fn wait_for_names(kind: Kind, pool: &PgPool, names: &[&str]) -> Result<()> {
    let names = format!("{names:?}");
    eventually(&format!("{kind:?}: {names} stand"), PATIENCE * 2, async || {
        Ok((format!("{:?}", kind.names(pool).await?) == names).then_some(()))
    })
    .await
}

fn rows() -> Vec<Put> {
    let with_otto = |row: Put| Put { peer: "otto@localhost".to_owned(), ..row };
    vec![
        Put::archive("peter", "a old", 9 * HOUR),
        Put { is_marked: true, ..Put::archive("peter", "b timer", 5 * HOUR) },
        with_otto(Put::archive("peter", "c otto old", 3 * HOUR)),
        Put::archive("peter", "d newer", 2 * HOUR),
        with_otto(Put::archive("peter", "e otto", 60)),
        Put::archive("peter", "f new", 30),
        Put { store: "queue", ..Put::archive("peter", "g queued", 9 * HOUR) },
        Put::archive("rosa", "h other's", 9 * HOUR),
        Put::archive("rosa", "i newest", 60),
        Put::room("peter", "j room", 9 * HOUR),
    ]
}

async fn what_is_said_happens(kind: Kind) -> Result<()> {
    let lab: Lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind.config(&lab)?.set("erase.backlog", "erase");
    printed(&config, &["migrate"]).await?;
    kind.put(pool, &rows()).await?;
    let (mut world, config) = World::begin(config).await?;

    // On hold nothing goes, and no word is different.
    let four = [("archive-for", "14400")];
    let shown = world.choose(PETER, None, &four).await;
    assert_eq!(counted(&shown), "2", "{kind:?}");
    let held = hold(&config, &["--user", PETER]).await?;
    let on_hold = world.choose(PETER, None, &four).await;
    assert_eq!(format!("{:?}", form(&on_hold)), format!("{:?}", form(&shown)), "{kind:?}");
    world.confirm(PETER, &on_hold).await;
    let looked = "SELECT count(*) FROM ephemerd.wishes WHERE next_at > now()";
    wait_for_number(pool, looked, 1).await?;
    let all: Vec<String> = rows().into_iter().map(|it| it.name).collect();
    assert_eq!(kind.names(pool).await?, all, "{kind:?}: it is on hold");
    release(&config, &held).await?;

    // Set again, it is looked at again.
    let shown = world.choose(PETER, None, &four).await;
    world.confirm(PETER, &shown).await;
    let left = &[
        "c otto old",
        "d newer",
        "e otto",
        "f new",
        "g queued",
        "h other's",
        "i newest",
        "j room",
    ];
    wait_for_names(kind, pool, left).await?;
    let entries =
        "SELECT count(*) FROM ephemerd.expiries WHERE owner = 'peter' AND store = 'archive'";
    wait_for_number(pool, entries, 0).await?;

    // With one contact for less time; what stays says when it goes.
    let one = [("archive-for", "3600")];
    let shown = world.choose(PETER, Some("Otto@localhost"), &one).await;
    assert_eq!(counted(&shown), "1", "{kind:?}");
    world.confirm(PETER, &shown).await;
    wait_for_names(
        kind,
        pool,
        &["d newer", "e otto", "f new", "g queued", "h other's", "i newest", "j room"],
    )
    .await?;
    let shown = world.choose(PETER, None, &[("archive-for", "21600")]).await;
    assert_eq!(counted(&shown), "0", "{kind:?}");
    let first = value(form(&shown), "first").unwrap_or_default();
    let at = first.split_once(": ").map_or("", |it| it.1);
    let at = chrono::NaiveDateTime::parse_from_str(at, "%Y-%m-%d %H:%M:%S UTC").expect("a time");
    let away = at.and_utc().timestamp() - now(pool).await?;
    assert!((4 * HOUR - 300..=4 * HOUR).contains(&away), "{kind:?}: in {away} s");

    // The operator sees it, and what is taken back is gone.
    let about = told(&config, &["about", "--owner", PETER]).await?;
    assert_eq!(about["wishes"][0]["archive_for"], "4h", "{kind:?}: {about:#}");
    assert_eq!(about["wishes"][1]["with"], "otto@localhost", "{kind:?}: {about:#}");
    for with in [None, Some("otto@localhost")] {
        let shown = world.choose(PETER, with, &[("archive-for", "never")]).await;
        assert_eq!(value(form(&shown), "confirm"), None);
        world.confirm(PETER, &shown).await;
    }
    assert_eq!(number(pool, "SELECT count(*) FROM ephemerd.wishes").await?, 0, "{kind:?}");
    assert!(world.daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_forms_say_is_what_happens() -> Result<()> {
    on_every_kind(what_is_said_happens).await
}

/// What an owner's messages with a timer do who wishes that they go once they were read: those from then on, in one chat or in
/// all, of nobody else's and in no room.
async fn once(kind: Kind) -> Result<()> {
    let lab: Lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind
        .config(&lab)?
        .set("erase.backlog", "erase")
        .set("commands.settings", true)
        .set("timers.start", "read")
        .set("timers.once_for", "1d");
    printed(&config, &["migrate"]).await?;
    // Peter wishes it for all chats, and Paul for one.
    sqlx::query(
        "INSERT INTO ephemerd.wishes (host, owner, peer, once_since)
         VALUES ('localhost', 'peter', '', now() - interval '3 hours'),
                ('localhost', 'paul', 'otto@localhost', now() - interval '3 hours')",
    )
    .execute(pool)
    .await?;
    let marked = |row: Put| Put { is_marked: true, ..row };
    let with_otto = |row: Put| Put { peer: "otto@localhost".to_owned(), ..row };
    let rows = [
        marked(Put::archive("peter", "before", 4 * HOUR)),
        marked(Put::archive("peter", "after", 2 * HOUR)),
        Put::archive("peter", "without", HOUR),
        marked(with_otto(Put::archive("paul", "wished", HOUR))),
        marked(Put::archive("paul", "other chat", HOUR)),
        marked(Put::archive("rosa", "nobody's", HOUR)),
        marked(Put::room("peter", "room", HOUR)),
    ];
    kind.put(pool, &rows).await?;
    let daemon = start(&config).await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries", 6).await?;
    // Their owners sent these, so nobody's reading is waited for.
    let soon = async || -> Result<Vec<(String, i64)>> {
        let select = "SELECT owner || ' ' || store, extract(epoch FROM now() - stamped_at)::bigint / 3600
                        FROM ephemerd.expiries WHERE due_at - runs_from = interval '1 day' ORDER BY 1";
        Ok(sqlx::query_as(select).fetch_all(pool).await?)
    };
    let wished = [("paul archive".to_owned(), 1), ("peter archive".to_owned(), 2)];
    assert_eq!(soon().await?, wished, "{kind:?}");
    assert!(daemon.terminate().await?.success());

    // Where the operator lets users wish no longer, their timers count again.
    let daemon = start(&config.clone().set("commands.settings", false)).await?;
    eventually(&format!("{kind:?}: the timers count"), PATIENCE, async || {
        Ok(soon().await?.is_empty().then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wished_to_go_once_read_does() -> Result<()> {
    on_every_kind(once).await
}

/// An owner's encrypted messages without a visible timer have the one that is wished, from then on, whether the tail finds
/// them or a sweep does; nobody else's have, and no others.
async fn encrypted(kind: Kind) -> Result<()> {
    let lab: Lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind
        .config(&lab)?
        .set("erase.backlog", "erase")
        .set("commands.settings", true)
        .set("commands.shortest_archive_for", "1h");
    printed(&config, &["migrate"]).await?;
    sqlx::query(
        "INSERT INTO ephemerd.wishes (host, owner, peer, encrypted_for, encrypted_since)
         VALUES ('localhost', 'peter', '', 60, now() - interval '3 hours'),
                ('localhost', 'paul', 'otto@localhost', 7200, now() - interval '3 hours')",
    )
    .execute(pool)
    .await?;
    let sealed = |row: Put| Put { is_encrypted: true, ..row };
    let with_otto = |row: Put| Put { peer: "otto@localhost".to_owned(), ..row };
    let rows = [
        sealed(Put::archive("peter", "before", 4 * HOUR)),
        sealed(Put::archive("peter", "after", 2 * HOUR)),
        Put { is_marked: true, ..sealed(Put::archive("peter", "own timer", 2 * HOUR)) },
        Put::archive("peter", "plain", 2 * HOUR),
        sealed(with_otto(Put::archive("paul", "wished", HOUR))),
        sealed(Put::archive("paul", "other chat", HOUR)),
        sealed(Put::archive("rosa", "nobody's", 2 * HOUR)),
        sealed(Put::room("peter", "room", 2 * HOUR)),
    ];
    kind.put(pool, &rows).await?;
    let daemon = start(&config).await?;
    let left = ["before", "nobody's", "other chat", "own timer", "plain", "room", "wished"];
    wait_for_names(kind, pool, &left).await?;
    // An hour, which is the shortest that may be wished, and two hours.
    let recorded = async |after: i64| -> Result<i64> {
        let select = "SELECT count(*) FROM ephemerd.expiries
                       WHERE phase = 'pending' AND reason = 'timer' AND due_at - runs_from = make_interval(secs => $1)";
        Ok(sqlx::query_scalar(select).bind(after as f64).fetch_one(pool).await?)
    };
    assert_eq!((recorded(HOUR).await?, recorded(2 * HOUR).await?), (0, 1), "{kind:?}");
    kind.put(pool, &[sealed(Put::archive("peter", "live", 60)), Put::archive("peter", "last", 60)])
        .await?;
    eventually(&format!("{kind:?}: the tail records it"), PATIENCE, async || {
        Ok((recorded(HOUR).await? == 1).then_some(()))
    })
    .await?;
    if kind == Kind::Prosody {
        let told = printed(&config, &["explain", "--owner", PETER, "--id", "live"]).await?;
        assert!(told.contains("that timer is what its owner wishes"), "{told}");
        assert!(!told.contains("differs"), "{told}");
    }
    // What the operator allows counts for what is recorded, also if that changes while no daemon runs.
    assert!(daemon.terminate().await?.success());
    let config = config.set("commands.shortest_archive_for", "3h");
    let daemon = start(&config).await?;
    eventually(&format!("{kind:?}: other bounds count"), PATIENCE, async || {
        Ok((recorded(3 * HOUR).await? == 2).then_some(()))
    })
    .await?;
    // What is taken back counts no longer.
    sqlx::query("DELETE FROM ephemerd.wishes").execute(pool).await?;
    printed(&config, &["sweep"]).await?;
    let timers = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'pending'";
    wait_for_number(pool, timers, 1).await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_messages_have_the_timer_that_is_wished() -> Result<()> {
    on_every_kind(encrypted).await
}

/// A shorter timer for encrypted messages is for what comes after it was set, as the form says: what was there before keeps
/// the one that it had. A longer one counts for all that has not gone yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_timer_is_for_what_comes_after_it() -> Result<()> {
    let kind = Kind::Prosody;
    let lab: Lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind.config(&lab)?;
    printed(&config, &["migrate"]).await?;
    let (mut world, config) = World::begin(config).await?;
    // As if it had been set a minute ago.
    let mut wish = async |hours: i64| -> Result<()> {
        let seconds = (hours * HOUR).to_string();
        let shown = world.choose(PETER, None, &[("encrypted-for", &seconds)]).await;
        world.confirm(PETER, &shown).await;
        let earlier =
            "UPDATE ephemerd.wishes SET encrypted_since = encrypted_since - interval '1 minute'
                        WHERE encrypted_since > now() - interval '1 minute'";
        sqlx::query(earlier).execute(pool).await?;
        Ok(())
    };
    let put = async |name: &str, age: i64| {
        let row = Put { is_encrypted: true, ..Put::archive("peter", name, age) };
        kind.put(pool, &[row]).await
    };
    let timers = async || -> Result<Vec<(String, i64)>> {
        printed(&config, &["sweep"]).await?;
        let select = "SELECT archive_id, extract(epoch FROM due_at - runs_from)::bigint / 3600
                        FROM ephemerd.expiries ORDER BY 1";
        Ok(sqlx::query_as(select).fetch_all(pool).await?)
    };
    let of = |name: &str, hours: i64| (name.to_owned(), hours);
    wish(3).await?;
    sqlx::query("UPDATE ephemerd.wishes SET encrypted_since = encrypted_since - interval '1 hour'")
        .execute(pool)
        .await?;
    put("a first", 600).await?;
    wish(1).await?;
    put("b second", 10).await?;
    assert_eq!(timers().await?, [of("a first", 3), of("b second", 1)]);
    wish(2).await?;
    assert_eq!(timers().await?, [of("a first", 3), of("b second", 2)]);
    wish(4).await?;
    assert_eq!(timers().await?, [of("a first", 4), of("b second", 4)]);
    Ok(())
}

/// Users may wish no longer, or the daemon stops: what is under way ends with the transaction that has begun, and not with the
/// last wish.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_by_wishes_once_they_are_not_followed() -> Result<()> {
    let kind = Kind::Prosody;
    let lab: Lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind
        .config(&lab)?
        .set("commands.settings", true)
        .set("commands.shortest_archive_for", "1h");
    printed(&config, &["migrate"]).await?;
    let users: Vec<String> = (10..26).map(|it| format!("user{it}")).collect();
    for user in &users {
        let rows = [
            Put::archive(user, &format!("{user} old"), 2 * HOUR),
            Put::archive(user, &format!("{user} new"), 60),
        ];
        kind.put(pool, &rows).await?;
        let wish = "INSERT INTO ephemerd.wishes (host, owner, peer, archive_for) VALUES ('localhost', $1, '', 3600)";
        sqlx::query(wish).bind(user).execute(pool).await?;
    }
    // Each takes so long that the reload comes between two of them.
    for slow in [
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN PERFORM pg_sleep(0.3); RETURN OLD; END'",
        "CREATE TRIGGER slow BEFORE DELETE ON prosodyarchive FOR EACH ROW EXECUTE FUNCTION slow()",
    ] {
        sqlx::query(slow).execute(pool).await?;
    }
    let olds = "SELECT count(*) FROM prosodyarchive WHERE key LIKE 'user% old'";
    let left = async || number(pool, olds).await;
    let goes = async || {
        let before = left().await?;
        eventually("one goes", PATIENCE, async || Ok((left().await? < before).then_some(()))).await
    };
    let mut daemon = start(&config).await?;
    goes().await?;
    let done = ("ephemerd_config_reloads_total", [("result", "done")]);
    daemon.reload(&config.clone().set("commands.settings", false))?;
    daemon.wait_for_figure(done.0, &done.1, PATIENCE, |count| count > 0.0).await?;
    let stood = left().await?;
    // What comes after wishes in turn shows that they are over.
    kind.put(pool, &[Put::archive("last", "last", 60)]).await?;
    printed(&config, &["erase", "--owner", "last@localhost", "--yes", "--by", "tester"]).await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.request_log WHERE event = 'done'", 1)
        .await?;
    let stand = left().await?;
    assert!(stand >= stood - 1, "{stood} stood when it was reloaded, {stand} do now");

    // The same when it is stopped.
    daemon.reload(&config)?;
    goes().await?;
    let stood = left().await?;
    assert!(daemon.terminate().await?.success());
    let stand = left().await?;
    // On a busy machine a few go before the signal comes.
    assert!(stand >= stood - 5, "{stood} stood when it was stopped, {stand} do now");
    Ok(())
}

/// Nobody's wish reaches further than its own archive, chat and time, however much names look alike; and the newest row's id
/// stays.
async fn nothing_else(kind: Kind) -> Result<()> {
    let lab: Lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let config = kind
        .config(&lab)?
        .set("commands.settings", true)
        .set("commands.shortest_archive_for", "1h");
    printed(&config, &["migrate"]).await?;
    for (host, owner, peer) in [
        ("localhost", "peter", ""),
        ("other.example", "peter", ""),
        ("conference.localhost", "den", ""),
        ("localhost", "den", ""),
        ("localhost", "otto", "o_to@localhost"),
        ("localhost", "karl", "karl@localhost"),
        ("localhost", "rosa", "eva@example.org"),
        ("localhost", "held", ""),
        ("localhost", "%", ""),
    ] {
        let wish = "INSERT INTO ephemerd.wishes (host, owner, peer, archive_for) VALUES ($1, $2, $3, 7200)";
        sqlx::query(wish).bind(host).bind(owner).bind(peer).execute(pool).await?;
    }
    let with = |peer: &str, row: Put| Put { peer: peer.to_owned(), ..row };
    let old = |owner: &str, name: &str| Put::archive(owner, name, 9 * HOUR);
    let mut rows = vec![
        old("peter", "goes: old"),
        Put::archive("peter", "goes: just old", 2 * HOUR + 60),
        Put::archive("peter", "just young", 2 * HOUR - 600),
        Put { store: "queue", ..old("peter", "queued") },
        old("Peter", "other case"),
        old("pete", "shorter name"),
        old("peter2", "longer name"),
        old("peter@localhost.example", "address as a name"),
        Put::room("peter", "room of that name", 9 * HOUR),
        Put::room("den", "room", 9 * HOUR),
        old("den", "goes: user named as a room"),
        Put::archive("den", "newest of den", 60),
        with("o_to@localhost", old("otto", "goes: exact chat")),
        with("otto@localhost", old("otto", "chat by wildcard")),
        with("o_to@localhost.example", old("otto", "longer chat")),
        with("xo_to@localhost", old("otto", "longer local part")),
        with("karl@localhost", old("karl", "goes: note to self")),
        old("karl", "no note"),
        with("eva@example.org", old("rosa", "goes: before the newest")),
        old("rosa", "other chat"),
        with("eva@example.org", Put::archive("rosa", "goes: newest", 8 * HOUR)),
        with("eva@example.org", old("held", "held")),
        old("held", "goes: beside a hold"),
        Put::archive("held", "newest of held", 60),
    ];
    if kind != Kind::Classic {
        let host = "other.example".to_owned();
        rows.push(Put { host, ..old("peter", "host that is not ours") });
    }
    // An address is no user's name, and on ejabberd it would be a room's.
    rows.retain(|it| kind == Kind::Prosody || !it.owner.contains('@'));
    kind.put(pool, &rows).await?;
    hold(&config, &["--user", "held@localhost", "--with", "eva@example.org"]).await?;
    let daemon = start(&config).await?;
    let names = rows.into_iter().map(|it| it.name).filter(|it| !it.starts_with("goes"));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    wait_for_names(kind, pool, &names).await?;
    // All were looked at, but for those on other hosts than ours.
    let looked = "SELECT count(*) FROM ephemerd.wishes WHERE next_at > now()";
    wait_for_number(pool, looked, 8).await?;
    wait_for_names(kind, pool, &names).await?;
    let standing = kind.standing(pool).await?;
    let blank = |owner: &str| {
        let address = ("archive".to_owned(), format!("{owner}@localhost"));
        standing.get(&address).map(|it| it.blank)
    };
    assert_eq!((blank("rosa"), blank("peter")), (Some(1), Some(0)), "{kind:?}");
    assert!(daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_touched() -> Result<()> {
    on_every_kind(nothing_else).await
}
