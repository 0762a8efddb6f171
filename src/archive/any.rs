use std::collections::HashSet;

use sqlx::PgConnection;

use super::{
    Erased, Horizon, Row, RowKey,
    ejabberd::{self, Schema},
    hosts, prosody,
};
use crate::{
    database::Result,
    model::{Finding, Level, Store},
};

/// The server's way of keeping archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Prosody with SQL storage.
    Prosody,
    /// ejabberd with SQL storage.
    Ejabberd,
}

/// What a look at the live schema found.
#[derive(Debug)]
pub struct Probed {
    /// The archive, where it is as we need it.
    pub archive: Option<Archive>,
    /// What to tell the operator.
    pub findings: Vec<Finding>,
}

/// Looks at the live schema and at what our role may do there. `hosts` are those whose rows we may touch.
pub async fn probe(connection: &mut PgConnection, kind: Kind, hosts: &[String]) -> Result<Probed> {
    match kind {
        Kind::Prosody => {
            let findings = prosody::probe(connection).await?;
            let is_problem = |it: &Finding| it.level == Level::Problem;
            let archive = (!findings.iter().any(is_problem)).then_some(Archive::Prosody);
            Ok(Probed { archive, findings })
        }
        Kind::Ejabberd => {
            let ejabberd::Found { schema, findings } = ejabberd::probe(connection, hosts).await?;
            Ok(Probed { archive: schema.map(Archive::Ejabberd), findings })
        }
    }
}

/// The archives of one server, in the shape that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Archive {
    /// Prosody's.
    Prosody,
    /// ejabberd's, in one of its schemas.
    Ejabberd(Schema),
}

/// A table that is inspected and swept by itself, in the order of its row numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    /// Prosody's archives and offline queues.
    Prosody,
    /// ejabberd's `archive`.
    EjabberdArchive(Schema),
    /// ejabberd's `spool`: its offline queues.
    EjabberdSpool(Schema),
}

/// How a table's row numbers and its commits go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Numbers are drawn from a sequence, and rows commit in any order.
    Sequence,
    /// Numbers are stamps in microseconds, and rows commit in any order.
    Stamps,
    /// A few rows that are soon gone, read whole each time.
    Whole,
}

impl Table {
    /// The name of its cursor and its sweep.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Prosody => "prosodyarchive",
            Self::EjabberdArchive(_) => "archive",
            Self::EjabberdSpool(_) => "spool",
        }
    }

    /// The stores whose rows lie there.
    pub const fn stores(&self) -> &'static [Store] {
        match self {
            Self::Prosody => &Store::ALL,
            Self::EjabberdArchive(_) => &[Store::Archive, Store::Room],
            Self::EjabberdSpool(_) => &[Store::Queue],
        }
    }

    /// How its row numbers are given.
    pub const fn order(&self) -> Order {
        match self {
            Self::Prosody => Order::Sequence,
            Self::EjabberdArchive(_) => Order::Stamps,
            Self::EjabberdSpool(_) => Order::Whole,
        }
    }

    /// How far it has come, in one snapshot.
    pub async fn horizon(&self, connection: &mut PgConnection) -> Result<Horizon> {
        match self {
            Self::Prosody => prosody::horizon(connection).await,
            Self::EjabberdArchive(schema) => ejabberd::horizon(connection, schema).await,
            Self::EjabberdSpool(_) => ejabberd::queue_horizon(connection).await,
        }
    }

    /// The number that ends the next `rows` rows after `after`, none beyond `upto`, and how many rows
    /// these are; `None` at the end.
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
            // All the rest is one span: without an index, a part costs as much as the whole.
            Self::EjabberdSpool(_) => Ok((after < upto).then_some((upto, 0))),
        }
    }

    /// The rows of these hosts after `after` and up to `upto` that may be marked, in order: at most `rows`
    /// and, but for the first, at most `bytes` bytes of stanzas; rows of one number come together.
    pub async fn candidates(
        &self,
        connection: &mut PgConnection,
        hosts: &[String],
        span: (i64, i64),
        limits: (i64, i64),
    ) -> Result<Vec<Row>> {
        match self {
            Self::Prosody => prosody::candidates(connection, hosts, span, limits).await,
            Self::EjabberdArchive(schema) => {
                ejabberd::candidates(connection, schema, hosts, span, limits).await
            }
            Self::EjabberdSpool(schema) => {
                ejabberd::queued_candidates(connection, schema, hosts, span, limits).await
            }
        }
    }
}

impl Archive {
    /// Its tables. Those with offline queues come first, so that nobody's copy is overlooked.
    pub fn tables(&self) -> Vec<Table> {
        match self {
            Self::Prosody => vec![Table::Prosody],
            Self::Ejabberd(schema) => {
                vec![Table::EjabberdSpool(schema.clone()), Table::EjabberdArchive(schema.clone())]
            }
        }
    }

    /// Placeholders in this store are deleted when their time comes.
    pub const fn deletes_from(&self, store: Store) -> bool {
        match self {
            Self::Prosody => true,
            // ejabberd hangs a whole backlog on one row of its queue, and empties it at login.
            Self::Ejabberd(_) => !matches!(store, Store::Queue),
        }
    }

    /// The rows of users' archives with these (host, owner, archive id).
    pub async fn archive_rows(
        &self,
        connection: &mut PgConnection,
        ids: &[(&str, &str, &str)],
    ) -> Result<Vec<Row>> {
        match self {
            Self::Prosody => prosody::archive_rows(connection, ids).await,
            Self::Ejabberd(schema) => ejabberd::archive_rows(connection, schema, ids).await,
        }
    }

