//! Archives that only the server itself reaches: what its companion module tells, and what it is asked.
//!
//! The nouns of docs/protocol.md, and [`Requests`], the way to the module. Nothing here knows how
//! either travels.

use std::future::Future;

use chrono::SubsecRound as _;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Row, RowKey};
use crate::model::{Stamp, Store, Timestamp};

/// The version of the protocol that we speak.
pub const VERSION: u32 = 1;
/// Rows that one request names, and that one answer lists, at the most.
pub const MOST_ITEMS: usize = 500;
/// An id has so many characters at the most.
const MOST_ID: usize = 256;
/// A user's or a room's local part has so many bytes at the most (RFC 7622, 3.3).
const MOST_LOCAL: usize = 1023;
/// A stamp has so many bytes at the most.
const MOST_STAMP: usize = 40;

/// A row as the module shows it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The row. Its number is its stamp in microseconds; its digest is the stamp as the module wrote it,
    /// which it is to be given back unchanged.
    pub row: Row,
    /// A queue row: the id of the row in the owner's archive that it is a copy of.
    pub copy_of: Option<String>,
}

impl Shown {
    /// A row of this owner (host and local part); `None` where id or stamp are out of bounds.
    pub fn new(
        (host, owner): (&str, &str),
        store: Store,
        (id, stamp): (&str, &str),
        copy_of: Option<String>,
        xml: String,
    ) -> Option<Self> {
        let copy_of_is_id = copy_of.as_deref().is_none_or(is_id);
        if !is_id(id) || !copy_of_is_id || stamp.len() > MOST_STAMP {
            return None;
        }
        let at = time(stamp)?;
        let key = RowKey {
            store,
            host: host.to_owned(),
            owner: owner.to_owned(),
            archive_id: id.to_owned(),
            row_number: at.timestamp_micros(),
            stamped_at: at,
            digest: stamp.as_bytes().to_vec(),
        };
        let stamp = Stamp { at, whole_seconds: !stamp.contains('.') };
        Some(Self { row: Row { key, stamp, xml: Some(xml) }, copy_of })
    }
}

/// A time as the protocol writes it (XEP-0082), in microseconds: our tables keep no more.
pub fn time(text: &str) -> Option<Timestamp> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(at.to_utc().trunc_subsecs(6))
}

/// It can name a row: neither empty nor long, and it survives as an attribute's value.
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

/// What a module told of itself.
#[derive(Debug)]
pub struct Notice {
    /// The host that it is loaded on: the stanza's own sender.
    pub host: String,
    /// Made anew whenever the module starts there.
    pub boot: String,
    /// The running number of this notice, of this boot, from 1 without a gap.
    pub number: i64,
    /// What it tells.
    pub told: Told,
    /// The room that it takes among the notices that wait, given back when it is dropped.
    pub held: Option<OwnedSemaphorePermit>,
}

/// What a notice tells.
#[derive(Debug)]
pub enum Told {
    /// A marked stanza was archived.
    Archived(Box<Shown>),
    /// This owner's offline queue was handed out.
    Drained(String),
}

/// A request to the module of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Who is there?
    Companion,
    /// Erase these rows, or blank them.
    Erase {
        /// The local part of whose rows.
        owner: String,
        /// Where they lie.
        store: Store,
        /// Which: 1 to [`MOST_ITEMS`].
        items: Vec<Item>,
        /// Blank them: the placeholders stand until then.
        until: Option<Timestamp>,
    },
    /// List owners.
    Owners {
        /// Of rows in this store.
        store: Store,
        /// After this one, in byte order of their JIDs.
        after: Option<String>,
    },
    /// List an owner's marked rows.
    List {
        /// The local part of whose rows.
        owner: String,
        /// Where they lie.
        store: Store,
        /// Not those that were stamped earlier.
        since: Option<Timestamp>,
        /// After the row with this id.
        after: Option<String>,
    },
    /// Take messages out of what a room replays to joiners.
    Scrub {
        /// The room's local part.
        owner: String,
        /// Which: 1 to [`MOST_ITEMS`].
        ids: Vec<String>,
    },
}

/// A row that is to go: both must be the row's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Its stamp, as the module wrote it.
    pub stamp: String,
}

/// What became of a row that had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is gone, or a placeholder.
    Done,
    /// There is no such row.
    Gone,
    /// Another row has this id, or it is not marked: it was left alone.
    Other,
    /// It could not be done now.
    Failed,
}

/// An answer to a [`Request`].
#[derive(Debug)]
pub enum Answer {
    /// Who is there.
    Companion(Companion),
    /// What became of each row, by its id.
    Erased(Vec<(String, Outcome)>),
    /// Local parts, in byte order of their JIDs.
    Owners(Page<String>),
    /// Marked rows, in the store's own order.
    Rows(Page<Shown>),
    /// So many messages were taken out.
    Scrubbed(u32),
}

/// A part of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// What was found.
    pub found: Vec<T>,
    /// The last that was looked at, found or not: the next part is after it.
    pub last: Option<String>,
    /// There is no more.
    pub complete: bool,
}

impl<T> Page<T> {
    /// Nothing, and no more.
    pub const fn empty() -> Self {
        Self { found: Vec::new(), last: None, complete: true }
    }
}

/// Who is there: the module of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// The version of the protocol that it speaks.
    pub version: u32,
    /// Its own version.
    pub module: String,
    /// The server and its version.
    pub server: String,
    /// Made anew whenever the module starts.
    pub boot: String,
    /// The number of its last notice; 0 before the first.
    pub number: i64,
    /// The server's clock.
    pub now: Option<Timestamp>,
    /// What it can do.
    pub can: Abilities,
}

