use super::{Store, Timestamp};

/// The identity of an archived row; an erasing statement checks all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// The store that the row is in.
    pub store: Store,
    /// The virtual host, or the rooms' domain.
    pub host: String,
    /// The user's or the room's local part.
    pub owner: String,
    /// The id that MAM shows (XEP-0313), or the queue's own.
    pub archive_id: String,
    /// The table's own number: Prosody's `sort_id`; ejabberd's `timestamp`, and `seq` of its `spool`.
    pub row_number: i64,
    /// The server's own timestamp.
    pub stamped_at: Timestamp,
    /// A digest of the row's text if the server's ids are not unique, else empty.
    pub digest: Vec<u8>,
}

/// How the ledger identifies an archived row; it survives renumbering by a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowId<'a> {
    /// The store that the row is in.
    pub store: Store,
    /// The virtual host, or the rooms' domain.
    pub host: &'a str,
    /// The user's or the room's local part.
    pub owner: &'a str,
    /// The id that MAM shows, or the queue's own.
    pub archive_id: &'a str,
    /// A digest of the row's text if the server's ids are not unique, else empty.
    pub digest: &'a [u8],
}

/// The bare JID (RFC 7622) of a user or a room.
pub fn bare_jid(local: &str, host: &str) -> String {
    format!("{local}@{host}")
}

impl RowKey {
    /// How the ledger identifies the row.
    pub fn id(&self) -> RowId<'_> {
        let Self { store, host, owner, archive_id, digest, .. } = self;
        RowId { store: *store, host, owner, archive_id, digest }
    }
}
