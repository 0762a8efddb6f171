use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// The ledger in figures. While erasing is paused nothing is overdue; entries of unlisted hosts never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Rows whose text is still to be erased.
    pub pending: i64,
    /// Those of them that wait for their owner to read them.
    pub unread: i64,
    /// Quotes that are still to be cut out of replies.
    pub quotes: i64,
    /// Placeholders that still have to be deleted.
    pub placeholders: i64,
    /// Held until the operator accepts them.
    pub backlog: i64,
    /// Rows that are due and still there, and quotes, but for those on hold.
    pub overdue: i64,
    /// Rows that are due and on hold.
    pub on_hold: i64,
    /// Holds in force.
    pub holds: i64,
    /// The due time of the oldest of these.
    pub oldest_due: Option<Timestamp>,
    /// The database's clock.
    pub now: Timestamp,
}

impl Tally {
    /// How long the oldest has been overdue, by the database's clock.
    pub fn oldest_overdue(&self) -> Option<Duration> {
        self.oldest_due.map(|due| (self.now - due).to_std().unwrap_or_default())
    }
}

/// Counts the ledger. Reads all of it, so not for every scrape.
pub async fn tally(connection: &mut PgConnection, hosts: &[String]) -> Result<Tally> {
    sqlx::query_as!(
        Tally,
        r#"-- tally
        WITH told AS (SELECT coalesce(paused_until > now(), false) AS paused FROM ephemerd.control)
        SELECT count(*) FILTER (WHERE phase = 'pending' AND NOT backlog) AS "pending!",
               count(*) FILTER (WHERE phase = 'pending' AND NOT backlog AND started_by = 'unread') AS "unread!",
               count(*) FILTER (WHERE phase = 'quote' AND NOT backlog) AS "quotes!",
               count(*) FILTER (WHERE phase = 'placeholder') AS "placeholders!",
               count(*) FILTER (WHERE backlog) AS "backlog!",
               count(*) FILTER (WHERE late AND NOT kept AND NOT paused) AS "overdue!",
               count(*) FILTER (WHERE late AND kept) AS "on_hold!",
               (SELECT count(*) FROM ephemerd.holds WHERE ends_at IS NULL OR ends_at > now()) AS "holds!",
               min(due_at) FILTER (WHERE late AND NOT kept AND NOT paused) AS oldest_due,
               clock_timestamp() AS "now!"
          FROM (SELECT phase, backlog, due_at, started_by, told.paused,
                       NOT backlog AND due_at < now() AND host = ANY ($1) AS late,
                       NOT backlog AND due_at < now() AND host = ANY ($1) AND on_hold AS kept
                  FROM (SELECT phase, backlog, due_at, started_by, host, on_hold FROM ephemerd.entries
                         UNION ALL
                        SELECT 'quote', backlog, due_at, '', host, on_hold FROM ephemerd.quote_entries) AS recorded, told
                OFFSET 0) AS entry"#,
        hosts,
    )
    .fetch_one(connection)
    .await
    .named("tally")
}
