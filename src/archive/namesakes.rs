//! Messages that have an id which another one names. Senders may use ids again, and only the server's tables know the
//! messages that nothing asks to go.

use sqlx::PgConnection;

use super::{Archive, Row, ejabberd, prosody};
use crate::{
    database::Result,
    model::{RowKey, Store, Timestamp},
};

/// Maximum number of rows that one look goes through, the newest first, …
pub(super) const MOST_ROWS: i64 = 2_000;
/// … and of bytes of stanzas.
pub(super) const MOST_BYTES: i64 = 4 * 1024 * 1024;
/// Maximum number of rows that one look returns.
pub(super) const MOST_FOUND: i64 = 20;
/// Maximum number of characters of an id that the database looks for. The whole id is compared afterwards.
const MOST_CHARACTERS: usize = 100;
/// Looks that one statement takes.
const LOOKS: usize = 20;

/// Where to look for an id: rows of one owner's store, archived in this time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Within<'a> {
    /// The store.
    pub store: Store,
    /// The virtual host, or the rooms' domain.
    pub host: &'a str,
    /// The user's or the room's local part.
    pub owner: &'a str,
    /// The id.
    pub id: &'a str,
    /// The first moment. In queues it may be earlier.
    pub since: Timestamp,
    /// The last moment. In queues it may be later.
    pub upto: Timestamp,
}

impl<'a> Within<'a> {
    /// Where a message may be that this row names by an id, besides one that was archived at that time in that store.
    pub fn before(
        row: &'a RowKey,
        id: &'a str,
        since: Timestamp,
        store: Option<Store>,
    ) -> Vec<Self> {
        let RowKey { host, owner, stamped_at, .. } = row;
        let stores = [Some(row.store), store.filter(|it| *it != row.store)];
        let look = |store| Self { store, host, owner, id, since, upto: *stamped_at };
        stores.into_iter().flatten().map(look).collect()
    }
}

/// What a look found.
#[derive(Debug, Clone, Default)]
pub struct Alike {
    /// Rows that may have the id.
    pub rows: Vec<Row>,
    /// There may be more: there was too much to look through.
    pub is_cut: bool,
}

/// What the root's start tag contains if the message has this id: the id in either kind of quotes, or a part of it where
/// it may be escaped.
pub(super) fn quoted(id: &str) -> [String; 2] {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '&' | '<' | '>' | '\'' | '"');
    if id.chars().all(is_plain) && id.chars().count() <= MOST_CHARACTERS {
        return [format!("'{id}'"), format!("\"{id}\"")];
    }
    let parts = id.split(|c| !is_plain(c));
    let longest = parts.max_by_key(|it| it.len()).unwrap_or_default();
    let part: String = longest.chars().take(MOST_CHARACTERS).collect();
    [part.clone(), part]
}

/// Binds hosts, owners and what is looked for, as $1 to $4.
macro_rules! bind_within {
    ($query:expr, $looks:expr) => {{
        let ids: Vec<[String; 2]> = $looks.iter().map(|it| quoted(it.id)).collect();
        $query
            .bind($looks.iter().map(|it| it.host.to_owned()).collect::<Vec<_>>())
            .bind($looks.iter().map(|it| it.owner.to_owned()).collect::<Vec<_>>())
            .bind(ids.iter().map(|it| it[0].clone()).collect::<Vec<_>>())
            .bind(ids.iter().map(|it| it[1].clone()).collect::<Vec<_>>())
    }};
}
pub(super) use bind_within;

impl Archive {
    /// Rows whose messages may have these ids, by look.
    pub async fn namesakes(
        &self,
        connection: &mut PgConnection,
        looks: &[Within<'_>],
    ) -> Result<Vec<Alike>> {
        let mut all = Vec::with_capacity(looks.len());
        for looks in looks.chunks(LOOKS) {
            let rows = match self {
                Self::Prosody => prosody::namesakes(connection, looks).await?,
                Self::Ejabberd(schema) => ejabberd::namesakes(connection, schema, looks).await?,
            };
            let from = all.len();
            all.resize_with(from + looks.len(), Alike::default);
            for (at, row) in rows {
                let Some(alike) = all.get_mut(from + at) else { continue };
                match row {
                    Some(row) => alike.rows.push(row),
                    None => alike.is_cut = true,
                }
            }
        }
        let most = usize::try_from(MOST_FOUND).unwrap_or(usize::MAX);
        all.iter_mut().for_each(|it| it.is_cut |= it.rows.len() >= most);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_for_in_quotes_unless_it_may_be_escaped() {
        assert_eq!(quoted("a-1"), ["'a-1'", "\"a-1\""]);
        assert_eq!(quoted("a&long'er"), ["long", "long"]);
        assert_eq!(quoted("&"), ["", ""], "any row may have it");
        assert_eq!(quoted(&"é".repeat(1 << 20)), ["é".repeat(100), "é".repeat(100)]);
    }
}
