//! The contents of the server's tables, and where in the whole database a word occurs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use sqlx::AssertSqlSafe;

use crate::database::Database;
use crate::xmpp::Element;
use crate::{LabError, Result};

/// A table of the XMPP server, and which of its columns contain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The name.
    pub name: &'static str,
    /// The column with the row numbers.
    pub key: &'static str,
    /// The Unix time at which a row's second of archiving ends, in SQL, from its columns in the jsonb `row`.
    pub archived_at: &'static str,
    /// Which rows, as a condition in SQL.
    pub rows: &'static str,
    /// Columns with stanzas as XML.
    pub xml: &'static [&'static str],
    /// Columns with plain text of stanzas.
    pub text: &'static [&'static str],
    /// An offline queue, which the server empties itself.
    pub is_queue: bool,
}

/// Prosody's archives of users and rooms.
pub const PROSODY_ARCHIVES: Table = Table {
    name: "prosodyarchive",
    key: "sort_id",
    // Whole seconds, truncated.
    archived_at: "(row ->> 'when')::float8 + 1",
    rows: "store IN ('archive', 'muc_log')",
    xml: &["value"],
    text: &[],
    is_queue: false,
};

/// Prosody's offline queues.
pub const PROSODY_QUEUE: Table =
    Table { rows: "store = 'offline'", is_queue: true, ..PROSODY_ARCHIVES };

/// ejabberd's archives of users and rooms.
pub const EJABBERD_ARCHIVES: Table = Table {
    name: "archive",
    key: "id",
    archived_at: "(row ->> 'timestamp')::float8 / 1000000",
    rows: "true",
    xml: &["xml"],
    text: &["txt"],
    is_queue: false,
};

/// ejabberd's offline queues.
pub const EJABBERD_QUEUE: Table = Table {
    name: "spool",
    key: "seq",
    archived_at: "extract(epoch FROM (row ->> 'created_at')::timestamptz)",
    text: &[],
    is_queue: true,
    ..EJABBERD_ARCHIVES
};

/// All rows of one table at one time, with every column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    table: Table,
    rows: BTreeMap<i64, Map<String, Value>>,
}

impl Snapshot {
    /// Reads the table.
    pub async fn take(database: &Database, table: Table) -> Result<Self> {
        let Table { name, key, rows, .. } = table;
        let select = format!("SELECT {key}::bigint, to_jsonb(t)::text FROM {name} t WHERE {rows}");
        let read: Vec<(i64, String)> =
            sqlx::query_as(AssertSqlSafe(select)).fetch_all(database.superuser()).await?;
        let parse = |(key, row): (i64, String)| match serde_json::from_str(&row) {
            Ok(Value::Object(row)) => Ok((key, row)),
            _ => Err(LabError::new("a row is no JSON object")),
        };
        Ok(Self { table, rows: read.into_iter().map(parse).collect::<Result<_>>()? })
    }

    /// Which table it is of.
    pub fn table(&self) -> Table {
        self.table
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as JSON.
    pub fn rows(&self) -> impl Iterator<Item = String> {
        self.rows.values().map(|row| Value::Object(row.clone()).to_string())
    }

    /// Forbidden differences between `self` and `later`, in words: rows that contain none of the words that
    /// go must be the same, byte for byte; of the others only the text may have changed, and only into valid
    /// XML. No row may be new.
    pub fn faults(&self, later: &Self, going: &BTreeSet<String>) -> Vec<String> {
        let name = self.table.name;
        let mut faults = Vec::new();
        for (key, row) in &self.rows {
            let goes = going.iter().any(|word| self.text(row).any(|text| text.contains(word)));
            let fault = match later.rows.get(key) {
                None if goes => None,
                None => Some("is gone, and nobody marked it".to_owned()),
                Some(now) if goes => self.fault_of_marked(row, now, going),
                Some(now) => {
                    differing(row, now).next().map(|column| format!("changed in {column}"))
                }
            };
            faults.extend(fault.map(|fault| format!("{name} row {key} {fault}")));
        }
        let new = later.rows.keys().filter(|key| !self.rows.contains_key(key));
        faults.extend(new.map(|key| format!("{name} row {key} is new")));
        faults
    }

    fn fault_of_marked(
        &self,
        row: &Map<String, Value>,
        now: &Map<String, Value>,
        going: &BTreeSet<String>,
    ) -> Option<String> {
        let may_change =
            |column: &str| self.table.xml.contains(&column) || self.table.text.contains(&column);
        if let Some(column) = differing(row, now).find(|column| !may_change(column)) {
            return Some(format!("changed in {column}, which is not its text"));
        }
        if row != now && self.text(now).any(|it| going.iter().any(|word| it.contains(word))) {
            return Some("was erased in part only".to_owned());
        }
        let xml = |column: &&str| now.get(*column).and_then(Value::as_str);
        let broken = self.table.xml.iter().filter_map(xml).find_map(|it| Element::parse(it).err());
        broken.map(|error| format!("is no valid XML any more: {error}"))
    }

    fn text<'a>(&self, row: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
        let columns = self.table.xml.iter().chain(self.table.text);
        columns.filter_map(|column| row.get(*column)?.as_str())
    }
}

fn differing<'a>(
    one: &'a Map<String, Value>,
    other: &'a Map<String, Value>,
) -> impl Iterator<Item = &'a str> {
    let columns: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    columns.into_iter().filter(|it| one.get(*it) != other.get(*it)).map(String::as_str)
}

/// The tables of the whole database in which each of these words occurs, whatever the schema and column:
/// `(schema.table, word)`.
pub async fn find_words(database: &Database, words: &[String]) -> Result<Vec<(String, String)>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
    )
    .fetch_all(database.superuser())
    .await?;
    let mut found = Vec::new();
    for table in tables {
        let select = format!(
            "SELECT word FROM unnest($1::text[]) AS word \
             WHERE EXISTS (SELECT FROM {table} t WHERE position(word IN t::text) > 0)"
        );
        let words: Vec<String> = sqlx::query_scalar(AssertSqlSafe(select))
            .bind(words)
            .fetch_all(database.superuser())
            .await?;
        found.extend(words.into_iter().map(|word| (table.clone(), word)));
    }
    Ok(found)
}
