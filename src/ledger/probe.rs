use sqlx::PgConnection;

use super::{SchemaState, schema, schema_version};
use crate::{
    database::{Named, Result},
    model::Finding,
};

const GRANTS: &str = "run deploy/grants.sql in this database as a superuser";

/// Checks our own schema.
pub async fn probe(connection: &mut PgConnection) -> Result<Vec<Finding>> {
    let (exists, usable): (bool, bool) = sqlx::query_as(
        "-- ledger_schema
         SELECT n.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE, CREATE'), false)
           FROM (SELECT to_regnamespace('ephemerd')::oid AS oid) AS n",
    )
    .fetch_one(&mut *connection)
    .await
    .named("ledger_schema")?;
    let finding = match (exists, usable) {
        (false, _) => Finding::problem("There is no schema ephemerd in this database.", GRANTS),
        (true, false) => {
            Finding::problem("Our role may not use schema ephemerd or create tables there.", GRANTS)
        }
        (true, true) => version(schema(connection).await?),
    };
    Ok(vec![finding])
}

fn version(schema: SchemaState) -> Finding {
    match schema {
        SchemaState::Current => Finding::good(format!(
            "Schema ephemerd is at version {}, the one that this program needs.",
            schema_version()
        )),
        SchemaState::Missing => Finding::warning(
            "Schema ephemerd has no tables yet.",
            "run `ephemerd migrate`; `ephemerd run` also does so",
        ),
        SchemaState::Behind => Finding::warning(
            "Schema ephemerd is older than this program.",
            "run `ephemerd migrate`; `ephemerd run` also does so",
        ),
        SchemaState::Newer => Finding::problem(
            "Schema ephemerd is newer than this program.",
            "install the newer version of ephemerd again",
        ),
    }
}
