//! The XMPP server's own tables: read them, erase by key, probe the live schema.
//!
//! Everything that differs between servers is here and nowhere else. Nothing here knows the ledger.

mod any;
pub mod companion;
pub mod ejabberd;
mod hosts;
mod layout;
pub mod marks;
mod namesakes;
mod naming;
mod old;
mod page;
mod partitions;
pub mod prosody;
mod reading;
mod survey;

pub use any::{Archive, Kind, Order, Probed, Table, probe};
pub use namesakes::{Alike, Within};
pub use naming::{Namers, Range};
use old::StoredAge;
pub use old::{Beside, Holder, OldRow, Reach, Scope, ScopeAge, Taken, TakenAll};
pub use reading::{Looks, Position, Published, Sought, Trace};
pub use survey::{Surveyed, survey};

use std::collections::BTreeMap;

use crate::{
    model::{OwnerGroups, RowKey, Rules, Stamp, Store, Timestamp, bare_jid},
    stanza::{self, Signature},
};

/// The largest stanza that is read, in bytes. A larger one counts as unreadable.
pub const MAX_STANZA_BYTES: i32 = 4 * 1024 * 1024;

/// Maximum number of copies of one message read from a queue: there is one, unless somebody forges.
const MAX_COPIES: i64 = 100;

/// An archived row found by the database's text search.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its identity.
    pub key: RowKey,
    /// Its timestamp again, with its precision.
    pub stamp: Stamp,
    /// The stanza as stored; `None` if it is larger than [`MAX_STANZA_BYTES`].
    pub xml: Option<String>,
    /// In a room: the sender's real bare address, where the server keeps that beside the stanza.
    pub sender: Option<String>,
}

impl Row {
    /// By what others may name its message; `None` if that cannot be told.
    pub fn signature(&self) -> Option<Signature> {
        Signature::of(self.xml.as_deref()?, &self.key, self.sender.as_deref())
    }

    /// It is in a user's archive, and the user did not receive it: it is their own, or a room's (MUC/Sub).
    pub fn is_not_received(&self) -> bool {
        let xml = self.xml.as_deref().unwrap_or_default();
        self.key.store == Store::Archive && !stanza::is_received(xml, &self.key)
    }

    /// The other side of the chat, as the stanza says it; none in a room's archive.
    pub fn other_side(&self) -> Option<String> {
        let xml = self.xml.as_deref().filter(|_| self.key.store != Store::Room)?;
        stanza::other_side(xml, &bare_jid(&self.key.owner, &self.key.host))
    }
}

/// What rows are searched for.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// What may be marked.
    pub marked: bool,
    /// What may expire by older specifications (XEP-0023, XEP-0079).
    pub expiring: bool,
    /// What may belong to messages of owners in these groups.
    pub belonging: &'a OwnerGroups,
    /// What may be encrypted of owners in these groups.
    pub encrypted: &'a OwnerGroups,
    /// What contains one of these, as patterns of LIKE: URLs of uploaded files.
    pub naming: &'a [String],
}

impl<'a> Search<'a> {
    /// What may be marked alone.
    pub const MARKED: Self = Self { marked: true, ..Self::NOTHING };
    const NOTHING: Self = Self {
        marked: false,
        expiring: false,
        belonging: &OwnerGroups::NONE,
        encrypted: &OwnerGroups::NONE,
        naming: &[],
    };

    /// What may be marked by these rules, and what may belong to messages of these owners.
    pub const fn marked_and(belonging: &'a OwnerGroups, rules: &Rules) -> Self {
        Self { expiring: rules.timers.legacy_expiry, belonging, ..Self::MARKED }
    }

    /// The same, and what may be encrypted of these owners.
    #[must_use]
    pub const fn and_encrypted(self, encrypted: &'a OwnerGroups) -> Self {
        Self { encrypted, ..self }
    }

    /// The same, and what contains one of these.
    #[must_use]
    pub const fn and_naming(self, naming: &'a [String]) -> Self {
        Self { naming, ..self }
    }

    /// What may belong to messages of these owners alone.
    pub const fn belonging(belonging: &'a OwnerGroups) -> Self {
        Self { belonging, ..Self::NOTHING }
    }

    /// Only what contains one of these.
    pub const fn naming(naming: &'a [String]) -> Self {
        Self { naming, ..Self::NOTHING }
    }
}

/// Which of the rows that are named may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that are still marked, and our placeholders.
    Marked,
    /// All: what is too old goes, whatever it is.
    All,
}

/// What happened to a row that was to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// The statement returned it as deleted, or with our text in place of its own.
    Done,
    /// The text was replaced and the row stays as a placeholder to be deleted later, with this digest.
    Placeholder(Vec<u8>),
    /// It had already been removed by someone else.
    AlreadyGone,
    /// Someone else rewrote it: it is neither marked nor one of our placeholders, and was left alone.
    TakenOver,
    /// Another session has it locked.
    Locked,
    /// The statement succeeded, but a trigger kept the row as it was.
    Unchanged,
}

