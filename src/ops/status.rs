use sqlx::PgConnection;

use crate::{
    database::{self, Result},
    ledger::{self, AgeStanding, CursorState, Daemon, Pause, Sweep, Tally},
    model::Timestamp,
};

/// The state of everything, from the database alone.
#[derive(Debug, Clone)]
pub struct Status {
    /// The database's clock.
    pub now: Timestamp,
    /// Our schema's version.
    pub schema: i64,
    /// The daemons that are alive, as far as their sessions are this role's.
    pub daemons: Vec<Daemon>,
    /// Whether erasing is paused.
    pub pause: Pause,
    /// The ledger in figures. Nothing counts as overdue while erasing is paused.
    pub tally: Tally,
    /// How far inspection came, by archive table.
    pub cursors: Vec<CursorState>,
    /// The state of sweeps, by archive table.
    pub sweeps: Vec<(String, Sweep)>,
    /// Whether messages go by the retention policy; `None` without one.
    pub retention: Option<AgeStanding>,
}

/// Reads the status, with that of this retention policy if there is one. It counts the whole ledger, so not for every scrape.
pub async fn status(
    connection: &mut PgConnection,
    hosts: &[String],
    policy: Option<Vec<u8>>,
) -> Result<Status> {
    let retention = match policy {
        Some(policy) => Some(AgeStanding::of(ledger::age_state(connection).await?, &policy)),
        None => None,
    };
    Ok(Status {
        retention,
        now: database::now(connection).await?,
        schema: ledger::schema_version(),
        daemons: ledger::daemons(connection).await?,
        pause: ledger::paused(connection).await?,
        tally: ledger::tally(connection, hosts).await?,
        cursors: ledger::cursors(connection).await?,
        sweeps: ledger::sweeps(connection).await?,
    })
}
