//! Requests to companion modules that may still be carried out. Whoever places a hold waits for them.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    database::{Named, Result},
    model::HoldOn,
};

/// Requests whose rows a hold covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// How many owners they concern.
    pub owners: i64,
    /// When the last of them has run out, from now.
    pub left: Duration,
}

/// Notes that a module is about to be asked to erase rows of these owners (host, local part), for so many seconds or until
/// [`answered`]. Returns a number for each, in the same order. Forgets what has run out.
pub async fn note_asked(
    connection: &mut PgConnection,
    owners: &[(&str, &str)],
    seconds: f64,
) -> Result<Vec<i64>> {
    if owners.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query!("-- asked_before\nDELETE FROM ephemerd.asked WHERE until <= clock_timestamp()")
        .execute(&mut *connection)
        .await
        .named("asked_before")?;
    sqlx::query_scalar!(
        r#"-- note_asked
        INSERT INTO ephemerd.asked (host, owner, until)
        SELECT k.host, k.owner, clock_timestamp() + make_interval(secs => $3)
          FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(host, owner, position)
         ORDER BY k.position
        RETURNING id"#,
        &owners.iter().map(|it| it.0.to_owned()).collect::<Vec<_>>(),
        &owners.iter().map(|it| it.1.to_owned()).collect::<Vec<_>>(),
        seconds,
    )
    .fetch_all(connection)
    .await
    .named("note_asked")
}

/// These requests were answered, or never sent.
pub async fn answered(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("-- answered\nDELETE FROM ephemerd.asked WHERE id = ANY ($1)", ids)
        .execute(connection)
        .await
        .named("answered")?;
    Ok(())
}

/// The requests under way whose rows a hold may cover; `None` if there are none.
pub async fn under_way(connection: &mut PgConnection, on: &HoldOn) -> Result<Option<UnderWay>> {
    let found = sqlx::query!(
        r#"-- under_way
        SELECT count(DISTINCT (host, owner)) AS "owners!",
               extract(epoch FROM max(until) - clock_timestamp())::float8 AS seconds
          FROM ephemerd.asked
         WHERE until > clock_timestamp() AND $1 IN (host, '') AND $2 IN (owner, '')"#,
        on.host(),
        on.owner(),
    )
    .fetch_one(connection)
    .await
    .named("under_way")?;
    let left = found.seconds.map(|it| Duration::from_secs_f64(it.max(0.0)));
    Ok(left.map(|left| UnderWay { owners: found.owners, left }))
}
