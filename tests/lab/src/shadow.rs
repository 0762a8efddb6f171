//! A copy of every row at the moment it is archived, made by the database itself: the exact measure of what was erased and
//! what was not, however much happens at once.

use sqlx::AssertSqlSafe;

use crate::Result;
use crate::database::Database;
use crate::snapshot::Table;

/// The copies of one table's rows.
#[derive(Debug, Clone, Copy)]
pub struct Shadow {
    table: Table,
}

/// How the rows of a table stand against their copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Marked rows whose words still stand.
    pub marked_left: i64,
    /// Unmarked rows that are gone or differ in any column: must be 0, always.
    pub unmarked_harmed: i64,
    /// All rows that were ever archived.
    pub archived: i64,
}

impl Shadow {
    /// From now on each row is copied as it is inserted. What stands already is copied too.
    pub async fn cast(database: &Database, table: Table) -> Result<Self> {
        let Table { name, .. } = table;
        // Rows are compared by jsonb, as a whole: a column more or less does not matter.
        let statements = format!(
            "CREATE TABLE shadow_{name} AS SELECT to_jsonb(t) AS row FROM {name} t;
             CREATE FUNCTION shadow_{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN INSERT INTO public.shadow_{name} VALUES (to_jsonb(NEW)); RETURN NULL; END $$;
             CREATE TRIGGER shadow AFTER INSERT ON {name}
                FOR EACH ROW EXECUTE FUNCTION shadow_{name}();"
        );
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(database.superuser()).await?;
        Ok(Self { table })
    }

    /// Compares all rows with their copies; `marked` is an SQL condition on a stanza's text, `xml`.
    pub async fn compare(&self, database: &Database, marked: &str) -> Result<Standing> {
        let Table { name, key, xml, .. } = self.table;
        let xml = xml.first().copied().unwrap_or("value");
        let select = format!(
            "SELECT count(*) FILTER (WHERE marked AND now.row ->> '{xml}' = was.row ->> '{xml}'),
                    count(*) FILTER (WHERE NOT marked AND now.row IS DISTINCT FROM was.row),
                    count(*)
               FROM (SELECT row, ({marked}) AS marked FROM shadow_{name},
                            LATERAL (SELECT row ->> '{xml}' AS xml) text) AS was
               LEFT JOIN (SELECT {key}::text AS key, to_jsonb(t) AS row FROM {name} t) AS now
                 ON now.key = was.row ->> '{key}'"
        );
        let (marked_left, unmarked_harmed, archived) =
            sqlx::query_as(AssertSqlSafe(select)).fetch_one(database.superuser()).await?;
        Ok(Standing { marked_left, unmarked_harmed, archived })
    }
}
