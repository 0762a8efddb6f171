//! A slow reference implementation: minidom builds a tree of the whole stanza, rxml's namespaced reader
//! checks strictness. It recurses, so it is for small stanzas only. The reader must agree with it.

use minidom::Element;
use proptest::prelude::*;

use super::generate::{mutations, shuffled, stanza};
use crate::{
    model::{Facts, StanzaId},
    stanza::read,
};

const CLIENT: &str = "jabber:client";
const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
const AMP: &str = "http://jabber.org/protocol/amp";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub#event";

const OMEMO: [&str; 3] = ["eu.siacs.conversations.axolotl", "urn:xmpp:omemo:1", "urn:xmpp:omemo:2"];

pub(super) const QUIET: [(&str, &str); 22] = [
    (CLIENT, "thread"),
    ("urn:xmpp:hints", "no-copy"),
    ("urn:xmpp:sid:0", "stanza-id"),
    ("urn:xmpp:sid:0", "origin-id"),
    ("urn:xmpp:delay", "delay"),
    ("jabber:x:delay", "x"),
    ("urn:ephemerd:0", "expired"),
    ("urn:xmpp:receipts", "request"),
    ("urn:xmpp:receipts", "received"),
    ("urn:xmpp:chat-markers:0", "markable"),
    ("urn:xmpp:chat-markers:0", "received"),
    ("urn:xmpp:chat-markers:0", "displayed"),
    ("urn:xmpp:chat-markers:0", "acknowledged"),
    ("http://jabber.org/protocol/chatstates", "active"),
    ("http://jabber.org/protocol/chatstates", "composing"),
    ("http://jabber.org/protocol/chatstates", "paused"),
    ("http://jabber.org/protocol/chatstates", "inactive"),
    ("http://jabber.org/protocol/chatstates", "gone"),
    ("http://jabber.org/protocol/nick", "nick"),
    ("urn:xmpp:occupant-id:0", "occupant-id"),
    ("urn:xmpp:mam:tmp", "archived"),
    ("http://jabber.org/protocol/muc#user", "x"),
];

/// The stanza's facts, or `None` if it is unreadable.
fn reference(xml: &str) -> Option<Facts> {
    let root = tree(xml)?;
    if !root.is("message", CLIENT) {
        return Some(Facts { not_a_message: true, ..Facts::default() });
    }
    let mut facts = Facts { is_error: root.attr("type") == Some("error"), ..Facts::default() };
    facts.has_content = has_words(&root);
    for child in root.children() {
        if is_wrapper(child) {
            unwrap(child, &mut facts);
        } else {
            note(child, &mut facts);
        }
    }
    facts.encrypted = root.children().any(is_encrypted);
    let stamp =
        |it: &&Element| it.is("delay", "urn:xmpp:delay") || it.is("stanza-id", "urn:xmpp:sid:0");
    let others: Vec<_> = root.children().filter(|it| !stamp(it)).collect();
    let bare = root.children().all(|it| it.nodes().next().is_none() || blank_inside(it));
    if let [expired] = others.as_slice()
        && expired.is("expired", "urn:ephemerd:0")
        && bare
        && !has_words(&root)
    {
        let until =
            expired.attr("until").and_then(|it| chrono::DateTime::parse_from_rfc3339(it).ok());
        facts.expired_until = until.map(Into::into);
    }
    let ids = root.children().filter(|it| it.is("stanza-id", "urn:xmpp:sid:0"));
    let ids = ids.filter_map(|it| Some((it.attr("by")?, it.attr("id")?)));
    facts.last_stanza_id =
        ids.last().map(|(by, id)| StanzaId { by: by.to_owned(), id: id.to_owned() });
    Some(facts)
}

/// The child has encrypted words, and not only keys.
fn is_encrypted(child: &Element) -> bool {
    let is_omemo = |it: &Element, name: &str| OMEMO.iter().any(|omemo| it.is(name, *omemo));
    child.is("openpgp", "urn:xmpp:openpgp:0")
        || is_omemo(child, "encrypted") && child.children().any(|it| is_omemo(it, "payload"))
}

/// The document's only element, with nothing but white space around it.
fn tree(xml: &str) -> Option<Element> {
    let wrapped = format!("<w xmlns='{CLIENT}'>{xml}</w>");
    let mut reader = rxml::Reader::new(wrapped.as_bytes());
    reader.read_all(drop).ok()?;
    let wrapper = Element::from_reader(wrapped.as_bytes()).unwrap();
    let mut roots = wrapper.children();
    let root = roots.next()?.clone();
    (roots.next().is_none() && !has_words(&wrapper)).then_some(root)
}

fn has_words(element: &Element) -> bool {
    element.texts().any(|text| !text.trim_matches([' ', '\t', '\r', '\n']).is_empty())
}

fn blank_inside(element: &Element) -> bool {
    element.children().next().is_none() && !has_words(element)
}

