//! Stanzas of all shapes: relevant and other elements, in every spelling that XML allows for the same thing.

use proptest::{collection::vec, prelude::*, sample::select, string::string_regex};

/// Readable stanzas, most of them messages.
pub(super) fn stanza() -> impl Strategy<Value = String> {
    (root(), vec(child(), 0..6)).prop_map(|(root, children)| root.around(&children.concat()))
}

/// Two stanzas that differ only in the order of their children.
pub(super) fn shuffled() -> impl Strategy<Value = (String, String)> {
    let children =
        vec(child(), 0..6).prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle()));
    (root(), children)
        .prop_map(|(root, (one, other))| (root.around(&one.concat()), root.around(&other.concat())))
}

/// The same with a few characters removed, inserted or replaced, but never by a carriage return, which rxml
/// rejects in attributes.
pub(super) fn mutations(of: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let odd = "<>&;'\"=/: !-[]?x1\t\n\u{0}\u{b}\u{fffe}\u{e9}\u{feff}".chars().collect::<Vec<_>>();
    let mutation = (any::<prop::sample::Index>(), 0..3, select(odd));
    (of, vec(mutation, 1..4)).prop_map(|(xml, mutations)| {
        let mut chars: Vec<char> = xml.chars().collect();
        for (at, kind, c) in mutations {
            let at = at.index(chars.len().max(1));
            match kind {
                0 => chars.insert(at, c),
                _ if at >= chars.len() => {}
                1 => drop(chars.remove(at)),
                _ => chars[at] = c,
            }
        }
        chars.into_iter().collect()
    })
}

#[derive(Debug, Clone)]
struct Root {
    name: &'static str,
    xmlns: &'static str,
    kind: &'static str,
}

impl Root {
    fn around(&self, inner: &str) -> String {
        let Self { name, xmlns, kind } = self;
        format!("<{name}{xmlns} from='a@example.org/x'{kind}>{inner}</{name}>")
    }
}

fn root() -> impl Strategy<Value = Root> {
    let message = select(vec!["", " xmlns='jabber:client'", " xmlns=\"jabber:&#x63;lient\""])
        .prop_map(|xmlns| ("message", xmlns));
    let other = select(vec![
        ("c:message", " xmlns:c='jabber:client'"),
        ("message", " xmlns='jabber:server'"),
        ("presence", ""),
    ]);
    let kind = select(vec!["", " type='chat'", " type='error'", " type = \"groupchat\" "]);
    (prop_oneof![8 => message, 1 => other], kind).prop_map(|((name, xmlns), kind)| Root {
        name,
        xmlns,
        kind,
    })
}

/// Anything that may be in a message.
fn child() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => plain_child(),
        1 => wrapper(),
        1 => forwarded(),
    ]
}

fn plain_child() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => element("urn:xmpp:ephemeral:0", "ephemeral", attribute("timer", timer()), nothing()),
        1 => element("urn:xmpp:ephemeral:0", "i-want-out", nothing(), nothing()),
        2 => hint(),
        2 => text().prop_map(|text| format!("<body xmlns='jabber:client'>{text}</body>")),
        1 => element("urn:example:unknown", "poll", nothing(), text()),
        2 => quiet(),
        1 => room(),
        1 => element("urn:xmpp:sid:0", "stanza-id", stanza_id(), nothing()),
        1 => element("urn:xmpp:delay", "delay", attribute("stamp", Just("x".to_owned())), text()),
        1 => element("urn:ephemerd:0", "expired", attribute("until", until()), nothing()),
        1 => element("urn:ephemerd:0", "expired", nothing(), text()),
        1 => element("urn:ephemerd:0", "once", nothing(), text()),
        1 => element("jabber:x:expire", "x", attribute("seconds", timer()), nothing()),
        1 => rules(),
        1 => encrypted(),
        1 => text(),
    ]
}

