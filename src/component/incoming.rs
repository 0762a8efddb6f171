//! What the server sent: the bytes of one element → what it asks for.
//!
//! Each element gets its own parser, so that a broken one affects nothing else and deep ones cost nothing.
//! Payloads are read with xmpp-parsers' types; stanzas are not, because those build trees.

use rxml::{AttrMap, Event, Namespace, Parse, Parser, WithOptions};
use xmpp_parsers::disco::{DiscoInfoQuery, DiscoItemsQuery};
use xmpp_parsers::stream_error::DefinedCondition;
use xmpp_parsers::{ns, ping::Ping, version::VersionQuery};
use xso::{Context, FromEventsBuilder, FromXml};

use super::commands::{COMMANDS, Command};
use super::framer::Element;
use super::outline::{self, COMPANION, Outline};

/// One element of the stream.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The server accepts us.
    Handshake,
    /// The server closes the stream, for this reason if it can be read.
    StreamError(Option<DefinedCondition>),
    /// A request, or an answer to one.
    Iq(Iq),
    /// A message with any content.
    Message,
    /// A message that is, or claims to be, a notice from a companion module.
    Notice(Notice),
    /// A presence with any content.
    Presence,
    /// Unknown to the component protocol, or unreadable.
    Unknown,
}

/// The relevant part of an `<iq/>` (RFC 6120, 8.2.3).
#[derive(Debug)]
pub(super) struct Iq {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) id: Option<String>,
    /// The language of whoever asks.
    pub(super) language: Option<String>,
    pub(super) kind: Kind,
    /// What is requested, or why that is unknown.
    pub(super) request: Result<Request, Fault>,
    /// An answer's payload.
    pub(super) answer: Option<Outline>,
}

/// The relevant part of a `<message/>` with a notice.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// The message's type.
    pub(super) kind: Option<String>,
    pub(super) outline: Outline,
}

/// The type of an `<iq/>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    Set,
    /// `result` or `error`.
    Answer,
    /// Missing, or not known to the RFC.
    Invalid,
}

/// The payloads that we know.
#[derive(Debug, PartialEq, FromXml)]
#[xml()]
pub(super) enum Request {
    #[xml(transparent)]
    DiscoInfo(DiscoInfoQuery),
    #[xml(transparent)]
    DiscoItems(DiscoItemsQuery),
    #[xml(transparent)]
    Ping(Ping),
    #[xml(transparent)]
    Version(VersionQuery),
    #[xml(transparent)]
    Command(Command),
}

/// Why a request is not one that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not exactly one payload, an invalid one, or not XML.
    Malformed,
    /// The payload's namespace is not one of ours.
    Foreign,
    /// The payload's namespace is known, its name is not.
    Unimplemented,
    /// Longer or deeper than we read.
    TooLarge,
}

/// The namespaces of [`Request`].
const KNOWN: [&str; 5] = [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::VERSION, COMMANDS];

/// Reads one element in the scope of the stream's `header`.
pub(super) fn read(header: &[u8], element: &Element) -> Incoming {
    let mut events = Events::new(header, &element.bytes);
    let Some(Event::StartElement(_, (namespace, name), attributes)) = events.next() else {
        return Incoming::Unknown;
    };
    match (namespace.as_str(), name.as_str()) {
        (ns::COMPONENT, "iq") => Incoming::Iq(Iq::read(attributes, events, element.is_cut)),
        (ns::COMPONENT, "message") => read_message(attributes, events, element),
        (ns::COMPONENT, "presence") => Incoming::Presence,
        (ns::COMPONENT, "handshake") => Incoming::Handshake,
        (ns::STREAM, "error") => Incoming::StreamError(read_condition(events)),
        _ => Incoming::Unknown,
    }
}

/// The stream header's `id` attribute, if it is a header at all.
pub(super) fn read_stream_id(header: &[u8]) -> Option<String> {
    let mut events = Events::new(&[], header);
    events.find_map(|event| match event {
        Event::StartElement(_, (namespace, name), mut attributes) => {
            let is_stream = namespace == ns::STREAM && name == "stream";
            is_stream.then(|| take(&mut attributes, "id").unwrap_or_default())
        }
        _ => None,
    })
}

/// Besides the condition there may be a text and server-specific elements; they do not matter.
fn read_condition(mut events: Events<'_>) -> Option<DefinedCondition> {
    events.find_map(|event| match event {
        Event::StartElement(_, name, attributes) => {
            let mut builder =
                DefinedCondition::from_events(name, attributes, &Context::empty()).ok()?;
            builder
                .feed(Event::EndElement(rxml::parser::EventMetrics::zero()), &Context::empty())
                .ok()?
        }
        _ => None,
    })
}

fn take(attributes: &mut AttrMap, name: &str) -> Option<String> {
    attributes.remove(Namespace::none(), name)
}

