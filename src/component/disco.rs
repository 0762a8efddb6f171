//! Answers about ourselves: service discovery (XEP-0030), software version (XEP-0092), ping (XEP-0199); and which commands
//! there are (XEP-0050, 2).

use xmpp_parsers::disco::{DiscoInfoResult, DiscoItemsResult, Identity, Item};
use xmpp_parsers::{ns, stanza_error::DefinedCondition, version::VersionResult};
use xso::AsXml;

use super::commands::{COMMANDS, Desk, Reply};
use super::incoming::{Iq, Request};
use crate::words::{Language, Message, say};

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
    #[xml(transparent)]
    Command(Reply),
}

/// Answers a request to our own address; `None` is the empty result of a ping.
pub(super) fn answer(
    request: &Request,
    (iq, jid): (&Iq, &str),
    desk: &Desk<'_>,
) -> Result<Option<Answer>, DefinedCondition> {
    let language = Language::of(iq.language.as_deref());
    let listed = || desk.listed(iq.from.as_deref(), language);
    Ok(match request {
        Request::Ping(_) => None,
        Request::Version(_) => Some(Answer::Version(VersionResult {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: None,
        })),
        Request::DiscoInfo(query) => Some(Answer::DiscoInfo(match query.node.as_deref() {
            None | Some("") => info(desk.is_open()),
            Some(COMMANDS) if desk.is_open() => {
                about(COMMANDS, "command-list", say(language, Message::CommandList, &[]))
            }
            Some(node) => {
                let found = listed().into_iter().find(|it| it.0 == node);
                let (node, title) = found.ok_or(DefinedCondition::ItemNotFound)?;
                about(node, "command-node", title)
            }
        })),
        Request::DiscoItems(query) => Some(Answer::DiscoItems(match query.node.as_deref() {
            None | Some("") => items(None, jid, vec![]),
            Some(COMMANDS) if desk.is_open() => items(Some(COMMANDS), jid, listed()),
            Some(_) => return Err(DefinedCondition::ItemNotFound),
        })),
        Request::Command(_) => return Err(DefinedCondition::BadRequest),
    })
}

fn items(node: Option<&str>, jid: &str, listed: Vec<(&str, String)>) -> DiscoItemsResult {
    let item = |(node, name): (&str, String)| {
        Some(Item { jid: jid.parse().ok()?, node: Some(node.to_owned()), name: Some(name) })
    };
    let items = listed.into_iter().filter_map(item).collect();
    DiscoItemsResult { node: node.map(str::to_owned), items, rsm: None }
}

fn info(has_commands: bool) -> DiscoInfoResult {
    let commands = has_commands.then_some(COMMANDS);
    DiscoInfoResult {
        node: None,
        identities: vec![identity("component", "generic", NAME.to_owned())],
        features: FEATURES.into_iter().chain(commands).map(str::to_owned).collect(),
        extensions: vec![],
    }
}

/// What a command, or the list of all, is.
fn about(node: &str, kind: &str, title: String) -> DiscoInfoResult {
    DiscoInfoResult {
        node: Some(node.to_owned()),
        identities: vec![identity("automation", kind, title)],
        features: [COMMANDS, ns::DATA_FORMS].map(str::to_owned).into(),
        extensions: vec![],
    }
}

fn identity(category: &str, kind: &str, name: String) -> Identity {
    Identity { category: category.to_owned(), type_: kind.to_owned(), lang: None, name: Some(name) }
}
