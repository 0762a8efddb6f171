//! What the conformance suite sends, and the expected outcome.

/// A message's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its rows stay, byte for byte.
    Stays,
    /// Its rows stay, without the words that it quotes.
    Cut,
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
    /// The message's content: `WORDS`, `TIMER` and `UNTIL`, when a timer runs out, are substituted.
    pub(crate) inside: &'static str,
    /// How many archived rows contain it.
    pub(crate) rows: i64,
    pub(crate) fate: Fate,
    /// Its id is [`NAMED`].
    pub(crate) is_named: bool,
}

/// The id of the messages that others belong to.
pub(crate) const NAMED: &str = "named";
/// What those that quote one quote.
pub(crate) const QUOTED: &str = "words that are quoted";

/// A kind whose server archives a message differently, or where it has another fate.
pub(crate) struct Exception {
    /// The beginning of the kind's name.
    pub(crate) kind: &'static str,
    pub(crate) case: &'static str,
    pub(crate) rows: i64,
    pub(crate) fate: Fate,
    pub(crate) reason: &'static str,
}

use Fate::{Cut, Goes, Stays};
use Place::{Elsewhere, Offline, Online, Room, Taken};

const fn case(
    name: &'static str,
    place: Place,
    rows: i64,
    fate: Fate,
    inside: &'static str,
) -> Case {
    Case { name, place, inside, rows, fate, is_named: false }
}

/// A message that others belong to.
const fn named(name: &'static str, place: Place, rows: i64, inside: &'static str) -> Case {
    Case { is_named: true, ..case(name, place, rows, Goes, inside) }
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
    case(
        "words, expiry (XEP-0023)",
        Online,
        2,
        Goes,
        body!("<x xmlns='jabber:x:expire' seconds='TIMER'/>"),
    ),
    case(
        "words, expire-at (XEP-0079)",
        Online,
        2,
        Goes,
        body!(
            "<amp xmlns='http://jabber.org/protocol/amp'><rule condition='expire-at' action='drop' value='UNTIL'/></amp>"
        ),
    ),
    case(
        "words, notify (XEP-0079)",
        Online,
        2,
        Stays,
        body!(
            "<amp xmlns='http://jabber.org/protocol/amp'><rule condition='expire-at' action='notify' value='UNTIL'/></amp>"
        ),
    ),
    case(
        "words, timer, once",
        Online,
        2,
        Goes,
        timer!("<body>WORDS</body><once xmlns='urn:ephemerd:0'/>"),
    ),
    case("words, once without a timer", Online, 2, Stays, body!("<once xmlns='urn:ephemerd:0'/>")),
    named("words, timer, named by others", Online, 2, timer!("<body>WORDS</body>")),
    case(
        "correction (XEP-0308) of those",
        Online,
        2,
        Goes,
        body!("<replace xmlns='urn:xmpp:message-correct:0' id='named'/>"),
    ),
    case(
        "reaction (XEP-0444) to those",
        Online,
        2,
        Goes,
        "<reactions xmlns='urn:xmpp:reactions:0' id='named'><reaction>👋</reaction></reactions><store xmlns='urn:xmpp:hints'/>",
    ),
    case(
        "attachment (XEP-0367) to those",
        Online,
        2,
        Goes,
        body!("<attach-to xmlns='urn:xmpp:message-attaching:1' id='named'/>"),
    ),
    case(
        "sources (XEP-0447) for those",
        Online,
        2,
        Goes,
        "<attach-to xmlns='urn:xmpp:message-attaching:1' id='named'/><sources xmlns='urn:xmpp:sfs:0'><url-data xmlns='http://jabber.org/protocol/url-data' target='https://a.example/1'/></sources><store xmlns='urn:xmpp:hints'/>",
    ),
    case(
        "reply (XEP-0461) that quotes those",
        Online,
        2,
        Cut,
        "<body>&gt; words that are quoted\nWORDS</body><reply xmlns='urn:xmpp:reply:0' id='named'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='24'/></fallback>",
    ),
    case("words in a room", Room, 1, Stays, body!()),
    case("words in a room, timer", Room, 1, Goes, timer!("<body>WORDS</body>")),
    named("words in a room, timer, named by others", Room, 1, timer!("<body>WORDS</body>")),
    case(
        "correction in a room of those",
        Room,
        1,
        Goes,
        body!("<replace xmlns='urn:xmpp:message-correct:0' id='named'/>"),
    ),
    case("offline: words", Offline, 2, Stays, body!()),
    case("offline: words, timer", Offline, 2, Goes, timer!("<body>WORDS</body>")),
    case("taken by somebody else", Taken, 2, Goes, timer!("<body>WORDS</body>")),
    case("another host, timer", Elsewhere, 1, Stays, timer!("<body>WORDS</body>")),
];

