//! Archives that only the server itself can reach: what its companion module reports, and what we ask of it.
//!
//! The nouns of docs/protocol.md, and [`Requests`], the interface to the module. Transport-independent.

mod requests;

use chrono::SubsecRound as _;
use tokio::sync::OwnedSemaphorePermit;

use super::Row;
use crate::model::{Occupant, ReadEvidence, RowKey, Stamp, StartedBy, Store, Timestamp};

pub use self::requests::{
    Answer, FileItem, FileState, Item, Outcome, Page, Request, Requests, Unanswered, jid_order,
};

/// The version of the protocol that we speak.
pub const VERSION: u32 = 2;
/// The oldest version that we still speak: its modules do not report sessions.
pub const OLDEST_VERSION: u32 = 1;
/// What the operator can do about a module of an older version.
pub const OLD_MODULE: &str = "install this program's module: an older one does not tell which messages went only to \
                              sessions that wait to be resumed, and those go by their timers though nobody has had them";
/// Maximum number of rows in one request, or in one list.
pub const MOST_ITEMS: usize = 500;
/// Maximum length of an id in characters.
const MOST_ID: usize = 256;
/// Maximum length of a user's or room's local part in bytes (RFC 7622, 3.3).
const MOST_LOCAL: usize = 1023;
/// Maximum length of an address in bytes (RFC 7622, 3.1).
const MOST_JID: usize = 3071;
/// Maximum length of a stamp in bytes.
const MOST_STAMP: usize = 40;

/// A row as the module reports it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The row. Its number is its stamp in microseconds; its digest is the stamp as the module wrote it,
    /// which must be sent back unchanged.
    pub row: Row,
    /// A queue row: the id of the row in the owner's archive that it is a copy of.
    pub copy_of: Option<String>,
}

impl Shown {
    /// A row of this owner (host and local part); `None` if the id or stamp is out of bounds.
    pub fn new(
        (host, owner): (&str, &str),
        store: Store,
        (id, stamp): (&str, &str),
        copy_of: Option<String>,
        xml: String,
    ) -> Option<Self> {
        let copy_of_is_id = copy_of.as_deref().is_none_or(is_id);
        if !is_id(id) || !copy_of_is_id {
            return None;
        }
        let written = stamp;
        let stamp = read_stamp(written)?;
        let key = RowKey {
            store,
            host: host.to_owned(),
            owner: owner.to_owned(),
            archive_id: id.to_owned(),
            row_number: stamp.at.timestamp_micros(),
            stamped_at: stamp.at,
            digest: written.as_bytes().to_vec(),
        };
        Some(Self { row: Row { key, stamp, xml: Some(xml), sender: None }, copy_of })
    }

    /// The same row, in a room, with its sender's real bare address.
    #[must_use]
    pub fn sent_by(mut self, sender: Option<&str>) -> Self {
        self.row.sender = sender.filter(|it| is_address(it)).map(str::to_owned);
        self
    }
}

/// What modules shall announce of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// By users, in their own archives.
    pub reads: ReadEvidence,
    /// In rooms.
    pub in_rooms: ReadEvidence,
}

impl Wanted {
    /// Nothing.
    pub const NOTHING: Self = Self { reads: ReadEvidence::NONE, in_rooms: ReadEvidence::NONE };
}

/// What shows that an owner has read a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Of which kind it is.
    pub by: StartedBy,
    /// The other side of the chat: a bare address, or an occupant's of a room.
    pub chat: String,
    /// The message's archive id where it was published (XEP-0490), else the id that its sender gave it.
    pub id: String,
    /// When the owner showed it, by the server's clock.
    pub stamp: Stamp,
    /// When the message was archived that is read up to, if the module knows.
    pub upto: Option<Timestamp>,
    /// It names a message by the id in the archive of a room, which is the chat: what else is known of who read it.
    pub in_room: Option<Occupant>,
}

impl Reading {
    /// What an item says; `None` if it says nothing that we know, or is out of bounds.
    pub fn new(
        by: &str,
        chat: &str,
        id: &str,
        (stamp, upto): (&str, Option<&str>),
    ) -> Option<Self> {
        let by: StartedBy = by.parse().ok()?;
        let is_sound = by.is_evidence() && is_address(chat) && is_id(id);
        let stamp = read_stamp(stamp)?;
        let upto = upto.and_then(read_stamp).map(|it| it.at);
        let (chat, id) = (chat.to_owned(), id.to_owned());
        is_sound.then_some(Self { by, chat, id, stamp, upto, in_room: None })
    }