/// Encrypted words, keys alone, and what only looks like them.
fn encrypted() -> BoxedStrategy<String> {
    let spaces = vec![
        "eu.siacs.conversations.axolotl",
        "urn:xmpp:omemo:1",
        "urn:xmpp:omemo:2",
        "urn:xmpp:openpgp:0",
    ];
    let names = select(vec!["encrypted", "openpgp"]);
    let inner = select(vec!["payload", "header"]);
    let all = (select(spaces.clone()), names, select(spaces), inner);
    all.prop_flat_map(|(space, name, inner_space, inner)| {
        let inside = prop_oneof![nothing(), element(inner_space, inner, nothing(), text())];
        element(space, name, nothing(), inside.boxed())
    })
    .boxed()
}

fn hint() -> BoxedStrategy<String> {
    let names = [
        "store",
        "no-store",
        "no-storage",
        "no-permanent-store",
        "no-permanent-storage",
        "no-copy",
    ];
    let names = select(names.to_vec());
    names.prop_flat_map(|name| element("urn:xmpp:hints", name, nothing(), nothing())).boxed()
}

/// Rules of XEP-0079, some of which say when a message expires.
fn rules() -> BoxedStrategy<String> {
    let conditions = select(vec!["expire-at", "expire-at", "deliver"]);
    let actions = select(vec!["drop", "alert", "error", "notify"]);
    let rule = (conditions, actions, until(), any::<bool>()).prop_flat_map(|it| {
        let (condition, action, value, known) = it;
        let space = if known { "http://jabber.org/protocol/amp" } else { "urn:example:unknown" };
        let attributes = format!(" condition='{condition}' action='{action}' value='{value}'");
        element(space, "rule", Just(attributes).boxed(), nothing())
    });
    let status = prop_oneof![4 => nothing(), 1 => Just(" status='alert'".to_owned()).boxed()];
    let inside = vec(rule, 0..3).prop_map(|it| it.concat());
    element("http://jabber.org/protocol/amp", "amp", status.boxed(), inside.boxed())
}

fn quiet() -> BoxedStrategy<String> {
    select(super::reference::QUIET.to_vec())
        .prop_flat_map(|(space, name)| element(space, name, nothing(), text()))
        .boxed()
}

/// What rooms put into their element, and what people put there.
fn room() -> BoxedStrategy<String> {
    let space = "http://jabber.org/protocol/muc#user";
    let inside = prop_oneof![
        Just(String::new()),
        Just("<status code='104'/>".to_owned()),
        Just("<item role='participant'><reason>why</reason></item>".to_owned()),
        Just("<item affiliation='member'/>".to_owned()),
        Just("<invite to='b@example.org'/>".to_owned()),
        Just("<decline to='b@example.org'><reason>no</reason></decline>".to_owned()),
        Just("<password>open</password>".to_owned()),
        Just("<status xmlns='urn:example:unknown'/>".to_owned()),
        text(),
    ];
    element(space, "x", nothing(), inside.boxed()).boxed()
}

/// ejabberd's MUC/Sub event, and near misses.
fn wrapper() -> BoxedStrategy<String> {
    let node = prop_oneof![
        4 => Just("urn:xmpp:mucsub:nodes:messages"),
        1 => Just("urn:xmpp:mucsub:nodes:subject"),
    ];
    let message = vec(prop_oneof![6 => plain_child(), 1 => nested_wrapper()], 0..4)
        .prop_map(|it| format!("<message xmlns='jabber:client'>{}</message>", it.concat()));
    let item = prop_oneof![8 => message, 1 => plain_child(), 1 => nothing()];
    (node, vec(item, 0..3), vec(plain_child(), 0..2)).prop_map(event).boxed()
}

fn nested_wrapper() -> impl Strategy<Value = String> {
    let message =
        plain_child().prop_map(|it| format!("<message xmlns='jabber:client'>{it}</message>"));
    message.prop_map(|it| event(("urn:xmpp:mucsub:nodes:messages", vec![it], Vec::new())))
}

