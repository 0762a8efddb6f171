//! How far the companion modules' notices have been recorded, and what must be listed because some may be
//! lost.

use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// How far one host's notices have been recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// The first start: anything archived earlier is backlog.
    pub started_at: Timestamp,
    /// The boot of the module that `number` belongs to.
    pub boot: String,
    /// Every notice up to this number has been recorded.
    pub number: i64,
}

/// What is known of a module's notices up to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// All have arrived.
    All,
    /// Some have not arrived yet.
    NotYetAll,
    /// Some were lost: what was archived meanwhile must be listed.
    Lost,
}

/// A list of what was archived while notices may have been lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatchUp {
    /// The host.
    pub host: String,
    /// List what was archived from this time on.
    pub since: Timestamp,
    /// The step that it has reached.
    pub step: i16,
    /// The owner that it has reached in that step.
    pub after_owner: String,
}

/// Reads how far a host's notices have been recorded; `None` before the first start.
pub async fn feed(connection: &mut PgConnection, host: &str) -> Result<Option<Feed>> {
    sqlx::query_as!(
        Feed,
        "-- feed
         SELECT started_at, boot, number FROM ephemerd.feeds WHERE host = $1",
        host,
    )
    .fetch_optional(connection)
    .await
    .named("feed")
}

/// Which of these hosts had a companion module that reports what nobody has received.
pub async fn fed_hosts(connection: &mut PgConnection, hosts: &[String]) -> Result<Vec<String>> {
    sqlx::query_scalar!(
        "-- fed_hosts
         SELECT host FROM ephemerd.feeds WHERE host = ANY ($1) ORDER BY host",
        hosts,
    )
    .fetch_all(connection)
    .await
    .named("fed_hosts")
}

/// Locks these hosts' feeds; other recorders wait.
pub async fn lock_feeds(connection: &mut PgConnection, hosts: &[String]) -> Result<()> {
    sqlx::query!(
        "-- lock_feeds
         SELECT host FROM ephemerd.feeds WHERE host = ANY ($1) ORDER BY host FOR UPDATE",
        hosts,
    )
    .fetch_all(connection)
    .await
    .named("lock_feeds")?;
    Ok(())
}

/// Records the first start on a host. Returns whether this was it.
pub async fn start_feed(
    connection: &mut PgConnection,
    host: &str,
    (boot, number): (&str, i64),
) -> Result<bool> {
    let started = sqlx::query!(
        "-- start_feed
         INSERT INTO ephemerd.feeds (host, boot, number) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        host,
        boot,
        number,
    )
    .execute(connection)
    .await
    .named("start_feed")?;
    Ok(started.rows_affected() == 1)
}

/// Records how far a module's notices have come. If some were lost, everything archived since ten minutes
/// before the last time all was well must be listed.
pub async fn follow_feed(
    connection: &mut PgConnection,
    host: &str,
    (boot, number): (&str, i64),
    heard: Heard,
) -> Result<()> {
    sqlx::query!(
        "-- follow_feed
         UPDATE ephemerd.feeds
            SET boot = $2, number = $3,
                since = CASE WHEN $4 THEN coalesce(since, good_at - interval '10 min') ELSE since END,
                again = again OR ($4 AND begun_at IS NOT NULL),
                good_at = CASE WHEN $5 AND since IS NULL THEN clock_timestamp() ELSE good_at END
          WHERE host = $1",
        host,
        boot,
        number,
        heard == Heard::Lost,
        heard == Heard::All,
    )
    .execute(connection)
    .await
    .named("follow_feed")?;
    Ok(())
}

/// The catch-ups due or in progress on these hosts, longest unsettled first.
pub async fn catch_ups(connection: &mut PgConnection, hosts: &[String]) -> Result<Vec<CatchUp>> {
    sqlx::query_as!(
        CatchUp,
        r#"-- catch_ups
        SELECT host, since AS "since!", step, after_owner
          FROM ephemerd.feeds WHERE since IS NOT NULL AND host = ANY ($1)
         ORDER BY good_at, host"#,
        hosts,
    )
    .fetch_all(connection)
    .await
    .named("catch_ups")
}

/// Saves a catch-up's progress.
pub async fn move_catch_up(connection: &mut PgConnection, to: &CatchUp) -> Result<()> {
    sqlx::query!(
        "-- move_catch_up
         UPDATE ephemerd.feeds
            SET begun_at = coalesce(begun_at, clock_timestamp()), step = $2, after_owner = $3
          WHERE host = $1",
        to.host,
        to.step,
        to.after_owner,
    )
    .execute(connection)
    .await
    .named("move_catch_up")?;
    Ok(())
}

