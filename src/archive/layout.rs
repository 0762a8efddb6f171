//! How the server's tables are laid out in the database, and what of that is in our way.

use std::collections::BTreeMap;

use sqlx::{FromRow, PgConnection};

use crate::{
    database::{Named, Result},
    model::Finding,
};

const GRANTS: &str = "run deploy/grants.sql in this database as a superuser";

/// The tables that are named by $1, with their partitions and children, as `part (name, oid)`.
macro_rules! parts {
    () => {
        "WITH RECURSIVE part(name, oid) AS (
             SELECT wanted.name, to_regclass(wanted.name)::oid FROM unnest($1::text[]) AS wanted(name)
             UNION
             SELECT part.name, i.inhrelid FROM pg_inherits AS i JOIN part ON i.inhparent = part.oid)"
    };
}

/// The sequence that numbers the rows, whatever its name: the one in the column's default, or an identity column's. If
/// PostgreSQL knows of neither, the one with the name that a serial column gives it: a default may name it in a text.
macro_rules! sequence {
    ($table:literal, $column:literal) => {
        concat!(
            "coalesce(
                (SELECT s.oid FROM pg_attribute AS c
                   JOIN pg_attrdef AS f ON (f.adrelid, f.adnum) = (c.attrelid, c.attnum)
                   JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                                      AND d.refclassid = 'pg_class'::regclass
                   JOIN pg_class AS s ON s.oid = d.refobjid AND s.relkind = 'S'
                  WHERE c.attrelid = to_regclass('",
            $table,
            "') AND c.attname = '",
            $column,
            "'),
                pg_get_serial_sequence('",
            $table,
            "', '",
            $column,
            "')::regclass::oid, to_regclass('",
            $table,
            "_",
            $column,
            "_seq')::oid)"
        )
    };
}
pub(super) use sequence;

/// A relation with the name of a table that we need.
#[derive(Debug, FromRow)]
struct Relation {
    name: String,
    schema: String,
    may_use: bool,
    /// It is the one that its name means in our sessions.
    is_meant: bool,
    /// `pg_class.relkind`.
    kind: String,
}

/// What makes these tables unusable: they are out of our reach, no tables of this database, or hide rows from us. A table
/// that does not exist is no matter of layout.
pub(super) async fn unusable(
    connection: &mut PgConnection,
    tables: &[&str],
) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = out_of_reach(relations(connection, tables).await?);
    if findings.is_empty() {
        findings = foreign_parts(connection, tables).await?;
        findings.extend(policies(connection, tables).await?);
    }
    Ok(findings)
}

/// What is in the way of single changes, and what may keep erased words.
pub(super) async fn obstacles(
    connection: &mut PgConnection,
    tables: &[&str],
) -> Result<Vec<Finding>> {
    let mut findings = published(connection, tables).await?;
    findings.extend(triggers(connection, tables).await?);
    Ok(findings)
}

/// What to say if no sequence was found, or our role may not read it.
pub(super) fn sequence_findings(
    column: &str,
    name: Option<String>,
    may_read: Option<bool>,
) -> Option<Finding> {
    match (name, may_read) {
        (Some(_), Some(true)) => None,
        (Some(name), _) => {
            Some(Finding::problem(format!("Our role lacks SELECT on {name}."), GRANTS))
        }
        (None, _) => Some(Finding::problem(
            format!(
                "No sequence numbers the rows of {column}: neither its default nor an identity names one."
            ),
            "give the column the default nextval('…'::regclass), as the server's own schema has it",
        )),
    }
}

async fn relations(connection: &mut PgConnection, tables: &[&str]) -> Result<Vec<Relation>> {
    sqlx::query_as(
        "-- layout_relations
         SELECT wanted.name, n.nspname::text AS schema, has_schema_privilege(n.oid, 'USAGE') AS may_use,
                coalesce(c.oid = to_regclass(wanted.name), false) AS is_meant, c.relkind::text AS kind
           FROM unnest($1::text[]) WITH ORDINALITY AS wanted(name, position)
           JOIN pg_class AS c ON c.relname = wanted.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
           JOIN pg_namespace AS n ON n.oid = c.relnamespace
          ORDER BY wanted.position, n.nspname",
    )
    .bind(tables)
    .fetch_all(connection)
    .await
    .named("layout_relations")
}

fn out_of_reach(relations: Vec<Relation>) -> Vec<Finding> {
    let mut by_name: BTreeMap<String, Vec<Relation>> = BTreeMap::new();
    for relation in relations {
        by_name.entry(relation.name.clone()).or_default().push(relation);
    }
    by_name.into_values().filter_map(|same| of_one_name(&same)).collect()
}

fn of_one_name(same: &[Relation]) -> Option<Finding> {
    let elsewhere = "point database.url at the database that holds the table itself";
    if let Some(meant) = same.iter().find(|it| it.is_meant) {
        let what = match meant.kind.as_str() {
            "v" | "m" => "a view: its rows can be neither locked nor told apart",
            "f" => "a foreign table: rows that commit late would be missed there",
            _ => return None,
        };
        return Some(Finding::problem(format!("{} is {what}.", meant.name), elsewhere));
    }
    let schemas: Vec<&str> = same.iter().map(|it| it.schema.as_str()).collect();
    let (name, list) = (&same.first()?.name, schemas.join(", "));
    Some(match same {
        [only] if !only.may_use => Finding::problem(
            format!("Table {name} is in the schema {list}, which our role may not use."),
            GRANTS,
        ),
        [_] => Finding::problem(
            format!(
                "Table {name} is in the schema {list}, which is not in our role's search_path."
            ),
            GRANTS,
        ),
        _ => Finding::problem(
            format!(
                "Table {name} is in several schemas ({list}), none of them in our role's search_path."
            ),
            "ALTER ROLE ephemerd IN DATABASE … SET search_path = ephemerd, and the right one; then run deploy/grants.sql again",
        ),
    })
}

async fn foreign_parts(connection: &mut PgConnection, tables: &[&str]) -> Result<Vec<Finding>> {
    let found: Vec<String> = sqlx::query_scalar(concat!(
        "-- layout_foreign_parts\n",
        parts!(),
        " SELECT DISTINCT part.name FROM part JOIN pg_class AS c ON c.oid = part.oid
           WHERE c.relkind = 'f' ORDER BY 1"
    ))
    .bind(tables)
    .fetch_all(connection)
    .await
    .named("layout_foreign_parts")?;
    let finding = |name: String| {
        Finding::problem(
            format!(
                "{name} has a part that is a foreign table: its rows cannot be told apart from others."
            ),
            "detach that part; what was archived there stays as it is",
        )
    };
    Ok(found.into_iter().map(finding).collect())
}

/// Row level security that applies to our role, unless policies let it see and change everything.
async fn policies(connection: &mut PgConnection, tables: &[&str]) -> Result<Vec<Finding>> {
    let found: Vec<String> = sqlx::query_scalar(
        "-- layout_policies
         WITH policy AS (
             SELECT p.polrelid, p.polpermissive, p.polcmd, pg_get_expr(p.polqual, p.polrelid) AS qual,
                    coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'true') AS checked
               FROM pg_policy AS p
              WHERE EXISTS (SELECT FROM unnest(p.polroles) AS r(oid)
                             WHERE CASE r.oid WHEN 0 THEN true ELSE pg_has_role(r.oid, 'USAGE') END))
         SELECT wanted.name FROM unnest($1::text[]) WITH ORDINALITY AS wanted(name, position)
          WHERE row_security_active(to_regclass(wanted.name)::oid)
            AND (EXISTS (SELECT FROM policy AS p
                          WHERE p.polrelid = to_regclass(wanted.name) AND NOT p.polpermissive)
                 OR EXISTS (SELECT FROM unnest(ARRAY['r', 'w', 'd']) AS needed(command)
                             WHERE NOT EXISTS (SELECT FROM policy AS p
                                   WHERE p.polrelid = to_regclass(wanted.name) AND p.polpermissive
                                     AND p.polcmd::text IN ('*', needed.command)
                                     AND (p.qual, p.checked) = ('true', 'true'))))
          ORDER BY wanted.position",
    )
    .bind(tables)
    .fetch_all(connection)
    .await
    .named("layout_policies")?;
    let finding = |name: String| {
        Finding::problem(
            format!(
                "Row level security hides rows of {name} from our role: they would stay for ever."
            ),
            format!(
                "CREATE POLICY ephemerd ON {name} TO ephemerd USING (true); archive.hosts already says whose rows may go"
            ),
        )
    };
    Ok(found.into_iter().map(finding).collect())
}

/// Tables in a publication of changes without a replica identity: PostgreSQL refuses to change them.
async fn published(connection: &mut PgConnection, tables: &[&str]) -> Result<Vec<Finding>> {
    let found: Vec<String> = sqlx::query_scalar(concat!(
        "-- layout_published\n",
        parts!(),
        ", published AS (
             SELECT c.oid
               FROM pg_publication_tables AS t JOIN pg_publication AS p ON p.pubname = t.pubname
               JOIN pg_namespace AS n ON n.nspname = t.schemaname
               JOIN pg_class AS c ON (c.relnamespace, c.relname) = (n.oid, t.tablename)
              WHERE (p.pubupdate OR p.pubdelete) AND t.tablename IN (SELECT relname FROM pg_class JOIN part USING (oid)))
         SELECT DISTINCT part.name FROM part JOIN pg_class AS c ON c.oid = part.oid AND c.relkind = 'r'
          WHERE (part.oid IN (SELECT oid FROM published) OR to_regclass(part.name)::oid IN (SELECT oid FROM published))
            AND CASE c.relreplident
                WHEN 'f' THEN false
                WHEN 'n' THEN true
                ELSE NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid
                                    AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END)
                END
          ORDER BY 1"
    ))
    .bind(tables)
    .fetch_all(connection)
    .await
    .named("layout_published")?;
    let finding = |name: String| {
        Finding::problem(
            format!(
                "A publication covers {name}, which has no replica identity: PostgreSQL refuses our changes."
            ),
            format!("ALTER TABLE {name} REPLICA IDENTITY FULL, and the same for its partitions"),
        )
    };
    Ok(found.into_iter().map(finding).collect())
}

