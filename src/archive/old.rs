//! What is in the archives by age: owner by owner, the oldest rows first, by the tables' own indexes.

use sqlx::PgConnection;

use super::{
    any::{Archive, Table},
    ejabberd, prosody,
};
use crate::{
    database::Result,
    model::{RowKey, Store, Timestamp},
    policy::Retention,
};

/// An owner as a table names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// The host's column, or the virtual host that the table belongs to.
    pub host: String,
    /// The owner's column: a room may be named by its address.
    pub owner: String,
}

/// One owner's rows in one store, and which of them are too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The owner as the table has it.
    pub holder: Holder,
    /// The store.
    pub store: Store,
    /// The virtual host, or the rooms' domain.
    pub host: String,
    /// The user's or the room's local part.
    pub owner: String,
    /// What was archived then or before is too old.
    pub cutoff: Timestamp,
    /// Rows up to this number are too old as well, where only about when they were archived is known.
    pub cutoff_number: i64,
    /// Only rows after this stamp and number, in the table's own units.
    pub after: (i64, i64),
    /// Only the chat with this bare address. Where any has one, a statement has no other scope; and in the queue, whose
    /// columns do not say, whoever reads the rows looks at [`OldRow::peer`].
    pub chat: Option<String>,
}

impl Scope {
    /// Rows of its chat can only be told by reading them.
    pub fn is_told_by_reading(&self) -> bool {
        self.chat.is_some() && self.store == Store::Queue
    }
}

/// How far something reaches in one owner's stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// What was archived until then.
    pub upto: Timestamp,
    /// And what has at most this number in a queue whose times are not exact ([`Archive::newest_queued`]).
    pub queued_upto: i64,
}

/// A row that is too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldRow {
    /// The position of its scope.
    pub scope: usize,
    /// Its identity.
    pub key: RowKey,
    /// Its stamp and number, in the table's own units and in order.
    pub place: (i64, i64),
    /// The other side's bare address; empty in rooms, `None` if the row does not say.
    pub peer: Option<String>,
    /// It is the newest of its owner's in that store, in the order in which clients page through it.
    pub is_newest: bool,
    /// It is one of our placeholders.
    pub is_blank: bool,
    /// It only may be too old: its exact time shows that it is not yet.
    pub is_early: bool,
}

/// How old one scope's rows are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScopeAge {
    /// Rows that are too old.
    pub rows: i64,
    /// The length of their stanzas in bytes.
    pub bytes: i64,
    /// When the oldest row was archived, too old or not.
    pub oldest: Option<Timestamp>,
    /// When the oldest and the newest of those that were counted were archived.
    pub span: Option<(Timestamp, Timestamp)>,
}

impl ScopeAge {
    /// Made of a row as the statements return it: rows, bytes, oldest and newest of these, oldest of all.
    pub(super) fn read<T: Copy>(stored: StoredAge<T>, at: impl Fn(T) -> Timestamp) -> Self {
        let (rows, bytes, first, last, oldest) = stored;
        Self { rows, bytes, oldest: oldest.map(&at), span: first.map(&at).zip(last.map(&at)) }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        let span = match (self.span, other.span) {
            (Some(one), Some(two)) => Some((one.0.min(two.0), one.1.max(two.1))),
            (one, two) => one.or(two),
        };
        Self {
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            oldest: self.oldest.into_iter().chain(other.oldest).min(),
            span,
        }
    }
}

pub(super) type StoredAge<T> = (i64, i64, Option<T>, Option<T>, Option<T>);

/// What somebody else keeps of rows, as SQL that becomes part of the statement that deletes them: so it goes with them, and
/// no row's identity leaves the database.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    /// Whether anything is kept of an owner `k` (`of_host`, `of_owner`, `of_store`) at all.
    pub is_kept: &'static str,
    /// Common table expressions that lock and delete what is kept of the rows `old` (the same columns, and `archive_id`,
    /// `digest`, `is_kept`) where they have `goes`.
    pub deletes: &'static str,
    /// Whether all of that could be locked: nothing is deleted otherwise.
    pub is_free: &'static str,
}

