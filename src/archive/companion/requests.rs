//! What we ask of a companion module, and what it answers.

use std::{future::Future, time::Duration};

use tokio::sync::watch;

use super::{Companion, Shown};
use crate::model::{Occupant, Store, Timestamp};

/// The order in which modules list owners of one host: by the bytes of their JIDs, in which an `@` follows the local part.
pub fn jid_order(local: &str) -> String {
    format!("{local}@")
}

/// A request to one host's module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Identify yourself.
    Companion,
    /// Erase these rows, or replace their text.
    Erase {
        /// Local part of the owner.
        owner: String,
        /// The store that they are in.
        store: Store,
        /// The rows: 1 to [`MOST_ITEMS`](super::MOST_ITEMS).
        items: Vec<Item>,
        /// Replace the text; the placeholders stay until then.
        until: Option<Timestamp>,
    },
    /// List owners.
    Owners {
        /// With rows in this store.
        store: Store,
        /// After this one, in byte order of their JIDs.
        after: Option<String>,
    },
    /// List an owner's marked rows.
    List {
        /// Local part of the owner.
        owner: String,
        /// The store that they are in.
        store: Store,
        /// Only those stamped at this time or later.
        since: Option<Timestamp>,
        /// After the row with this id.
        after: Option<String>,
    },
    /// Send again, as notices, what is known of undelivered messages.
    Recall {
        /// For owners after this one, in byte order of their JIDs.
        after: Option<String>,
    },
    /// Remove messages from what a room replays to people who join.
    Scrub {
        /// The room's local part.
        owner: String,
        /// The messages: 1 to [`MOST_ITEMS`](super::MOST_ITEMS).
        ids: Vec<String>,
    },
    /// Announce again everything that only rooms remember.
    Remembered,
    /// List the members of a room.
    Members {
        /// The room's local part.
        owner: String,
    },
    /// Say what is known of uploaded files: 1 to [`MOST_ITEMS`](super::MOST_ITEMS).
    Files(Vec<FileItem>),
    /// Remove uploaded files: 1 to [`MOST_ITEMS`](super::MOST_ITEMS).
    Unlink(Vec<FileItem>),
}

/// An uploaded file: the server must know it as this user's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileItem {
    /// What the server calls it: the part of its URL that the server gave out.
    pub id: String,
    /// The user's bare address.
    pub uploader: String,
}

/// What a server knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It is there, and nothing named it before this time.
    There(Timestamp),
    /// There is no such file.
    Gone,
    /// Somebody else uploaded it.
    Other,
}

/// A row to erase: both values must match the row's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Its stamp, as the module wrote it.
    pub stamp: String,
}

/// What happened to a row that was to be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is gone, or a placeholder.
    Done,
    /// There is no such row.
    Gone,
    /// Another row has this id, or the row is not marked: left alone.
    Other,
    /// It could not be done now.
    Failed,
}

/// An answer to a [`Request`].
#[derive(Debug)]
pub enum Answer {
    /// The module identifies itself.
    Companion(Companion),
    /// What happened to each row, by id.
    Erased {
        /// Each id with its outcome.
        outcomes: Vec<(String, Outcome)>,
        /// The server needs a rest: erase nothing more for this long.
        rest: Duration,
    },
    /// Local parts, in byte order of their JIDs.
    Owners(Page<String>),
    /// Marked rows, in the store's own order.
    Rows(Page<Shown>),
    /// Everything known was announced up to this owner; `None` if that was all.
    Recalled(Option<String>),
    /// How many messages were removed.
    Scrubbed(u32),
    /// How many were announced again.
    Remembered(u32),
    /// What is known of each file.
    Files(Vec<(FileItem, FileState)>),
    /// What became of each file.
    Unlinked(Vec<(FileItem, Outcome)>),
    /// Who a room's members are; `None` if it is not for members only, or they cannot all be listed.
    Members(Option<Vec<Occupant>>),
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// The items found.
    pub found: Vec<T>,
    /// The last item examined, whether listed or not: the next page starts after it.
    pub last: Option<String>,
    /// This was the last page.
    pub complete: bool,
}

