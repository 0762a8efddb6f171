//! What `check` reports about the database itself: connection, role, poolers.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, postgres::PgListener,
};
use tokio::time::timeout;

use super::{DatabaseSettings, Error, Named, POOLED, Result, Session, session};
use crate::model::{Finding, Timestamp};

/// The oldest PostgreSQL that we test with.
const OLDEST: i32 = 150_000;

/// How long a notification may take from one session to another.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// Inspection waits for open transactions as long as this.
const FORGOTTEN_MINUTES: i64 = 10;

/// If the clocks differ by more than this, one is wrong.
const CLOCKS_WITHIN_SECONDS: f64 = 5.0;

/// Whether a database can be used, and why not.
#[derive(Debug)]
pub struct Probed {
    /// What was found.
    pub findings: Vec<Finding>,
    /// A session for further checks, if those make sense.
    pub connection: Option<PgConnection>,
}

/// Connects, and checks the connection, the role, the clocks, and whether this is a standby or behind a pooler.
/// `now` is this machine's clock.
pub async fn probe(settings: &DatabaseSettings, now: impl Fn() -> Timestamp) -> Probed {
    let mut connection = match settings.connect().await {
        Ok(connection) => connection,
        Err(error) => {
            let what = format!("The database cannot be used: {error}.");
            let findings = vec![Finding::problem(what, error.remedy())];
            return Probed { findings, connection: None };
        }
    };
    let sessions = match sessions(settings, &mut connection).await {
        Ok(findings) => findings,
        // A standby can neither listen nor notify; that is reported below.
        Err(error) if error.sqlstate() == Some("25006") => Vec::new(),
        Err(error) if is_broken(&error) => {
            vec![pooled("a session broke in the middle")]
        }
        Err(error) => vec![failed(&error)],
    };
    if !sessions.is_empty() {
        return Probed { findings: sessions, connection: None };
    }
    match looked_at(&mut connection, now).await {
        Ok(findings) => Probed { findings, connection: Some(connection) },
        Err(error) => Probed { findings: vec![failed(&error)], connection: None },
    }
}

/// A pooler broke the protocol, or gave us a session in which other statements are prepared.
fn is_broken(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("26000" | "42P05" | "08P01"))
}

fn failed(error: &Error) -> Finding {
    Finding::problem(format!("The database cannot be examined: {error}."), error.remedy())
}

fn pooled(what: &str) -> Finding {
    Finding::problem(format!("Our sessions are shared by a pooler: {what}."), POOLED)
}

/// Whether a pooler shares our sessions with others. Settings that arrive show nothing: they may be the role's own.
pub async fn are_shared(settings: &DatabaseSettings) -> Result<bool> {
    let mut ours = settings.connect().await?;
    let mut other = settings.connect().await?;
    let shared = match shared(&mut ours, &mut other).await {
        Err(error) if is_broken(&error) => Ok(true),
        shared => shared.map(|what| what.is_some()),
    };
    let _ = tokio::join!(ours.close(), other.close());
    shared
}

/// What breaks if a pooler shares sessions.
async fn sessions(settings: &DatabaseSettings, ours: &mut PgConnection) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if session(ours).await? == Session::Pooled {
        let what = "The settings of our sessions do not arrive, for example lock_timeout.";
        findings.push(Finding::problem(what, POOLED));
    }
    let mut other = settings.connect().await?;
    findings.extend(shared(ours, &mut other).await?.map(pooled));
    let is_deaf = findings.is_empty() && !heard(settings, &mut other).await?;
    if is_deaf {
        findings.push(pooled("notifications do not reach a listening session"));
    }
    let _ = other.close().await;
    Ok(findings)
}

