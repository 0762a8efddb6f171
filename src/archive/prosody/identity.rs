//! A row's identity in SQL.

use super::store_name;
use crate::model::RowKey;

/// Row `a` has the key `k`: all of the identity, so that partitions can be pruned by any part of it.
macro_rules! is_named {
    () => {
        r#"a.sort_id = k.sort_id AND a.host = k.host AND a."user" = k.owner
           AND a.store = k.store AND a.key = k.key AND a."when" = k.stamped"#
    };
}

/// The rows `a` with exactly the keys `k`, which [`Identities`] binds as $1 to $6.
macro_rules! named_rows {
    () => {
        concat!(
            "unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[])
                 WITH ORDINALITY AS k(sort_id, host, owner, store, key, stamped, position)
             JOIN prosodyarchive AS a ON ",
            crate::archive::prosody::identity::is_named!()
        )
    };
}

/// Binds identities as $1 to $6.
macro_rules! bind_identities {
    ($query:expr, $identities:expr) => {{
        let identities: crate::archive::prosody::identity::Identities = $identities;
        $query
            .bind(identities.sort_ids)
            .bind(identities.hosts)
            .bind(identities.owners)
            .bind(identities.stores)
            .bind(identities.keys)
            .bind(identities.stamps)
    }};
}

pub(super) use {bind_identities, is_named, named_rows};

/// The identities of rows as the arrays that `unnest` joins on, in the order of the keys.
#[derive(Default)]
pub(super) struct Identities {
    pub(super) sort_ids: Vec<i64>,
    pub(super) hosts: Vec<String>,
    pub(super) owners: Vec<String>,
    pub(super) stores: Vec<String>,
    pub(super) keys: Vec<String>,
    pub(super) stamps: Vec<i32>,
}

impl Identities {
    pub(super) fn of<'a>(keys: impl IntoIterator<Item = &'a RowKey>) -> Self {
        let mut identities = Self::default();
        for key in keys {
            identities.sort_ids.push(key.row_number);
            identities.hosts.push(key.host.clone());
            identities.owners.push(key.owner.clone());
            identities.stores.push(store_name(key.store).to_owned());
            identities.keys.push(key.archive_id.clone());
            // Our stamps came from an int4; one that does not fit matches no row.
            identities.stamps.push(i32::try_from(key.stamped_at.timestamp()).unwrap_or(i32::MIN));
        }
        identities
    }
}
