//! A placeholder is valid XML whatever the original contained, and is recognised again.

use chrono::DateTime;
use minidom::Element;
use proptest::prelude::*;

use super::generate::stanza;
use crate::{
    model::{LATEST, Timestamp},
    stanza::{blank_queued, parties, placeholder, read},
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn until() -> Timestamp {
    at("2026-12-22T04:15:00Z")
}

const EXPIRED: &str = "<expired xmlns='urn:ephemerd:0' until='2026-12-22T04:15:00Z'/>";

#[test]
fn a_placeholder_keeps_from_to_and_type() {
    let row = "<message xml:lang='en' type='chat' id='k02-eph' to='bob@localhost' \
               from='alice@localhost/a1'><body>secret</body></message>";
    let root = "<message from='alice@localhost/a1' to='bob@localhost' type='chat'>";
    assert_eq!(placeholder(row, until()), format!("{root}{EXPIRED}</message>"));
}

#[test]
fn a_placeholder_has_xmlns_where_the_row_has_it() {
    let row = "<message to='b@c' xmlns='jabber:client'><body>secret</body></message>";
    let root = "<message xmlns='jabber:client' to='b@c'>";
    assert_eq!(placeholder(row, until()), format!("{root}{EXPIRED}</message>"));
    for row in
        ["<message xmlns='urn:a' to='b@c'/>", "<c:message xmlns:c='jabber:client' to='b@c'/>"]
    {
        assert_eq!(placeholder(row, until()), format!("<message to='b@c'>{EXPIRED}</message>"));
    }
}

#[test]
fn a_placeholder_needs_no_more_than_the_start_tag() {
    let row = "<message from='a>b' to=\"c'd\" type='chat'><body>secret";
    let root = "<message from='a&gt;b' to='c&apos;d' type='chat'>";
    assert_eq!(placeholder(row, until()), format!("{root}{EXPIRED}</message>"));
    assert_eq!(placeholder("<message from='a'/", until()), format!("<message>{EXPIRED}</message>"));
}

#[test]
fn a_placeholder_takes_nothing_from_what_is_no_message() {
    let bare = format!("<message>{EXPIRED}</message>");
    let rows = [
        "",
        "words",
        "<>",
        "<presence from='a'/>",
        "<messages from='a'/>",
        "<message from='a' from='b'>",
        "<message from='&nope;'>",
        "<message from='a'to='b'>",
        "<message from=a>",
        "<message><message from='a'>",
    ];
    for row in rows {
        assert_eq!(placeholder(row, until()), bare, "{row}");
    }
}

#[test]
fn an_attribute_with_forbidden_characters_is_left_out() {
    let row = "<message from='a\u{1}b' to='c' type='\u{ffff}'>";
    assert_eq!(placeholder(row, until()), format!("<message to='c'>{EXPIRED}</message>"));
}

#[test]
fn the_parties_are_read_as_far_as_they_can_be() {
    assert_eq!(parties("<message to='b&amp;c' from=\"a'\"><body>"), ["a'", "b&c"]);
    assert_eq!(parties("<message to='b'>"), ["b"]);
    assert!(parties("<message to='b'").is_empty());
}

#[test]
fn until_is_rounded_up_to_a_second_that_rfc_3339_can_say() {
    let times = [
        ("2026-12-22T04:15:00Z", "2026-12-22T04:15:00Z"),
        ("2026-12-22T04:14:59.000000001Z", "2026-12-22T04:15:00Z"),
        ("2026-12-31T23:59:59.9Z", "2027-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.5Z", "9999-12-31T23:59:59Z"),
        ("+12000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        ("-0042-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ];
    for (until, written) in times {
        let blank = placeholder("", at(until));
        assert!(blank.contains(&format!("until='{written}'")), "{until}: {blank}");
        assert_eq!(read(&blank).unwrap().expired_until, Some(at(written)));
    }
}

#[test]
fn a_queue_row_keeps_its_id_delays_and_stanza_ids() {
    let row = "<message xmlns='jabber:client' id='k2' from='a@b' to='c@d' type='chat'>\
               <stanza-id by='c@d' id='forged' xmlns='urn:xmpp:sid:0'>secret</stanza-id>\
               <body>secret</body><x><delay xmlns='urn:xmpp:delay' stamp='no'/></x>\
               <ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>\
               <d:delay xmlns:d='urn:xmpp:delay' from='b' stamp='2026-11-22T04:14:00Z' x='y'>Offline</d:delay>\
               <stanza-id xmlns='urn:xmpp:sid:0' id='1795318458217472' by='c@d'/></message>";
    let expected = format!(
        "<message xmlns='jabber:client' from='a@b' to='c@d' type='chat' id='k2'>{EXPIRED}\
         <stanza-id xmlns='urn:xmpp:sid:0' by='c@d' id='forged'/>\
         <delay xmlns='urn:xmpp:delay' from='b' stamp='2026-11-22T04:14:00Z'/>\
         <stanza-id xmlns='urn:xmpp:sid:0' by='c@d' id='1795318458217472'/></message>"
    );
    assert_eq!(blank_queued(row, until()), expected);
    let facts = read(&expected).unwrap();
    assert_eq!(facts.expired_until, Some(until()));
    assert_eq!(facts.last_stanza_id.unwrap().id, "1795318458217472");
}

#[test]
fn an_unreadable_queue_row_becomes_a_placeholder_with_its_id() {
    let row = "<message id='k2' from='a@b'><stanza-id xmlns='urn:xmpp:sid:0' by='c' id='1'/><body>";
    assert_eq!(
        blank_queued(row, until()),
        format!("<message from='a@b' id='k2'>{EXPIRED}</message>")
    );
}

#[test]
fn only_a_bare_placeholder_counts_as_one() {
    let delay = "<delay xmlns='urn:xmpp:delay' stamp='x'/>";
    let not = [
        format!("<message>{EXPIRED}<body/></message>"),
        format!("<message>{EXPIRED}words</message>"),
        format!("<message>{EXPIRED}{EXPIRED}</message>"),
        format!("<message><x>{EXPIRED}</x></message>"),
        format!("<message>{delay}</message>"),
        EXPIRED.replace("/>", ">words</expired>"),
        "<message><expired xmlns='urn:ephemerd:0' until='soon'/></message>".to_owned(),
        "<message><expired xmlns='urn:ephemerd:0'/></message>".to_owned(),
        "<message><expired xmlns='urn:ephemerd:0' until='2026-12-22T04:15:00Z'>words</expired></message>".to_owned(),
        "<message><expired xmlns='urn:ephemerd:0' until='2026-12-22T04:15:00Z'><a/></expired></message>".to_owned(),
    ];
    for xml in &not {
        assert_eq!(read(xml).unwrap().expired_until, None, "{xml}");
    }
    let is = format!("<message>{delay} {EXPIRED}\n</message>");
    assert_eq!(read(&is).unwrap().expired_until, Some(until()));
}

/// An attribute's value as a server writes it.
fn written(value: &str) -> String {
    value.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;").replace('\n', "&#10;")
}

/// How a reader sees it: line ends and tabs normalised, `None` if it has a forbidden character.
fn as_read(value: &str) -> Option<String> {
    let allowed = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    let normal = || value.replace("\r\n", " ").replace(['\t', '\r'], " ");
    value.chars().all(allowed).then(normal)
}

/// The placeholder as another parser reads it; that one requires a namespace at the root.
fn parsed(blank: &str) -> Option<Element> {
    let named = blank.replacen("<message", "<message xmlns='jabber:client'", 1);
    Element::from_reader(named.as_bytes()).ok()
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn it_is_valid_whatever_the_jids_hold(from in any::<String>(), to in "\\PC*") {
        let row = format!("<message from='{}' to='{}'><b/>", written(&from), written(&to));
        let root = parsed(&placeholder(&row, until())).unwrap();
        prop_assert_eq!(root.attr("from").map(str::to_owned), as_read(&from));
        prop_assert_eq!(root.attr("to").map(str::to_owned), as_read(&to));
    }

    #[test]
    fn it_is_valid_whatever_is_left_of_the_row(
        from in any::<String>(), cut in any::<prop::sample::Index>()
    ) {
        let row = format!("<message from='{}' to='b@c'><body/></message>", written(&from));
        let cut: String = row.chars().take(cut.index(row.chars().count())).collect();
        for original in [cut, format!("<message from='{from}'>"), from] {
            let blank = placeholder(&original, until());
            prop_assert!(parsed(&blank).is_some());
            prop_assert_eq!(read(&blank).unwrap().expired_until, Some(until()));
        }
    }

    #[test]
    fn no_words_survive(xml in stanza(), seconds in 0..LATEST.timestamp()) {
        let until = DateTime::from_timestamp(seconds, 0).unwrap();
        for blank in [placeholder(&xml, until), blank_queued(&xml, until)] {
            let facts = read(&blank).unwrap();
            prop_assert_eq!(facts.expired_until, Some(until));
            prop_assert!(!facts.has_content);
        }
        let queued = read(&blank_queued(&xml, until)).unwrap();
        let original = read(&xml).unwrap();
        if !original.not_a_message {
            prop_assert_eq!(queued.last_stanza_id, original.last_stanza_id);
        }
    }
}