const OWN: &str = "nobody but the server writes into its own storage";
const NAMES: &str = "with `archive.kind = \"component\"` nobody knows whether an id was given again, so nothing goes along";
const BODY: &str = "ejabberd archives no message without a body, unless it says `<store/>`";

/// Where a server archives a message otherwise than the others, or it has another fate.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    otherwise(
        "prosody",
        "words, store, no-permanent-store",
        0,
        "Prosody's mod_mam lets the hint not to store win over `<store/>`, so nothing is archived",
    ),
    otherwise("prosody files", "another host, timer", 0, OWN),
    otherwise("prosody sqlite", "another host, timer", 0, OWN),
    otherwise("mnesia", "another host, timer", 0, OWN),
    otherwise("mnesia", "displayed marker", 0, BODY),
    otherwise("classic", "displayed marker", 0, BODY),
    otherwise("multihost", "displayed marker", 0, BODY),
    // Behind the module.
    otherwise("prosody files", "correction (XEP-0308) of those", 2, NAMES),
    otherwise("prosody files", "reaction (XEP-0444) to those", 2, NAMES),
    otherwise("prosody files", "attachment (XEP-0367) to those", 2, NAMES),
    otherwise("prosody files", "sources (XEP-0447) for those", 2, NAMES),
    otherwise("prosody files", "reply (XEP-0461) that quotes those", 2, NAMES),
    otherwise("prosody files", "correction in a room of those", 1, NAMES),
    otherwise("prosody sqlite", "correction (XEP-0308) of those", 2, NAMES),
    otherwise("prosody sqlite", "reaction (XEP-0444) to those", 2, NAMES),
    otherwise("prosody sqlite", "attachment (XEP-0367) to those", 2, NAMES),
    otherwise("prosody sqlite", "sources (XEP-0447) for those", 2, NAMES),
    otherwise("prosody sqlite", "reply (XEP-0461) that quotes those", 2, NAMES),
    otherwise("prosody sqlite", "correction in a room of those", 1, NAMES),
    otherwise("mnesia", "correction (XEP-0308) of those", 2, NAMES),
    otherwise("mnesia", "reaction (XEP-0444) to those", 2, NAMES),
    otherwise("mnesia", "attachment (XEP-0367) to those", 2, NAMES),
    otherwise("mnesia", "sources (XEP-0447) for those", 2, NAMES),
    otherwise("mnesia", "reply (XEP-0461) that quotes those", 2, NAMES),
    otherwise("mnesia", "correction in a room of those", 1, NAMES),
];

/// What is archived then stays.
const fn otherwise(
    kind: &'static str,
    case: &'static str,
    rows: i64,
    reason: &'static str,
) -> Exception {
    Exception { kind, case, rows, fate: Stays, reason }
}

fn exception(case: &Case, kind: &str) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|it| it.case == case.name && kind.starts_with(it.kind))
}

/// A kind archives a case's message as others do, and it has the same fate there.
pub(crate) fn is_usual(case: &Case, kind: &str) -> bool {
    exception(case, kind).is_none_or(|it| (it.rows, it.fate) == (case.rows, case.fate))
}

/// What becomes of a case's message in a kind.
pub(crate) fn fate(case: &Case, kind: &str) -> Fate {
    exception(case, kind).map_or(case.fate, |it| it.fate)
}

/// How many rows a kind archives of a case's message.
pub(crate) fn archived(case: &Case, kind: &str) -> i64 {
    exception(case, kind).map_or(case.rows, |it| it.rows)
}
