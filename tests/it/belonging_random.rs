//! Random conversations: what goes when, against a slow model that knows nothing of digests, stanzas or batches.

use std::collections::BTreeMap;

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{PATIENCE, Result, eventually};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::belonging::naming;
use crate::quotes::reply_to;
use crate::reading_chats::{Chats, message};

const ROUNDS: usize = 60;
const DAY: i64 = 86_400;

/// One message of a conversation, in a user's archive or a room's.
#[derive(Debug, Clone)]
struct Said {
    in_room: bool,
    /// With whom, or who the others in the room are not.
    chat: usize,
    sender: usize,
    id: String,
    key: String,
    ago: i64,
    timer: Option<i64>,
    /// Kind of element, and the id that it names.
    names: Option<(&'static str, String)>,
}

fn message_at(all: &[Said], at: usize) -> &Said {
    all.get(at).unwrap()
}

/// When a message goes, in seconds after the test's start, and by which message that is decided.
fn goes(all: &[Said], at: usize) -> Option<(i64, usize)> {
    let said = message_at(all, at);
    let own = said.timer.map(|timer| timer + 1 - said.ago);
    match (own, root(all, at)) {
        (None, None) => None,
        (Some(own), None) => Some((own, at)),
        (own, Some(root)) => {
            let theirs = goes(all, root).map_or(i64::MAX, |it| it.0);
            Some((own.map_or(theirs, |own| own.min(theirs)), root))
        }
    }
}

/// The message that this one belongs to in the end.
fn root(all: &[Said], at: usize) -> Option<usize> {
    let said = message_at(all, at);
    let (kind, _) = said.names.as_ref()?;
    if *kind == "reply" {
        return None;
    }
    let nearest = nearest(all, at)?;
    goes(all, nearest)?;
    Some(root(all, nearest).unwrap_or(nearest))
}

/// When what it quotes is cut out of it.
fn is_cut(all: &[Said], at: usize) -> Option<i64> {
    let said = message_at(all, at);
    said.names.as_ref().filter(|it| it.0 == "reply")?;
    let (due, _) = goes(all, nearest(all, at)?)?;
    Some(due)
}

/// The message that this one names, whether that goes or not.
fn nearest(all: &[Said], at: usize) -> Option<usize> {
    let said = message_at(all, at);
    let (kind, named) = said.names.as_ref()?;
    if said.id == *named {
        return None;
    }
    let is_by_key = ["reactions", "reply"].contains(kind);
    let is_named = |other: &Said| {
        let same_place = (other.in_room, other.chat) == (said.in_room, said.chat);
        let same_sender = is_by_key || other.sender == said.sender;
        let by_id = other.id == *named && !(said.in_room && is_by_key);
        let by_key = said.in_room && other.key == *named;
        same_place && same_sender && (by_id || by_key) && other.ago > said.ago
    };
    // The nearest one before it, whether that goes or not.
    let named = (0..all.len()).filter(|other| is_named(message_at(all, *other)));
    named.min_by_key(|other| message_at(all, *other).ago)
}

fn conversation(random: &mut StdRng, round: usize) -> Vec<Said> {
    let in_room = random.random_bool(0.4);
    let mut all: Vec<Said> = Vec::new();
    for nr in 0..random.random_range(3..14) {
        let (chat, sender) =
            (if in_room { 0 } else { random.random_range(0..2) }, random.random_range(0..2));
        let timer = random.random_bool(0.4).then(|| random.random_range(1..4) * DAY);
        let mut id = format!("id-{round}-{nr}");
        let mut names = None;
        if !all.is_empty() && random.random_bool(0.7) {
            let target = all.choose(random).unwrap();
            let kind = *["replace", "reactions", "attach-to", "reply"].choose(random).unwrap();
            let by_key = in_room && (kind == "reactions" || random.random_bool(0.3));
            names = Some((kind, if by_key { target.key.clone() } else { target.id.clone() }));
        }
        if !all.is_empty() && random.random_bool(0.35) {
            // Somebody uses an id again, his own or another's, for a message with or without a timer.
            id.clone_from(&all.choose(random).unwrap().id);
        }
        let (key, ago) = (format!("key-{round}-{nr}"), 900 - nr as i64);
        all.push(Said { in_room, chat, sender, id, key, ago, timer, names });
    }
    all
}

fn row(chats: &Chats, round: usize, said: &Said) -> ArchiveRow {
    let Said { in_room, chat, sender, id, key, ago, timer, names } = said;
    let element = |kind: &str, id: &str| match kind {
        "reply" => reply_to(id, " start='0' end='5'"),
        _ => naming(kind, id),
    };
    let mut extra = names.as_ref().map(|(kind, id)| element(kind, id)).unwrap_or_default();
    if let Some(timer) = timer {
        extra += &format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{timer}'/>");
    }
    if *in_room {
        extra += &format!("<occupant-id xmlns='urn:xmpp:occupant-id:0' id='occupant{sender}'/>");
        let from = format!("room{round}@conference.localhost/nick{sender}");
        let stanza = message(&from, "", id, &extra).replace("type='chat'", "type='groupchat'");
        return ArchiveRow::room(&format!("room{round}"), key, chats.began - ago, &stanza);
    }
    let user = format!("user{round}");
    let (own, other) = (format!("{user}@localhost/x"), format!("friend{chat}@localhost/x"));
    let (from, to) = if *sender == 0 { (own, other) } else { (other, own) };
    chats.row(&user, key, *ago, &message(&from, &to, id, &extra))
}

#[tokio::test(flavor = "multi_thread")]
async fn random_conversations_go_as_the_model_says() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let seed =
        std::env::var("SEED").ok().and_then(|it| it.parse().ok()).unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    let mut expected = BTreeMap::new();
    for round in 0..ROUNDS {
        let all = conversation(&mut random, round);
        let mut rows: Vec<ArchiveRow> = all.iter().map(|said| row(&chats, round, said)).collect();
        // Some come in two batches, some in the wrong order.
        if random.random_bool(0.2) {
            rows.reverse();
        }
        let rest = rows.split_off(random.random_range(0..=rows.len()));
        insert(chats.pool(), &rows).await?;
        insert(chats.pool(), &rest).await?;
        for at in 0..all.len() {
            let key = &message_at(&all, at).key;
            expected.extend(goes(&all, at).map(|(due, _)| (key.clone(), due)));
            expected.extend(is_cut(&all, at).map(|due| (format!("quote in {key}"), due)));
        }
    }
    chats.settle().await?;
    let mut last = BTreeMap::new();
    let agreed = eventually("the ledger and the model agree", PATIENCE, async || {
        let entries: Vec<(String, i64)> = sqlx::query_as(
            "SELECT archive_id, extract(epoch FROM due_at)::bigint FROM ephemerd.expiries WHERE archive_id LIKE 'key-%'
              UNION ALL
             SELECT 'quote in ' || archive_id, extract(epoch FROM due_at)::bigint FROM ephemerd.quotes",
        )
        .fetch_all(chats.pool())
        .await?;
        last = entries.into_iter().map(|(key, due)| (key, due - chats.began)).collect();
        Ok((last == expected).then_some(()))
    });
    if agreed.await.is_err() {
        let differs = |it: &(&String, &i64)| last.get(it.0) != Some(it.1);
        let missing: Vec<_> = expected.iter().filter(differs).collect();
        let wrong: Vec<_> = last.iter().filter(|it| expected.get(it.0) != Some(it.1)).collect();
        panic!("SEED={seed}: the model says {missing:?}, the ledger {wrong:?}");
    }
    Ok(())
}
