use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// The state of the sweep of one archive table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// A sweep is requested and has not begun.
    pub requested: bool,
    /// When the current sweep began.
    pub started_at: Option<Timestamp>,
    /// It starts after this row.
    pub after: i64,
    /// It has reached this row.
    pub position: i64,
    /// It goes up to this row, and then through the ledger's entries beyond it.
    pub upto: i64,
    /// The fingerprint of the rules that the current sweep judges by.
    pub rules: Vec<u8>,
    /// What the current sweep has done so far; if there is none, what the last one did.
    pub found: SweepCounts,
    /// When the last one finished.
    pub completed_at: Option<Timestamp>,
    /// The fingerprint of the rules that it judged by.
    pub completed_rules: Vec<u8>,
    /// When this was read, by the database's clock.
    pub read_at: Timestamp,
}

/// What a sweep did, or a part of it, whichever daemons took part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepCounts {
    /// Rows of the archive gone through.
    pub rows: i64,
    /// Missing expiries that were added.
    pub added: i64,
    /// Expiries that were recalculated.
    pub changed: i64,
    /// Expiries whose row is gone or no longer marked.
    pub dropped: i64,
    /// Placeholders that were not in the ledger.
    pub adopted: i64,
    /// Rows that could not be read and were left alone.
    pub unreadable: i64,
}

impl SweepCounts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            added: self.added + other.added,
            changed: self.changed + other.changed,
            dropped: self.dropped + other.dropped,
            adopted: self.adopted + other.adopted,
            unreadable: self.unreadable + other.unreadable,
        }
    }
}

impl Sweep {
    /// The current sweep's progress, from 0 to 1.
    pub fn share(&self) -> f64 {
        match (self.position.saturating_sub(self.after), self.upto.saturating_sub(self.after)) {
            (_, ..=0) => 1.0,
            (done, all) => (done as f64 / all as f64).clamp(0.0, 1.0),
        }
    }
}

/// A sweep as stored.
struct StoredSweep {
    archive: String,
    requested: bool,
    started_at: Option<Timestamp>,
    after: i64,
    position: i64,
    upto: i64,
    rules: Vec<u8>,
    rows_read: i64,
    added: i64,
    changed: i64,
    dropped: i64,
    adopted: i64,
    unreadable: i64,
    completed_at: Option<Timestamp>,
    completed_rules: Vec<u8>,
    read_at: Timestamp,
}

impl StoredSweep {
    fn read(self) -> (String, Sweep) {
        let found = SweepCounts {
            rows: self.rows_read,
            added: self.added,
            changed: self.changed,
            dropped: self.dropped,
            adopted: self.adopted,
            unreadable: self.unreadable,
        };
        let sweep = Sweep {
            requested: self.requested,
            started_at: self.started_at,
            after: self.after,
            position: self.position,
            upto: self.upto,
            rules: self.rules,
            found,
            completed_at: self.completed_at,
            completed_rules: self.completed_rules,
            read_at: self.read_at,
        };
        (self.archive, sweep)
    }
}

/// Requests a sweep from the start, at once. A sweep in progress is abandoned.
pub async fn request_sweep(connection: &mut PgConnection, archive: &str) -> Result<()> {
    sqlx::query!(
        "-- request_sweep
         INSERT INTO ephemerd.sweeps (archive) VALUES ($1)
         ON CONFLICT (archive) DO UPDATE SET requested_at = now()",
        archive,
    )
    .execute(connection)
    .await
    .named("request_sweep")?;
    Ok(())
}

/// Reads the state of each archive table's sweep.
pub async fn sweeps(connection: &mut PgConnection) -> Result<Vec<(String, Sweep)>> {
    let rows = sqlx::query_as!(
        StoredSweep,
        r#"-- sweeps
        SELECT archive, requested_at IS NOT NULL AS "requested!", started_at, after, position, upto,
               rules,
               rows_read, added, changed, dropped, adopted, unreadable, completed_at, completed_rules,
               clock_timestamp() AS "read_at!"
          FROM ephemerd.sweeps ORDER BY archive"#,
    )
    .fetch_all(connection)
    .await
    .named("sweeps")?;
    Ok(rows.into_iter().map(StoredSweep::read).collect())
}

