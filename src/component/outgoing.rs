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

/// A longer answer is not sent. The addresses and the id in it are the asker's, who may make them
/// as long as a stanza can be, and a server ends a stream that sends it more than it accepts.
const MAX_ANSWER: usize = 256 << 10;

/// Ends our side of the stream.
pub(super) const END: &[u8] = b"</stream:stream>";

/// Tells the server what it did wrong (RFC 6120, 4.9.3); [`END`] must follow.
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

/// An `<iq/>` of ours; xmpp-parsers' own is in the namespace of clients.
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

/// A stanza error (RFC 6120, 8.3.2); xmpp-parsers' own is in the namespace of clients.
#[derive(AsXml)]
#[xml(namespace = ns::COMPONENT, name = "error")]
struct Error {
    #[xml(attribute = "type")]
    kind: ErrorType,
    #[xml(child)]
    condition: DefinedCondition,
}

/// Asks ourselves whether we are there (XEP-0199). The request and its answer pass through the
/// server, so both prove that it lives and routes, and no other address need be known.
pub(super) fn ping(jid: &str) -> Option<Vec<u8>> {
    write(&Stanza {
        from: jid.to_owned(),
        to: Some(jid.to_owned()),
        id: Some("keep-alive".to_owned()),
        kind: "get",
        payload: Some(Payload::Ping(Ping)),
    })
}

/// The one answer that a request gets. None where there is nothing to answer, because this is
/// itself an answer, or where the answer would be [too long](MAX_ANSWER).
pub(super) fn answer(iq: Iq, jid: &str) -> Option<Vec<u8>> {
    if iq.kind == Kind::Answer {
        return None;
    }
    let (kind, payload) = match decide(&iq) {
        Ok(answer) => ("result", answer.map(Payload::Answer)),
        Err(condition) => ("error", Some(Payload::Error(condition.into()))),
    };
    // A server ends the stream of a component that speaks for a name other than its own.
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
        // No one lives below our name.
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
