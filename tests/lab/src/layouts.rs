//! The server's tables as operators of large archives lay them out: with partitions or children.

use sqlx::AssertSqlSafe;

use crate::Result;
use crate::database::Database;
use crate::postgres::SERVER_ROLE;

/// How a table stores its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `PARTITION BY` this, for example `RANGE (timestamp)`; otherwise it has children by inheritance.
    pub by: Option<String>,
    /// The partitions' bounds, for example `FOR VALUES IN ('chat')` or `DEFAULT`; empty for each child.
    pub parts: Vec<String>,
}

impl Layout {
    /// One table, and nothing below it.
    pub fn plain() -> Self {
        Self::children(0)
    }

    /// A table with this many children by `INHERITS`.
    pub fn children(count: usize) -> Self {
        Self { by: None, parts: vec![String::new(); count] }
    }

    /// A partitioned table.
    pub fn partitions(by: &str, parts: &[&str]) -> Self {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        Self { by: Some(by.to_owned()), parts }
    }

    /// Recreates the table in this layout, empty, and grants what the daemon needs. The original, with its
    /// columns and sequences, is kept as `TABLE_plain`. The parts are called `TABLE_0`, `TABLE_1` and so on.
    pub async fn lay_out(&self, database: &Database, table: &str) -> Result<()> {
        let pool = database.superuser();
        let kept: Option<String> = sqlx::query_scalar("SELECT to_regclass($1 || '_plain')::text")
            .bind(table)
            .fetch_one(pool)
            .await?;
        let mut sql = match kept {
            Some(_) => format!("DROP TABLE {table} CASCADE;"),
            None => format!("ALTER TABLE {table} RENAME TO {table}_plain;"),
        };
        let by = self.by.as_ref().map(|by| format!("PARTITION BY {by}")).unwrap_or_default();
        sql += &format!("CREATE TABLE {table} (LIKE {table}_plain INCLUDING DEFAULTS) {by};");
        for (at, bounds) in self.parts.iter().enumerate() {
            sql += &match self.by {
                Some(_) => format!("CREATE TABLE {table}_{at} PARTITION OF {table} {bounds};"),
                None => format!("CREATE TABLE {table}_{at} () INHERITS ({table});"),
            };
        }
        sql += &format!("ALTER TABLE {table} OWNER TO {SERVER_ROLE};");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await?;
        database.apply_grants().await
    }
}
