//! What in the server's tables shows that a message was read. Who may show it, and what follows, is decided elsewhere.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{Archive, Table, ejabberd, prosody};
use crate::{
    database::Result,
    model::{Finding, ReadEvidence, Rules, Stamp, StartRule, Store, Timestamp, bare_jid},
    stanza,
};

/// Maximum size of a stanza that can show something, in bytes.
pub(super) const MOST_BYTES: i32 = 64 * 1024;

/// What is looked for that shows reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// In users' archives.
    pub users: bool,
    /// In rooms' archives.
    pub rooms: bool,
    /// What counts.
    pub evidence: ReadEvidence,
}

impl Looks {
    /// What these rules look for.
    pub fn of(rules: &Rules) -> Self {
        Self {
            users: rules.looks_for_readers_in(Store::Archive),
            rooms: rules.looks_for_readers_in(Store::Room),
            evidence: rules.timers.read_evidence,
        }
    }
}

/// A row that may show that somebody has read something: its owner, or in a room whoever wrote it.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The store that it is in; an item's is its owner's archive.
    pub store: Store,
    /// The virtual host.
    pub host: String,
    /// The user's or the room's local part.
    pub owner: String,
    /// The row's own number: what it shows came before it.
    pub row_number: i64,
    /// The server's stamp.
    pub stamp: Stamp,
    /// An item of message displayed synchronization (XEP-0490): its id, which is the chat.
    pub item: Option<String>,
    /// The stanza, or the item.
    pub xml: String,
    /// In a room: the sender's real bare address, where the server keeps that beside the stanza.
    pub sender: Option<String>,
}

/// Whose positions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// By these accounts, of any chat.
    ByAccounts,
    /// Of these rooms, by anybody.
    OfRooms,
}

/// What a client published as read (XEP-0490), where that is no row of the archive.
#[derive(Debug, Clone)]
pub struct Position {
    /// The position of what was asked for: an account, or a room.
    pub asked: usize,
    /// The bare address of whoever published it.
    pub reader: String,
    /// The chat: the other side's address.
    pub chat: String,
    /// When it was last published.
    pub stamp: Stamp,
    /// The item.
    pub xml: String,
}

/// A message of a chat that is looked for by an id.
#[derive(Debug, Clone)]
pub struct Sought<'a> {
    /// The store: a user's archive, or a room's.
    pub store: Store,
    /// The virtual host.
    pub host: &'a str,
    /// The user's or the room's local part.
    pub owner: &'a str,
    /// The other side's bare address; the room's own.
    pub chat: &'a str,
    /// The id.
    pub id: &'a str,
    /// Archived no earlier than this row number's stamp, …
    pub since: Stamp,
    /// … and no later than this row.
    pub upto: i64,
}

