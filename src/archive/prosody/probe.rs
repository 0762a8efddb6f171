use sqlx::PgConnection;

use crate::{
    archive::layout::{self, sequence},
    database::{Named, Result},
    model::Finding,
};

/// The columns that we need and the types that we accept. Additional columns are ignored.
const COLUMNS: [(&str, &[&str]); 7] = [
    ("sort_id", &["bigint", "integer"]),
    ("host", &["text"]),
    ("user", &["text"]),
    ("store", &["text"]),
    ("key", &["text"]),
    ("when", &["integer", "bigint"]),
    ("value", &["text"]),
];

const GRANTS: &str = "run deploy/grants.sql in this database as a superuser";

/// Checks the live schema and our privileges on it.
pub async fn probe(connection: &mut PgConnection) -> Result<Vec<Finding>> {
    let unusable = layout::unusable(connection, &["prosodyarchive"]).await?;
    if !unusable.is_empty() {
        return Ok(unusable);
    }
    let found: Vec<(String, String)> = sqlx::query_as(
        "-- prosody_columns
         SELECT attname::text, format_type(atttypid, NULL)
           FROM pg_attribute
          WHERE attrelid = to_regclass('prosodyarchive') AND attnum > 0 AND NOT attisdropped
          ORDER BY attnum",
    )
    .fetch_all(&mut *connection)
    .await
    .named("prosody_columns")?;
    if found.is_empty() {
        return Ok(vec![Finding::problem(
            "There is no table prosodyarchive in this database.",
            "check database.url, and that Prosody keeps its archives there: storage = \"sql\"",
        )]);
    }
    let mut findings: Vec<Finding> = COLUMNS
        .iter()
        .filter(|(name, types)| {
            !found.iter().any(|(column, of)| column == name && types.contains(&of.as_str()))
        })
        .map(|(name, types)| {
            Finding::problem(
                format!("Column {name} of prosodyarchive is missing or is not {}.", types.join(" or ")),
                "this version of Prosody's mod_storage_sql is not supported: see docs/install-prosody.md",
            )
        })
        .collect();
    if findings.is_empty() {
        findings = privileges(connection).await?;
    }
    if findings.is_empty() {
        findings.push(Finding::good("Prosody's archive is readable and has the columns needed."));
    }
    Ok(findings)
}

async fn privileges(connection: &mut PgConnection) -> Result<Vec<Finding>> {
    type Row = (bool, bool, bool, Option<String>, Option<bool>, bool);
    let (select, delete, update, sequence, may_read, owner): Row = sqlx::query_as(concat!(
        "-- prosody_privileges
         SELECT has_table_privilege('prosodyarchive', 'SELECT'),
                has_table_privilege('prosodyarchive', 'DELETE'),
                has_column_privilege('prosodyarchive', 'value', 'UPDATE'),
                numbers.oid::regclass::text, has_sequence_privilege(numbers.oid, 'SELECT'),
                (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class
                  WHERE oid = to_regclass('prosodyarchive'))
                AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
           FROM (SELECT ",
        sequence!("prosodyarchive", "sort_id"),
        " AS oid) AS numbers",
    ))
    .fetch_one(connection)
    .await
    .named("prosody_privileges")?;
    let missing = [
        (select, "SELECT on prosodyarchive"),
        (delete, "DELETE on prosodyarchive"),
        (update, "UPDATE (value) on prosodyarchive"),
    ];
    let lacking = missing
        .into_iter()
        .filter(|(granted, _)| !granted)
        .map(|(_, what)| Finding::problem(format!("Our role lacks {what}."), GRANTS));
    let owning = owner.then(|| {
        Finding::warning(
            "Our role owns prosodyarchive: it has far more rights than it needs.",
            "use the role that deploy/grants.sql creates",
        )
    });
    let numbers = layout::sequence_findings("prosodyarchive.sort_id", sequence, may_read);
    Ok(lacking.chain(numbers).chain(owning).collect())
}
