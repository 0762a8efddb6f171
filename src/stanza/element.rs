//! The elements that matter, by namespace and name.

use crate::model::Bond;

pub(super) const JABBER_CLIENT: &str = "jabber:client";
pub(super) const EPHEMERD: &str = "urn:ephemerd:0";
const EPHEMERAL: &str = "urn:xmpp:ephemeral:0";
const HINTS: &str = "urn:xmpp:hints";
pub(super) const STANZA_ID: &str = "urn:xmpp:sid:0";
const CORRECTION: &str = "urn:xmpp:message-correct:0";
pub(super) const REACTIONS: &str = "urn:xmpp:reactions:0";
const ATTACHING: &str = "urn:xmpp:message-attaching:1";
const EXPIRE: &str = "jabber:x:expire";
const AMP: &str = "http://jabber.org/protocol/amp";
pub(super) const REPLY: &str = "urn:xmpp:reply:0";
pub(super) const FALLBACK: &str = "urn:xmpp:fallback:0";
const DELAY: &str = "urn:xmpp:delay";
const LEGACY_DELAY: &str = "jabber:x:delay";
/// OMEMO (XEP-0384), in its versions.
const OMEMO: [&str; 3] = ["eu.siacs.conversations.axolotl", "urn:xmpp:omemo:1", "urn:xmpp:omemo:2"];
/// OpenPGP for XMPP (XEP-0373).
const OPENPGP: &str = "urn:xmpp:openpgp:0";
pub(super) const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
pub(super) const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";

/// The node of ejabberd's MUC/Sub events that hold a room's messages.
pub(super) const MUCSUB_MESSAGES: &str = "urn:xmpp:mucsub:nodes:messages";

/// What a child of `<message/>` means for retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    /// A timer (XEP-0466).
    Ephemeral,
    /// The opt-out that clients use in the same namespace.
    WantsOut,
    /// A processing hint (XEP-0334), by its name.
    NoPermanentStore,
    NoStore,
    Store,
    /// Who archived the stanza, and under which id (XEP-0359).
    StanzaId,
    /// Content with a time to live (XEP-0023).
    Expire,
    /// Content with rules, which may say when it expires (XEP-0079).
    Rules,
    /// When it was sent (XEP-0203).
    Delay,
    /// It is to go once it was read: our own.
    Once,
    /// What ephemerd left in a placeholder.
    Expired,
    /// Possibly ejabberd's wrapper around a room's message.
    Event,
    /// Not content as long as it is empty, such as a `<body/>`.
    Quiet,
    /// Not content; any text in it is an id or a server's remark.
    Label,
    /// What a room says about its occupants; an invitation in it is content.
    Room,
    /// Content that belongs to another message, which it names.
    Belongs(Bond),
    /// Which message it replies to (XEP-0461).
    Reply,
    /// What is only for clients that do not know another element (XEP-0428), such as a reply's quote.
    Fallback,
    /// Content that speaks for itself, and so belongs to nothing.
    Alone,
    /// Content that may contain encrypted words.
    Encrypted,
    /// Encrypted words themselves.
    Sealed,
    /// Content, or unknown.
    Content,
}

/// What an element means as a direct child of `<message/>`.
pub(super) fn child(namespace: &str, name: &str) -> Child {
    match namespace {
        JABBER_CLIENT => match name {
            "body" => Child::Quiet,
            "thread" => Child::Label,
            "subject" => Child::Alone,
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
        EPHEMERD if name == "once" => Child::Once,
        PUBSUB_EVENT if name == "event" => Child::Event,
        LEGACY_DELAY if name == "x" => Child::Label,
        MUC_USER if name == "x" => Child::Room,
        CORRECTION if name == "replace" => Child::Belongs(Bond::Corrects),
        REACTIONS if name == "reactions" => Child::Belongs(Bond::ReactsTo),
        REPLY if name == "reply" => Child::Reply,
        FALLBACK if name == "fallback" => Child::Fallback,
        ATTACHING if name == "attach-to" => Child::Belongs(Bond::AttachedTo),
        EXPIRE if name == "x" => Child::Expire,
        AMP if name == "amp" => Child::Rules,
        OPENPGP if name == "openpgp" => Child::Sealed,
        _ if is_omemo(namespace) && name == "encrypted" => Child::Encrypted,
        _ if is_quiet(namespace, name) => Child::Quiet,
        _ if speaks_for_itself(namespace) => Child::Alone,
        _ => Child::Content,
    }
}

/// Elements of other protocols that are not content while they are empty. A nick may contain text.
fn is_quiet(namespace: &str, name: &str) -> bool {
    match namespace {
        "urn:xmpp:receipts" => matches!(name, "request" | "received"),
        "urn:xmpp:chat-markers:0" => {
            matches!(name, "markable" | "received" | "displayed" | "acknowledged")
        }
        "http://jabber.org/protocol/chatstates" => {
            matches!(name, "active" | "composing" | "paused" | "inactive" | "gone")
        }
        "http://jabber.org/protocol/nick" => name == "nick",
        // ejabberd's mark on archived stanzas, beside the stanza-id.
        "urn:xmpp:mam:tmp" => name == "archived",
        "urn:xmpp:occupant-id:0" => name == "occupant-id",
        _ => false,
    }
}

/// Retractions, moderations and calls: clients need them whatever becomes of the messages that they name.
fn speaks_for_itself(namespace: &str) -> bool {
    matches!(
        namespace,
        "urn:xmpp:message-retract:0"
            | "urn:xmpp:message-retract:1"
            | "urn:xmpp:message-moderate:0"
            | "urn:xmpp:message-moderate:1"
            | "urn:xmpp:fasten:0"
            | "urn:xmpp:jingle-message:0"
            | "urn:xmpp:call-invites:0"
    )
}

/// Whether this is an element that a room itself adds to [`Child::Room`]. Invitations, declined ones,
/// passwords and everything else are content.
pub(super) fn is_room_remark(namespace: &str, name: &str) -> bool {
    namespace == MUC_USER && matches!(name, "item" | "status")
}

/// Whether an element of this namespace is one of OMEMO's.
pub(super) fn is_omemo(namespace: &str) -> bool {
    OMEMO.contains(&namespace)
}

/// Whether this is a rule inside of [`Child::Rules`].
pub(super) fn is_rule(namespace: &str, name: &str) -> bool {
    namespace == AMP && name == "rule"
}

/// Whether an element is the next step down from a pubsub event to a room's message inside it, after `steps`
/// of them.
pub(super) fn is_wrapper_step(steps: usize, namespace: &str, name: &str) -> bool {
    match steps {
        1 => (namespace, name) == (PUBSUB_EVENT, "items"),
        2 => (namespace, name) == (PUBSUB_EVENT, "item"),
        3 => (namespace, name) == (JABBER_CLIENT, "message"),
        _ => false,
    }
}