    /// How much text it takes.
    pub fn text_bytes(&self) -> usize {
        let reader = self.in_room.iter().flat_map(|it| [&it.nick, &it.jid, &it.id]);
        self.chat.len() + self.id.len() + reader.flatten().map(String::len).sum::<usize>()
    }

    /// The same, in a room; `None` if something about its reader is out of bounds.
    pub fn in_room(self, reader: Occupant) -> Option<Self> {
        Some(Self { in_room: Some(reader.checked()?), ..self })
    }
}

impl Occupant {
    /// The same, as a module says it; `None` if something is out of bounds.
    pub fn checked(self) -> Option<Self> {
        let is_sound = self.nick.as_deref().is_none_or(is_address)
            && self.jid.as_deref().is_none_or(is_address)
            && self.id.as_deref().is_none_or(is_id);
        is_sound.then_some(self)
    }
}

fn is_address(text: &str) -> bool {
    !text.is_empty() && text.len() <= MOST_JID && !text.contains(char::is_control)
}

/// A stamp as a module writes it: without a fraction it stands for a whole second.
fn read_stamp(text: &str) -> Option<Stamp> {
    let at = Some(text).filter(|it| it.len() <= MOST_STAMP).and_then(time)?;
    Some(Stamp { at, whole_seconds: !text.contains('.') })
}

/// Parses a time of the protocol (XEP-0082), to microseconds: our tables store no more.
pub fn time(text: &str) -> Option<Timestamp> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(at.to_utc().trunc_subsecs(6))
}

/// Whether this can identify a row: neither empty nor too long, and unchanged as an attribute's value.
pub fn is_id(id: &str) -> bool {
    !id.is_empty() && id.chars().count() <= MOST_ID && !id.chars().any(char::is_control)
}

/// The local part of a bare JID of this host.
pub fn local_part<'a>(jid: &'a str, host: &str) -> Option<&'a str> {
    let (local, domain) = jid.split_once('@')?;
    let is_local = !local.is_empty()
        && local.len() <= MOST_LOCAL
        && !local.chars().any(|c| c.is_control() || c == '/');
    (domain == host && is_local).then_some(local)
}

/// A notice from a module.
#[derive(Debug)]
pub struct Notice {
    /// The host that the module is loaded on: the sender of the stanza.
    pub host: String,
    /// Identifies the module's start; new each time.
    pub boot: String,
    /// The notice's number in this boot, from 1 without gaps.
    pub number: i64,
    /// What it announces.
    pub event: Event,
    /// The memory that it takes up among waiting notices, released when it is dropped.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// What a notice announces.
#[derive(Debug)]
pub enum Event {
    /// A marked stanza was archived.
    Archived(Box<Shown>),
    /// This owner's offline queue was handed out.
    Drained(String),
    /// Nobody has received these rows of this owner's archive, and no offline queue has a copy.
    Undelivered(String, Vec<String>),
    /// Somebody has received these rows of this owner's archive after all.
    Delivered(String, Vec<String>),
    /// A room replays this to people who join, and no archive holds it.
    Remembered(Box<Shown>),
    /// This owner has read these messages.
    Read(String, Vec<Reading>),
}

/// The module of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// The version of the protocol that it speaks.
    pub version: u32,
    /// Its own version.
    pub module: String,
    /// The server and its version.
    pub server: String,
    /// Identifies the module's start; new each time.
    pub boot: String,
    /// The number of its last notice; 0 before the first.
    pub number: i64,
    /// The server's clock.
    pub now: Option<Timestamp>,
    /// What it can do.
    pub can: Abilities,
    /// The server drops stanzas that a session never acknowledged, instead of queueing them.
    pub drops_unacknowledged: bool,
    /// A write failed: nothing more is erased in that storage until the server restarts.
    pub halted: bool,
}

/// What a module is able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// Erase rows.
    pub erase: bool,
    /// Replace rows by placeholders.
    pub blank: bool,
    /// List owners and rows.
    pub list: bool,
    /// Remove messages from what rooms replay to people who join.
    pub scrub: bool,
    /// Report, list and blank offline queues.
    pub queue: bool,
    /// Report messages that went only to sessions waiting to be resumed, or to nobody.
    pub sessions: bool,
    /// Report what only rooms remember, and remove it from there.
    pub remember: bool,
    /// Report what shows that messages were read.
    pub reads: bool,
    /// Report what shows that messages in rooms were read.
    pub room_reads: bool,
    /// List the members of a room.
    pub members: bool,
    /// Remove uploaded files.
    pub files: bool,
}

#[cfg(test)]
mod tests;
