//! Retention by age: the policy that was announced, and the walks through the archives.

use std::time::Duration;

use sqlx::PgConnection;

use super::record::notify;
use crate::{
    database::{Error, Named, Result},
    model::{Store, Timestamp},
};

/// The last policy that was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Its digest.
    pub policy: Vec<u8>,
    /// When it was announced.
    pub announced_at: Timestamp,
    /// Nothing goes by its age before this.
    pub begins_at: Timestamp,
    /// Rows that were to go at first; counted no further than one more than may go unasked.
    pub first_rows: i64,
    /// So many that the operator must accept them.
    pub must_accept: bool,
    /// When the operator accepted it.
    pub accepted_at: Option<Timestamp>,
}

impl Announced {
    /// It waits for the operator.
    pub const fn waits(&self) -> bool {
        self.must_accept && self.accepted_at.is_none()
    }
}

/// What decides whether anything goes by its age now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgeState {
    /// The last policy that was announced.
    pub announced: Option<Announced>,
    /// Erasing is paused.
    pub paused: bool,
    /// The database's clock.
    pub now: Timestamp,
}

/// Whether messages go by a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgeStanding {
    /// No daemon has announced any.
    NotAnnounced,
    /// Another one was announced since.
    Replaced(Announced),
    /// It waits to be accepted.
    Unaccepted(Announced),
    /// It waits for its grace to be over.
    InGrace(Announced),
    /// They do.
    InForce(Announced),
}

impl AgeStanding {
    /// Where this policy stands.
    pub fn of(state: AgeState, policy: &[u8]) -> Self {
        match state.announced {
            None => Self::NotAnnounced,
            Some(it) if it.policy != policy => Self::Replaced(it),
            Some(it) if it.waits() => Self::Unaccepted(it),
            Some(it) if it.begins_at > state.now => Self::InGrace(it),
            Some(it) => Self::InForce(it),
        }
    }

    /// Messages go by it.
    pub const fn is_in_force(&self) -> bool {
        matches!(self, Self::InForce(_))
    }

    /// The name for programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotAnnounced => "not_announced",
            Self::Replaced(_) => "replaced",
            Self::Unaccepted(_) => "unaccepted",
            Self::InGrace(_) => "in_grace",
            Self::InForce(_) => "in_force",
        }
    }

    /// What was announced last.
    pub const fn announced(&self) -> Option<&Announced> {
        match self {
            Self::NotAnnounced => None,
            Self::Replaced(it) | Self::Unaccepted(it) | Self::InGrace(it) | Self::InForce(it) => {
                Some(it)
            }
        }
    }
}

/// How far a walk has come through the owners of a table, in the order that the table's index has. What comes up to here
/// was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalkPlace {
    /// The host, as the table has it.
    pub host: String,
    /// The owner, as the table has it.
    pub owner: String,
    /// The store of that owner; `None` once all of the owner was looked at.
    pub within: Option<Store>,
    /// The stamp in that store, in the table's own unit.
    pub stamp: i64,
    /// The number in that store.
    pub row_number: i64,
}

/// The walk through one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// No walk begins before this.
    pub next_at: Timestamp,
    /// How far it has come.
    pub place: WalkPlace,
    /// Rows of this walk that could not be erased.
    pub failed: i64,
}

/// Reads what was announced, and whether erasing is paused.
pub async fn age_state(connection: &mut PgConnection) -> Result<AgeState> {
    let row = sqlx::query!(
        r#"-- age_state
        SELECT coalesce(c.paused_until > now(), false) AS "paused!", clock_timestamp() AS "now!",
               r.policy AS "policy?", r.announced_at AS "announced_at?", r.begins_at AS "begins_at?",
               r.first_rows AS "first_rows?", r.must_accept AS "must_accept?", r.accepted_at
          FROM ephemerd.control AS c LEFT JOIN ephemerd.retention AS r ON true"#,
    )
    .fetch_one(connection)
    .await
    .named("age_state")?;
    let announced = (|| {
        Some(Announced {
            policy: row.policy?,
            announced_at: row.announced_at?,
            begins_at: row.begins_at?,
            first_rows: row.first_rows?,
            must_accept: row.must_accept?,
            accepted_at: row.accepted_at,
        })
    })();
    Ok(AgeState { announced, paused: row.paused, now: row.now })
}

/// A policy to be announced.
#[derive(Debug, Clone, Copy)]
pub struct NewPolicy<'a> {
    /// Its digest.
    pub policy: &'a [u8],
    /// How long nothing goes by it.
    pub grace: Duration,
    /// Rows that go at first.
    pub first_rows: i64,
    /// Whether the operator must accept it.
    pub must_accept: bool,
}

