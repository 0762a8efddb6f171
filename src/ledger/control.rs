use sqlx::PgConnection;

use crate::database::{Named, Result};

/// What the operator said to all daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Erasing is paused now.
    pub paused: bool,
    /// The backlog was accepted once: what a sweep finds of it later is no backlog any more.
    pub backlog_accepted: bool,
}

/// Reads what the operator said.
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