/// Whether a child that is not content by itself contains some.
fn holds_content(child: &Element) -> bool {
    let has_elements = child.children().next().is_some();
    match (child.ns().as_str(), child.name()) {
        (CLIENT, "thread") | ("urn:xmpp:delay", "delay") | ("jabber:x:delay", "x") => has_elements,
        (MUC_USER, "x") => {
            let is_remark = |it: &Element| {
                (it.is("item", MUC_USER) || it.is("status", MUC_USER)) && blank_inside(it)
            };
            has_words(child) || !child.children().all(is_remark)
        }
        _ => has_elements || has_words(child),
    }
}

fn is_wrapper(event: &Element) -> bool {
    event.is("event", PUBSUB)
}

fn unwrap(event: &Element, facts: &mut Facts) {
    let mut found = false;
    let mut strange = has_words(event);
    for items in event.children() {
        let known = items.is("items", PUBSUB)
            && items.attr("node") == Some("urn:xmpp:mucsub:nodes:messages");
        strange |= !known || has_words(items);
        for item in items.children().filter(|_| known) {
            strange |= !item.is("item", PUBSUB) || has_words(item);
            for message in item.children().filter(|_| item.is("item", PUBSUB)) {
                strange |= !message.is("message", CLIENT);
                if message.is("message", CLIENT) {
                    found = true;
                    strange |= has_words(message);
                    message.children().for_each(|child| note(child, facts));
                }
            }
        }
    }
    facts.has_content |= strange || !found;
}

fn note(child: &Element, facts: &mut Facts) {
    let namespace = child.ns();
    facts.has_content |= holds_content(child);
    match (namespace.as_str(), child.name()) {
        ("urn:xmpp:ephemeral:0", "ephemeral") => note_timer(child.attr("timer"), facts),
        ("urn:xmpp:ephemeral:0", "i-want-out") => facts.wants_out = true,
        ("urn:xmpp:hints", "no-permanent-store" | "no-permanent-storage") => {
            facts.hints.no_permanent_store = true;
        }
        ("urn:xmpp:hints", "no-store" | "no-storage") => facts.hints.no_store = true,
        ("urn:xmpp:hints", "store") => facts.hints.store = true,
        ("jabber:x:expire", "x") => {
            facts.has_content = true;
            let mut of = Facts::default();
            note_timer(child.attr("seconds"), &mut of);
            let legacy = &mut facts.legacy;
            let seconds = of.timers.shortest_seconds;
            legacy.shortest_seconds = legacy.shortest_seconds.into_iter().chain(seconds).min();
            legacy.invalid += of.timers.invalid + of.timers.zero;
        }
        (AMP, "amp") => {
            facts.has_content = true;
            let is_report = child.attr("status").is_some();
            for rule in child.children().filter(|it| it.is("rule", AMP) && !is_report) {
                note_rule(rule, facts);
            }
        }
        (CLIENT, "body") => {}
        ("urn:ephemerd:0", "once") => facts.once = true,
        pair if QUIET.contains(&pair) => {}
        _ => facts.has_content = true,
    }
}

fn note_rule(rule: &Element, facts: &mut Facts) {
    let expires = rule.attr("condition") == Some("expire-at");
    if !expires || !["drop", "alert", "error"].map(Some).contains(&rule.attr("action")) {
        return;
    }
    let at = rule.attr("value").and_then(|it| chrono::DateTime::parse_from_rfc3339(it).ok());
    let legacy = &mut facts.legacy;
    match at.map(|it| it.with_timezone(&chrono::Utc)) {
        Some(at) => legacy.earliest = legacy.earliest.into_iter().chain([at]).min(),
        None => legacy.invalid += 1,
    }
}

/// In floating point, as Xabber does it; exact up to 2⁵³.
fn note_timer(text: Option<&str>, facts: &mut Facts) {
    let timers = &mut facts.timers;
    let text = text.unwrap_or_default().trim_matches([' ', '\t', '\r', '\n']);
    let decimal = text.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '+');
    match text.parse::<f64>().map(f64::ceil) {
        Ok(seconds) if decimal && seconds > 0.0 => {
            let seconds = seconds as u32;
            timers.valid += 1;
            timers.shortest_seconds = timers.shortest_seconds.into_iter().chain([seconds]).min();
        }
        Ok(0.0) if decimal => timers.zero += 1,
        _ => timers.invalid += 1,
    }
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn agrees_on_generated_stanzas(xml in stanza()) {
        let expected = reference(&xml);
        prop_assert!(expected.is_some(), "the generator makes readable stanzas: {xml}");
        prop_assert_eq!(read(&xml).ok(), expected, "{}", xml);
    }

    #[test]
    fn agrees_on_mutated_stanzas(xml in mutations(stanza())) {
        prop_assert_eq!(read(&xml).ok(), reference(&xml), "{}", xml);
    }

    #[test]
    fn the_order_of_children_does_not_matter(stanzas in shuffled()) {
        let (one, other) = stanzas;
        let without_id = |xml: &str| {
            let facts = read(xml).unwrap();
            Facts { last_stanza_id: None, ..facts }
        };
        prop_assert_eq!(without_id(&one), without_id(&other));
    }
}
