use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// The ledger in figures. Paused and unlisted entries are not overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Rows whose words still have to go.
    pub pending: i64,
    /// Placeholders that still have to be deleted.
    pub placeholders: i64,
    /// Held until the operator accepts them.
    pub backlog: i64,
    /// Rows whose time is over and that still stand.
    pub overdue: i64,
    /// The due time of the oldest of these.
    pub oldest_due: Option<Timestamp>,
}

/// Counts the ledger. It reads all of it: not for every scrape.
pub async fn tally(connection: &mut PgConnection, hosts: &[String]) -> Result<Tally> {
    sqlx::query_as!(
        Tally,
        r#"-- tally
        WITH told AS (SELECT coalesce(paused_until > now(), false) AS paused FROM ephemerd.control)
        SELECT count(*) FILTER (WHERE phase = 'pending' AND NOT backlog) AS "pending!",
               count(*) FILTER (WHERE phase = 'placeholder') AS "placeholders!",
               count(*) FILTER (WHERE backlog) AS "backlog!",
               count(*) FILTER (WHERE late) AS "overdue!",
               min(due_at) FILTER (WHERE late) AS oldest_due
          FROM (SELECT phase, backlog, due_at,
                       NOT backlog AND due_at < now() AND host = ANY ($1) AND NOT told.paused AS late
                  FROM ephemerd.expiries, told) AS entry"#,
        hosts,
    )
    .fetch_one(connection)
    .await
    .named("tally")
}
