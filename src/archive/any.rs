use std::collections::HashSet;

use sqlx::PgConnection;

use super::{
    Erasure, HEAD_CHARACTERS, Horizon, MAX_STANZA_BYTES, Row, Search, Touched, Which,
    ejabberd::{self, Schema},
    hosts, layout, prosody,
};
use crate::{
    database::Result,
    model::{Finding, Level, RowKey, Store},
    stanza::Cut,
};

/// The server's way of keeping archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Prosody with SQL storage.
    Prosody,
    /// ejabberd with SQL storage.
    Ejabberd,
}

/// What probing the live schema found.
#[derive(Debug)]
pub struct Probed {
    /// The archive, if its schema is usable.
    pub archive: Option<Archive>,
    /// What to tell the operator.
    pub findings: Vec<Finding>,
}

/// Checks the live schema and our privileges on it. `hosts` are those whose rows we may erase.
pub async fn probe(connection: &mut PgConnection, kind: Kind, hosts: &[String]) -> Result<Probed> {
    match kind {
        Kind::Prosody => {
            let mut findings = prosody::probe(connection).await?;
            let is_problem = |it: &Finding| it.level == Level::Problem;
            let archive = (!findings.iter().any(is_problem)).then_some(Archive::Prosody);
            if archive.is_some() {
                findings.extend(layout::obstacles(connection, &["prosodyarchive"]).await?);
            }
            Ok(Probed { archive, findings })
        }
        Kind::Ejabberd => {
            let ejabberd::ProbedSchema { schema, findings } =
                ejabberd::probe(connection, hosts).await?;
            Ok(Probed { archive: schema.map(Archive::Ejabberd), findings })
        }
    }
}

/// One server's archives, in the schema that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Archive {
    /// Prosody's.
    Prosody,
    /// ejabberd's, in one of its schemas.
    Ejabberd(Schema),
}

/// A table that is inspected and swept on its own, in order of its row numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    /// Prosody's archives and offline queues.
    Prosody,
    /// ejabberd's `archive`.
    EjabberdArchive(Schema),
    /// ejabberd's `spool`: its offline queues.
    EjabberdSpool(Schema),
}

/// How a table's row numbers relate to commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Numbers come from a sequence, and rows commit in any order.
    Sequence,
    /// Numbers are timestamps in microseconds, and rows commit in any order.
    Stamps,
    /// A few rows that are soon gone, read in full each time.
    Unordered,
}

impl Table {
    /// The name of its cursor and sweep.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Prosody => "prosodyarchive",
            Self::EjabberdArchive(_) => "archive",
            Self::EjabberdSpool(_) => "spool",
        }
    }

    /// The stores that this table holds.
    pub const fn stores(&self) -> &'static [Store] {
        match self {
            Self::Prosody => &Store::ALL,
            Self::EjabberdArchive(_) => &[Store::Archive, Store::Room],
            Self::EjabberdSpool(_) => &[Store::Queue],
        }
    }

    /// How its row numbers are assigned.
    pub const fn order(&self) -> Order {
        match self {
            Self::Prosody => Order::Sequence,
            Self::EjabberdArchive(_) => Order::Stamps,
            Self::EjabberdSpool(_) => Order::Unordered,
        }
    }

    /// The table's current horizon, from one snapshot.
    pub async fn horizon(&self, connection: &mut PgConnection) -> Result<Horizon> {
        match self {
            Self::Prosody => prosody::horizon(connection).await,
            Self::EjabberdArchive(schema) => ejabberd::horizon(connection, schema).await,
            Self::EjabberdSpool(_) => ejabberd::queue_horizon(connection).await,
        }
    }

    /// The number at which a span of the next `rows` rows after `after` ends, not beyond `upto`, and how many
    /// rows it has; `None` at the end.
    pub async fn span_end(
        &self,
        connection: &mut PgConnection,
        (after, upto): (i64, i64),
        rows: i64,
    ) -> Result<Option<(i64, i64)>> {
        match self {
            Self::Prosody => prosody::span_end(connection, after, upto, rows).await,
            Self::EjabberdArchive(schema) => {
                ejabberd::span_end(connection, schema, (after, upto), rows).await
            }
            // One span for all the rest: without an index, part of the table costs as much as all of it.
            Self::EjabberdSpool(_) => Ok((after < upto).then_some((upto, 0))),
        }
    }

    /// These hosts' rows after `after` and up to `upto` that may be what is searched for, in order: at most `rows`, and at
    /// most `bytes` bytes of stanzas (but at least one row). Rows with the same number come together.
    pub async fn candidates(
        &self,
        connection: &mut PgConnection,
        (hosts, search): (&[String], Search<'_>),
        span: (i64, i64),
        limits: (i64, i64),
    ) -> Result<Vec<Row>> {
        let searched = (hosts, search);
        match self {
            Self::Prosody => prosody::candidates(connection, searched, span, limits).await,
            Self::EjabberdArchive(schema) => {
                ejabberd::candidates(connection, schema, searched, span, limits).await
            }
            Self::EjabberdSpool(schema) => {
                ejabberd::queued_candidates(connection, schema, searched, span, limits).await
            }
        }
    }
}

