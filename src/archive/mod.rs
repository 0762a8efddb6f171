//! The XMPP server's own tables: read, erase by keys, probe the live schema.
//!
//! What differs between servers stands here and nowhere else. Nothing here knows the ledger.

mod any;
pub mod ejabberd;
mod hosts;
pub mod prosody;
pub mod remote;

pub use any::{Archive, Kind, Order, Probed, Table, probe};

use crate::model::{Stamp, Store, Timestamp};

/// The largest stanza that is read, in bytes. A larger one counts as unreadable.
pub const MAX_STANZA_BYTES: i32 = 4 * 1024 * 1024;

/// How many copies of one message are looked for in a queue: one is there, unless somebody forges.
const MAX_COPIES: i64 = 100;

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
    /// The table's own number: Prosody's `sort_id`; ejabberd's `timestamp`, and `seq` of its `spool`.
    pub row_number: i64,
    /// The server's own stamp.
    pub stamped_at: Timestamp,
    /// A digest of the row's words where the server's ids are not unique, else empty.
    pub digest: Vec<u8>,
}

impl RowKey {
    /// What the ledger knows the row by: store, host, owner, archive id, digest.
    pub fn name(&self) -> (Store, &str, &str, &str, &[u8]) {
        (self.store, &self.host, &self.owner, &self.archive_id, &self.digest)
    }
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
    /// Of those, the rows that stand on as placeholders and have to be deleted later, with the digest
    /// that they have now.
    pub placeholders: Vec<(usize, Vec<u8>)>,
    /// Somebody else had already taken them.
    pub gone: Vec<usize>,
    /// Another session holds them.
    pub locked: Vec<usize>,
}

/// A table at one moment: how far transactions have come, and how far rows. Only where row numbers are
/// drawn from a sequence ([`Order::Sequence`]) are transactions and sequence asked for; else they are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// All transactions below have ended (`pg_snapshot_xmin`).
    pub xmin: i64,
    /// No transaction from here on was visible (`pg_snapshot_xmax`).
    pub xmax: i64,
    /// The newest row's number, 0 in an empty table.
    pub newest: i64,
    /// The last number that the sequence gave.
    pub sequence: i64,
    /// The database's clock.
    pub now: Timestamp,
    /// Where PostgreSQL keeps the table (`pg_relation_filenode`): another after a restore, TRUNCATE or VACUUM FULL.
    pub filenode: i64,
}

impl Horizon {
    /// The table has not come as far as a row that was read before: it was restored from a backup.
    pub fn is_before(&self, frontier: i64) -> bool {
        self.newest.max(self.sequence) < frontier
    }
}

/// How many rows [`Archive::archive_rows`] is asked for at once: each may be [`MAX_STANZA_BYTES`] long.
pub const ARCHIVE_ROWS_AT_ONCE: usize = 8;

/// Rows are read to be blanked, so many bytes at a time.
const BYTES_AT_ONCE: i64 = 16 * 1024 * 1024;

/// How many characters of a stanza's start are read to make its placeholder: its start tag.
const HEAD_CHARACTERS: i32 = 4096;

/// From SQL's ordinality, which counts from 1, to a position.
fn position(ordinality: i64) -> Option<usize> {
    usize::try_from(ordinality).ok()?.checked_sub(1)
}

/// Splits rows so that each part holds few enough bytes, but always at least one row.
fn parts_by_bytes<T>(rows: &[T], bytes: impl Fn(&T) -> i32) -> impl Iterator<Item = &[T]> {
    let mut held = 0;
    rows.chunk_by(move |row, next| {
        held += i64::from(bytes(row));
        let together = held + i64::from(bytes(next)) <= BYTES_AT_ONCE;
        if !together {
            held = 0;
        }
        together
    })
}
