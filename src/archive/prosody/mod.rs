//! Prosody's archives in PostgreSQL: the table `prosodyarchive` of mod_storage_sql (0.12, 13.0).
//!
//! `sort_id` numbers the rows, `"when"` stamps them in whole seconds, `key` is the id that MAM shows.
//! Never join on a `<stanza-id/>` inside a 1:1 row: a sender can forge one.

mod delete_old;
mod erase;
mod find;
mod hosts;
mod identity;
mod namesakes;
mod naming;
mod old;
mod page;
mod probe;
mod read;
mod reading;

pub use delete_old::delete_old;
pub(super) use erase::{blank, delete};
pub use find::{find, queued_under};
pub use hosts::{absent_hosts, is_there};
pub use namesakes::namesakes;
pub use naming::look_back;
pub(super) use old::kept_from;
pub use old::{ages, holders, old};
pub use page::page;
pub use probe::probe;
pub use read::{
    archive_rows, candidates, has_other_stores, horizon, span_end, still_there, unlisted_hosts,
    with_words,
};
pub use reading::{has_items, receipts, recent_traces, rows_archived_as, rows_naming, traces};

use sqlx::{
    Decode, Postgres, Type, ValueRef as _,
    error::BoxDynError,
    postgres::{PgTypeInfo, PgValueRef},
};

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

/// Prosody's `"when"`: seconds since 1970. Prosody creates it as an integer; some operators make it a bigint.
#[derive(Debug, Clone, Copy)]
struct Seconds(i64);

impl Type<Postgres> for Seconds {
    fn type_info() -> PgTypeInfo {
        <i64 as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        <i64 as Type<Postgres>>::compatible(ty) || <i32 as Type<Postgres>>::compatible(ty)
    }
}

impl<'r> Decode<'r, Postgres> for Seconds {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let is_integer = <i32 as Type<Postgres>>::compatible(&value.type_info());
        Ok(Self(match is_integer {
            true => <i32 as Decode<'r, Postgres>>::decode(value)?.into(),
            false => <i64 as Decode<'r, Postgres>>::decode(value)?,
        }))
    }
}

fn stamp(Seconds(when): Seconds) -> Stamp {
    let at = Timestamp::from_timestamp(when, 0).unwrap_or(Timestamp::UNIX_EPOCH);
    Stamp { at, whole_seconds: true }
}
