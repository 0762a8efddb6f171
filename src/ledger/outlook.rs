//! Counts what goes when, for `preview`.

use sqlx::PgConnection;

use crate::{
    database::{Error, Named, Result},
    model::{Reason, StartedBy, Store},
};

/// How many messages go when. The spans start now and include each other; overdue messages, those held as backlog and
/// those on hold are in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlook {
    /// Already due.
    pub overdue: i64,
    /// Held as backlog.
    pub held: i64,
    /// Kept by a hold, whether they are due or not.
    pub on_hold: i64,
    /// Within one hour.
    pub within_1h: i64,
    /// Within 24 hours.
    pub within_24h: i64,
    /// Within 7 days.
    pub within_7d: i64,
    /// Within 30 days.
    pub within_30d: i64,
    /// All of the above, and what goes later.
    pub total: i64,
    /// Placeholders, whose text is already gone. Not in the total.
    pub placeholders: i64,
}

/// Timers that start at reading, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readings {
    /// They wait for their owner, or anybody in the room, to read the message.
    pub waiting: i64,
    /// They have been running since the message was read.
    pub started: i64,
    /// They have been running since they had waited long enough.
    pub capped: i64,
}

/// The outlook of one store and reason.
pub type Outlooks = Vec<((Store, Reason), Outlook)>;

/// Counts timers that start at reading, in users' and rooms' archives on these hosts.
pub async fn readings(connection: &mut PgConnection, hosts: &[String]) -> Result<Readings> {
    let read: Vec<String> =
        StartedBy::ALL.iter().filter(|it| it.is_read()).map(ToString::to_string).collect();
    sqlx::query_as!(
        Readings,
        r#"-- readings
        SELECT count(*) FILTER (WHERE started_by = 'unread' AND runs_from > now()) AS "waiting!",
               count(*) FILTER (WHERE started_by = ANY ($2)) AS "started!",
               count(*) FILTER (WHERE started_by = 'unread' AND runs_from <= now()) AS "capped!"
          FROM ephemerd.expiries
         WHERE store IN ('archive', 'room') AND phase = 'pending' AND host = ANY ($1)"#,
        hosts,
        &read,
    )
    .fetch_one(connection)
    .await
    .named("readings")
}

/// Counts these hosts' entries by store and reason, whether or not erasing is paused. Reads the whole ledger.
pub async fn outlook(connection: &mut PgConnection, hosts: &[String]) -> Result<Outlooks> {
    const NAME: &str = "outlook";
    let rows = sqlx::query!(
        r#"-- outlook
        SELECT store AS "store!", reason AS "reason!",
               count(*) FILTER (WHERE goes AND left_for <= interval '0') AS "overdue!",
               count(*) FILTER (WHERE pending AND backlog) AS "held!",
               count(*) FILTER (WHERE pending AND NOT backlog AND on_hold) AS "on_hold!",
               count(*) FILTER (WHERE goes AND left_for > interval '0'
                                  AND left_for <= interval '1 hour') AS "within_1h!",
               count(*) FILTER (WHERE goes AND left_for > interval '0'
                                  AND left_for <= interval '24 hours') AS "within_24h!",
               count(*) FILTER (WHERE goes AND left_for > interval '0'
                                  AND left_for <= interval '168 hours') AS "within_7d!",
               count(*) FILTER (WHERE goes AND left_for > interval '0'
                                  AND left_for <= interval '720 hours') AS "within_30d!",
               count(*) FILTER (WHERE pending) AS "total!",
               count(*) FILTER (WHERE NOT pending) AS "placeholders!"
          FROM (SELECT store, reason, backlog, on_hold, phase = 'pending' AS pending,
                       phase = 'pending' AND NOT backlog AND NOT on_hold AS goes, due_at - now() AS left_for
                  FROM ephemerd.entries WHERE host = ANY ($1)
                 UNION ALL
                SELECT store, 'quote', backlog, on_hold, true, NOT backlog AND NOT on_hold, due_at - now()
                  FROM ephemerd.quote_entries WHERE host = ANY ($1) OFFSET 0) AS entry
         GROUP BY store, reason ORDER BY store, reason"#,
        hosts,
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    let unknown = |_| Error::unexpected(NAME, "the ledger contains an unknown name");
    rows.into_iter()
        .map(|row| {
            let outlook = Outlook {
                overdue: row.overdue,
                held: row.held,
                on_hold: row.on_hold,
                within_1h: row.within_1h,
                within_24h: row.within_24h,
                within_7d: row.within_7d,
                within_30d: row.within_30d,
                total: row.total,
                placeholders: row.placeholders,
            };
            let store = row.store.parse().map_err(unknown)?;
            Ok(((store, row.reason.parse().map_err(unknown)?), outlook))
        })
        .collect()
}
