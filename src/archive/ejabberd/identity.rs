//! A row's identity in SQL, for both tables.

use sqlx::postgres::types::Oid;

use super::kind;
use crate::model::{RowKey, Store, bare_jid};

/// What [`Schema::sql`](super::Schema) substitutes for `{archived}`: the rows `a` of `archive` with exactly
/// the keys `k`, which [`Identities`] binds as $1 to $5.
pub(super) const ARCHIVED: &str =
    "unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bytea[])
              WITH ORDINALITY AS k(host, username, number, kind, digest, position)
     JOIN {hosts} ON k.kind = 'groupchat' OR h.name = k.host
     JOIN archive AS a
       ON {host} = h.name AND a.username = k.username AND a.timestamp = k.number
      AND a.kind = k.kind AND {digest} = k.digest";

/// For `{queued}`: the same for `spool`.
pub(super) const QUEUED: &str =
    "unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bytea[])
              WITH ORDINALITY AS k(host, username, number, kind, digest, position)
     JOIN spool AS a
       ON {host} = k.host AND a.username = k.username AND a.seq = k.number AND {digest} = k.digest";

/// For `{archived_there}`: row `a` of `archive` is the locked row `k`. There is no unique column, and places
/// are counted in each partition from the start, so the table is named too; the rest of the identity prunes
/// partitions.
pub(super) const ARCHIVED_THERE: &str =
    "a.tableoid = k.part AND a.ctid = k.place::tid AND {host} = k.host
       AND a.username = k.username AND a.timestamp = k.number AND a.kind = k.kind";

/// For `{queued_there}`: the same for `spool`.
pub(super) const QUEUED_THERE: &str =
    "a.tableoid = k.part AND a.ctid = k.place::tid AND {host} = k.host
       AND a.username = k.username AND a.seq = k.number";

/// The identities of rows as the arrays that `unnest` joins on, in the order of the keys.
#[derive(Default)]
pub(super) struct Identities {
    pub(super) hosts: Vec<String>,
    pub(super) usernames: Vec<String>,
    pub(super) numbers: Vec<i64>,
    /// Empty for the queue.
    pub(super) kinds: Vec<String>,
    pub(super) digests: Vec<Vec<u8>>,
}

impl Identities {
    pub(super) fn of<'a>(keys: impl IntoIterator<Item = &'a RowKey>) -> Self {
        let mut identities = Self::default();
        for key in keys {
            identities.hosts.push(key.host.clone());
            identities.usernames.push(match key.store {
                Store::Room => bare_jid(&key.owner, &key.host),
                Store::Archive | Store::Queue => key.owner.clone(),
            });
            identities.numbers.push(key.row_number);
            identities.kinds.push(kind(key.store).to_owned());
            identities.digests.push(key.digest.clone());
        }
        identities
    }
}

/// Binds identities as $1 to $5.
macro_rules! bind_identities {
    ($query:expr, $identities:expr) => {{
        let identities: crate::archive::ejabberd::identity::Identities = $identities;
        $query
            .bind(identities.hosts)
            .bind(identities.usernames)
            .bind(identities.numbers)
            .bind(identities.kinds)
            .bind(identities.digests)
    }};
}

/// Locked rows and their places in the table.
pub(super) struct Places {
    /// The virtual hosts, which the keys of room rows do not contain.
    pub(super) hosts: Vec<String>,
    pub(super) parts: Vec<Oid>,
    pub(super) places: Vec<String>,
    /// The rest of their identities.
    pub(super) named: Identities,
}

/// Binds places as $1 to $6.
macro_rules! bind_places {
    ($query:expr, $places:expr) => {{
        let places: crate::archive::ejabberd::identity::Places = $places;
        $query
            .bind(places.hosts)
            .bind(places.named.usernames)
            .bind(places.named.numbers)
            .bind(places.named.kinds)
            .bind(places.parts)
            .bind(places.places)
    }};
}
pub(super) use {bind_identities, bind_places};
