//! Users erase own messages by their client's command, and set how long their archives keep them, on real servers: judged by
//! what clients find in their archives.

use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::xmpp::{Client, Element, MamItem, MamQuery, Stanza};
use ephemerd_lab::{Lab, Result, Server, eventually};

use crate::adhoc_servers::{form, refused, reply, value};
use crate::adhoc_talk::{CONFIGURE, ERASE, POLICY, command, filled};
use crate::holds::{hold, release};
use crate::support::{now, number, start};

/// How long a busy machine may take.
const LATEST: std::time::Duration = std::time::Duration::from_secs(240);

/// The words in a user's archive, sorted; rows without words are `""`.
async fn words<S: Server>(lab: &Lab<S>, user: &str) -> Result<Vec<String>> {
    let word = |item: &MamItem| {
        let body = item.xml.split_once("<body>").and_then(|it| it.1.split_once("</body>"));
        body.map_or_else(String::new, |it| it.0.to_owned())
    };
    let mut words: Vec<_> =
        lab.archive(user, &MamQuery::default()).await?.iter().map(word).collect();
    words.sort();
    Ok(words)
}

/// All that a form says, wherever in the answer that was.
pub(crate) fn all_of(form: &Element) -> Vec<String> {
    let itself = format!("{} {:?} {}", form.name, form.attributes, form.text);
    std::iter::once(itself).chain(form.children.iter().flat_map(all_of)).collect()
}

/// Rosa's client, and whom it asks.
struct Asking {
    rosa: Client,
    us: String,
}

impl Asking {
    async fn ask(&mut self, attributes: &str, fields: &[(&str, &str)]) -> Result<Stanza> {
        let payload = command(ERASE, attributes, &filled(fields));
        self.rosa.iq("set", Some(&self.us), &payload).await
    }

    /// Chooses the chat with Peter. Returns what goes on with it, and the form to confirm.
    async fn choose(&mut self, with: &str) -> Result<(String, Element)> {
        let begun = self.ask("", &[]).await?;
        let id = reply(&begun).attribute("sessionid").unwrap_or_default().to_owned();
        let next = format!("sessionid='{id}' action='next'");
        let shown = self.ask(&next, &[("with", with), ("before", "")]).await?;
        Ok((format!("sessionid='{id}' action='complete'"), form(&shown).clone()))
    }

    async fn confirm(&mut self, go_on: &str, word: &str) -> Result<Element> {
        Ok(form(&self.ask(go_on, &[("confirm", word)]).await?).clone())
    }
}