/// What one statement did with one scope's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// The position of the scope.
    pub scope: usize,
    /// Rows that were to go.
    pub rows: i64,
    /// Those of them that went.
    pub gone: i64,
    /// The newest row is too old as well, and stands: it comes next after this place.
    pub before_newest: Option<(i64, i64)>,
}

/// What one statement did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenAll {
    /// Of each scope that has rows that are too old.
    pub scopes: Vec<Taken>,
    /// The last row that was looked at, if that was not all: the position of its scope, and its place.
    pub cut: Option<(usize, (i64, i64))>,
}

impl TakenAll {
    /// Made of rows as the statements return them: scope, rows, rows gone, place before the newest, place of the last row.
    pub(super) fn read(found: Vec<StoredTaken>, most: i64) -> Self {
        let mut all = Self::default();
        let (mut looked_at, mut last) = (0, None);
        for (position, rows, gone, newest_stamp, newest_number, stamp, number) in found {
            let Some(scope) = super::position(position) else { continue };
            let before_newest = newest_stamp.zip(newest_number);
            looked_at += rows + i64::from(before_newest.is_some());
            last = Some((scope, (stamp, number)));
            all.scopes.push(Taken { scope, rows, gone, before_newest });
        }
        all.cut = last.filter(|_| looked_at >= most);
        all
    }
}

pub(super) type StoredTaken = (i64, i64, i64, Option<i64>, Option<i64>, i64, i64);

impl Archive {
    /// The newest number in a queue whose times are not exact; 0 if there is none.
    pub async fn newest_queued(&self, connection: &mut PgConnection) -> Result<i64> {
        for table in self.tables() {
            if matches!(table, Table::EjabberdSpool(_)) {
                return Ok(table.horizon(connection).await?.newest);
            }
        }
        Ok(0)
    }

    /// One owner's stores (host and local part, a user's or a room's) with their tables, in an order that stays; of a user
    /// only the chat with this bare address, if one is given.
    pub async fn scopes_of(
        &self,
        connection: &mut PgConnection,
        owner: (&str, &str),
        with: Option<&str>,
        reach: Reach,
    ) -> Result<Vec<(Table, Scope)>> {
        let mut scopes = Vec::new();
        for table in self.tables() {
            for scope in table.scopes_of(connection, owner, reach).await? {
                // In a room nobody has a chat.
                if with.is_none() || scope.store != Store::Room {
                    let scope = Scope { chat: with.map(str::to_owned), ..scope };
                    scopes.push((table.clone(), scope));
                }
            }
        }
        Ok(scopes)
    }
}

impl Table {
    /// The next owners that have rows, after this one (or beginning with it if `inclusive`), in the order of the table's
    /// index.
    pub async fn holders(
        &self,
        connection: &mut PgConnection,
        after: &Holder,
        inclusive: bool,
        most: i64,
    ) -> Result<Vec<Holder>> {
        match self {
            Self::Prosody => prosody::holders(connection, after, inclusive, most).await,
            Self::EjabberdArchive(schema) | Self::EjabberdSpool(schema) => {
                let table = (schema, self.name());
                ejabberd::holders(connection, table, after, (inclusive, most)).await
            }
        }
    }

    /// The stores in which this owner may have rows, with host and local part as we name them.
    fn stores_of(&self, holder: &Holder) -> Vec<(Store, String, String)> {
        let Holder { host, owner } = holder;
        match self {
            Self::Prosody => {
                Store::ALL.into_iter().map(|store| (store, host.clone(), owner.clone())).collect()
            }
            Self::EjabberdArchive(_) => match owner.split_once('@') {
                Some((room, of)) => vec![(Store::Room, of.to_owned(), room.to_owned())],
                None => vec![(Store::Archive, host.clone(), owner.clone())],
            },
            Self::EjabberdSpool(_) => vec![(Store::Queue, host.clone(), owner.clone())],
        }
    }

