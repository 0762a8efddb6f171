//! Partitions of which all is too old.

use sqlx::PgConnection;

use super::{Archive, Table, prosody};
use crate::{
    database::{Named, Result},
    model::{Store, Timestamp},
};

impl Archive {
    /// Partitions by time that by their bounds have only rows archived before then, by name; `before` says when for the
    /// stores of a table, or `None` if something in them may be of any age. None of a table in whose old partitions there is
    /// anything that is not ours to judge.
    pub async fn partitions_before(
        &self,
        connection: &mut PgConnection,
        before: impl Fn(&[Store]) -> Option<Timestamp>,
    ) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for table in self.tables() {
            let Some(before) = before(table.stores()) else { continue };
            // What has the bound's stamp is in the next partition.
            let (column, bound) = match table {
                Table::Prosody => ("when", i64::from(prosody::kept_from(before))),
                Table::EjabberdArchive(_) => ("timestamp", before.timestamp_micros()),
                Table::EjabberdSpool(_) => continue,
            };
            let found = partitions(connection, (table.name(), column), bound).await?;
            if let (Table::Prosody, Some(below)) = (&table, found.iter().map(|it| it.1).max())
                && prosody::has_other_stores(connection, below).await?
            {
                continue;
            }
            names.extend(found.into_iter().map(|it| it.0));
        }
        Ok(names)
    }
}

/// Their names, and below what all of them are.
async fn partitions(
    connection: &mut PgConnection,
    (table, column): (&str, &str),
    bound: i64,
) -> Result<Vec<(String, i64)>> {
    sqlx::query_as(
        r"-- partitions_before
        SELECT c.oid::regclass::text, b.below::bigint
          FROM pg_partitioned_table AS p
          JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
          JOIN pg_inherits AS i ON i.inhparent = p.partrelid
          JOIN pg_class AS c ON c.oid = i.inhrelid
         CROSS JOIN LATERAL (
               SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM ' TO \(''?(-?[0-9]+)''?\)')::numeric AS below) AS b
         WHERE p.partrelid = to_regclass($1) AND p.partstrat = 'r' AND p.partnatts = 1 AND a.attname = $2
           AND b.below <= $3
         ORDER BY c.oid::regclass::text",
    )
    .bind(table)
    .bind(column)
    .bind(bound)
    .fetch_all(connection)
    .await
    .named("partitions_before")
}