/// Records that a catch-up has finished: nothing is missing up to its start. What was lost since then is due.
pub async fn complete_catch_up(connection: &mut PgConnection, host: &str) -> Result<()> {
    sqlx::query!(
        "-- complete_catch_up
         UPDATE ephemerd.feeds
            SET good_at = greatest(good_at, begun_at),
                since = CASE WHEN again THEN begun_at - interval '10 min' END,
                begun_at = NULL, again = false, step = 0, after_owner = ''
          WHERE host = $1",
        host,
    )
    .execute(connection)
    .await
    .named("complete_catch_up")?;
    Ok(())
}

/// An owner whose archive is to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relist {
    /// The host.
    pub host: String,
    /// The owner's local part.
    pub owner: String,
    /// List what was archived from this time on.
    pub since: Timestamp,
}

/// The next owner on these hosts whose archive is to be listed: the earliest request first.
pub async fn next_relist(
    connection: &mut PgConnection,
    hosts: &[String],
) -> Result<Option<Relist>> {
    sqlx::query_as!(
        Relist,
        "-- next_relist
         UPDATE ephemerd.relists AS r SET begun = true
           FROM (SELECT host, owner FROM ephemerd.relists
                  WHERE host = ANY ($1) AND asked_at <= clock_timestamp()
                  ORDER BY asked_at, host, owner LIMIT 1) AS next
          WHERE r.host = next.host AND r.owner = next.owner
         RETURNING r.host, r.owner, r.since",
        hosts,
    )
    .fetch_optional(connection)
    .await
    .named("next_relist")
}

/// Records that an owner's archive was listed. Requests made meanwhile are listed next.
pub async fn relisted(connection: &mut PgConnection, relist: &Relist) -> Result<()> {
    sqlx::query!(
        "-- relisted
         WITH more AS (
             UPDATE ephemerd.relists
                SET since = again, again = NULL, begun = false, attempts = 0, asked_at = clock_timestamp()
              WHERE host = $1 AND owner = $2 AND again IS NOT NULL)
         DELETE FROM ephemerd.relists WHERE host = $1 AND owner = $2 AND again IS NULL",
        relist.host,
        relist.owner,
    )
    .execute(connection)
    .await
    .named("relisted")?;
    Ok(())
}

/// Schedules the retry of a failed list: a minute later each time, until it is given up.
pub async fn put_off_relist(
    connection: &mut PgConnection,
    relist: &Relist,
    most_attempts: i16,
) -> Result<()> {
    sqlx::query!(
        "-- put_off_relist
         WITH later AS (
             UPDATE ephemerd.relists
                SET attempts = attempts + 1, asked_at = clock_timestamp() + (attempts + 1) * interval '1 min'
              WHERE host = $1 AND owner = $2 AND attempts < $3)
         DELETE FROM ephemerd.relists WHERE host = $1 AND owner = $2 AND attempts >= $3",
        relist.host,
        relist.owner,
        most_attempts,
    )
    .execute(connection)
    .await
    .named("put_off_relist")?;
    Ok(())
}

/// Starts the timers of archive rows, named by (host, owner, archive id), that waited for their copies to
/// leave the offline queue, and asks for these owners' archives: only the rows themselves say how long.
pub async fn start_timers(connection: &mut PgConnection, ids: &[(&str, &str, &str)]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&(&str, &str, &str)) -> String| ids.iter().map(of).collect::<Vec<_>>();
    sqlx::query!(
        "-- start_timers
         WITH started AS (
             UPDATE ephemerd.expiries AS e SET runs_from = clock_timestamp(), started_by = 'delivered'
               FROM unnest($1::text[], $2::text[], $3::text[]) AS k(host, owner, archive_id)
              WHERE e.owner = k.owner AND e.archive_id = k.archive_id AND e.host = k.host
                AND e.store = 'archive' AND e.phase = 'pending' AND e.reason = 'undelivered'
             RETURNING e.host, e.owner, e.stamped_at)
         INSERT INTO ephemerd.relists (host, owner, since)
         SELECT host, owner, min(stamped_at) FROM started GROUP BY host, owner
         ON CONFLICT (host, owner) DO UPDATE
            SET since = CASE WHEN relists.begun THEN relists.since ELSE least(relists.since, excluded.since) END,
                again = CASE WHEN relists.begun THEN least(relists.again, excluded.since) END",
        &column(|it| it.0.to_owned()),
        &column(|it| it.1.to_owned()),
        &column(|it| it.2.to_owned()),
    )
    .execute(connection)
    .await
    .named("start_timers")?;
    Ok(())
}
