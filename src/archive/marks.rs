//! What may be marked: the namespaces, and the SQL conditions that search for them in a stanza's text.
//!
//! The text search finds candidates; parsing decides. Servers write namespaces literally, without character
//! references, whatever the sender wrote.

/// Timers (XEP-0466).
macro_rules! ephemeral {
    () => {
        "urn:xmpp:ephemeral:0"
    };
}

/// Our own: placeholders.
macro_rules! ephemerd {
    () => {
        "urn:ephemerd:0"
    };
}

/// Processing hints (XEP-0334).
macro_rules! hints {
    () => {
        "urn:xmpp:hints"
    };
}

/// The column contains these words. `strpos` skips as it searches, and takes half as long as LIKE.
macro_rules! has {
    ($column:literal, $words:expr) => {
        concat!("strpos(", $column, ", '", $words, "') > 0")
    };
}

/// The column has a hint that forbids storing, if it has hints at all.
macro_rules! forbids_storing {
    ($column:literal) => {
        concat!("(", has!($column, "no-stor"), " OR ", has!($column, "no-permanent-stor"), ")")
    };
}

/// The column may hold a marked stanza or one of our placeholders.
macro_rules! may_be_marked {
    ($column:literal) => {
        concat!(
            "(",
            has!($column, ephemeral!()),
            " OR ",
            has!($column, ephemerd!()),
            " OR (",
            has!($column, hints!()),
            " AND ",
            forbids_storing!($column),
            "))"
        )
    };
}

/// The column is one of our placeholders, and not a message that is to go once it was read: servers escape `<` in text.
macro_rules! is_placeholder {
    ($column:literal) => {
        concat!("(", has!($column, "<expired "), " AND ", quoted!($column, ephemerd!()), ")")
    };
}

/// When a message expires by older specifications (XEP-0023, XEP-0079).
macro_rules! expire {
    () => {
        "jabber:x:expire"
    };
}
macro_rules! amp {
    () => {
        "http://jabber.org/protocol/amp"
    };
}

/// The column may hold a stanza that expires by older specifications.
macro_rules! may_expire {
    ($column:literal) => {
        concat!(
            "(",
            has!($column, expire!()),
            " OR ",
            has!($column, "expire-at"),
            " AND ",
            has!($column, amp!()),
            ")"
        )
    };
}

/// The same for ejabberd's queue, without parentheses: placeholders there are removed by the server. Short and
/// in LIKE, because operators' indexes have this condition.
macro_rules! may_wait_marked {
    ($column:literal) => {
        concat!($column, " LIKE '%", ephemeral!(), "%' OR ", $column, " LIKE '%", hints!(), "%'")
    };
}

/// The column still holds what was once found to be marked, to belong to another message or to be encrypted, or one of our
/// placeholders.
///
/// Only a namespace in quotes counts: servers escape quotes in text and attributes, so a user cannot write
/// one into a nickname or a reason and thereby have a moderator's replacement of the message erased too.
macro_rules! still_marked {
    ($column:literal) => {
        concat!(
            "(",
            quoted!($column, ephemeral!()),
            " OR ",
            quoted!($column, ephemerd!()),
            " OR (",
            quoted!($column, hints!()),
            " AND ",
            forbids_storing!($column),
            ") OR ",
            quoted!($column, correction!()),
            " OR ",
            quoted!($column, reactions!()),
            " OR ",
            quoted!($column, attaching!()),
            " OR ",
            quoted!($column, expire!()),
            " OR ",
            quoted!($column, amp!()),
            " OR ",
            quoted!($column, replying!()),
            " OR ",
            quoted!($column, axolotl!()),
            " OR ",
            quoted!($column, concat!(omemo!(), "1")),
            " OR ",
            quoted!($column, concat!(omemo!(), "2")),
            " OR ",
            quoted!($column, openpgp!()),
            ")"
        )
    };
}

/// What names the message that it belongs to: corrections, reactions, attachments.
macro_rules! correction {
    () => {
        "urn:xmpp:message-correct:0"
    };
}
macro_rules! reactions {
    () => {
        "urn:xmpp:reactions:0"
    };
}
macro_rules! attaching {
    () => {
        "urn:xmpp:message-attaching:1"
    };
}

/// What names the message that it replies to (XEP-0461), …
macro_rules! replying {
    () => {
        "urn:xmpp:reply:0"
    };
}

/// … and what says that it quotes that one (XEP-0428).
macro_rules! quoting {
    () => {
        "urn:xmpp:fallback:0"
    };
}

