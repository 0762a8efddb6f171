//! Answers about ourselves: service discovery (XEP-0030), software version (XEP-0092), ping (XEP-0199).

use xmpp_parsers::disco::{DiscoInfoResult, DiscoItemsResult, Identity};
use xmpp_parsers::{ns, stanza_error::DefinedCondition, version::VersionResult};
use xso::AsXml;

use super::incoming::Request;

const NAME: &str = "ephemerd";
/// What disco#info lists.
const FEATURES: [&str; 4] = [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::VERSION, ns::PING];

/// The payload of an answer.
#[derive(Debug, AsXml)]
#[xml()]
pub(super) enum Answer {
    #[xml(transparent)]
    DiscoInfo(DiscoInfoResult),
    #[xml(transparent)]
    DiscoItems(DiscoItemsResult),
    #[xml(transparent)]
    Version(VersionResult),
}

/// Answers a request to our own address; `None` is the empty result of a ping.
pub(super) fn answer(request: &Request) -> Result<Option<Answer>, DefinedCondition> {
    Ok(match request {
        Request::Ping(_) => None,
        Request::Version(_) => Some(Answer::Version(VersionResult {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: None,
        })),
        Request::DiscoInfo(query) if is_ourselves(&query.node) => Some(Answer::DiscoInfo(info())),
        Request::DiscoItems(query) if is_ourselves(&query.node) => {
            Some(Answer::DiscoItems(DiscoItemsResult { node: None, items: vec![], rsm: None }))
        }
        // We have no nodes.
        Request::DiscoInfo(_) | Request::DiscoItems(_) => {
            return Err(DefinedCondition::ItemNotFound);
        }
    })
}

fn is_ourselves(node: &Option<String>) -> bool {
    node.as_ref().is_none_or(String::is_empty)
}

fn info() -> DiscoInfoResult {
    DiscoInfoResult {
        node: None,
        identities: vec![Identity {
            category: "component".to_owned(),
            type_: "generic".to_owned(),
            lang: None,
            name: Some(NAME.to_owned()),
        }],
        features: FEATURES.map(str::to_owned).into(),
        extensions: vec![],
    }
}