/// How sessions are shared, if they are. Plain statements only: prepared ones would break first.
async fn shared(ours: &mut PgConnection, other: &mut PgConnection) -> Result<Option<&'static str>> {
    const NAME: &str = "check_sessions";
    let lock = format!("hashtext('ephemerd check'), {}", rand::random::<i32>());
    // Set and lock something in one session; then see whether another session, taking any free connection, is
    // affected.
    let set = format!("SET ephemerd.probe = 'ours'; SELECT pg_advisory_lock({lock})");
    ours.execute(AssertSqlSafe(set)).await.named(NAME)?;
    other.execute("BEGIN").await.named(NAME)?;
    let look = format!(
        "SELECT coalesce(current_setting('ephemerd.probe', true), ''), pg_try_advisory_xact_lock({lock})"
    );
    let seen = other.fetch_one(AssertSqlSafe(look)).await.named(NAME)?;
    let kept = ours
        .fetch_one("SELECT coalesce(current_setting('ephemerd.probe', true), '')")
        .await
        .named(NAME)?;
    other.execute("COMMIT").await.named(NAME)?;
    ours.execute("SELECT pg_advisory_unlock_all(); RESET ephemerd.probe").await.named(NAME)?;
    Ok(if seen.get::<String, _>(0) == "ours" || kept.get::<String, _>(0) != "ours" {
        Some("one session's settings appear in another")
    } else if seen.get::<bool, _>(1) {
        Some("a session's lock does not keep another session out")
    } else {
        None
    })
}

async fn heard(settings: &DatabaseSettings, speaker: &mut PgConnection) -> Result<bool> {
    const NAME: &str = "check_listen";
    let pool = settings.pool();
    let mut listener = PgListener::connect_with(&pool).await.named(NAME)?;
    listener.listen("ephemerd_check").await.named(NAME)?;
    // Whoever notifies anybody in the whole server has a lock until its commit.
    speaker.execute("SET lock_timeout = '5s'; NOTIFY ephemerd_check").await.named(NAME)?;
    let heard = timeout(HEARD_WITHIN, listener.recv()).await;
    drop(listener);
    pool.close().await;
    Ok(heard.is_ok_and(|heard| heard.is_ok()))
}

async fn looked_at(
    connection: &mut PgConnection,
    now: impl Fn() -> Timestamp,
) -> Result<Vec<Finding>> {
    const NAME: &str = "check_database";
    let before = now();
    let (theirs, version, standby, superuser, name): (Timestamp, i32, bool, bool, String) =
        sqlx::query_as(
            "-- check_database
             SELECT clock_timestamp(), current_setting('server_version_num')::int,
                    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool,
                    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
                    current_setting('server_version')",
        )
        .fetch_one(&mut *connection)
        .await
        .named(NAME)?;
    let ours = before + (now() - before) / 2;
    let mut findings = vec![if version < OLDEST {
        let what = format!(
            "The database is PostgreSQL {name}, older than any that ephemerd is tested with."
        );
        Finding::warning(what, "use PostgreSQL 15 or newer")
    } else {
        Finding::good(format!("The database answers: PostgreSQL {name}."))
    }];
    if standby {
        findings.push(Finding::problem(
            "The database is a standby or read-only: nothing can be recorded or erased there.",
            Error::standby(NAME).remedy(),
        ));
    } else {
        findings.push(Finding::good("The database accepts writes."));
        let kept = "Sessions keep their settings and locks, and receive notifications.";
        findings.push(Finding::good(kept));
    }
    if superuser {
        findings.push(Finding::warning(
            "Our role is a superuser: it has far more rights than it needs.",
            "use the role that deploy/grants.sql creates",
        ));
    }
    findings.push(clocks((theirs - ours).as_seconds_f64()));
    findings.extend(prepared(connection).await?);
    Ok(findings)
}

/// A transaction that was prepared and forgotten counts as open for ever.
async fn prepared(connection: &mut PgConnection) -> Result<Option<Finding>> {
    let oldest: Option<i64> = sqlx::query_scalar(
        "-- check_prepared
         SELECT extract(epoch FROM max(now() - prepared))::bigint / 60 FROM pg_prepared_xacts",
    )
    .fetch_one(connection)
    .await
    .named("check_prepared")?;
    Ok(oldest.filter(|minutes| *minutes >= FORGOTTEN_MINUTES).map(|minutes| {
        Finding::warning(
            format!(
                "A prepared transaction has waited for {minutes} minutes: what commits late meanwhile is found by sweeps only."
            ),
            "find it in pg_prepared_xacts, then COMMIT PREPARED or ROLLBACK PREPARED",
        )
    }))
}

fn clocks(apart: f64) -> Finding {
    if apart.abs() <= CLOCKS_WITHIN_SECONDS {
        return Finding::good("The clocks of the database and this machine agree.");
    }
    let (by, which) = (apart.abs(), if apart > 0.0 { "ahead of" } else { "behind" });
    Finding::problem(
        format!(
            "The database's clock is {by:.0} s {which} this machine's: messages go too early or too late by that much."
        ),
        "synchronise both by NTP; the database's clock decides what is due",
    )
}
