use std::time::Duration;

use sqlx::PgConnection;

use super::record::notify;
use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// The operator's instructions to all daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Erasing is paused now.
    pub paused: bool,
    /// When the backlog was accepted: from then on sweeps hold nothing.
    pub backlog_accepted: bool,
}

/// Whether erasing is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It is not.
    None,
    /// Until then.
    Until(Timestamp),
    /// Until the operator resumes it.
    UntilResumed,
}

/// Reads the operator's instructions.
pub async fn control(connection: &mut PgConnection) -> Result<Control> {
    sqlx::query_as!(
        Control,
        r#"-- control
        SELECT coalesce(paused_until > now(), false) AS "paused!",
               backlog_accepted_at IS NOT NULL AS "backlog_accepted!"
          FROM ephemerd.control"#,
    )
    .fetch_one(connection)
    .await
    .named("control")
}

/// Reads whether and until when erasing is paused.
pub async fn paused(connection: &mut PgConnection) -> Result<Pause> {
    let row = sqlx::query!(
        r#"-- paused
        SELECT coalesce(paused_until > now(), false) AS "paused!",
               CASE WHEN isfinite(paused_until) THEN paused_until END AS until
          FROM ephemerd.control"#,
    )
    .fetch_one(connection)
    .await
    .named("paused")?;
    Ok(match row.until {
        _ if !row.paused => Pause::None,
        Some(until) => Pause::Until(until),
        None => Pause::UntilResumed,
    })
}

/// Pauses erasing for all daemons, for this long or until it is resumed, and notifies them. It replaces an
/// earlier pause.
pub async fn pause(connection: &mut PgConnection, length: Option<Duration>) -> Result<Pause> {
    let seconds = length.map(|length| length.as_secs_f64());
    sqlx::query!(
        "-- pause
         UPDATE ephemerd.control
            SET paused_until = coalesce(clock_timestamp() + make_interval(secs => $1), 'infinity')",
        seconds,
    )
    .execute(&mut *connection)
    .await
    .named("pause")?;
    notify(connection, None).await?;
    paused(connection).await
}

/// Ends a pause and notifies all daemons. Returns the pause that was in force.
pub async fn resume(connection: &mut PgConnection) -> Result<Pause> {
    let before = paused(connection).await?;
    sqlx::query!("-- resume\nUPDATE ephemerd.control SET paused_until = NULL")
        .execute(&mut *connection)
        .await
        .named("resume")?;
    notify(connection, None).await?;
    Ok(before)
}
