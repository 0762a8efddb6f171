//! Trials: an operator's command asks the daemons through the database to send a message, and watches it vanish.

use std::time::Duration;

use sqlx::PgConnection;

use super::{Entry, record::notify, walk::StoredEntry};
use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// Commands ask here.
pub const TRIAL_CHANNEL: &str = "ephemerd_trial";
/// Daemons answer here.
pub const TRIED_CHANNEL: &str = "ephemerd_tried";

/// Sends this to everybody who listens to a channel.
pub async fn tell(connection: &mut PgConnection, channel: &str, payload: &str) -> Result<()> {
    sqlx::query!("-- tell\nSELECT pg_notify($1, $2)", channel, payload)
        .execute(connection)
        .await
        .named("tell")?;
    Ok(())
}

/// The account's own client, which we are, has received and read these: their timers, each so long, start now. They are known to
/// have been received, as by a receipt.
pub async fn receive(connection: &mut PgConnection, ids: &[i64], timer: Duration) -> Result<()> {
    sqlx::query!(
        "-- receive
         WITH received AS (
             UPDATE ephemerd.expiries
                SET runs_from = clock_timestamp(), started_by = 'receipt', reason = 'timer',
                    due_at = clock_timestamp() + make_interval(secs => $2),
                    chat = NULL, message = NULL, timer_us = NULL, retry_at = NULL, attempts = 0
              WHERE id = ANY ($1) AND phase = 'pending' AND (started_by = 'unread' OR reason = 'undelivered')
             RETURNING host, owner, archive_id)
         DELETE FROM ephemerd.undelivered AS u USING received AS r
          WHERE u.owner = r.owner AND u.archive_id = r.archive_id AND u.host = r.host",
        ids,
        timer.as_secs_f64(),
    )
    .execute(&mut *connection)
    .await
    .named("receive")?;
    notify(connection, Some(Timestamp::UNIX_EPOCH)).await
}

/// The entries whose text is still there, of one chat in an owner's archive and queue: of (host, local part) with the
/// other side of this digest, the newest hundred after the entry `after`.
pub async fn pending_with(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    peer: &[u8],
    after: i64,
) -> Result<Vec<Entry>> {
    let found = sqlx::query_as!(
        StoredEntry,
        r#"-- pending_with
        SELECT 0::bigint AS "position!", id, store, host, owner, archive_id, row_number, stamped_at,
               digest, copy_of, runs_from, started_by, due_at, reason, phase, backlog, peer,
               name, sender, follows, links
          FROM ephemerd.expiries
         WHERE owner = $1 AND host = $2 AND store IN ('archive', 'queue') AND phase = 'pending' AND peer = $3
           AND id > $4
         ORDER BY id DESC
         LIMIT 100"#,
        owner,
        host,
        peer,
        after,
    )
    .fetch_all(connection)
    .await
    .named("pending_with")?;
    found.into_iter().map(|row| row.read("pending_with")).collect()
}
