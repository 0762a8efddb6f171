use sqlx::PgConnection;

use super::{Entry, walk::StoredEntry};
use crate::{
    database::{Named, Result},
    model::{Timestamp, display_and_parse},
};

/// An entry's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The row still has its text.
    Pending,
    /// The text is gone, and the row remains as a placeholder.
    Placeholder,
}

impl Phase {
    /// Both phases.
    pub const ALL: [Self; 2] = [Self::Pending, Self::Placeholder];

    /// The name in tables and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Placeholder => "placeholder",
        }
    }
}

display_and_parse!(Phase);

/// Where a claim starts: at this next time and id.
pub type Bound = (Timestamp, i64);

/// What to claim.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Only rows of these hosts.
    pub hosts: &'a [String],
    /// Nothing before this next time and id: index entries below are dead, or were looked at a moment ago.
    pub from: Bound,
    /// Maximum number of entries, earliest first.
    pub rows: i64,
}

/// A ledger entry that is due, locked by our transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The entry.
    pub entry: Entry,
    /// When to try it: later than its due time if it is a retry.
    pub next_at: Timestamp,
}

/// What was claimed, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The database's clock at the claim.
    pub now: Timestamp,
    /// Earliest first.
    pub entries: Vec<Claimed>,
    /// Due as well, but on hold: nothing may be erased of these.
    pub on_hold: Vec<i64>,
    /// The last of all.
    pub last: Bound,
}

impl Claims {
    /// How many entries were claimed, those on hold included.
    pub fn len(&self) -> usize {
        self.entries.len() + self.on_hold.len()
    }

    /// Nothing was claimed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Claims what is due by the database's clock: earliest first, skipping what another daemon has locked.
/// `None` if nothing is due. The claims' lock must be ours ([`share_claims`](super::share_claims)).
pub async fn claim(connection: &mut PgConnection, what: Claim<'_>) -> Result<Option<Claims>> {
    let rows = sqlx::query!(
        r#"-- claim
        SELECT id AS "id!", store AS "store!", host AS "host!", owner AS "owner!",
               archive_id AS "archive_id!", row_number, stamped_at AS "stamped_at!",
               digest AS "digest!", copy_of,
               runs_from AS "runs_from!", started_by AS "started_by!", due_at AS "due_at!", reason AS "reason!",
               phase AS "phase!", backlog AS "backlog!", peer, name, sender, next_at AS "next_at!",
               on_hold AS "on_hold!", clock_timestamp() AS "now!"
          FROM ephemerd.candidates
         WHERE (next_at, id) >= ($1, $4) AND next_at <= now() AND host = ANY ($2)
         ORDER BY next_at, id
         LIMIT $3
           FOR UPDATE SKIP LOCKED"#,
        what.from.0,
        what.hosts,
        what.rows,
        what.from.1,
    )
    .fetch_all(connection)
    .await
    .named("claim")?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(None) };
    let (now, last) = (first.now, (last.next_at, last.id));
    let on_hold = rows.iter().filter(|row| row.on_hold).map(|row| row.id).collect();
    let entries: Result<Vec<Claimed>> = rows
        .into_iter()
        .filter(|row| !row.on_hold)
        .map(|row| {
            let entry = StoredEntry {
                position: 0,
                id: row.id,
                store: row.store,
                host: row.host,
                owner: row.owner,
                archive_id: row.archive_id,
                row_number: row.row_number,
                stamped_at: row.stamped_at,
                digest: row.digest,
                copy_of: row.copy_of,
                runs_from: row.runs_from,
                started_by: row.started_by,
                due_at: row.due_at,
                reason: row.reason,
                phase: row.phase,
                backlog: row.backlog,
                peer: row.peer,
                name: row.name,
                sender: row.sender,
                // What is erased follows nothing any more.
                follows: None,
                links: None,
            };
            Ok(Claimed { entry: entry.read("claim")?, next_at: row.next_at })
        })
        .collect();
    Ok(Some(Claims { now, entries: entries?, on_hold, last }))
}

/// What comes next, in seconds by the database's clock; negative when overdue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Upcoming {
    /// When the next entry is due, or a pause ends.
    pub entry: Option<f64>,
    /// When the next hold ends.
    pub hold_end: Option<f64>,
}

/// When the next entry is due, or a pause ends; and when a hold ends.
///
/// Quotes count if `cuts`.
pub async fn next_due(
    connection: &mut PgConnection,
    hosts: &[String],
    from: Bound,
    cuts: bool,
) -> Result<Upcoming> {
    let next = sqlx::query!(
        r#"-- next_due
        SELECT extract(epoch FROM least(
                   (SELECT next_at FROM ephemerd.candidates
                     WHERE (next_at, id) >= ($1, $3) AND host = ANY ($2)
                     ORDER BY next_at, id
                     LIMIT 1),
                   (SELECT next_at FROM ephemerd.quotes
                     WHERE $4 AND NOT backlog AND next_at < 'infinity' AND host = ANY ($2)
                       AND NOT EXISTS (SELECT FROM ephemerd.control WHERE paused_until > now())
                     ORDER BY next_at, id
                     LIMIT 1)) - clock_timestamp())::float8 AS entry,
               extract(epoch FROM (SELECT min(ends_at) FROM ephemerd.holds) - clock_timestamp())::float8 AS hold_end"#,
        from.0,
        hosts,
        from.1,
        cuts,
    )
    .fetch_one(&mut *connection)
    .await
    .named("next_due")?;
    let entry = match next.entry {
        Some(seconds) => Some(seconds),
        None => pause_ends(connection).await?,
    };
    Ok(Upcoming { entry, hold_end: next.hold_end })
}

/// How long until a pause ends by itself.
async fn pause_ends(connection: &mut PgConnection) -> Result<Option<f64>> {
    sqlx::query_scalar!(
        r#"-- pause_ends
        SELECT extract(epoch FROM paused_until - clock_timestamp())::float8 AS "seconds!"
          FROM ephemerd.control
         WHERE isfinite(paused_until) AND paused_until > clock_timestamp()"#,
    )
    .fetch_optional(connection)
    .await
    .named("pause_ends")
}
