//! ejabberd's archives and offline queues in PostgreSQL: the tables `archive` and `spool`, in the classic and
//! the multi-host schema (mod_mam_sql and mod_offline_sql; tested with 23.01, source read up to 26.07).
//!
//! `timestamp`, in microseconds, is an archived row's number, its stamp and the id that MAM shows. No key is
//! unique: two rows may share it, so a digest of the text is part of a row's identity. Several writers stamp
//! rows before inserting them, so their order is not the order of commits.

mod archive;
mod delete_old;
mod erase;
mod identity;
mod namesakes;
mod naming;
mod old;
mod old_queue;
mod page;
mod positions;
mod probe;
mod reading;
mod schema;
mod spool;

pub use archive::{archive_rows, candidates, find, horizon, span_end};
pub use delete_old::delete_old;
pub(super) use erase::{blank, blank_queued, delete, rewrite};
pub use namesakes::namesakes;
pub use naming::look_back;
pub use old::{ages, holders, holders_of_room, old};
pub use old_queue::{ages as queue_ages, old as old_in_queue};
pub use page::{page, queue_page};
pub use positions::{has_positions, positions, shows_positions};
pub use probe::{ProbedSchema, guess, probe, unlisted_hosts};
pub use reading::{receipts, recent_traces, rows_archived_as, rows_naming, traces};
pub use schema::Schema;
pub use spool::{candidates as queued_candidates, horizon as queue_horizon, queued_under};

use sqlx::PgConnection;

use crate::{
    database::Result,
    model::{RowKey, Stamp, Store, Timestamp},
};

/// Which of these rows, archived and queued, still exist, by position.
pub async fn still_there(
    connection: &mut PgConnection,
    schema: &Schema,
    keys: &[&RowKey],
) -> Result<Vec<usize>> {
    let (queued, archived): (Vec<usize>, Vec<usize>) =
        (0..keys.len()).partition(|at| keys.get(*at).is_some_and(|it| it.store == Store::Queue));
    let of = |positions: &[usize]| -> Vec<&RowKey> {
        positions.iter().filter_map(|at| keys.get(*at).copied()).collect()
    };
    let mut present = Vec::new();
    if !archived.is_empty() {
        let found = archive::still_there(connection, schema, &of(&archived)).await?;
        present.extend(found.into_iter().filter_map(|at| archived.get(at)));
    }
    if !queued.is_empty() {
        let found = spool::still_there(connection, schema, &of(&queued)).await?;
        present.extend(found.into_iter().filter_map(|at| queued.get(at)));
    }
    Ok(present)
}

/// ejabberd's name for a store of its `archive`.
const fn kind(store: Store) -> &'static str {
    match store {
        Store::Archive => "chat",
        Store::Room => "groupchat",
        Store::Queue => "",
    }
}

/// Whose a row of `archive` is: store, local part, host. `None` if it belongs to neither a user nor a room.
fn owner_of(kind: &str, username: String, server_host: String) -> Option<(Store, String, String)> {
    match kind {
        "chat" => Some((Store::Archive, username, server_host)),
        "groupchat" => {
            let (room, host) = username.split_once('@')?;
            Some((Store::Room, room.to_owned(), host.to_owned()))
        }
        _ => None,
    }
}

/// ejabberd's `timestamp`: microseconds since 1970.
fn stamp(micros: i64) -> Stamp {
    let at = Timestamp::from_timestamp_micros(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    Stamp { at, whole_seconds: false }
}