/// The column's root may have one of these ids, which are in quotes. Attributes have no `>`: servers escape it. Where the
/// first one does not look like the end of a start tag, it may.
macro_rules! may_have_id {
    ($column:literal, $id:literal, $or:literal) => {
        concat!(
            "(right(split_part(",
            $column,
            r#", '>', 1), 1) NOT IN ('''', '"', '/') OR strpos(split_part("#,
            $column,
            ", '>', 1), ",
            $id,
            ") > 0 OR strpos(split_part(",
            $column,
            ", '>', 1), ",
            $or,
            ") > 0)"
        )
    };
}

/// The row, whose owner has this local part, may hold a stanza that belongs to a message of one of the owners whose groups
/// are the parameter's bits. Two of the namespaces begin alike.
macro_rules! may_belong {
    ($column:literal, $owner:literal, $groups:literal) => {
        concat!(
            "(octet_length(",
            $groups,
            ") > 0 AND get_bit(",
            $groups,
            ", hashtext(",
            $owner,
            ") & 1023) = 1 AND (",
            has!($column, "urn:xmpp:message-"),
            " OR ",
            has!($column, reactions!()),
            " OR ",
            has!($column, quoting!()),
            "))"
        )
    };
}

/// Encrypted words: OMEMO (XEP-0384) in its versions, and OpenPGP (XEP-0373).
macro_rules! axolotl {
    () => {
        "eu.siacs.conversations.axolotl"
    };
}
macro_rules! omemo {
    () => {
        "urn:xmpp:omemo:"
    };
}
macro_rules! openpgp {
    () => {
        "urn:xmpp:openpgp:0"
    };
}

/// The row, whose owner has this local part, may hold encrypted words of one of the owners whose groups are the parameter's
/// bits.
macro_rules! may_be_encrypted {
    ($column:literal, $owner:literal, $groups:literal) => {
        concat!(
            "(octet_length(",
            $groups,
            ") > 0 AND get_bit(",
            $groups,
            ", hashtext(",
            $owner,
            ") & 1023) = 1 AND (",
            has!($column, axolotl!()),
            " OR ",
            has!($column, omemo!()),
            " OR ",
            has!($column, openpgp!()),
            "))"
        )
    };
}

/// The column may hold a stanza that shows that another one was read, of the kinds that the parameters ask for. Its
/// namespace alone says little, since nearly every message asks for markers in the same one: the rarer word comes first.
macro_rules! may_show_reading {
    ($column:literal, $markers:literal, $replies:literal) => {
        concat!(
            "(",
            $markers,
            " AND ",
            has!($column, "displayed"),
            " AND ",
            has!($column, "urn:xmpp:chat-markers:0"),
            " OR ",
            $replies,
            " AND (",
            has!($column, replying!()),
            " OR ",
            has!($column, reactions!()),
            "))"
        )
    };
}

/// The column may hold a stanza that shows that another one was received.
macro_rules! may_be_receipt {
    ($column:literal) => {
        concat!(
            "(",
            has!($column, "received"),
            " AND (",
            has!($column, "urn:xmpp:receipts"),
            " OR ",
            has!($column, "urn:xmpp:chat-markers:0"),
            "))"
        )
    };
}

macro_rules! quoted {
    ($column:literal, $namespace:expr) => {
        concat!(
            "(",
            has!($column, concat!("''", $namespace, "''")),
            " OR ",
            has!($column, concat!("\"", $namespace, "\"")),
            ")"
        )
    };
}

pub(super) use {
    amp, attaching, axolotl, correction, ephemeral, ephemerd, expire, forbids_storing, has, hints,
    is_placeholder, may_be_encrypted, may_be_marked, may_be_receipt, may_belong, may_expire,
    may_have_id, may_show_reading, may_wait_marked, omemo, openpgp, quoted, quoting, reactions,
    replying, still_marked,
};

/// The namespaces that are looked for.
pub const NAMESPACES: [&str; 3] = [ephemeral!(), ephemerd!(), hints!()];

/// What is looked for besides with `timers.legacy_expiry`.
pub const LEGACY_NAMESPACES: [&str; 2] = [expire!(), amp!()];

/// The condition that searches Prosody's table.
pub const SEARCHED: &str = may_be_marked!("value");

/// An index that makes reading ejabberd's `spool` cheap; its condition is that of our statement.
pub const QUEUE_INDEX: &str = concat!(
    "CREATE INDEX CONCURRENTLY ephemerd_spool ON spool (seq) WHERE ",
    may_wait_marked!("xml")
);
