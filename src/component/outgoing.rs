//! What we send: the stream's header, requests and answers.

use std::collections::BTreeMap;

use quick_xml::escape::escape;
use xmpp_parsers::stanza_error::{DefinedCondition, ErrorType};
use xmpp_parsers::stream_error::{self, StreamError};
use xmpp_parsers::{ns, ping::Ping};
use xso::AsXml;

use super::disco::{self, Answer};
use super::failure::NotXml;
use super::incoming::{Fault, Iq, Kind};

/// Longer answers are not sent. They contain the sender's address and id, which can be as long as a stanza,
/// and a server closes a stream that sends it more than it accepts.
const MAX_ANSWER: usize = 256 << 10;

/// Closes our side of the stream.
pub(super) const END: &[u8] = b"</stream:stream>";

/// Reports to the server what it did wrong (RFC 6120, 4.9.3); [`END`] must follow.
pub(super) fn stream_error(fault: NotXml) -> Vec<u8> {
    let condition = match fault {
        NotXml::IllFormed => stream_error::DefinedCondition::NotWellFormed,
        NotXml::Restricted => stream_error::DefinedCondition::RestrictedXml,
        NotXml::LongHeader => stream_error::DefinedCondition::PolicyViolation,
    };
    let error = StreamError { condition, texts: BTreeMap::new(), application_specific: vec![] };
    xso::to_vec(&error).unwrap_or_default()
}

/// Opens our side of the stream (XEP-0114, 3).
pub(super) fn header(jid: &str) -> Vec<u8> {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}' to='{}' version='1.0'>",
        ns::COMPONENT,
        ns::STREAM,
        escape(jid)
    )
    .into_bytes()
}

/// An `<iq/>` from us; xmpp-parsers' own type is in the client namespace.
#[derive(AsXml)]
#[xml(namespace = ns::COMPONENT, name = "iq")]
struct Stanza {
    #[xml(attribute)]
    from: String,
    #[xml(attribute)]
    to: Option<String>,
    #[xml(attribute)]
    id: Option<String>,
    #[xml(attribute = "type")]
    kind: &'static str,
    #[xml(child)]
    payload: Option<Payload>,
}

#[derive(AsXml)]
#[xml()]
enum Payload {
    #[xml(transparent)]
    Answer(Answer),
    #[xml(transparent)]
    Error(Error),
    #[xml(transparent)]
    Ping(Ping),
}

/// A stanza error (RFC 6120, 8.3.2); xmpp-parsers' own type is in the client namespace.
#[derive(AsXml)]
#[xml(namespace = ns::COMPONENT, name = "error")]
struct Error {
    #[xml(attribute = "type")]
    kind: ErrorType,
    #[xml(child)]
    condition: DefinedCondition,
}

/// Pings ourselves (XEP-0199). Request and answer pass through the server, so both prove that it is alive and
/// routing, and no other address is needed.
pub(super) fn ping(jid: &str) -> Option<Vec<u8>> {
    write(&Stanza {
        from: jid.to_owned(),
        to: Some(jid.to_owned()),
        id: Some("keep-alive".to_owned()),
        kind: "get",
        payload: Some(Payload::Ping(Ping)),
    })
}

/// The one answer to a request. `None` if there is nothing to answer, because this is itself an answer, or if
/// the answer would be [too long](MAX_ANSWER).
pub(super) fn answer(iq: Iq, jid: &str) -> Option<Vec<u8>> {
    if iq.kind == Kind::Answer {
        return None;
    }
    let (kind, payload) = match decide(&iq) {
        Ok(answer) => ("result", answer.map(Payload::Answer)),
        Err(condition) => ("error", Some(Payload::Error(condition.into()))),
    };
    // A server closes the stream of a component that uses a name other than its own.
    let is_ours = |to: &String| domain(to).eq_ignore_ascii_case(jid);
    let from = iq.to.filter(is_ours).unwrap_or_else(|| jid.to_owned());
    write(&Stanza { from, to: iq.from, id: iq.id, kind, payload })
}

/// Which answer it is, after RFC 6120, 8.2.3, 8.3.3 and 8.4, and RFC 6121, 8.5.
fn decide(iq: &Iq) -> Result<Option<Answer>, DefinedCondition> {
    match (iq.kind, &iq.request) {
        (Kind::Invalid, _) | (_, Err(Fault::Malformed)) => Err(DefinedCondition::BadRequest),
        (_, Err(Fault::TooLarge)) => Err(DefinedCondition::PolicyViolation),
        (_, Err(Fault::Foreign)) => Err(DefinedCondition::ServiceUnavailable),
        (_, Err(Fault::Unimplemented)) => Err(DefinedCondition::FeatureNotImplemented),
        // There are no addresses below our domain.
        _ if iq.to.as_ref().is_some_and(|to| domain(to) != to) => {
            Err(DefinedCondition::ServiceUnavailable)
        }
        (Kind::Set | Kind::Answer, Ok(_)) => Err(DefinedCondition::FeatureNotImplemented),
        (Kind::Get, Ok(request)) => disco::answer(request),
    }
}

