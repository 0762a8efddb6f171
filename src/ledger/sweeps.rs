use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// How the sweep of one archive table stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// One is asked for that has not begun.
    pub requested: bool,
    /// When the one under way began.
    pub started_at: Option<Timestamp>,
    /// It has come to this row.
    pub position: i64,
    /// It goes up to this row, and then through the ledger's entries beyond.
    pub upto: i64,
    /// When the last one came to its end.
    pub completed_at: Option<Timestamp>,
    /// The fingerprint of what that one judged by.
    pub completed_rules: Vec<u8>,
}

/// Asks for a sweep from the start, at once. One that is under way is given up.
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

/// Reads how the sweep stands.
pub async fn sweep(connection: &mut PgConnection, archive: &str) -> Result<Option<Sweep>> {
    sqlx::query_as!(
        Sweep,
        r#"-- sweep
        SELECT requested_at IS NOT NULL AS "requested!", started_at, position, upto, completed_at,
               completed_rules
          FROM ephemerd.sweeps WHERE archive = $1"#,
        archive,
    )
    .fetch_optional(connection)
    .await
    .named("sweep")
}

/// The same, locked; `None` where another daemon is at it, or where there is none.
pub async fn lock_sweep(connection: &mut PgConnection, archive: &str) -> Result<Option<Sweep>> {
    sqlx::query_as!(
        Sweep,
        r#"-- lock_sweep
        SELECT requested_at IS NOT NULL AS "requested!", started_at, position, upto, completed_at,
               completed_rules
          FROM ephemerd.sweeps WHERE archive = $1
           FOR UPDATE SKIP LOCKED"#,
        archive,
    )
    .fetch_optional(connection)
    .await
    .named("lock_sweep")
}

/// Begins a sweep from the first row to `upto`.
pub async fn start_sweep(connection: &mut PgConnection, archive: &str, upto: i64) -> Result<()> {
    sqlx::query!(
        "-- start_sweep
         UPDATE ephemerd.sweeps
            SET requested_at = NULL, started_at = clock_timestamp(), position = 0, upto = $2
          WHERE archive = $1",
        archive,
        upto,
    )
    .execute(connection)
    .await
    .named("start_sweep")?;
    Ok(())
}

/// Notes how far it has come, in the transaction that records what it found.
pub async fn move_sweep(connection: &mut PgConnection, archive: &str, position: i64) -> Result<()> {
    sqlx::query!(
        "-- move_sweep
         UPDATE ephemerd.sweeps SET position = $2 WHERE archive = $1",
        archive,
        position,
    )
    .execute(connection)
    .await
    .named("move_sweep")?;
    Ok(())
}

/// Notes that it came to its end, and what it judged by.
pub async fn complete_sweep(
    connection: &mut PgConnection,
    archive: &str,
    rules: &[u8],
) -> Result<()> {
    sqlx::query!(
        "-- complete_sweep
         UPDATE ephemerd.sweeps
            SET started_at = NULL, completed_at = clock_timestamp(), completed_rules = $2
          WHERE archive = $1",
        archive,
        rules,
    )
    .execute(connection)
    .await
    .named("complete_sweep")?;
    Ok(())
}