    /// These owners' stores, on listed hosts, from which anything goes by its age.
    pub fn scopes(
        &self,
        holders: &[Holder],
        hosts: &[String],
        retention: &Retention,
        now: Timestamp,
    ) -> Vec<Scope> {
        self.scopes_where(holders, |store, host, owner| {
            retention
                .cutoff(store, (host, owner), now)
                .filter(|_| hosts.iter().any(|it| it == host))
        })
    }

    async fn scopes_of(
        &self,
        connection: &mut PgConnection,
        of: (&str, &str),
        reach: Reach,
    ) -> Result<Vec<Scope>> {
        let itself = Holder { host: of.0.to_owned(), owner: of.1.to_owned() };
        let mut holders = vec![itself];
        if let Self::EjabberdArchive(schema) = self {
            holders.extend(ejabberd::holders_of_room(connection, schema, of).await?);
        }
        let upto = |_, host: &str, owner: &str| ((host, owner) == of).then_some(reach.upto);
        let mut scopes = self.scopes_where(&holders, upto);
        scopes.iter_mut().for_each(|it| it.cutoff_number = reach.queued_upto);
        Ok(scopes)
    }

    fn scopes_where(
        &self,
        holders: &[Holder],
        cutoff: impl Fn(Store, &str, &str) -> Option<Timestamp>,
    ) -> Vec<Scope> {
        let mut scopes = Vec::new();
        for holder in holders {
            for (store, host, owner) in self.stores_of(holder) {
                if let Some(cutoff) = cutoff(store, &host, &owner) {
                    scopes.push(Scope {
                        holder: holder.clone(),
                        store,
                        host,
                        owner,
                        cutoff,
                        cutoff_number: i64::MIN,
                        after: (i64::MIN, i64::MIN),
                        chat: None,
                    });
                }
            }
        }
        scopes
    }

    /// Rows that are too old, scope by scope, the oldest first, at most about so many; and whether that is all.
    pub async fn old(
        &self,
        connection: &mut PgConnection,
        scopes: &[Scope],
        rows: i64,
    ) -> Result<(Vec<OldRow>, bool)> {
        match self {
            Self::Prosody => prosody::old(connection, scopes, rows).await,
            Self::EjabberdArchive(schema) => ejabberd::old(connection, schema, scopes, rows).await,
            Self::EjabberdSpool(schema) => {
                ejabberd::old_in_queue(connection, schema, scopes, rows).await
            }
        }
    }

    /// Deletes rows that are too old, scope by scope, the oldest first, at most about so many, and what is kept beside
    /// them; but no scope's newest row. All in one statement, which waits for rows that others have locked: whoever finds
    /// that not all went rolls back, and looks at the rows one by one ([`Table::old`]). `None` if this table's rows can only
    /// be looked at one by one.
    pub async fn delete_old(
        &self,
        connection: &mut PgConnection,
        scopes: &[Scope],
        rows: i64,
        beside: Beside,
    ) -> Result<Option<TakenAll>> {
        match self {
            Self::Prosody => prosody::delete_old(connection, scopes, rows, beside).await.map(Some),
            Self::EjabberdArchive(schema) => {
                ejabberd::delete_old(connection, schema, scopes, (rows, beside)).await.map(Some)
            }
            Self::EjabberdSpool(_) => Ok(None),
        }
    }

    /// How old each scope's rows are, counting at most so many of each that are too old.
    pub async fn ages(
        &self,
        connection: &mut PgConnection,
        scopes: &[Scope],
        most: i64,
    ) -> Result<Vec<ScopeAge>> {
        match self {
            Self::Prosody => prosody::ages(connection, scopes, most).await,
            Self::EjabberdArchive(schema) => ejabberd::ages(connection, schema, scopes, most).await,
            Self::EjabberdSpool(schema) => {
                ejabberd::queue_ages(connection, schema, scopes, most).await
            }
        }
    }
}