/// Rosa's chat with Peter goes from her archive and from no other; while it is on hold it stays, and no word is different.
async fn only_the_own_side_goes<S: Server>(lab: Lab<S>, name: &str) -> Result<()> {
    let pool = lab.database.superuser();
    let config = lab
        .daemon_config()
        .set("archive.poll", "200ms")
        .set("commands.erase", true)
        .set("commands.settings", true)
        .set("commands.shortest_archive_for", "1s")
        .set("commands.per_minute", 1000);
    let jid = |user: &str| lab.endpoints().jid(user);
    // Servers store it in small letters.
    let (own, with) = (jid("rosa"), jid("peter").replace("peter", "Peter"));
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let mut otto = lab.online("otto").await?;
    otto.chat(&own, "other", "").await?;
    rosa.wait_for_body("other").await?;
    let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='86400'/>";
    for (word, mark) in [("with a timer", timer), ("without", "")] {
        peter.chat(&own, word, mark).await?;
        rosa.wait_for_body(word).await?;
    }
    eventually("all is archived", LATEST, async || {
        let all = words(&lab, "rosa").await? == ["other", "with a timer", "without"]
            && words(&lab, "peter").await? == ["with a timer", "without"];
        Ok(all.then_some(()))
    })
    .await?;
    // Prosody stamps whole seconds, and what has the asking's second is later.
    let archived = now(pool).await?;
    eventually("the next second", LATEST, async || {
        Ok((now(pool).await? > archived + 1).then_some(()))
    })
    .await?;
    let _daemon = start(&config).await?;
    let us = lab.endpoints().component_jid.clone();
    eventually("the commands are there", LATEST, async || {
        Ok(rosa.iq("set", Some(&us), &command(POLICY, "", "")).await.is_ok().then_some(()))
    })
    .await?;
    let mut asking = Asking { rosa, us };

    // A wrong word, and somebody else's right one, erase nothing.
    let (go_on, shown) = asking.choose(&with).await?;
    let count = value(&shown, "count").unwrap_or_default();
    assert!(count.ends_with(": 2"), "{name}: {count}");
    let again = asking.confirm(&go_on, &with).await?;
    assert!(value(&again, "again").is_some(), "{name}");
    let stolen = command(ERASE, &go_on, &filled(&[("confirm", &own)]));
    let refused = refused(&mut peter, &asking.us, &stolen).await?;
    assert_eq!(refused, ["bad-request", "text", "bad-sessionid"], "{name}");
    assert_eq!(number(pool, "SELECT count(*) FROM ephemerd.request_log").await?, 0, "{name}");

    // On hold it stays, and made twice it is one.
    let held = hold(&config, &["--user", &own]).await?;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (go_on, on_hold) = asking.choose(&with).await?;
        assert_eq!(all_of(&on_hold), all_of(&shown), "{name}: the hold does not show");
        answers.push(asking.confirm(&go_on, &own).await?);
        eventually("all of it was looked at", LATEST, async || {
            let looked = "SELECT count(*) FROM ephemerd.requests WHERE left_on_hold = 2";
            Ok((number(pool, looked).await? == 1).then_some(()))
        })
        .await?;
    }
    assert_eq!(words(&lab, "rosa").await?, ["other", "with a timer", "without"], "{name}");
    release(&config, &held).await?;

    // Her newest row stays without its words, because clients go on from there.
    eventually("her side goes", LATEST, async || {
        Ok((words(&lab, "rosa").await? == ["", "other"]).then_some(()))
    })
    .await?;
    assert_eq!(words(&lab, "peter").await?, ["with a timer", "without"], "{name}");
    let by = "SELECT count(*) FROM ephemerd.request_log WHERE event = 'asked' AND by_whom = 'user'";
    assert_eq!(number(pool, by).await?, 2, "{name}: the log says that she asked");

    // Without a hold the answer is the same, but for how many they are.
    let (go_on, _) = asking.choose(&jid("otto")).await?;
    let free = all_of(&asking.confirm(&go_on, &own).await?);
    let of_two = |it: &Element| {
        assert_eq!(value(it, "count").as_deref(), Some("2"), "{name}");
        all_of(it)
    };
    for answer in answers.iter().map(of_two) {
        let other: Vec<_> = answer.iter().zip(&free).filter(|it| it.0 != it.1).collect();
        assert_eq!((answer.len(), other.len()), (free.len(), 1), "{name}: {other:?}");
    }
    eventually("that goes, too", LATEST, async || {
        Ok((words(&lab, "rosa").await? == [""]).then_some(()))
    })
    .await?;
    otto.chat(&own, "later", "").await?;
    asking.rosa.wait_for_body("later").await?;
    only_the_own_archive_keeps_less(&lab, &mut asking, &own).await?;
    assert_eq!(words(&lab, "otto").await?, ["later", "other"], "{name}");
    Ok(())
}

/// Rosa sets that her archive keeps nothing for longer than a second.
async fn only_the_own_archive_keeps_less<S: Server>(
    lab: &Lab<S>,
    asking: &mut Asking,
    own: &str,
) -> Result<()> {
    let us = asking.us.clone();
    let mut begun = asking.rosa.iq("set", Some(&us), &command(CONFIGURE, "", "")).await?;
    for field in [("archive-for", "1"), ("confirm", own)] {
        let id = reply(&begun).attribute("sessionid").unwrap_or_default();
        let next = command(CONFIGURE, &format!("sessionid='{id}'"), &filled(&[field]));
        begun = asking.rosa.iq("set", Some(&us), &next).await?;
    }
    assert_eq!(reply(&begun).attribute("status"), Some("completed"));
    eventually("it keeps nothing", LATEST, async || {
        Ok(words(lab, "rosa").await?.iter().all(String::is_empty).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_erase_their_own_side_of_a_chat() -> Result<()> {
    let ejabberd = EjabberdConfig::default();
    let (prosody, ejabberd) = tokio::try_join!(Lab::prosody(), Lab::ejabberd(&ejabberd))?;
    tokio::try_join!(
        only_the_own_side_goes(prosody, "prosody"),
        only_the_own_side_goes(ejabberd, "ejabberd"),
    )?;
    Ok(())
}