/// What a statement did with the rows that it locked, by the position of their keys.
#[derive(Debug, Default)]
struct Touched(BTreeMap<usize, Erasure>);

impl Touched {
    /// Records the result for the key at this ordinality. If several rows share a key, most likely identical
    /// twins, a row that a trigger kept decides; one that was left alone never does.
    fn note(&mut self, ordinality: i64, erasure: Erasure) {
        let Some(position) = position(ordinality) else { return };
        let known = self.0.entry(position).or_insert(Erasure::TakenOver);
        if *known == Erasure::TakenOver || erasure == Erasure::Unchanged {
            *known = erasure;
        }
    }

    /// The rows that a trigger seems to have kept, and their keys.
    fn kept<'a>(&self, keys: &[&'a RowKey]) -> (Vec<usize>, Vec<&'a RowKey>) {
        let is_kept = |at: &usize| self.0.get(at) == Some(&Erasure::Unchanged);
        keys.iter().copied().enumerate().filter(|(at, _)| is_kept(at)).unzip()
    }

    /// Replaces the results for rows that were tried again; a row that was not touched this time has no
    /// result.
    fn replace(&mut self, rows: &[usize], Self(mut again): Self) {
        for (at, row) in rows.iter().enumerate() {
            match again.remove(&at) {
                Some(erasure) => self.0.insert(*row, erasure),
                None => self.0.remove(row),
            };
        }
    }
}

/// One snapshot of a table's transactions and rows. The transactions and the sequence are only read if row
/// numbers come from a sequence; with [`Order::Stamps`] they are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// All transactions below this have ended (`pg_snapshot_xmin`).
    pub xmin: i64,
    /// No transaction from this one on was visible (`pg_snapshot_xmax`).
    pub xmax: i64,
    /// The newest row's number, 0 in an empty table.
    pub newest: i64,
    /// The last number taken from the sequence.
    pub sequence: i64,
    /// The database's clock.
    pub now: Timestamp,
    /// When the server process started. Another one, after a failover or a restore, may know another past.
    pub server_started: Timestamp,
    /// Identifies the files of the table, its partitions and its children: it changes with a restore,
    /// TRUNCATE or VACUUM FULL, and when a partition is added or removed.
    pub filenode: i64,
}

impl Horizon {
    /// The newest row is before one that was already read: the table was restored from a backup.
    pub fn is_before(&self, frontier: i64) -> bool {
        self.newest.max(self.sequence) < frontier
    }
}

/// Maximum number of rows per call of [`Archive::archive_rows`]: each may be [`MAX_STANZA_BYTES`] long.
pub const ARCHIVE_ROWS_AT_ONCE: usize = 8;

/// Rows to be blanked are read in parts of this many bytes.
const BYTES_AT_ONCE: i64 = 16 * 1024 * 1024;

/// How many characters are read from the start of a stanza to build its placeholder from the start tag.
const HEAD_CHARACTERS: i32 = 4096;

/// A table's [`Horizon::filenode`]: the filenode of a plain table, or a hash over those of all tables below
/// it.
macro_rules! filenode {
    ($table:literal) => {
        concat!(
            "(WITH RECURSIVE part(oid) AS (
                  SELECT to_regclass('", $table, "')::oid
                  UNION
                  SELECT i.inhrelid FROM pg_inherits AS i JOIN part ON i.inhparent = part.oid)
              SELECT coalesce(CASE count(*)
                         WHEN 1 THEN min(pg_relation_filenode(oid)::bigint)
                         ELSE hashtextextended(
                             string_agg(oid::text || ':' || pg_relation_filenode(oid)::text, ',' ORDER BY oid), 0)
                     END, 0)
                FROM part)"
        )
    };
}
use filenode;

/// The first characters of a text, as bytes: UTF-8, unless the database has no encoding (SQL_ASCII). There `left` counts
/// bytes and may cut a character, which could not be sent as text.
macro_rules! head {
    ($column:literal, $characters:literal) => {
        concat!(
            "convert_to(left(",
            $column,
            ", ",
            $characters,
            "), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)"
        )
    };
}
use head;

/// A text that was read by its head; a character that was cut is left out.
fn text_of(head: Vec<u8>) -> String {
    match String::from_utf8(head) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes())
            .trim_end_matches(char::REPLACEMENT_CHARACTER)
            .to_owned(),
    }
}

/// Converts SQL's ordinality, which counts from 1, to a position.
fn position(ordinality: i64) -> Option<usize> {
    usize::try_from(ordinality).ok()?.checked_sub(1)
}

/// Splits rows into parts of at most this many bytes, but at least one row each.
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