/// Reads the state of one sweep.
pub async fn sweep(connection: &mut PgConnection, archive: &str) -> Result<Option<Sweep>> {
    let sweeps = sweeps(connection).await?;
    Ok(sweeps.into_iter().find(|(name, _)| name == archive).map(|(_, sweep)| sweep))
}

/// The same, locked; `None` if another daemon has it locked, or if it does not exist.
pub async fn lock_sweep(connection: &mut PgConnection, archive: &str) -> Result<Option<Sweep>> {
    let row = sqlx::query_as!(
        StoredSweep,
        r#"-- lock_sweep
        SELECT archive, requested_at IS NOT NULL AS "requested!", started_at, after, position, upto,
               rules,
               rows_read, added, changed, dropped, adopted, unreadable, completed_at, completed_rules,
               clock_timestamp() AS "read_at!"
          FROM ephemerd.sweeps WHERE archive = $1
           FOR UPDATE SKIP LOCKED"#,
        archive,
    )
    .fetch_optional(connection)
    .await
    .named("lock_sweep")?;
    Ok(row.map(|row| row.read().1))
}

/// Begins a sweep of the rows after `after` and up to `upto`, judging by `rules`.
pub async fn start_sweep(
    connection: &mut PgConnection,
    archive: &str,
    (after, upto): (i64, i64),
    rules: &[u8],
) -> Result<()> {
    sqlx::query!(
        "-- start_sweep
         UPDATE ephemerd.sweeps
            SET requested_at = NULL, started_at = clock_timestamp(), position = 0, after = $2,
                after_owner = '', upto = $3, rules = $4, rows_read = 0, added = 0, changed = 0, dropped = 0, adopted = 0,
                unreadable = 0
          WHERE archive = $1",
        archive,
        after,
        upto,
        rules,
    )
    .execute(connection)
    .await
    .named("start_sweep")?;
    Ok(())
}

/// Saves the sweep's progress and what this part of it did, in the transaction that did it.
pub async fn move_sweep(
    connection: &mut PgConnection,
    archive: &str,
    position: i64,
    found: SweepCounts,
) -> Result<()> {
    sqlx::query!(
        "-- move_sweep
         UPDATE ephemerd.sweeps
            SET position = $2, rows_read = rows_read + $3, added = added + $4,
                changed = changed + $5, dropped = dropped + $6, adopted = adopted + $7,
                unreadable = unreadable + $8
          WHERE archive = $1",
        archive,
        position,
        found.rows,
        found.added,
        found.changed,
        found.dropped,
        found.adopted,
        found.unreadable,
    )
    .execute(connection)
    .await
    .named("move_sweep")?;
    Ok(())
}

/// The owner that a sweep by owner has reached within its position; empty at the start of a position.
pub async fn sweep_owner(connection: &mut PgConnection, archive: &str) -> Result<String> {
    sqlx::query_scalar!(
        "-- sweep_owner
         SELECT after_owner FROM ephemerd.sweeps WHERE archive = $1",
        archive,
    )
    .fetch_one(connection)
    .await
    .named("sweep_owner")
}

/// Records that the sweep has reached this owner.
pub async fn move_sweep_to_owner(
    connection: &mut PgConnection,
    archive: &str,
    owner: &str,
) -> Result<()> {
    sqlx::query!(
        "-- move_sweep_to_owner
         UPDATE ephemerd.sweeps SET after_owner = $2 WHERE archive = $1",
        archive,
        owner,
    )
    .execute(connection)
    .await
    .named("move_sweep_to_owner")?;
    Ok(())
}

/// Records that the sweep has finished.
pub async fn complete_sweep(connection: &mut PgConnection, archive: &str) -> Result<()> {
    sqlx::query!(
        "-- complete_sweep
         UPDATE ephemerd.sweeps
            SET started_at = NULL, completed_at = clock_timestamp(), completed_rules = rules, after_owner = ''
          WHERE archive = $1",
        archive,
    )
    .execute(&mut *connection)
    .await
    .named("complete_sweep")?;
    super::reading::forget_readers(&mut *connection).await?;
    super::undelivered::forget_undelivered(connection).await
}
