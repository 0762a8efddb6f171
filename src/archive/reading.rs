//! What in the server's tables shows that a message was read. Who may show it, and what follows, is decided elsewhere.

use sqlx::PgConnection;

use super::{Archive, Table, ejabberd, prosody};
use crate::{
    database::Result,
    model::{Finding, ReadEvidence, Stamp},
};

/// Maximum size of a stanza that can show something, in bytes.
pub(super) const MOST_BYTES: i32 = 64 * 1024;

/// A row that may show that its owner has read something.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The virtual host.
    pub host: String,
    /// The user's local part.
    pub owner: String,
    /// The row's own number: what it shows came before it.
    pub row_number: i64,
    /// The server's stamp.
    pub stamp: Stamp,
    /// An item of message displayed synchronization (XEP-0490): its id, which is the chat.
    pub item: Option<String>,
    /// The stanza, or the item.
    pub xml: String,
}

/// A message of a chat that is looked for by an id.
#[derive(Debug, Clone)]
pub struct Sought<'a> {
    /// The virtual host.
    pub host: &'a str,
    /// The user's local part.
    pub owner: &'a str,
    /// The other side's bare address.
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

impl Archive {
    /// The rows of users after `after` and up to `upto` that may show that something was read, in order: about `rows`.
    /// Empty at the end; else the next call begins after the last one.
    pub async fn traces(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        hosts: &[String],
        span: (i64, i64),
        (rows, evidence): (i64, ReadEvidence),
    ) -> Result<Vec<Trace>> {
        match (self, table) {
            (Self::Prosody, _) => prosody::traces(connection, hosts, span, (rows, evidence)).await,
            (Self::Ejabberd(schema), Table::EjabberdArchive(_)) => {
                ejabberd::traces(connection, schema, hosts, span, (rows, evidence)).await
            }
            (Self::Ejabberd(_), _) => Ok(Vec::new()),
        }
    }

    /// What of this evidence the server shows at all.
    pub async fn probe_reading(
        &self,
        connection: &mut PgConnection,
        evidence: ReadEvidence,
    ) -> Result<Finding> {
        let has_items = match self {
            Self::Prosody if evidence.mds => prosody::has_items(connection).await?,
            Self::Prosody | Self::Ejabberd(_) => false,
        };
        Ok(match (self, evidence.mds, has_items) {
            (Self::Prosody, true, true) => {
                Finding::good("Clients publish what was read, and the archive's table shows it.")
            }
            (Self::Prosody, true, false) => Finding::warning(
                "The archive's table shows no published positions (XEP-0490): reading is known from markers and replies only.",
                "keep PEP in the same database (storage = \"sql\"), if clients publish them at all",
            ),
            (Self::Prosody, false, _) => {
                Finding::good("Reading is known from what timers.read_evidence lists.")
            }
            (Self::Ejabberd(_), ..) => Finding::warning(
                "ejabberd's archive shows markers and reactions only if the client adds <store/>, and no published positions.",
                "with many clients that do not, prefer timers.start = \"auto\" to \"read\"",
            ),
        })
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
            // No item is in its archive.
            Self::Ejabberd(_) => Ok(Vec::new()),
        }
    }
}
