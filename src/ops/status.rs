use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    ledger::{self, Pause, Standing, Sweep, Tally},
    model::Timestamp,
};

/// What is going on, from the database alone.
#[derive(Debug, Clone)]
pub struct Status {
    /// The database's clock.
    pub now: Timestamp,
    /// The version of our schema.
    pub schema: i64,
    /// Whether erasing is paused.
    pub pause: Pause,
    /// The ledger in figures. While erasing is paused nothing counts as overdue.
    pub tally: Tally,
    /// How far inspection came, by archive table.
    pub cursors: Vec<Standing>,
    /// How sweeps stand, by archive table.
    pub sweeps: Vec<(String, Sweep)>,
}

/// Reads it. It counts the whole ledger: not for every scrape.
pub async fn status(connection: &mut PgConnection, hosts: &[String]) -> Result<Status> {
    let now = sqlx::query_scalar("-- status_now\nSELECT clock_timestamp()")
        .fetch_one(&mut *connection)
        .await
        .named("status_now")?;
    Ok(Status {
        now,
        schema: ledger::schema_version(),
        pause: ledger::paused(connection).await?,
        tally: ledger::tally(connection, hosts).await?,
        cursors: ledger::cursors(connection).await?,
        sweeps: ledger::sweeps(connection).await?,
    })
}
