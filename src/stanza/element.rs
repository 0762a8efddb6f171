//! The elements that matter, by namespace and name.

pub(super) const JABBER_CLIENT: &str = "jabber:client";
pub(super) const EPHEMERD: &str = "urn:ephemerd:0";
const EPHEMERAL: &str = "urn:xmpp:ephemeral:0";
const HINTS: &str = "urn:xmpp:hints";
const STANZA_ID: &str = "urn:xmpp:sid:0";
const DELAY: &str = "urn:xmpp:delay";
const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";

/// The node of ejabberd's MUC/Sub events that hold a room's messages.
pub(super) const MUCSUB_MESSAGES: &str = "urn:xmpp:mucsub:nodes:messages";

/// What a child of `<message/>` means to retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    /// A timer (XEP-0466).
    Ephemeral,
    /// The opt-out that is deployed in the same namespace.
    WantsOut,
    /// A processing hint (XEP-0334), by its name.
    NoPermanentStore,
    NoStore,
    Store,
    /// Who archived the stanza, and as what (XEP-0359).
    StanzaId,
    /// When it came (XEP-0203).
    Delay,
    /// What ephemerd left in a placeholder.
    Expired,
    /// It carries content if it has any.
    Body,
    /// Perhaps ejabberd's wrapper around a room's message.
    Event,
    /// It carries no content.
    Quiet,
    /// It carries content, or nobody knows.
    Content,
}

/// What an element means where it is a direct child of `<message/>`.
pub(super) fn child(namespace: &str, name: &str) -> Child {
    match namespace {
        JABBER_CLIENT => match name {
            "body" => Child::Body,
            "thread" => Child::Quiet,
            _ => Child::Content,
        },
        EPHEMERAL => match name {
            "ephemeral" => Child::Ephemeral,
            "i-want-out" => Child::WantsOut,
            _ => Child::Content,
        },
        HINTS => match name {
            "no-permanent-store" | "no-permanent-storage" => Child::NoPermanentStore,
            "no-store" | "no-storage" => Child::NoStore,
            "store" => Child::Store,
            "no-copy" => Child::Quiet,
            _ => Child::Content,
        },
        STANZA_ID => match name {
            "stanza-id" => Child::StanzaId,
            "origin-id" => Child::Quiet,
            _ => Child::Content,
        },
        DELAY if name == "delay" => Child::Delay,
        EPHEMERD if name == "expired" => Child::Expired,
        PUBSUB_EVENT if name == "event" => Child::Event,
        _ if is_quiet(namespace, name) => Child::Quiet,
        _ => Child::Content,
    }
}

/// Elements of other protocols that carry no content.
fn is_quiet(namespace: &str, name: &str) -> bool {
    match namespace {
        "urn:xmpp:receipts" => matches!(name, "request" | "received"),
        "urn:xmpp:chat-markers:0" => {
            matches!(name, "markable" | "received" | "displayed" | "acknowledged")
        }
        "http://jabber.org/protocol/chatstates" => {
            matches!(name, "active" | "composing" | "paused" | "inactive" | "gone")
        }
        "jabber:x:delay" => name == "x",
        "http://jabber.org/protocol/nick" => name == "nick",
        // ejabberd's mark on what it has archived, beside the stanza-id.
        "urn:xmpp:mam:tmp" => name == "archived",
        "urn:xmpp:occupant-id:0" => name == "occupant-id",
        "http://jabber.org/protocol/muc#user" => name == "x",
        _ => false,
    }
}

/// Whether an element is the next step from a pubsub event down to a room's message inside it;
/// `steps` are taken.
pub(super) fn is_wrapper_step(steps: usize, namespace: &str, name: &str) -> bool {
    match steps {
        1 => (namespace, name) == (PUBSUB_EVENT, "items"),
        2 => (namespace, name) == (PUBSUB_EVENT, "item"),
        3 => (namespace, name) == (JABBER_CLIENT, "message"),
        _ => false,
    }
}
