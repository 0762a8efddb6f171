//! What we send: the stream's header, requests and answers.

use std::collections::BTreeMap;

use quick_xml::escape::escape;
use xmpp_parsers::disco::DiscoInfoQuery;
use xmpp_parsers::stanza_error::{DefinedCondition, ErrorType};
use xmpp_parsers::stream_error::{self, StreamError};
use xmpp_parsers::{ns, ping::Ping};
use xso::AsXml;

use super::commands::{self, Desk, Reply};
use super::disco::{self, Answer};
use super::failure::NotXml;
use super::incoming::{Fault, Iq, Kind, Request};
use crate::words::Language;

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
    /// The language of the words in it, if there are any.
    #[xml(attribute = "xml:lang")]
    language: Option<&'static str>,
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
    #[xml(transparent)]
    DiscoInfo(DiscoInfoQuery),
}

/// A stanza error (RFC 6120, 8.3.2); xmpp-parsers' own type is in the client namespace.
#[derive(Debug, AsXml)]
#[xml(namespace = ns::COMPONENT, name = "error")]
pub(super) struct Error {
    #[xml(attribute = "type")]
    pub(super) kind: ErrorType,
    #[xml(child)]
    pub(super) condition: DefinedCondition,
    /// For the user.
    #[xml(child)]
    pub(super) text: Option<ErrorText>,
    /// What XEP-0050 says of it.
    #[xml(child)]
    pub(super) fault: Option<commands::Fault>,
}

#[derive(Debug, AsXml)]
#[xml(namespace = ns::XMPP_STANZAS, name = "text")]
pub(super) struct ErrorText {
    #[xml(attribute = "xml:lang")]
    language: &'static str,
    #[xml(text)]
    text: String,
}

impl From<(String, Language)> for ErrorText {
    fn from((text, language): (String, Language)) -> Self {
        Self { text, language: language.tag() }
    }
}

/// Whom an answer is for, and to what.
#[derive(Debug, Clone)]
pub(super) struct Head {
    from: String,
    pub(super) to: Option<String>,
    id: Option<String>,
}

impl Head {
    /// How long the request's id is, in bytes.
    pub(super) fn id_length(&self) -> usize {
        self.id.as_ref().map_or(0, String::len)
    }
}

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answered {
    Now(Vec<u8>),
    /// The desk has it when it is ready.
    Later,
    /// There is none: it is an answer itself, or ours would be [too long](MAX_ANSWER).
    Never,
}

/// Pings ourselves (XEP-0199). Request and answer pass through the server, so both prove that it is alive and
/// routing, and no other address is needed.
pub(super) fn ping(jid: &str) -> Option<Vec<u8>> {
    write(&Stanza {
        from: jid.to_owned(),
        to: Some(jid.to_owned()),
        id: Some("keep-alive".to_owned()),
        kind: "get",
        language: None,
        payload: Some(Payload::Ping(Ping)),
    })
}

/// Asks a host what it is (XEP-0030).
pub(super) fn ask_what_it_is(jid: &str, host: &str, id: &str) -> Option<Vec<u8>> {
    write(&Stanza {
        from: jid.to_owned(),
        to: Some(host.to_owned()),
        id: Some(id.to_owned()),
        kind: "get",
        language: None,
        payload: Some(Payload::DiscoInfo(DiscoInfoQuery { node: None })),
    })
}

/// The one answer to a request.
pub(super) fn answer(iq: &Iq, jid: &str, desk: &mut Desk<'_>) -> Answered {
    if iq.kind == Kind::Answer {
        return Answered::Never;
    }
    // A server closes the stream of a component that uses a name other than its own.
    let is_ours = |to: &&String| domain(to).eq_ignore_ascii_case(jid);
    let from = iq.to.as_ref().filter(is_ours).map_or(jid, String::as_str).to_owned();
    let head = Head { from, to: iq.from.clone(), id: iq.id.clone() };
    let bytes = match (decide(iq), &iq.request) {
        (Err(condition), _) => reply(head, Err(condition.into()), None),
        (Ok(()), Ok(Request::Command(command))) => {
            let language = Language::of(command.language().or(iq.language.as_deref()));
            match desk.execute(&head, command, language) {
                None => return Answered::Later,
                Some(answer) => self::command(head, answer, language),
            }
        }
        (Ok(()), Ok(request)) => {
            let answer = disco::answer(request, (iq, jid), desk);
            let has_words =
                matches!(answer, Ok(Some(Answer::DiscoItems(_) | Answer::DiscoInfo(_))));
            let language =
                (has_words && desk.is_open()).then(|| Language::of(iq.language.as_deref()));
            reply(head, answer.map_err(Error::from), language)
        }
        (Ok(()), Err(_)) => None,
    };
    bytes.map_or(Answered::Never, Answered::Now)
}

/// The answer to a command.
pub(super) fn command(
    head: Head,
    answer: Result<Reply, Error>,
    language: Language,
) -> Option<Vec<u8>> {
    reply(head, answer.map(|it| Some(Answer::Command(it))), Some(language))
}

fn reply(
    Head { from, to, id }: Head,
    answer: Result<Option<Answer>, Error>,
    language: Option<Language>,
) -> Option<Vec<u8>> {
    let (kind, payload) = match answer {
        Ok(answer) => ("result", answer.map(Payload::Answer)),
        Err(error) => ("error", Some(Payload::Error(error))),
    };
    write(&Stanza { from, to, id, kind, language: language.map(Language::tag), payload })
}

/// Whether it can be answered, after RFC 6120, 8.2.3, 8.3.3 and 8.4, and RFC 6121, 8.5.
fn decide(iq: &Iq) -> Result<(), DefinedCondition> {
    match (iq.kind, &iq.request) {
        (Kind::Invalid, _) | (_, Err(Fault::Malformed)) => Err(DefinedCondition::BadRequest),
        (_, Err(Fault::TooLarge)) => Err(DefinedCondition::PolicyViolation),
        (_, Err(Fault::Foreign)) => Err(DefinedCondition::ServiceUnavailable),
        (_, Err(Fault::Unimplemented)) => Err(DefinedCondition::FeatureNotImplemented),
        // There are no addresses below our domain.
        _ if iq.to.as_ref().is_some_and(|to| domain(to) != to) => {
            Err(DefinedCondition::ServiceUnavailable)
        }
        (Kind::Set, Ok(Request::Command(_))) => Ok(()),
        // A command is a set.
        (Kind::Get, Ok(Request::Command(_))) => Err(DefinedCondition::BadRequest),
        (Kind::Set | Kind::Answer, Ok(_)) => Err(DefinedCondition::FeatureNotImplemented),
        (Kind::Get, Ok(_)) => Ok(()),
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
        Self { kind, condition, text: None, fault: None }
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
        match answer(&iq, "c.example", &mut Desk::new(None)) {
            Answered::Now(bytes) => Some(String::from_utf8(bytes).unwrap().parse().unwrap()),
            Answered::Later | Answered::Never => None,
        }
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
            match answer(&iq, "c.example", &mut Desk::new(None)) {
                Answered::Now(bytes) => Some(bytes.len()),
                Answered::Later | Answered::Never => None,
            }
        };
        assert!(length(50_000).is_some_and(|length| (250_000..=MAX_ANSWER).contains(&length)));
        assert_eq!(length(60_000), None);
    }
}