async fn triggers(connection: &mut PgConnection, tables: &[&str]) -> Result<Vec<Finding>> {
    // tgtype: 8 is DELETE, 16 UPDATE. ev_type: 2 is UPDATE, 4 DELETE.
    let found: Vec<(String, String)> = sqlx::query_as(concat!(
        "-- layout_triggers\n",
        parts!(),
        ", acting AS (
             SELECT tgrelid AS relid, tgname::text AS name FROM pg_trigger
              WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 24 <> 0
             UNION ALL
             SELECT ev_class, rulename::text FROM pg_rewrite
              WHERE ev_type IN ('2', '4') AND ev_enabled IN ('O', 'A'))
         SELECT part.name, string_agg(DISTINCT acting.name, ', ' ORDER BY acting.name)
           FROM part JOIN acting ON acting.relid = part.oid
          GROUP BY part.name ORDER BY part.name"
    ))
    .bind(tables)
    .fetch_all(connection)
    .await
    .named("layout_triggers")?;
    let finding = |(table, names): (String, String)| {
        Finding::warning(
            format!("Triggers or rules act when we change rows of {table}: {names}."),
            "make sure that they neither keep rows as they were nor copy erased text elsewhere",
        )
    };
    Ok(found.into_iter().map(finding).collect())
}