fn event((node, items, beside): (&str, Vec<String>, Vec<String>)) -> String {
    let beside = beside.concat();
    let items: String = items.iter().map(|it| format!("<item>{it}</item>\n")).collect();
    format!(
        "<event xmlns='http://jabber.org/protocol/pubsub#event'>\
         <items node='{node}'>{items}</items>{beside}</event>"
    )
}

fn forwarded() -> impl Strategy<Value = String> {
    vec(plain_child(), 0..3).prop_map(|it| {
        let message = it.concat();
        format!(
            "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'>{message}\
             </message></forwarded>"
        )
    })
}

fn nothing() -> BoxedStrategy<String> {
    Just(String::new()).boxed()
}

fn attribute(
    name: &'static str,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    value.prop_map(move |value| format!(" {name}='{value}'"))
}

fn stanza_id() -> impl Strategy<Value = String> {
    let id = string_regex("[a-z]{1,3}").unwrap();
    (select(vec![" by='b@example.org'", " by='&#x62;&amp;c'", ""]), attribute("id", id))
        .prop_map(|(by, id)| format!("{by}{id}"))
}

fn until() -> impl Strategy<Value = String> {
    let times = vec!["2026-12-22T04:15:00Z", "2026-12-22T05:15:00.5+01:00", "tomorrow", ""];
    select(times).prop_map(str::to_owned)
}

/// Values of a timer, small enough for the reference's floating point.
fn timer() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u32>().prop_map(|it| it.to_string()),
        (0_u64..1 << 40).prop_map(|it| it.to_string()),
        (0..100_u32, 0..100_u32).prop_map(|(whole, rest)| format!("{whole}.{rest}")),
        string_regex("[ \t\n]?[+]?[0-9]{0,3}[.]?[0-9]{0,3}( |&#32;|&#10;)?").unwrap(),
        string_regex("[-+.0-9 e&#x]{0,4}").unwrap().prop_map(|it| it.replace('&', "&amp;")),
    ]
}

/// Text with references, CDATA and white space.
fn text() -> BoxedStrategy<String> {
    let part = prop_oneof![
        select(vec!["", " ", "\r\n", "\t", "&amp;", "&#65;", "&#x20;", "&#13;", "&lt;", "]]&gt;"])
            .prop_map(str::to_owned),
        string_regex("[a-z\u{e4}\u{1f44b}]{0,3}").unwrap(),
        string_regex("[a-z<&\\] ]{0,3}").unwrap().prop_map(|it| format!("<![CDATA[{it}]]>")),
    ];
    prop_oneof![Just(String::new()), vec(part, 0..4).prop_map(|it| it.concat())].boxed()
}

/// One element in one of several equivalent spellings.
fn element(
    namespace: &'static str,
    name: &'static str,
    attributes: impl Strategy<Value = String> + 'static,
    inner: BoxedStrategy<String>,
) -> BoxedStrategy<String> {
    (attributes, inner, 0..6)
        .prop_map(move |(attributes, inner, spelling)| match spelling {
            0 if inner.is_empty() => format!("<{name} xmlns='{namespace}'{attributes}/>"),
            1 => format!("<p:{name} xmlns:p='{namespace}'{attributes}>{inner}</p:{name}>"),
            2 => format!("<{name}{attributes}\n xmlns = \"{namespace}\" >{inner}</{name}\n>"),
            3 => {
                let (first, rest) = namespace.split_at(1);
                let code = u32::from(first.as_bytes()[0]);
                format!("<{name} xmlns='&#{code};{rest}'{attributes}>{inner}</{name}>")
            }
            4 => format!(
                "<p:{name}{attributes} xmlns:p='{namespace}' xmlns:q='{namespace}' q:timer='1'>\
                 {inner}</p:{name}>"
            ),
            _ => format!("<{name}{attributes} xmlns='{namespace}'>{inner}</{name}>"),
        })
        .boxed()
}
