//! The XMPP server's own tables: read, erase by keys, probe the live schema.
//!
//! What differs between servers stands here and nowhere else. Nothing here knows the ledger.

pub mod prosody;

use crate::model::{Stamp, Store, Timestamp};

/// The largest stanza that is read, in bytes. A larger one counts as unreadable.
pub const MAX_STANZA_BYTES: i32 = 4 * 1024 * 1024;

/// The identity of an archived row: an erasing statement asserts all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// Where it lies.
    pub store: Store,
    /// The virtual host, or the rooms' domain.
    pub host: String,
    /// The user's or the room's local part.
    pub owner: String,
    /// The id that MAM shows (XEP-0313), or the queue's own.
    pub archive_id: String,
    /// The table's own number: Prosody's `sort_id`, `seq` of ejabberd's `spool`.
    pub row_number: i64,
    /// The server's own stamp.
    pub stamped_at: Timestamp,
}

/// An archived row that the database's text search found.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its identity.
    pub key: RowKey,
    /// The stamp again, with how exact it is.
    pub stamp: Stamp,
    /// The stanza as stored; `None` where it is larger than [`MAX_STANZA_BYTES`].
    pub xml: Option<String>,
}

/// What became of rows that had to go. Positions are those of the keys given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Gone, or their words gone.
    pub done: Vec<usize>,
    /// Somebody else had already taken them.
    pub gone: Vec<usize>,
    /// Another session holds them.
    pub locked: Vec<usize>,
}

/// The archive at one moment: how far transactions have come, and how far rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// All transactions below have ended (`pg_snapshot_xmin`).
    pub xmin: i64,
    /// No transaction from here on was visible (`pg_snapshot_xmax`).
    pub xmax: i64,
    /// The newest row's number, 0 in an empty archive.
    pub newest: i64,
    /// The last number that the sequence gave.
    pub sequence: i64,
    /// The database's clock.
    pub now: Timestamp,
}

impl Horizon {
    /// The archive has not come as far as a row that was read before: it was restored from a backup.
    pub fn is_before(&self, frontier: i64) -> bool {
        self.newest.max(self.sequence) < frontier
    }
}
