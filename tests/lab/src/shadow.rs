//! A copy of every row at the moment it is archived, made by the database itself, and the time at which its
//! text went: an exact measure of what was erased, and when, however much happens at once.

use sqlx::AssertSqlSafe;

use crate::Result;
use crate::database::Database;
use crate::snapshot::Table;

/// The copies of one table's rows.
#[derive(Debug, Clone, Copy)]
pub struct Shadow {
    table: Table,
}

/// A table's rows compared with their copies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Marked rows that still have their text.
    pub marked_left: i64,
    /// Unmarked rows that are gone or differ in any column: must be 0, always.
    pub unmarked_harmed: i64,
    /// Rows that were changed before their timer, or hint, by the server's own stamp: must be 0, always.
    pub early: i64,
    /// All rows that were ever archived.
    pub archived: i64,
    /// How long after its due time the slowest row's text went, in seconds.
    pub slowest_seconds: f64,
}

impl Shadow {
    /// Copies each row from now on as it is inserted. Existing rows are copied too.
    pub async fn cast(database: &Database, table: Table) -> Result<Self> {
        let Table { name, key, rows, .. } = table;
        // Rows are compared as jsonb, as a whole, whatever columns there are.
        let statements = format!(
            "CREATE TABLE shadow_{name} AS SELECT to_jsonb(t) AS row FROM {name} t WHERE {rows};
             CREATE TABLE shadow_{name}_touched (key text NOT NULL, at timestamptz NOT NULL);
             CREATE FUNCTION shadow_{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 INSERT INTO public.shadow_{name} SELECT to_jsonb(t) FROM (SELECT NEW.*) t WHERE {rows};
                 RETURN NULL;
             END $$;
             CREATE TRIGGER shadow AFTER INSERT ON {name}
                FOR EACH ROW EXECUTE FUNCTION shadow_{name}();
             CREATE FUNCTION shadow_{name}_touched() RETURNS trigger LANGUAGE plpgsql
                SECURITY DEFINER AS $$
             BEGIN
                 INSERT INTO public.shadow_{name}_touched VALUES (OLD.{key}::text, clock_timestamp());
                 RETURN NULL;
             END $$;
             CREATE TRIGGER shadow_touched AFTER UPDATE OR DELETE ON {name}
                FOR EACH ROW EXECUTE FUNCTION shadow_{name}_touched();"
        );
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(database.superuser()).await?;
        Ok(Self { table })
    }

    /// Compares all rows with their copies; `marked` is an SQL condition on a stanza's text, `xml`.
    pub async fn compare(&self, database: &Database, marked: &str) -> Result<Standing> {
        let Table { name, key, archived_at, xml, .. } = self.table;
        let xml = xml.first().copied().unwrap_or("value");
        let select = format!(
            "WITH was AS MATERIALIZED (
                 SELECT row, row ->> '{key}' AS key, ({marked}) AS marked,
                        to_timestamp({archived_at}
                          + coalesce(substring(xml FROM 'timer=[''\"](\\d+)')::float8, 0)) AS due
                   FROM shadow_{name}, LATERAL (SELECT row ->> '{xml}' AS xml) text)
             SELECT count(*) FILTER (WHERE marked AND now.row ->> '{xml}' = was.row ->> '{xml}'),
                    count(*) FILTER (WHERE NOT marked AND now.row IS DISTINCT FROM was.row),
                    count(*) FILTER (WHERE touched.at < due),
                    count(*),
                    coalesce(extract(epoch FROM max(touched.at - due)), 0)::float8
               FROM was
               LEFT JOIN (SELECT {key}::text AS key, to_jsonb(t) AS row FROM {name} t) AS now
                 USING (key)
               LEFT JOIN (SELECT key, min(at) AS at FROM shadow_{name}_touched GROUP BY key) AS touched
                 USING (key)"
        );
        let (marked_left, unmarked_harmed, early, archived, slowest_seconds) =
            sqlx::query_as(AssertSqlSafe(select)).fetch_one(database.superuser()).await?;
        Ok(Standing { marked_left, unmarked_harmed, early, archived, slowest_seconds })
    }
}