/// Binds hosts, owners, chats and ids of what is sought, as $1 to $4.
macro_rules! bind_sought {
    ($query:expr, $sought:expr) => {{
        let column = |of: fn(&Sought<'_>) -> String| $sought.iter().map(of).collect::<Vec<_>>();
        $query
            .bind(column(|it| it.host.to_owned()))
            .bind(column(|it| it.owner.to_owned()))
            .bind(column(|it| it.chat.to_owned()))
            .bind(column(|it| it.id.to_owned()))
    }};
}
pub(super) use bind_sought;

/// Maximum number of one chat's rows examined for one message: its id may occur in the text of others.
pub(super) const MOST_NAMESAKES: i64 = 5;

/// Whether an account shows what it reads is judged by so many of its newest rows, …
pub(super) const NEWEST: i64 = 50;
/// … of which so many are read, none larger than this many bytes. Markers are small.
pub(super) const MOST_RECENT: i64 = 10;
pub(super) const MOST_RECENT_BYTES: i32 = 4_096;
/// Accounts that one statement looks up.
const OWNERS_AT_ONCE: usize = 50;

impl Trace {
    /// In a user's archive: what its owner published, or something else that its owner sent, shows reading.
    fn is_evidence(&self) -> bool {
        if self.item.is_some() {
            return stanza::displayed_item(&self.xml).is_some();
        }
        let owner = bare_jid(&self.owner, &self.host);
        let shown = stanza::envelope(&self.xml).and_then(|it| it.shown_by(&owner));
        shown.is_some_and(|(_, shows)| !shows.is_empty())
    }
}

impl Archive {
    /// The rows after `after` and up to `upto` that may show that something was read, in order: about `rows`.
    /// Empty at the end; else the next call begins after the last one. Of these hosts, and of all users and rooms there, or
    /// of users with these local parts.
    pub async fn traces(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        whose: (&[String], Option<&[String]>),
        span: (i64, i64),
        (rows, looks): (i64, Looks),
    ) -> Result<Vec<Trace>> {
        match (self, table) {
            (Self::Prosody, _) => prosody::traces(connection, whose, span, (rows, looks)).await,
            (Self::Ejabberd(schema), Table::EjabberdArchive(_)) => {
                ejabberd::traces(connection, schema, whose, span, (rows, looks)).await
            }
            (Self::Ejabberd(_), _) => Ok(Vec::new()),
        }
    }

    /// The rows after `after` and up to `upto` in which users with these local parts may have shown that they received
    /// something, in order: about `rows`. Empty at the end; else the next call begins after the last one.
    pub async fn receipts(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        whose: (&[String], &[String]),
        span: (i64, i64),
        rows: i64,
    ) -> Result<Vec<Trace>> {
        match (self, table) {
            (Self::Prosody, _) => prosody::receipts(connection, whose, span, rows).await,
            (Self::Ejabberd(schema), Table::EjabberdArchive(_)) => {
                ejabberd::receipts(connection, schema, whose, span, rows).await
            }
            (Self::Ejabberd(_), _) => Ok(Vec::new()),
        }
    }

    /// Which of these accounts (host, local part), by position, have shown since then that they read something, and when
    /// last: by what they published, or by their newest messages.
    pub async fn readers(
        &self,
        connection: &mut PgConnection,
        owners: &[(&str, &str)],
        since: Timestamp,
        evidence: ReadEvidence,
    ) -> Result<BTreeMap<usize, Timestamp>> {
        let mut readers = BTreeMap::new();
        let looks_up = evidence.mds && !owners.is_empty() && self.has_positions(connection).await?;
        for (part, owners) in owners.chunks(OWNERS_AT_ONCE).enumerate() {
            let mut note = |at: usize, shown: Timestamp| {
                let last = readers.entry(part * OWNERS_AT_ONCE + at).or_insert(shown);
                *last = shown.max(*last);
            };
            let traces = match self {
                Self::Prosody => {
                    prosody::recent_traces(connection, owners, since, evidence).await?
                }
                Self::Ejabberd(schema) => {
                    ejabberd::recent_traces(connection, schema, owners, since, evidence).await?
                }
            };
            let traces = traces.iter().filter(|it| it.1.is_evidence());
            traces.for_each(|it| note(it.0, it.1.stamp.at));
            if looks_up {
                let asked: Vec<_> = owners.iter().map(|it| (it.0, it.1, since)).collect();
                let positions = self.positions(connection, Published::ByAccounts, &asked).await?;
                let shows = |it: &&Position| stanza::displayed_item(&it.xml).is_some();
                positions.iter().filter(shows).for_each(|it| note(it.asked, it.stamp.at));
            }
        }
        Ok(readers)
    }

    /// A row's number is its stamp, in microseconds; else numbers come from a sequence, and stamps are whole seconds.
    pub const fn numbers_are_stamps(&self) -> bool {
        matches!(self, Self::Ejabberd(_))
    }

    /// Positions may be in a table of their own.
    pub const fn may_have_positions(&self) -> bool {
        matches!(self, Self::Ejabberd(_))
    }

    /// They are, and we may read them.
    pub async fn has_positions(&self, connection: &mut PgConnection) -> Result<bool> {
        match self {
            Self::Prosody => Ok(false),
            Self::Ejabberd(_) => ejabberd::has_positions(connection).await,
        }
    }

    /// What was published by these accounts or of these rooms (host, local part), each since a time.
    pub async fn positions(
        &self,
        connection: &mut PgConnection,
        published: Published,
        whose: &[(&str, &str, Timestamp)],
    ) -> Result<Vec<Position>> {
        match self {
            Self::Prosody => Ok(Vec::new()),
            Self::Ejabberd(_) => ejabberd::positions(connection, published, whose).await,
        }
    }

    /// What of this evidence the server shows at all.
    pub async fn probe_reading(
        &self,
        connection: &mut PgConnection,
        (start, evidence): (StartRule, ReadEvidence),
    ) -> Result<Finding> {
        // With `auto` nothing waits for evidence that cannot come.
        let missing = |what: &str, remedy: &str| match start {
            StartRule::Auto => Finding::good(what),
            _ => Finding::warning(what, remedy),
        };
        let has_items = match self {
            Self::Prosody if evidence.mds => prosody::has_items(connection).await?,
            Self::Ejabberd(_) if evidence.mds => ejabberd::shows_positions(connection).await?,
            Self::Prosody | Self::Ejabberd(_) => false,
        };
        Ok(match (self, evidence.mds, has_items) {
            (Self::Prosody, true, true) => {
                Finding::good("Clients publish what was read, and the archive's table shows it.")
            }
            (Self::Prosody, true, false) => missing(
                "The archive's table shows no published positions (XEP-0490): reading is known from markers and replies only.",
                "load the companion module, or keep PEP in the same database (storage = \"sql\"), if clients publish them at all",
            ),
            (Self::Prosody, false, _) => {
                Finding::good("Reading is known from what timers.read_evidence lists.")
            }
            (Self::Ejabberd(_), _, true) => Finding::good(
                "Clients publish what was read, and ejabberd's tables show it; markers and reactions only with <store/>.",
            ),
            (Self::Ejabberd(_), ..) => missing(
                "ejabberd's tables show markers and reactions only if the client adds <store/>, and no published positions.",
                "load the companion module, which shows all of them; without it prefer timers.start = \"auto\" to \"read\"",
            ),
        })
    }

    /// What the tables show of reading in rooms.
    pub fn reading_in_rooms(&self) -> Finding {
        match self {
            Self::Prosody => Finding::good(
                "Rooms' archives show markers and replies; published positions count where everybody sees real addresses.",
            ),
            Self::Ejabberd(_) => Finding::warning(
                "ejabberd's tables show markers and reactions in rooms only if the client adds <store/>.",
                "load the companion module, which shows all of them, or leave rooms.start at \"archived\"",
            ),
        }
    }

    /// Rows whose text contains these ids, the newest first: the position of what was sought, the row's number, its
    /// stanza.
    pub async fn rows_naming(
        &self,
        connection: &mut PgConnection,
        sought: &[Sought<'_>],
    ) -> Result<Vec<(usize, i64, String)>> {
        match self {
            Self::Prosody => prosody::rows_naming(connection, sought).await,
            Self::Ejabberd(schema) => ejabberd::rows_naming(connection, schema, sought).await,
        }
    }

    /// The rows of these chats that are archived under these ids: the position of what was sought, and the row's number.
    pub async fn rows_archived_as(
        &self,
        connection: &mut PgConnection,
        sought: &[Sought<'_>],
    ) -> Result<Vec<(usize, i64)>> {
        match self {
            Self::Prosody => prosody::rows_archived_as(connection, sought).await,
            Self::Ejabberd(schema) => ejabberd::rows_archived_as(connection, schema, sought).await,
        }
    }
}