/// What a module can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// Erase rows.
    pub erase: bool,
    /// Make placeholders of rows.
    pub blank: bool,
    /// List owners and rows.
    pub list: bool,
    /// Take messages out of what rooms replay to joiners.
    pub scrub: bool,
    /// Tell of offline queues, list and blank them.
    pub queue: bool,
}

/// Why there is no answer that helps. Never names a JID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The component is not connected, or the connection ended meanwhile.
    #[error("the component is not connected")]
    Disconnected,
    /// No answer came in time.
    #[error("no answer came in time")]
    Silent,
    /// It lists for somebody else, or was asked too soon: to be asked again.
    #[error("the module asks us to wait")]
    Busy,
    /// The server's storage failed: to be asked again.
    #[error("the server's storage failed")]
    StorageFailed,
    /// The host has no such store, or no such owner.
    #[error("the host has no such store or owner")]
    NotFound,
    /// It speaks another version, or lacks the ability.
    #[error("the module speaks another version of the protocol, or lacks the ability")]
    Unimplemented,
    /// No module is there.
    #[error("no companion module answers there")]
    Absent,
    /// It does not take us for the component that may ask.
    #[error("the module does not take us for the component that may ask it")]
    Forbidden,
    /// It refuses for another reason.
    #[error("the module refused the request")]
    Refused,
    /// What came is no answer to what was asked.
    #[error("the answer cannot be read")]
    Unreadable,
}

impl Unanswered {
    /// What the operator can do, in a sentence.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Absent | Self::Silent => {
                "load mod_ephemerd on this host and name component.jid there: see docs/install-prosody.md or docs/install-ejabberd.md"
            }
            Self::Forbidden => {
                "let the component that mod_ephemerd is told of be the same name as component.jid"
            }
            Self::Unimplemented => "install daemon and module of the same version",
            Self::StorageFailed | Self::Refused | Self::Unreadable | Self::NotFound => {
                "look into the XMPP server's log"
            }
            Self::Disconnected | Self::Busy => "try again",
        }
    }
}

/// The way to the modules. One request waits for one answer; all is bounded in number and time.
pub trait Requests: Clone + Send + Sync + 'static {
    /// Asks the module of this host and waits for its answer.
    fn ask(
        &self,
        host: &str,
        request: Request,
    ) -> impl Future<Output = Result<Answer, Unanswered>> + Send;

    /// The number of the connection that stands; none while there is none.
    fn connection(&self) -> watch::Receiver<Option<u64>>;

    /// Who is there?
    fn companion(&self, host: &str) -> impl Future<Output = Result<Companion, Unanswered>> + Send {
        async move {
            match self.ask(host, Request::Companion).await? {
                Answer::Companion(companion) => Ok(companion),
                _ => Err(Unanswered::Unreadable),
            }
        }
    }

    /// The owners of rows in a store; none where the host has no such store.
    fn owners(
        &self,
        host: &str,
        store: Store,
        after: Option<String>,
    ) -> impl Future<Output = Result<Page<String>, Unanswered>> + Send {
        async move {
            match self.ask(host, Request::Owners { store, after }).await {
                Ok(Answer::Owners(page)) => Ok(page),
                Ok(_) => Err(Unanswered::Unreadable),
                Err(Unanswered::NotFound) => Ok(Page::empty()),
                Err(other) => Err(other),
            }
        }
    }

    /// An owner's marked rows; none where there is no such owner any more.
    fn rows(
        &self,
        (host, owner): (&str, &str),
        store: Store,
        since: Option<Timestamp>,
        after: Option<String>,
    ) -> impl Future<Output = Result<Page<Shown>, Unanswered>> + Send {
        let request = Request::List { owner: owner.to_owned(), store, since, after };
        async move {
            match self.ask(host, request).await {
                Ok(Answer::Rows(page)) => Ok(page),
                Ok(_) => Err(Unanswered::Unreadable),
                Err(Unanswered::NotFound) => Ok(Page::empty()),
                Err(other) => Err(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_kept_as_written_and_read_in_microseconds() {
        let shown =
            |stamp: &str| Shown::new(("h", "o"), Store::Archive, ("1", stamp), None, String::new());
        let whole = shown("2026-11-22T03:34:18Z").unwrap();
        assert!(whole.row.stamp.whole_seconds);
        assert_eq!(whole.row.key.digest, b"2026-11-22T03:34:18Z");
        let exact = shown("2026-11-22T03:34:18.1234567Z").unwrap();
        assert!(!exact.row.stamp.whole_seconds);
        assert_eq!(exact.row.key.row_number % 1_000_000, 123_456);
        assert_eq!(exact.row.key.stamped_at.timestamp_subsec_nanos(), 123_456_000);
        for wrong in ["", "now", "2026-11-22", "2026-11-22T03:34:18", &"2".repeat(41)] {
            assert!(shown(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn ids_and_owners_are_bounded() {
        assert!(is_id("a") && is_id(&"é".repeat(256)));
        for wrong in ["", "a\nb", &"a".repeat(257)] {
            assert!(!is_id(wrong), "{wrong:?}");
        }
        assert_eq!(local_part("a@b", "b"), Some("a"));
        for wrong in
            ["b", "@b", "a@c", "a@b/r", "a@B", "a@b@b", "a/x@b", &format!("{}@b", "a".repeat(1024))]
        {
            assert_eq!(local_part(wrong, "b"), None, "{wrong}");
        }
    }
}