/// Calls the function of this name in the server's own module.
macro_rules! of_server {
    ($archive:ident, $name:ident($connection:ident, $($rest:expr),+)) => {
        match $archive {
            Self::Prosody => prosody::$name($connection, $($rest),+).await,
            Self::Ejabberd(schema) => ejabberd::$name($connection, schema, $($rest),+).await,
        }
    };
}

impl Archive {
    /// Its tables. Those with offline queues come first, so that no copy is missed.
    pub fn tables(&self) -> Vec<Table> {
        match self {
            Self::Prosody => vec![self.archive_table()],
            Self::Ejabberd(schema) => {
                vec![Table::EjabberdSpool(schema.clone()), self.archive_table()]
            }
        }
    }

    /// The table that holds users' archives; never one without an order.
    pub fn archive_table(&self) -> Table {
        match self {
            Self::Prosody => Table::Prosody,
            Self::Ejabberd(schema) => Table::EjabberdArchive(schema.clone()),
        }
    }

    /// The table that holds this store's rows.
    pub fn table_of(&self, store: Store) -> Option<&'static str> {
        self.tables().iter().find(|it| it.stores().contains(&store)).map(Table::name)
    }

    /// Whether placeholders in this store are deleted when they fall due.
    pub const fn deletes_from(&self, store: Store) -> bool {
        match self {
            Self::Prosody => true,
            // ejabberd may attach all that waits to one row of its queue, and empties the queue at login.
            Self::Ejabberd(_) => !matches!(store, Store::Queue),
        }
    }

    /// The rows with these (host, owner, archive id) in users' archives.
    pub async fn archive_rows(
        &self,
        connection: &mut PgConnection,
        ids: &[(&str, &str, &str)],
    ) -> Result<Vec<Row>> {
        of_server!(self, archive_rows(connection, ids))
    }

    /// This owner's rows (host and local part) with this id: in a user's or room's archive and, on Prosody,
    /// in the user's offline queue.
    pub async fn find(
        &self,
        connection: &mut PgConnection,
        owner: (&str, &str),
        archive_id: &str,
    ) -> Result<Vec<Row>> {
        of_server!(self, find(connection, owner, archive_id))
    }

    /// Rows in this owner's queue whose text contains an archive id. Its copies are among them; their last
    /// stanza-id identifies them. At most a hundred, oldest first.
    pub async fn queued_under(
        &self,
        connection: &mut PgConnection,
        owner: (&str, &str),
        archive_id: &str,
    ) -> Result<Vec<Row>> {
        of_server!(self, queued_under(connection, owner, archive_id))
    }

    /// Which of these rows still exist, by position.
    pub async fn still_there(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
    ) -> Result<Vec<usize>> {
        of_server!(self, still_there(connection, keys))
    }

    /// Which of these rows have text and are not placeholders, by position: they came back with a restore.
    pub async fn with_words(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
    ) -> Result<Vec<usize>> {
        match self {
            Self::Prosody => prosody::with_words(connection, keys).await,
            // Different text has a different digest, and therefore its own entry.
            Self::Ejabberd(_) => Ok(Vec::new()),
        }
    }

    /// Deletes exactly these rows, except those that another session has locked. Returns what happened to
    /// each, in order of the keys.
    pub async fn delete(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
        which: Which,
    ) -> Result<Vec<Erasure>> {
        let mut touched = self.delete_once(connection, keys, which).await?;
        let (kept, kept_keys) = touched.kept(keys);
        if !kept.is_empty() {
            // Another session may have changed them between our snapshot and our lock: a second attempt
            // shows that.
            let again = self.delete_once(connection, &kept_keys, which).await?;
            touched.replace(&kept, again);
        }
        self.tell_apart(connection, keys, touched).await
    }

    async fn delete_once(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
        which: Which,
    ) -> Result<Touched> {
        match self {
            Self::Prosody => prosody::delete(connection, keys, which).await,
            // Another text has another digest.
            Self::Ejabberd(schema) => ejabberd::delete(connection, schema, keys).await,
        }
    }

    /// Replaces the text of exactly these rows, except those that another session has locked, by what
    /// `replace` makes of the start of the stanza.
    pub async fn blank(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
        which: Which,
        replace: impl Fn(&str) -> String,
    ) -> Result<Vec<Erasure>> {
        let touched = match self {
            Self::Prosody => {
                let replace = |_, head: &str| Some(replace(head));
                prosody::blank(connection, keys, which, HEAD_CHARACTERS, replace).await?
            }
            Self::Ejabberd(schema) => ejabberd::blank(connection, schema, keys, replace).await?,
        };
        self.tell_apart(connection, keys, touched).await
    }

    /// The same for offline queues, where `replace` gets whole stanzas.
    pub async fn blank_queued(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
        replace: impl Fn(&str) -> String,
    ) -> Result<Vec<Erasure>> {
        let touched = match self {
            Self::Prosody => {
                let (which, characters) = (Which::Marked, MAX_STANZA_BYTES);
                let replace = |_, text: &str| Some(replace(text));
                prosody::blank(connection, keys, which, characters, replace).await?
            }
            Self::Ejabberd(schema) => {
                ejabberd::blank_queued(connection, schema, keys, replace).await?
            }
        };
        self.tell_apart(connection, keys, touched).await
    }

    /// Replaces the text of exactly these rows by what `cut` makes of their keys' position and their text, except those that
    /// another session has locked. A row of which it makes nothing counts as [`Erasure::TakenOver`]; one that was cut has the
    /// digest of [`Erasure::Placeholder`] from now on.
    pub async fn cut(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
        cut: impl Fn(usize, &str) -> Option<Cut>,
    ) -> Result<Vec<Erasure>> {
        let mut touched = Touched::default();
        match self {
            Self::Prosody => {
                let replace = |at, text: &str| cut(at, text).map(|it| it.xml);
                let characters = MAX_STANZA_BYTES;
                touched = prosody::blank(connection, keys, Which::All, characters, replace).await?;
            }
            Self::Ejabberd(schema) => {
                for is_queued in [false, true] {
                    let is_here = |it: &&RowKey| (it.store == Store::Queue) == is_queued;
                    let those = keys.iter().copied().enumerate().filter(|(_, it)| is_here(it));
                    let (positions, those): (Vec<usize>, Vec<&RowKey>) = those.unzip();
                    if those.is_empty() {
                        continue;
                    }
                    let at = |at: usize| positions.get(at).copied();
                    let replace = |position, text: &str| cut(at(position)?, text);
                    let part =
                        ejabberd::rewrite(connection, schema, &those, is_queued, replace).await?;
                    touched.0.extend(part.0.into_iter().filter_map(|it| Some((at(it.0)?, it.1))));
                }
            }
        }
        self.tell_apart(connection, keys, touched).await
    }

    /// Hosts in the archive that are not listed, with their row counts: for `check` and a gauge.
    pub async fn unlisted_hosts(
        &self,
        connection: &mut PgConnection,
        hosts: &[String],
    ) -> Result<Vec<(String, i64)>> {
        of_server!(self, unlisted_hosts(connection, hosts))
    }

    /// Compares the listed hosts with those in the archive. Host names come from the operator, so they may be
    /// printed.
    pub async fn probe_hosts(
        &self,
        connection: &mut PgConnection,
        hosts: &[String],
    ) -> Result<Vec<Finding>> {
        let unlisted = self.unlisted_hosts(connection, hosts).await?;
        let absent = match self {
            Self::Prosody => prosody::absent_hosts(connection, hosts).await?,
            // No column there names the hosts of rooms.
            Self::Ejabberd(_) => Vec::new(),
        };
        Ok(hosts::findings(&unlisted, &absent))
    }

    /// Distinguishes the rows that were not erased: those that still exist are locked or were kept, the
    /// others are gone.
    async fn tell_apart(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
        Touched(mut touched): Touched,
    ) -> Result<Vec<Erasure>> {
        let is_left = |at: &usize| matches!(touched.get(at), None | Some(Erasure::Unchanged));
        let (left, left_keys): (Vec<usize>, Vec<&RowKey>) =
            keys.iter().enumerate().filter(|(at, _)| is_left(at)).unzip();
        if !left.is_empty() {
            let present: HashSet<usize> =
                self.still_there(connection, &left_keys).await?.into_iter().collect();
            for (at, position) in left.into_iter().enumerate() {
                if !present.contains(&at) {
                    touched.insert(position, Erasure::AlreadyGone);
                }
            }
        }
        Ok((0..keys.len()).map(|at| touched.remove(&at).unwrap_or(Erasure::Locked)).collect())
    }
}
