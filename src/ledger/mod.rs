//! Our own tables, schema `ephemerd`: what must go and when, how far inspection has come, what the operator
//! decided. Nothing here knows an archive.
//!
//! Locks are taken in this order: the claims' lock (`holding`), `feeds` by host, `cursors`, `sweeps`, `age_walks`,
//! `requests` or `wishes`, `retention`, `readers`, `expiries` by time, then the
//! archive's rows by key; `undelivered`, `asked` and `quotes` after `expiries`, and then `files` by id. An entry that another one is
//! to follow is locked, shared, right after that one was recorded (`keep_up`). Whoever cuts quotes has them locked first, and
//! waits for nothing else.

mod aged;
mod ages;
mod asked;
mod backlog;
mod belonging;
mod claim;
mod control;
mod cursor;
mod daemons;
mod everyone;
mod feeds;
mod files;
mod gone;
mod holding;
mod holds;
mod kept;
mod of_owner;
mod outlook;
mod owners;
mod probe;
mod quotes;
mod reading;
mod record;
mod removed;
mod requested;
mod requests;
mod settle;
mod sweeps;
mod tally;
mod targets;
mod trials;
mod undelivered;
mod walk;
mod wish_walks;
mod wishes;

pub use aged::{
    ALL_LOCKED, FORGETS, HAS_ENTRIES, Holdable, Known, aged_on_hold, lock_entries, owners_on_hold,
};
pub use ages::{
    AgeStanding, AgeState, Announced, NewPolicy, Walk, WalkPlace, accept_policy, age_state,
    announce, due_walks, end_walk, lock_walk, move_walk,
};
pub use asked::{UnderWay, answered, note_asked, under_way};
pub use backlog::{Held, accept_backlog, held, release_held};
pub use belonging::{
    Belonging, Follows, Heir, MOST_LINKS, Name, Naming, Target, leave, named_owners, names, part,
    part_beyond,
};
pub use claim::{Bound, Claim, Claimed, Claims, Phase, Upcoming, claim, next_due};
pub use control::{Control, Pause, control, pause, paused, resume};
pub use cursor::{
    Cursor, CursorState, Look, cursor, cursors, lock_cursor, lock_cursors, look, move_cursor,
    start_cursor,
};
pub use daemons::{Daemon, DaemonState, daemons, name_session};
pub use everyone::{
    Judged, Member, ReadBy, judge_room, note_judged, note_room_readers, partly_read,
    started_by_everyone, waiting_rooms,
};
pub use feeds::{
    CatchUp, Feed, Heard, Relist, catch_ups, complete_catch_up, fed_hosts, feed, follow_feed,
    lock_feeds, move_catch_up, next_relist, put_off_relist, relisted, start_feed, start_timers,
};
pub use files::{
    DueFile, FileCounts, NewFile, OwnerFiles, await_files, count_files, due_files,
    files_looked_for, files_of_entries, files_of_owner, forget_files, free_files, keep_files,
    look_at_files, name_files, next_file, note_files, put_off_files,
};
pub use gone::{forget_names, remember};
pub use holding::{
    entries_on_hold, forget_ended, peers, put_aside, rooms_on_hold, share_claims, stop_claims,
    take_back,
};
pub use holds::{
    Hold, HoldEvent, Kept, NewHold, add_hold, count_holds, hold_log, holds, kept_by, release_hold,
};
pub use kept::{KeptEntries, MOST_KEPT, kept_of_owner};
pub use of_owner::{OwnerEntries, holds_of_owner, owner_entries};
pub use outlook::{Outlook, Outlooks, Readings, outlook, readings};
pub use owners::{entries_of_owner, newest_entry, owners};
pub use probe::probe;
pub use quotes::{
    ClaimedQuotes, Quote, RecordedQuote, claim_quotes, forget_quotes, forget_stale_quotes,
    put_off_quotes, put_quotes_aside, quotes_of, quotes_under, record_quotes, release_held_quotes,
    rename_rows, take_quotes_back,
};
pub use reading::{
    Seen, Started, Unread, Waiting, WaitingOwner, align_copies, note_readers, note_unread, readers,
    start_read, unread_in, waiting_owners, waiting_users,
};
pub use record::{Entry, Expiry, change, record};
pub use removed::{forget_owner, lock_entries_of_owner, quotes_of_owner, sampled_rows};
pub use requested::{
    DueRequest, Progress, RequestWalk, due_requests, end_request, lock_request, move_request,
    walk_requests_again,
};
pub use requests::{
    NewRequest, Request, RequestEvent, ask_to_erase, request_log, requests, withdraw_request,
};
pub use settle::{end_leases, forget, give_back, keep_placeholders, lease, put_off};
pub use sweeps::{
    Sweep, SweepCounts, complete_sweep, lock_sweep, move_sweep, move_sweep_to_owner, request_sweep,
    start_sweep, sweep, sweep_owner, sweeps,
};
pub use tally::{Tally, tally};
pub use targets::{Nearest, keep_up, targets};
pub use trials::{TRIAL_CHANNEL, TRIED_CHANNEL, pending_with, receive, tell};
pub use undelivered::{
    archived_under, end_undelivered, note_undelivered, undelivered, undelivered_rows,
    undelivered_users,
};
pub use walk::{entries_between, entries_of, entries_under, queue_entries};
pub use wish_walks::{WishWalk, due_wishes, end_wish, lock_wish, move_wish};
pub use wishes::{
    MOST_WISHES, StandingWish, TimerWish, encrypted_owners, set_wish, timer_wishes, wish_of,
    wishes_of_owner,
};

