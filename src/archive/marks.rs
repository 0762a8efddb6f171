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

/// The same for ejabberd's queue, without parentheses: placeholders there are removed by the server. Short and
/// in LIKE, because operators' indexes have this condition.
macro_rules! may_wait_marked {
    ($column:literal) => {
        concat!($column, " LIKE '%", ephemeral!(), "%' OR ", $column, " LIKE '%", hints!(), "%'")
    };
}

/// The column still holds what was once found to be marked, or one of our placeholders.
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
            has!($column, "urn:xmpp:reply:0"),
            " OR ",
            has!($column, "urn:xmpp:reactions:0"),
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
    ephemeral, ephemerd, forbids_storing, has, hints, may_be_marked, may_show_reading,
    may_wait_marked, quoted, still_marked,
};

/// The namespaces that are looked for.
pub const NAMESPACES: [&str; 3] = [ephemeral!(), ephemerd!(), hints!()];

/// The condition that searches Prosody's table.
pub const SEARCHED: &str = may_be_marked!("value");

/// An index that makes reading ejabberd's `spool` cheap; its condition is that of our statement.
pub const QUEUE_INDEX: &str = concat!(
    "CREATE INDEX CONCURRENTLY ephemerd_spool ON spool (seq) WHERE ",
    may_wait_marked!("xml")
);