/// The domain of a JID (RFC 7622, 3.1).
fn domain(jid: &str) -> &str {
    let bare = jid.split_once('/').map_or(jid, |(bare, _)| bare);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

impl From<DefinedCondition> for Error {
    fn from(condition: DefinedCondition) -> Self {
        let kind = match condition {
            DefinedCondition::BadRequest | DefinedCondition::PolicyViolation => ErrorType::Modify,
            _ => ErrorType::Cancel,
        };
        Self { kind, condition }
    }
}

fn write(stanza: &Stanza) -> Option<Vec<u8>> {
    xso::to_vec(stanza).ok().filter(|bytes| bytes.len() <= MAX_ANSWER)
}

#[cfg(test)]
mod tests {
    use minidom::Element;

    use super::super::incoming::{Incoming, tests::parse};
    use super::*;

    const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

    /// What we answer, as a tree.
    fn ask(text: &str) -> Option<Element> {
        let Incoming::Iq(iq) = parse(text) else { panic!("no iq: {text}") };
        answer(iq, "c.example").map(|bytes| String::from_utf8(bytes).unwrap().parse().unwrap())
    }

    fn expect(text: &str, expected: &str) {
        let iq = format!("<iq xmlns='jabber:component:accept' {expected}");
        assert_eq!(ask(text), Some(iq.parse().unwrap()), "{text}");
    }

    fn condition(text: &str) -> (String, String) {
        let answer = ask(text).unwrap();
        assert_eq!(answer.attr("type"), Some("error"), "{text}");
        let error = answer.get_child("error", ns::COMPONENT).unwrap();
        let condition = error.children().next().unwrap();
        assert_eq!(condition.ns(), ns::XMPP_STANZAS);
        (error.attr("type").unwrap().to_owned(), condition.name().to_owned())
    }

    #[test]
    fn the_header_names_us_whatever_the_name() {
        let header = String::from_utf8(header("a'b&c")).unwrap();
        assert!(header.contains(" to='a&apos;b&amp;c' "), "{header}");
    }

    #[test]
    fn what_we_know_is_answered() {
        let head = "<iq from='a@b/c' to='c.example' id='1' type='get'>";
        let back = "from='c.example' to='a@b/c' id='1' type='result'";
        expect(&format!("{head}{PING}</iq>"), &format!("{back}/>"));
        expect(
            &format!("{head}<query xmlns='jabber:iq:version'/></iq>"),
            &format!(
                "{back}><query xmlns='jabber:iq:version'><name>ephemerd</name>\
                 <version>{}</version></query></iq>",
                env!("CARGO_PKG_VERSION")
            ),
        );
        expect(
            &format!("{head}<query xmlns='http://jabber.org/protocol/disco#items'/></iq>"),
            &format!("{back}><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"),
        );
        expect(
            &format!("{head}<query xmlns='http://jabber.org/protocol/disco#info'/></iq>"),
            &format!(
                "{back}><query xmlns='http://jabber.org/protocol/disco#info'>\
                 <identity category='component' type='generic' name='ephemerd'/>\
                 <feature var='http://jabber.org/protocol/disco#info'/>\
                 <feature var='http://jabber.org/protocol/disco#items'/>\
                 <feature var='jabber:iq:version'/><feature var='urn:xmpp:ping'/></query></iq>"
            ),
        );
    }

    #[test]
    fn what_we_do_not_know_gets_the_error_that_the_rfc_names() {
        for (rest, kind, name) in [
            ("type='get'/>", "modify", "bad-request"),
            ("type='set'><x xmlns='a'/><x xmlns='a'/></iq>", "modify", "bad-request"),
            ("type='wibble'><ping xmlns='urn:xmpp:ping'/></iq>", "modify", "bad-request"),
            ("><ping xmlns='urn:xmpp:ping'/></iq>", "modify", "bad-request"),
            ("type='get'><x xmlns='a'/></iq>", "cancel", "service-unavailable"),
            ("type='set'><ping xmlns='urn:xmpp:ping'/></iq>", "cancel", "feature-not-implemented"),
            ("type='get'><pong xmlns='urn:xmpp:ping'/></iq>", "cancel", "feature-not-implemented"),
            (
                "type='get'><query xmlns='http://jabber.org/protocol/disco#info' node='n'/></iq>",
                "cancel",
                "item-not-found",
            ),
        ] {
            let expected = (kind.to_owned(), name.to_owned());
            assert_eq!(condition(&format!("<iq from='a' to='c.example' id='1' {rest}")), expected);
        }
        for to in ["u@c.example", "c.example/r", "u@c.example/r@s"] {
            let expected = ("cancel".to_owned(), "service-unavailable".to_owned());
            let text = format!("<iq from='a' to='{to}' type='get'>{PING}</iq>");
            assert_eq!(condition(&text), expected);
            assert_eq!(ask(&text).unwrap().attr("from"), Some(to));
        }
    }

    #[test]
    fn answers_are_not_answered() {
        for kind in ["result", "error"] {
            assert_eq!(ask(&format!("<iq from='a' id='1' type='{kind}'>{PING}</iq>")), None);
        }
    }

    #[test]
    fn we_never_speak_for_another_name() {
        for to in ["to='d.example'", "to='c.example@d.example'", "to=''", ""] {
            let expected = ask(&format!("<iq {to} type='get'/>")).unwrap();
            assert_eq!(expected.attr("from"), Some("c.example"), "{to}");
        }
        let spelt = ask("<iq to='C.Example' type='get'/>").unwrap();
        assert_eq!(spelt.attr("from"), Some("C.Example"));
    }

    #[test]
    fn an_answer_never_grows_beyond_its_bound() {
        let length = |quotes: usize| {
            let text = format!("<iq id=\"{}\" type='get'/>", "'".repeat(quotes));
            let Incoming::Iq(iq) = parse(&text) else { panic!() };
            answer(iq, "c.example").map(|bytes| bytes.len())
        };
        assert!(length(50_000).is_some_and(|length| (250_000..=MAX_ANSWER).contains(&length)));
        assert_eq!(length(60_000), None);
    }
}