/// A message's children are only read if our namespace occurs at all.
fn read_message(mut attributes: AttrMap, events: Events<'_>, element: &Element) -> Incoming {
    let name = COMPANION.as_bytes();
    if element.is_cut || !element.bytes.windows(name.len()).any(|bytes| bytes == name) {
        return Incoming::Message;
    }
    let is_notice = |namespace: &str, name: &str| {
        const NOTICES: [&str; 6] =
            ["archived", "drained", "undelivered", "delivered", "remembered", "read"];
        namespace == COMPANION && NOTICES.contains(&name)
    };
    match outline::read(events, is_notice) {
        Some(outline) => Incoming::Notice(Notice {
            from: take(&mut attributes, "from"),
            to: take(&mut attributes, "to"),
            kind: take(&mut attributes, "type"),
            outline,
        }),
        None => Incoming::Message,
    }
}

impl Iq {
    fn read(mut attributes: AttrMap, events: Events<'_>, is_cut: bool) -> Self {
        let kind = take(&mut attributes, "type");
        let is_error = kind.as_deref() == Some("error");
        let kind = match kind.as_deref() {
            Some("get") => Kind::Get,
            Some("set") => Kind::Set,
            Some("result" | "error") => Kind::Answer,
            _ => Kind::Invalid,
        };
        let (request, answer) = match kind {
            _ if is_cut => (Err(Fault::TooLarge), None),
            // An error may quote the request first.
            Kind::Answer => {
                let is_payload = |_: &str, name: &str| !is_error || name == "error";
                (Err(Fault::Malformed), outline::read(events, is_payload))
            }
            _ => (read_payload(events), None),
        };
        Self {
            from: take(&mut attributes, "from"),
            to: take(&mut attributes, "to"),
            id: take(&mut attributes, "id"),
            language: attributes.remove(Namespace::xml(), "lang"),
            kind,
            request,
            answer,
        }
    }
}

/// Reads to the end of the `<iq/>`, because a second payload invalidates the first.
fn read_payload(events: Events<'_>) -> Result<Request, Fault> {
    let mut request = Err(Fault::Malformed);
    let mut payload = None;
    let (mut depth, mut payloads) = (0, 0);
    for event in events {
        match event {
            Event::EndElement(_) if depth == 0 => {
                return if payloads == 1 { request } else { Err(Fault::Malformed) };
            }
            Event::StartElement(_, name, attributes) if depth == 0 => {
                depth = 1;
                payloads += 1;
                let known = KNOWN.contains(&name.0.as_str());
                payload = Request::from_events(name, attributes, &Context::empty()).ok();
                request = match (&payload, known) {
                    (Some(_), _) => Err(Fault::Malformed),
                    (None, true) => Err(Fault::Unimplemented),
                    (None, false) => Err(Fault::Foreign),
                };
                continue;
            }
            Event::StartElement(..) => depth += 1,
            Event::EndElement(_) => depth -= 1,
            Event::Text(..) | Event::XmlDeclaration(..) => {}
        }
        if let Some(mut builder) = payload.take() {
            match builder.feed(event, &Context::empty()) {
                Ok(None) => payload = Some(builder),
                Ok(Some(complete)) => request = Ok(complete),
                Err(_) => {}
            }
        }
    }
    Err(Fault::Malformed)
}

/// The parser's events for one element, until its end or its first error.
struct Events<'a> {
    parser: Parser,
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// `header` puts the stream's namespaces into scope; its own events are skipped.
    fn new(header: &[u8], element: &'a [u8]) -> Self {
        // The framer limits the bytes; the parser's own limit would reject long attributes, and it allocates
        // that much in advance.
        let options = rxml::Options {
            max_token_length: header.len().max(element.len()),
            ..Default::default()
        };
        let mut parser = Parser::with_options(options);
        let mut before = header;
        while let Ok(Some(_)) = parser.parse(&mut before, false) {}
        Self { parser, rest: element }
    }
}

