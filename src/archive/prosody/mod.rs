//! Prosody's archives in PostgreSQL: the table `prosodyarchive` of mod_storage_sql (0.12, 13.0).
//!
//! `sort_id` numbers the rows, `"when"` stamps them in whole seconds, `key` is the id that MAM shows.
//! Never join on a `<stanza-id/>` inside a 1:1 row: a sender can forge one.

mod delete_old;
mod erase;
mod find;
mod hosts;
mod identity;
mod old;
mod probe;
mod read;
mod reading;

pub use delete_old::delete_old;
pub(super) use erase::{blank, delete};
pub use find::{find, queued_under};
pub use hosts::{absent_hosts, is_there};
pub use old::{ages, holders, old};
pub use probe::probe;
pub use read::{
    archive_rows, candidates, horizon, span_end, still_there, unlisted_hosts, with_words,
};
pub use reading::{has_items, recent_traces, rows_archived_as, rows_naming, traces};

use crate::model::{Stamp, Store, Timestamp};

/// Prosody's name for a store.
const fn store_name(store: Store) -> &'static str {
    match store {
        Store::Archive => "archive",
        Store::Room => "muc_log",
        Store::Queue => "offline",
    }
}

fn store_named(name: &str) -> Option<Store> {
    Store::ALL.into_iter().find(|store| store_name(*store) == name)
}

/// Prosody's `"when"`: seconds since 1970.
fn stamp(when: i32) -> Stamp {
    let at = Timestamp::from_timestamp(i64::from(when), 0).unwrap_or(Timestamp::UNIX_EPOCH);
    Stamp { at, whole_seconds: true }
}
