//! What goes when, in figures: for `preview`.

use sqlx::PgConnection;

use crate::{
    database::{Error, Named, Result},
    model::{Reason, Store},
};

/// How many messages go when. The spans count from now and hold each other; what is overdue or held
/// is in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlook {
    /// Their time is over.
    pub overdue: i64,
    /// Held as backlog.
    pub held: i64,
    /// Within one hour.
    pub within_1h: i64,
    /// Within 24 hours.
    pub within_24h: i64,
    /// Within 7 days.
    pub within_7d: i64,
    /// Within 30 days.
    pub within_30d: i64,
    /// At any time: those above and what goes later.
    pub total: i64,
    /// Placeholders that stand: their words are gone. Not in the total.
    pub placeholders: i64,
}

/// The outlook of one store and reason.
pub type Outlooks = Vec<((Store, Reason), Outlook)>;

/// Counts what is in the ledger, by store and reason, for these hosts. Whether erasing is paused
/// makes no difference here. It reads the whole ledger.
pub async fn outlook(connection: &mut PgConnection, hosts: &[String]) -> Result<Outlooks> {
    const NAME: &str = "outlook";
    let rows = sqlx::query!(
        r#"-- outlook
        SELECT store, reason,
               count(*) FILTER (WHERE goes AND left_for <= interval '0') AS "overdue!",
               count(*) FILTER (WHERE pending AND backlog) AS "held!",
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
          FROM (SELECT store, reason, backlog, phase = 'pending' AS pending,
                       phase = 'pending' AND NOT backlog AS goes, due_at - now() AS left_for
                  FROM ephemerd.expiries WHERE host = ANY ($1)) AS entry
         GROUP BY store, reason ORDER BY store, reason"#,
        hosts,
    )
    .fetch_all(connection)
    .await
    .named(NAME)?;
    let unknown = |_| Error::unexpected(NAME, "a name in the ledger that is not known");
    rows.into_iter()
        .map(|row| {
            let outlook = Outlook {
                overdue: row.overdue,
                held: row.held,
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