impl<T> Page<T> {
    /// An empty list.
    pub const fn empty() -> Self {
        Self { found: Vec::new(), last: None, complete: true }
    }
}

/// Why a request was not answered usefully. Never names a JID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The component is not connected, or was disconnected while waiting.
    #[error("the component is not connected")]
    Disconnected,
    /// No answer came in time.
    #[error("no answer came in time")]
    Silent,
    /// The module is listing for somebody else, or was asked too soon: ask again later.
    #[error("the module asks us to wait")]
    Busy,
    /// The server's storage failed: ask again later.
    #[error("the server's storage failed")]
    StorageFailed,
    /// The host has no such store, or no such owner.
    #[error("the host has no such store or owner")]
    NotFound,
    /// It speaks another version, or cannot do this.
    #[error("the module speaks another version of the protocol, or lacks the ability")]
    Unimplemented,
    /// There is no module.
    #[error("no companion module answers there")]
    Absent,
    /// It does not accept us as the component that may ask.
    #[error("the module does not accept us as its component")]
    Forbidden,
    /// It refuses for another reason.
    #[error("the module refused the request")]
    Refused,
    /// The answer does not match the request.
    #[error("the answer cannot be read")]
    Unreadable,
}

impl Unanswered {
    /// What the operator can do, in one sentence.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Absent | Self::Silent => {
                "load mod_ephemerd on this host and name component.jid there: see docs/install-prosody.md or docs/install-ejabberd.md"
            }
            Self::Forbidden => {
                "configure mod_ephemerd with the same component name as component.jid"
            }
            Self::Unimplemented => "install daemon and module of the same version",
            Self::StorageFailed | Self::Refused | Self::Unreadable | Self::NotFound => {
                "look at the XMPP server's log"
            }
            Self::Disconnected | Self::Busy => "try again",
        }
    }
}

/// Sends requests to the modules. Each request waits for one answer; number and waiting time are bounded.
pub trait Requests: Clone + Send + Sync + 'static {
    /// Asks the module of this host and waits for its answer.
    fn ask(
        &self,
        host: &str,
        request: Request,
    ) -> impl Future<Output = Result<Answer, Unanswered>> + Send;

    /// The number of the current connection, if there is one.
    fn connection(&self) -> watch::Receiver<Option<u64>>;

    /// Identifies the module.
    fn companion(&self, host: &str) -> impl Future<Output = Result<Companion, Unanswered>> + Send {
        async move {
            match self.ask(host, Request::Companion).await? {
                Answer::Companion(companion) => Ok(companion),
                _ => Err(Unanswered::Unreadable),
            }
        }
    }

    /// Makes the module send again what it knows of undelivered messages. All of it has been sent when this
    /// returns.
    fn recall(&self, host: &str) -> impl Future<Output = Result<(), Unanswered>> + Send {
        async move {
            let mut after = None;
            loop {
                let request = Request::Recall { after: after.clone() };
                match self.ask(host, request).await? {
                    Answer::Recalled(None) => return Ok(()),
                    // Otherwise a module could keep us here for ever.
                    Answer::Recalled(Some(last))
                        if after.as_deref().map(jid_order) < Some(jid_order(&last)) =>
                    {
                        after = Some(last);
                    }
                    _ => return Err(Unanswered::Unreadable),
                }
            }
        }
    }

    /// A room's members (owners and admins included) with their real addresses; `None` if it is not for members only, if
    /// not all of them can be listed, or if there is no such room.
    fn members(
        &self,
        host: &str,
        room: &str,
    ) -> impl Future<Output = Result<Option<Vec<Occupant>>, Unanswered>> + Send {
        let request = Request::Members { owner: room.to_owned() };
        async move {
            match self.ask(host, request).await {
                Ok(Answer::Members(members)) => Ok(members),
                Ok(_) => Err(Unanswered::Unreadable),
                Err(Unanswered::NotFound) => Ok(None),
                Err(other) => Err(other),
            }
        }
    }

    /// The owners with rows in a store; none if the host has no such store.
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

    /// An owner's marked rows; none if that owner no longer exists.
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
