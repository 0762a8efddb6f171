use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// How far one archive table has been inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The newest row at the first start: everything up to it is backlog.
    pub first_position: i64,
    /// Everything up to here has been inspected.
    pub position: i64,
    /// The highest row that any poll has read.
    pub frontier: i64,
    /// The table's filenode at the last poll, if there was one.
    pub filenode: Option<i64>,
}

/// Creates the cursor at the first start, at the newest row, so that live messages never have to wait.
/// Returns whether this was the first start.
pub async fn start_cursor(
    connection: &mut PgConnection,
    archive: &str,
    newest: i64,
) -> Result<bool> {
    let started = sqlx::query!(
        "-- start_cursor
         INSERT INTO ephemerd.cursors (archive, first_position, position, frontier)
         VALUES ($1, $2, $2, $2)
         ON CONFLICT DO NOTHING",
        archive,
        newest,
    )
    .execute(connection)
    .await
    .named("start_cursor")?;
    Ok(started.rows_affected() == 1)
}

/// Locks the cursor; `None` if another daemon has it locked, or if there is none.
pub async fn lock_cursor(connection: &mut PgConnection, archive: &str) -> Result<Option<Cursor>> {
    sqlx::query_as!(
        Cursor,
        "-- lock_cursor
         SELECT first_position, position, frontier, filenode
           FROM ephemerd.cursors WHERE archive = $1
            FOR UPDATE SKIP LOCKED",
        archive,
    )
    .fetch_optional(connection)
    .await
    .named("lock_cursor")
}

/// Waits until no tail is inside a transaction, and keeps all of them out until ours ends.
pub async fn lock_cursors(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "-- lock_cursors
         SELECT archive FROM ephemerd.cursors ORDER BY archive FOR UPDATE",
    )
    .fetch_all(connection)
    .await
    .named("lock_cursors")?;
    Ok(())
}

/// Reads the cursor without a lock.
pub async fn cursor(connection: &mut PgConnection, archive: &str) -> Result<Option<Cursor>> {
    sqlx::query_as!(
        Cursor,
        "-- cursor
         SELECT first_position, position, frontier, filenode
           FROM ephemerd.cursors WHERE archive = $1",
        archive,
    )
    .fetch_optional(connection)
    .await
    .named("cursor")
}

/// The cursor, read without a lock, and what the ledger waits for.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The table's cursor.
    pub cursor: Cursor,
    /// Whether an entry is of an offline queue.
    pub has_queued: bool,
    /// Whether an entry waits for its owner to read the message.
    pub has_unread: bool,
}

/// Looks at the ledger before anything is locked. `None` before the first start.
pub async fn look(connection: &mut PgConnection, archive: &str) -> Result<Option<Look>> {
    let found = sqlx::query!(
        r#"-- look
        SELECT first_position, position, frontier, filenode,
               EXISTS (SELECT FROM ephemerd.expiries WHERE store = 'queue') AS "has_queued!",
               EXISTS (SELECT FROM ephemerd.expiries WHERE chat IS NOT NULL) AS "has_unread!"
          FROM ephemerd.cursors WHERE archive = $1"#,
        archive,
    )
    .fetch_optional(connection)
    .await
    .named("look")?;
    Ok(found.map(|row| Look {
        cursor: Cursor {
            first_position: row.first_position,
            position: row.position,
            frontier: row.frontier,
            filenode: row.filenode,
        },
        has_queued: row.has_queued,
        has_unread: row.has_unread,
    }))
}

/// Moves the cursor, in the transaction that records what it passes.
pub async fn move_cursor(connection: &mut PgConnection, archive: &str, to: Cursor) -> Result<()> {
    sqlx::query!(
        "-- move_cursor
         UPDATE ephemerd.cursors
            SET first_position = $2, position = $3, frontier = $4, filenode = $5, moved_at = now()
          WHERE archive = $1",
        archive,
        to.first_position,
        to.position,
        to.frontier,
        to.filenode,
    )
    .execute(connection)
    .await
    .named("move_cursor")?;
    Ok(())
}

/// A cursor for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorState {
    /// The archive table.
    pub archive: String,
    /// Everything up to here has been inspected for good.
    pub position: i64,
    /// The highest row that any poll has read.
    pub frontier: i64,
    /// When the cursor or its frontier last moved.
    pub moved_at: Timestamp,
}

/// Reads all cursors, for reports.
pub async fn cursors(connection: &mut PgConnection) -> Result<Vec<CursorState>> {
    sqlx::query_as!(
        CursorState,
        "-- cursors
         SELECT archive, position, frontier, moved_at FROM ephemerd.cursors ORDER BY archive",
    )
    .fetch_all(connection)
    .await
    .named("cursors")
}