impl Iterator for Events<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.parser.parse(&mut self.rest, false).ok().flatten()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::component) const HEADER: &str = "<?xml version='1.0'?><stream:stream \
        xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' \
        xmlns:i='jabber:component:accept' from='c.example' id='s&amp;1'>";

    pub(in crate::component) fn parse(text: &str) -> Incoming {
        parse_cut(text, false)
    }

    fn parse_cut(text: &str, is_cut: bool) -> Incoming {
        read(HEADER.as_bytes(), &Element { bytes: text.into(), is_cut })
    }

    fn request(payload: &str) -> Result<Request, Fault> {
        let Incoming::Iq(iq) = parse(&format!("<iq>{payload}</iq>")) else { panic!("{payload}") };
        iq.request
    }

    #[test]
    fn the_stream_id_is_read_from_the_header() {
        assert_eq!(read_stream_id(HEADER.as_bytes()).as_deref(), Some("s&1"));
        let none = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>";
        assert_eq!(read_stream_id(none.as_bytes()).as_deref(), Some(""));
        for other in ["<stream:stream id='1'>", "<stream id='1'>", "<html>", "<a b>", ""] {
            assert_eq!(read_stream_id(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn elements_are_known_by_namespace_and_name() {
        let names = |text: &str| match parse(text) {
            Incoming::Handshake => "handshake",
            Incoming::StreamError(_) => "error",
            Incoming::Iq(_) => "iq",
            Incoming::Message => "message",
            Incoming::Notice(_) => "notice",
            Incoming::Presence => "presence",
            Incoming::Unknown => "unknown",
        };
        assert_eq!(names("<handshake/>"), "handshake");
        assert_eq!(names("<i:iq/>"), "iq");
        assert_eq!(names("<message><![CDATA[x]]></message>"), "message");
        assert_eq!(
            names("<presence type='wibble'><priority>many</priority></presence>"),
            "presence"
        );
        assert_eq!(names("<stream:error/>"), "error");
        assert_eq!(names("<error/>"), "unknown");
        assert_eq!(names("<iq xmlns='jabber:client'/>"), "unknown");
        assert_eq!(names("<stream:features/>"), "unknown");
        assert_eq!(names("<undeclared:iq/>"), "unknown");
        assert_eq!(names("<iq a='1' a='2'/>"), "unknown");
        assert_eq!(names("<iq a='&nbsp;'/>"), "unknown");
    }

    #[test]
    fn a_stream_error_tells_its_condition() {
        const TEXT: &str = "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>no</text>";
        const CONFLICT: &str = "<conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>";
        let condition =
            |children: &str| match parse(&format!("<stream:error>{children}</stream:error>")) {
                Incoming::StreamError(condition) => condition,
                other => panic!("{other:?}"),
            };
        let conflict = Some(DefinedCondition::Conflict);
        assert_eq!(condition(&format!("{CONFLICT}{TEXT}<own xmlns='a'/>")), conflict);
        assert_eq!(condition(&format!("<own xmlns='a'/>{TEXT}{CONFLICT}")), conflict);
        assert_eq!(condition(TEXT), None);
        assert_eq!(condition(""), None);
    }

    #[test]
    fn the_head_of_an_iq_is_read() {
        let Incoming::Iq(iq) = parse("<iq from='a@b/&lt;' to='c' id='&#10;' type='get'/>") else {
            panic!()
        };
        assert_eq!(iq.from.as_deref(), Some("a@b/<"));
        assert_eq!(iq.to.as_deref(), Some("c"));
        assert_eq!(iq.id.as_deref(), Some("\n"));
        for (kind, expected) in [
            ("get", Kind::Get),
            ("set", Kind::Set),
            ("result", Kind::Answer),
            ("error", Kind::Answer),
            ("wibble", Kind::Invalid),
            ("", Kind::Invalid),
        ] {
            let Incoming::Iq(iq) = parse(&format!("<iq type='{kind}'/>")) else { panic!() };
            assert_eq!(iq.kind, expected);
        }
    }

    #[test]
    fn a_payload_is_read_by_its_own_rules() {
        let node = |node: Option<&str>| node.map(str::to_owned);
        for (payload, expected) in [
            ("<ping xmlns='urn:xmpp:ping'/>", Ok(Request::Ping(Ping))),
            (" <ping xmlns='urn:xmpp:ping' a='b'><c><d/></c></ping>\n", Ok(Request::Ping(Ping))),
            ("<query xmlns='jabber:iq:version'/>", Ok(Request::Version(VersionQuery))),
            (
                "<p:query xmlns:p='http://jabber.org/protocol/disco#info' node='n'/>",
                Ok(Request::DiscoInfo(DiscoInfoQuery { node: node(Some("n")) })),
            ),
            (
                "<query xmlns='http://jabber.org/protocol/disco#items'/>",
                Ok(Request::DiscoItems(DiscoItemsQuery { node: None, rsm: None })),
            ),
            ("", Err(Fault::Malformed)),
            ("text", Err(Fault::Malformed)),
            ("<ping xmlns='urn:xmpp:ping'>text</ping>", Err(Fault::Malformed)),
            ("<ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/>", Err(Fault::Malformed)),
            ("<ping xmlns='urn:xmpp:ping'/><x xmlns='a'/>", Err(Fault::Malformed)),
            ("<x xmlns='a'/><ping xmlns='urn:xmpp:ping'/>", Err(Fault::Malformed)),
            ("<ping xmlns='urn:xmpp:ping'><a></b></ping>", Err(Fault::Malformed)),
            ("<pong xmlns='urn:xmpp:ping'/>", Err(Fault::Unimplemented)),
            ("<x xmlns='a'><ping xmlns='urn:xmpp:ping'/></x>", Err(Fault::Foreign)),
            ("<ping/>", Err(Fault::Foreign)),
        ] {
            assert_eq!(request(payload), expected, "{payload}");
        }
    }

    #[test]
    fn of_a_cut_stanza_the_head_is_read() {
        let Incoming::Iq(iq) = parse_cut("<iq id='1' type='get'><a><a><", true) else { panic!() };
        assert_eq!((iq.id.as_deref(), iq.kind), (Some("1"), Kind::Get));
        assert_eq!(iq.request, Err(Fault::TooLarge));
        assert!(matches!(parse_cut("<iq id='1", true), Incoming::Unknown));
    }
}
