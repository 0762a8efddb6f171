//! Positions that clients published (XEP-0490): items of PEP, where ejabberd keeps that in SQL. A view of
//! `deploy/grants.sql` shows us these and no other items.

use sqlx::{FromRow, PgConnection};

use super::stamp;
use crate::{
    archive::{Position, Published, position},
    database::{Named, Result},
    model::{Timestamp, bare_jid},
};

/// Items that one statement returns. What is beyond them is seen once others wait no more.
const MOST_ITEMS: i64 = 2_000;
/// Larger items are ignored: one has about 200 bytes, and so many are read at once.
const MOST_BYTES: i32 = 4_096;

/// Whether the view is there, and we may read it.
pub async fn has_positions(connection: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar(
        "-- ejabberd_has_positions
         SELECT coalesce(has_table_privilege(to_regclass('ephemerd.positions'), 'SELECT'), false)",
    )
    .fetch_one(connection)
    .await
    .named("ejabberd_has_positions")
}

/// Whether anybody published anything there.
pub async fn shows_positions(connection: &mut PgConnection) -> Result<bool> {
    if !has_positions(connection).await? {
        return Ok(false);
    }
    sqlx::query_scalar(
        "-- ejabberd_shows_positions
         SELECT EXISTS (SELECT FROM ephemerd.positions)",
    )
    .fetch_one(connection)
    .await
    .named("ejabberd_shows_positions")
}

macro_rules! positions {
    ($asked:literal) => {
        concat!(
            "-- ejabberd_positions
         SELECT k.position, p.host, p.itemid, p.modification, p.payload
           FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(address, since, position)
           JOIN ephemerd.positions AS p ON ",
            $asked,
            " = k.address
          WHERE p.modification >= k.since AND octet_length(p.payload) <= $3
          ORDER BY p.modification DESC, k.position LIMIT $4"
        )
    };
}

/// What was published by these accounts or of these rooms (host, local part), each since a time; the newest first.
pub async fn positions(
    connection: &mut PgConnection,
    published: Published,
    whose: &[(&str, &str, Timestamp)],
) -> Result<Vec<Position>> {
    let found: Vec<StoredPosition> = sqlx::query_as(match published {
        Published::ByAccounts => positions!("p.host"),
        Published::OfRooms => positions!("p.itemid"),
    })
    .bind(whose.iter().map(|it| bare_jid(it.1, it.0)).collect::<Vec<_>>())
    .bind(whose.iter().map(|it| written(it.2)).collect::<Vec<_>>())
    .bind(MOST_BYTES)
    .bind(MOST_ITEMS)
    .fetch_all(connection)
    .await
    .named("ejabberd_positions")?;
    Ok(found.into_iter().filter_map(StoredPosition::read).collect())
}

#[derive(FromRow)]
struct StoredPosition {
    position: i64,
    host: String,
    itemid: String,
    modification: String,
    payload: String,
}

impl StoredPosition {
    fn read(self) -> Option<Position> {
        Some(Position {
            asked: position(self.position)?,
            reader: self.host,
            chat: self.itemid,
            stamp: stamp(read(&self.modification)?),
            xml: self.payload,
        })
    }
}

/// A time as ejabberd writes it here, so that text sorts like times: millions of seconds, seconds, microseconds.
fn written(at: Timestamp) -> String {
    let (seconds, micros) = (at.timestamp().max(0), at.timestamp_subsec_micros());
    format!("{:06}:{:06}:{micros:06}", seconds / 1_000_000, seconds % 1_000_000)
}

/// Microseconds since 1970.
fn read(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(|it| it.parse::<i64>().ok().filter(|it| *it < 1_000_000));
    let (mega, seconds, micros) = (parts.next()??, parts.next()??, parts.next()??);
    Some((mega * 1_000_000 + seconds) * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_and_read_as_ejabberd_does() {
        let at = stamp(1_795_885_769_902_437).at;
        assert_eq!(written(at), "001795:885769:902437");
        assert_eq!(read("001795:885769:902437"), Some(1_795_885_769_902_437));
        for other in ["", "1:2", "1:2:x", "9999999:0:0"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