/// Announces a policy, unless it is the one that was announced last. All walks begin again. Returns whether it is new.
pub async fn announce(connection: &mut PgConnection, new: NewPolicy<'_>) -> Result<bool> {
    let announced = sqlx::query!(
        "-- announce
         INSERT INTO ephemerd.retention AS r (policy, begins_at, first_rows, must_accept)
         VALUES ($1, clock_timestamp() + make_interval(secs => $2), $3, $4)
         ON CONFLICT (only_row) DO UPDATE
            SET policy = EXCLUDED.policy, announced_at = EXCLUDED.announced_at, begins_at = EXCLUDED.begins_at,
                first_rows = EXCLUDED.first_rows, must_accept = EXCLUDED.must_accept, accepted_at = NULL
          WHERE r.policy <> EXCLUDED.policy",
        new.policy,
        new.grace.as_secs_f64(),
        new.first_rows,
        new.must_accept,
    )
    .execute(&mut *connection)
    .await
    .named("announce")?;
    let is_new = announced.rows_affected() > 0;
    if is_new {
        sqlx::query!("-- begin_walks_again\nDELETE FROM ephemerd.age_walks")
            .execute(connection)
            .await
            .named("begin_walks_again")?;
    }
    Ok(is_new)
}

/// Accepts this policy, and wakes all daemons. `false` if another one was announced since, or none.
pub async fn accept_policy(connection: &mut PgConnection, policy: &[u8]) -> Result<bool> {
    let accepted = sqlx::query!(
        "-- accept_policy
         UPDATE ephemerd.retention SET accepted_at = coalesce(accepted_at, clock_timestamp()) WHERE policy = $1",
        policy,
    )
    .execute(&mut *connection)
    .await
    .named("accept_policy")?;
    notify(connection, None).await?;
    Ok(accepted.rows_affected() > 0)
}

/// Which of these tables a walk goes on through or begins with now, as seen without a lock.
pub async fn due_walks(connection: &mut PgConnection, archives: &[String]) -> Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"-- due_walks
        SELECT k.archive AS "archive!"
          FROM unnest($1::text[]) AS k(archive) LEFT JOIN ephemerd.age_walks AS w ON w.archive = k.archive
         WHERE w.next_at IS NULL OR w.next_at <= clock_timestamp()
         ORDER BY k.archive"#,
        archives,
    )
    .fetch_all(connection)
    .await
    .named("due_walks")
}

/// Locks the policy against being replaced, and the walk through this table. `None` if another daemon has it, or the
/// policy is no longer this one.
pub async fn lock_walk(
    connection: &mut PgConnection,
    archive: &str,
    policy: &[u8],
) -> Result<Option<Walk>> {
    const NAME: &str = "lock_walk";
    sqlx::query!(
        "-- make_walk
         INSERT INTO ephemerd.age_walks (archive)
         SELECT $1 WHERE NOT EXISTS (SELECT FROM ephemerd.age_walks WHERE archive = $1)
         ON CONFLICT DO NOTHING",
        archive,
    )
    .execute(&mut *connection)
    .await
    .named("make_walk")?;
    let row = sqlx::query!(
        r#"-- lock_walk
        SELECT greatest(w.next_at, 'epoch') AS "next_at!", w.host, w.owner, w.store, w.stamp, w.row_number, w.failed
          FROM ephemerd.age_walks AS w CROSS JOIN ephemerd.retention AS r
         WHERE w.archive = $1 AND r.policy = $2
           FOR UPDATE OF w SKIP LOCKED
           FOR SHARE OF r SKIP LOCKED"#,
        archive,
        policy,
    )
    .fetch_optional(connection)
    .await
    .named(NAME)?;
    let Some(row) = row else { return Ok(None) };
    let unknown = |_| Error::unexpected(NAME, "the ledger contains an unknown name");
    let within = match row.store.as_str() {
        "" => None,
        store => Some(store.parse().map_err(unknown)?),
    };
    let (host, owner, stamp, row_number) = (row.host, row.owner, row.stamp, row.row_number);
    let place = WalkPlace { host, owner, within, stamp, row_number };
    Ok(Some(Walk { next_at: row.next_at, place, failed: row.failed }))
}

/// The walk has come to this place, and could not erase so many rows more.
pub async fn move_walk(
    connection: &mut PgConnection,
    archive: &str,
    place: &WalkPlace,
    failed: i64,
) -> Result<()> {
    sqlx::query!(
        "-- move_walk
         UPDATE ephemerd.age_walks
            SET host = $2, owner = $3, store = $4, stamp = $5, row_number = $6, failed = failed + $7
          WHERE archive = $1",
        archive,
        place.host,
        place.owner,
        place.within.map_or("", Store::as_str),
        place.stamp,
        place.row_number,
        failed,
    )
    .execute(connection)
    .await
    .named("move_walk")?;
    Ok(())
}

/// The walk has come to its end; the next one begins after this rest.
pub async fn end_walk(connection: &mut PgConnection, archive: &str, rest: Duration) -> Result<()> {
    sqlx::query!(
        "-- end_walk
         UPDATE ephemerd.age_walks
            SET host = '', owner = '', store = '', stamp = 0, row_number = 0, failed = 0,
                finished_at = clock_timestamp(), next_at = clock_timestamp() + make_interval(secs => $2)
          WHERE archive = $1",
        archive,
        rest.as_secs_f64(),
    )
    .execute(connection)
    .await
    .named("end_walk")?;
    Ok(())
}