    /// The rows that this owner (host and local part) has under this id: of a user's or a room's archive,
    /// and on Prosody of the user's offline queue.
    pub async fn find(
        &self,
        connection: &mut PgConnection,
        owner: (&str, &str),
        archive_id: &str,
    ) -> Result<Vec<Row>> {
        match self {
            Self::Prosody => prosody::find(connection, owner, archive_id).await,
            Self::Ejabberd(schema) => ejabberd::find(connection, schema, owner, archive_id).await,
        }
    }

    /// Rows of this owner's queue whose text names an archive id: its copies are among them, and their
    /// last stanza-id tells which they are. At most a hundred, the oldest first.
    pub async fn queued_under(
        &self,
        connection: &mut PgConnection,
        owner: (&str, &str),
        archive_id: &str,
    ) -> Result<Vec<Row>> {
        match self {
            Self::Prosody => prosody::queued_under(connection, owner, archive_id).await,
            Self::Ejabberd(schema) => {
                ejabberd::queued_under(connection, schema, owner, archive_id).await
            }
        }
    }

    /// Which of these rows still stand, by position.
    pub async fn still_there(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
    ) -> Result<Vec<usize>> {
        match self {
            Self::Prosody => prosody::still_there(connection, keys).await,
            Self::Ejabberd(schema) => ejabberd::still_there(connection, schema, keys).await,
        }
    }

    /// Which of these rows hold words, no placeholder of ours, by position: what a restore brought back.
    pub async fn with_words(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
    ) -> Result<Vec<usize>> {
        match self {
            Self::Prosody => prosody::with_words(connection, keys).await,
            // Other words have another digest, and so an entry of their own.
            Self::Ejabberd(_) => Ok(Vec::new()),
        }
    }

    /// Deletes the rows that are exactly these and that no other session holds.
    pub async fn delete(&self, connection: &mut PgConnection, keys: &[&RowKey]) -> Result<Erased> {
        let done = match self {
            Self::Prosody => prosody::delete(connection, keys).await?,
            Self::Ejabberd(schema) => ejabberd::delete(connection, schema, keys).await?,
        };
        self.outcome(connection, keys, done, Vec::new()).await
    }

    /// Replaces the words of the rows that are exactly these and that no other session holds by what
    /// `replace` makes of the stanza's start.
    pub async fn blank(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
        replace: impl Fn(&str) -> String,
    ) -> Result<Erased> {
        let placeholders = match self {
            Self::Prosody => prosody::blank(connection, keys, false, replace).await?,
            Self::Ejabberd(schema) => ejabberd::blank(connection, schema, keys, replace).await?,
        };
        let done = placeholders.iter().map(|it| it.0).collect();
        self.outcome(connection, keys, done, placeholders).await
    }

    /// The same for rows of offline queues, whose stanzas are given to `replace` whole.
    pub async fn blank_queued(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
        replace: impl Fn(&str) -> String,
    ) -> Result<Erased> {
        let (done, placeholders) = match self {
            Self::Prosody => {
                let blanked = prosody::blank(connection, keys, true, replace).await?;
                (blanked.iter().map(|it| it.0).collect(), blanked)
            }
            Self::Ejabberd(schema) => {
                (ejabberd::blank_queued(connection, schema, keys, replace).await?, Vec::new())
            }
        };
        self.outcome(connection, keys, done, placeholders).await
    }

    /// Hosts of the archive that are not listed, with their count of rows: for `check` and a gauge.
    pub async fn unlisted_hosts(
        &self,
        connection: &mut PgConnection,
        hosts: &[String],
    ) -> Result<Vec<(String, i64)>> {
        match self {
            Self::Prosody => prosody::unlisted_hosts(connection, hosts).await,
            Self::Ejabberd(schema) => ejabberd::unlisted_hosts(connection, schema, hosts).await,
        }
    }

    /// Compares the hosts that are listed with those that the archive has. Hosts are the operator's own:
    /// they may be named.
    pub async fn probe_hosts(
        &self,
        connection: &mut PgConnection,
        hosts: &[String],
    ) -> Result<Vec<Finding>> {
        let unlisted = self.unlisted_hosts(connection, hosts).await?;
        let absent = match self {
            Self::Prosody => prosody::absent_hosts(connection, hosts).await?,
            // A host of rooms is named in no column there.
            Self::Ejabberd(_) => Vec::new(),
        };
        Ok(hosts::findings(&unlisted, &absent))
    }

    /// Tells the rows that were not taken apart: those that stand are locked, the others gone.
    async fn outcome(
        &self,
        connection: &mut PgConnection,
        keys: &[&RowKey],
        done: Vec<usize>,
        placeholders: Vec<(usize, Vec<u8>)>,
    ) -> Result<Erased> {
        let taken: HashSet<usize> = done.iter().copied().collect();
        let (left, left_keys): (Vec<usize>, Vec<&RowKey>) =
            keys.iter().enumerate().filter(|(at, _)| !taken.contains(at)).unzip();
        if left.is_empty() {
            return Ok(Erased { done, placeholders, ..Erased::default() });
        }
        let standing: HashSet<usize> =
            self.still_there(connection, &left_keys).await?.into_iter().collect();
        let (mut gone, mut locked) = (Vec::new(), Vec::new());
        for (at, position) in left.into_iter().enumerate() {
            if standing.contains(&at) { locked.push(position) } else { gone.push(position) }
        }
        Ok(Erased { done, placeholders, gone, locked })
    }
}
