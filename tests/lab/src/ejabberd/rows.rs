//! Rows of ejabberd's tables without an ejabberd.

use sqlx::AssertSqlSafe;

use super::Schema;
use crate::Result;
use crate::database::Database;

/// One row of `archive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRow {
    /// The virtual host; the classic schema does not store it.
    pub server_host: String,
    /// A user's local part, or a room's JID.
    pub username: String,
    /// Microseconds since 1970, which is the archive id too.
    pub timestamp: i64,
    /// `chat` or `groupchat`.
    pub kind: &'static str,
    /// The stanza.
    pub xml: String,
}

impl ArchiveRow {
    /// A row of `user@localhost`'s archive.
    pub fn user(user: &str, timestamp: i64, xml: &str) -> Self {
        let (server_host, username) = ("localhost".to_owned(), user.to_owned());
        Self { server_host, username, timestamp, kind: "chat", xml: xml.to_owned() }
    }

    /// A row of the archive of the room `name@conference.localhost`.
    pub fn room(name: &str, timestamp: i64, xml: &str) -> Self {
        let username = format!("{name}@conference.localhost");
        Self { username, kind: "groupchat", ..Self::user(name, timestamp, xml) }
    }
}

/// Inserts rows in one statement; returns their `id`s in the same order.
pub async fn insert(database: &Database, schema: Schema, rows: &[ArchiveRow]) -> Result<Vec<i32>> {
    let column = |of: fn(&ArchiveRow) -> &str| {
        rows.iter().map(|row| of(row).to_owned()).collect::<Vec<String>>()
    };
    let (host, value) = match schema {
        Schema::Classic => ("", ""),
        Schema::MultiHost => ("server_host, ", "server_host, "),
    };
    let insert = format!(
        "INSERT INTO archive ({host}username, timestamp, peer, bare_peer, xml, txt, kind, nick)
         SELECT {value}username, stamp, 'rosa@localhost/x', 'rosa@localhost', xml, 'words', kind, ''
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
                WITH ORDINALITY AS t (server_host, username, stamp, kind, xml, nr)
          ORDER BY nr RETURNING id::integer"
    );
    Ok(sqlx::query_scalar(AssertSqlSafe(insert))
        .bind(column(|row| &row.server_host))
        .bind(column(|row| &row.username))
        .bind(rows.iter().map(|row| row.timestamp).collect::<Vec<_>>())
        .bind(column(|row| row.kind))
        .bind(column(|row| &row.xml))
        .fetch_all(database.superuser())
        .await?)
}
