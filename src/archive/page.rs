//! One owner's rows with their text, page by page.

use sqlx::PgConnection;

use super::{Row, Scope, Table, ejabberd, prosody};
use crate::database::Result;

impl Table {
    /// The next rows of a scope after its place, the oldest first, whatever their age: at most about `rows`, and at most about
    /// `bytes` bytes of stanzas, but at least one, and all of an owner's with the same stamp where that is their place.
    /// The scope's place is that of the last one then. Nothing at the end.
    pub async fn page(
        &self,
        connection: &mut PgConnection,
        scope: &mut Scope,
        limits: (i64, i64),
    ) -> Result<Vec<Row>> {
        let rows = match self {
            Self::Prosody => prosody::page(connection, scope, limits).await?,
            Self::EjabberdArchive(schema) => {
                ejabberd::page(connection, schema, scope, limits).await?
            }
            Self::EjabberdSpool(schema) => {
                ejabberd::queue_page(connection, schema, scope, limits).await?
            }
        };
        if let Some(last) = rows.last() {
            scope.after = match self {
                Self::Prosody => (last.stamp.at.timestamp(), last.key.row_number),
                Self::EjabberdArchive(_) => (last.key.row_number, 0),
                Self::EjabberdSpool(_) => (0, last.key.row_number),
            };
        }
        Ok(rows)
    }
}
