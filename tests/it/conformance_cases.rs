//! What the conformance suite sends, and the expected outcome.

/// A message's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its rows stay, byte for byte.
    Stays,
    /// Its text goes, with or without its row; or it was never archived.
    Goes,
}

/// Where it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To somebody who is online.
    Online,
    /// To somebody who is offline: it waits in the offline queue.
    Offline,
    /// To a room.
    Room,
    /// To somebody who is online, and somebody else removes its rows before they are due.
    Taken,
    /// Nowhere: its row is in the archive of an unlisted host.
    Elsewhere,
}

/// One message.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// The message's content: `WORDS` and `TIMER` are substituted.
    pub(crate) inside: &'static str,
    /// How many archived rows contain it.
    pub(crate) rows: i64,
    pub(crate) fate: Fate,
}

/// A kind whose server archives a message differently.
pub(crate) struct Exception {
    /// The beginning of the kind's name.
    pub(crate) kind: &'static str,
    pub(crate) case: &'static str,
    pub(crate) rows: i64,
    pub(crate) reason: &'static str,
}

use Fate::{Goes, Stays};
use Place::{Elsewhere, Offline, Online, Room, Taken};

const fn case(
    name: &'static str,
    place: Place,
    rows: i64,
    fate: Fate,
    inside: &'static str,
) -> Case {
    Case { name, place, inside, rows, fate }
}

macro_rules! body {
    ($($more:literal),*) => { concat!("<body>WORDS</body>", $($more),*) };
}
macro_rules! timer {
    ($($before:tt)*) => { concat!($($before)*, "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='TIMER'/>") };
}

/// The kinds of messages in the tables of what each server archives.
pub(crate) const CASES: &[Case] = &[
    case("words", Online, 2, Stays, body!()),
    case("words, timer", Online, 2, Goes, timer!("<body>WORDS</body>")),
    case("words, no-copy", Online, 2, Stays, body!("<no-copy xmlns='urn:xmpp:hints'/>")),
    case(
        "link (XEP-0066), timer",
        Online,
        2,
        Goes,
        timer!("<body>WORDS</body><x xmlns='jabber:x:oob'><url>https://a.example/WORDS</url></x>"),
    ),
    case(
        "words, no-permanent-store",
        Online,
        0,
        Goes,
        body!("<no-permanent-store xmlns='urn:xmpp:hints'/>"),
    ),
    case("words, no-store", Online, 0, Goes, body!("<no-store xmlns='urn:xmpp:hints'/>")),
    case(
        "words, store, no-permanent-store",
        Online,
        2,
        Stays,
        body!("<store xmlns='urn:xmpp:hints'/><no-permanent-store xmlns='urn:xmpp:hints'/>"),
    ),
    case("timer alone", Online, 0, Goes, timer!("")),
    case("timer alone, store", Online, 2, Goes, timer!("<store xmlns='urn:xmpp:hints'/>")),
    case(
        "i-want-out, store",
        Online,
        2,
        Stays,
        "<i-want-out xmlns='urn:xmpp:ephemeral:0'/><store xmlns='urn:xmpp:hints'/>",
    ),
    case(
        "displayed marker",
        Online,
        2,
        Stays,
        "<displayed xmlns='urn:xmpp:chat-markers:0' id='m'/>",
    ),
    case(
        "displayed marker, store",
        Online,
        2,
        Stays,
        "<displayed xmlns='urn:xmpp:chat-markers:0' id='m'/><store xmlns='urn:xmpp:hints'/>",
    ),
    case(
        "OMEMO with words, timer",
        Online,
        2,
        Goes,
        timer!(
            "<body>WORDS</body><encrypted xmlns='eu.siacs.conversations.axolotl'><payload>WORDS</payload></encrypted>"
        ),
    ),
    case(
        "OMEMO, store, timer",
        Online,
        2,
        Goes,
        timer!(
            "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>WORDS</payload></encrypted><store xmlns='urn:xmpp:hints'/>"
        ),
    ),
    case(
        "OMEMO with neither, timer",
        Online,
        0,
        Goes,
        timer!(
            "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>WORDS</payload></encrypted>"
        ),
    ),
    case("words in a room", Room, 1, Stays, body!()),
    case("words in a room, timer", Room, 1, Goes, timer!("<body>WORDS</body>")),
    case("offline: words", Offline, 2, Stays, body!()),
    case("offline: words, timer", Offline, 2, Goes, timer!("<body>WORDS</body>")),
    case("taken by somebody else", Taken, 2, Goes, timer!("<body>WORDS</body>")),
    case("another host, timer", Elsewhere, 1, Stays, timer!("<body>WORDS</body>")),
];

const OWN: &str = "nobody but the server writes into its own storage";
const BODY: &str = "ejabberd archives no message without a body, unless it says `<store/>`";

/// Where a server archives a message otherwise than the others.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        kind: "prosody",
        case: "words, store, no-permanent-store",
        rows: 0,
        reason: "Prosody's mod_mam lets the hint not to store win over `<store/>`, so nothing is archived",
    },
    Exception { kind: "prosody files", case: "another host, timer", rows: 0, reason: OWN },
    Exception { kind: "prosody sqlite", case: "another host, timer", rows: 0, reason: OWN },
    Exception { kind: "mnesia", case: "another host, timer", rows: 0, reason: OWN },
    Exception { kind: "mnesia", case: "displayed marker", rows: 0, reason: BODY },
    Exception { kind: "classic", case: "displayed marker", rows: 0, reason: BODY },
    Exception { kind: "multihost", case: "displayed marker", rows: 0, reason: BODY },
];

/// How many rows a kind archives of a case's message.
pub(crate) fn archived(case: &Case, kind: &str) -> i64 {
    let exceptions = EXCEPTIONS.iter();
    let mut exceptions = exceptions.filter(|it| it.case == case.name && kind.starts_with(it.kind));
    exceptions.next().map_or(case.rows, |it| it.rows)
}