use sqlx::{
    PgConnection,
    migrate::{MigrateError, Migrator},
};

use crate::database::{Error, Named, Result};

/// The channel that notifies all daemons of recordings and of the operator's commands. The payload of a
/// recording is its earliest due time, in microseconds since 1970.
pub const CHANNEL: &str = "ephemerd";
/// The channel that notifies all daemons that messages have gone that named uploaded files.
pub const FILES_CHANNEL: &str = "ephemerd_files";
/// The channel that notifies all daemons that somebody has read what waits for every member of a room.
pub const READERS_CHANNEL: &str = "ephemerd_readers";

static MIGRATOR: Migrator = sqlx::migrate!();

/// How our schema compares with this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// No migration has been applied yet.
    Missing,
    /// Some migrations are not applied yet.
    Behind,
    /// The version that this program needs.
    Current,
    /// A later version migrated it.
    Newer,
}

/// Compares our schema with this program, without changing anything.
pub async fn schema(connection: &mut PgConnection) -> Result<SchemaState> {
    let exists: bool = sqlx::query_scalar(
        "-- schema_exists
         SELECT to_regclass('ephemerd._sqlx_migrations') IS NOT NULL",
    )
    .fetch_one(&mut *connection)
    .await
    .named("schema_exists")?;
    if !exists {
        return Ok(SchemaState::Missing);
    }
    let applied: Option<i64> = sqlx::query_scalar(
        "-- schema_version
         SELECT max(version) FROM ephemerd._sqlx_migrations WHERE success",
    )
    .fetch_one(connection)
    .await
    .named("schema_version")?;
    let newest = schema_version();
    Ok(match applied {
        None => SchemaState::Missing,
        Some(applied) if applied < newest => SchemaState::Behind,
        Some(applied) if applied > newest => SchemaState::Newer,
        Some(_) => SchemaState::Current,
    })
}

/// The newest version of our schema that this program knows.
pub fn schema_version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Migrates our schema. Several daemons may do so at once: sqlx takes a lock.
pub async fn migrate(connection: &mut PgConnection) -> Result<()> {
    // The pool's lock_timeout of 100 ms is for archive rows; here a second daemon waits for the first.
    sqlx::query("-- migrate_patience\nSET lock_timeout = '30s'")
        .execute(&mut *connection)
        .await
        .named("migrate_patience")?;
    MIGRATOR.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            Error::new("migrate", &error)
        }
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
            Error::unexpected("migrate", "the schema is newer than this program")
        }
        MigrateError::VersionMismatch(version) => Error::unexpected(
            "migrate",
            format!("migration {version} was applied in a different version"),
        ),
        _ => Error::unexpected("migrate", "the migrations could not be run"),
    })
}
