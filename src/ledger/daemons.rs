//! Which daemons are alive: each keeps a session that listens, and says in that session's name what it does. So nothing is
//! written, and whoever dies is gone from the list at once.

use std::collections::BTreeSet;

use sqlx::{PgConnection, PgExecutor};

use crate::{
    database::{Named, Result},
    model::Timestamp,
};

/// What the name of such a session begins with. PostgreSQL cuts names after 63 bytes.
const PREFIX: &str = "ephemerd run";

/// What a daemon says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DaemonState {
    /// The program's version.
    pub version: String,
    /// Tells it from others: a random number in hexadecimal digits.
    pub instance: String,
    /// It is the leader.
    pub leads: bool,
    /// Its component is connected to the XMPP server.
    pub connected: bool,
    /// How many companion modules answer it.
    pub modules: i64,
}

/// A daemon that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// What it says of itself.
    pub state: DaemonState,
    /// Since when its session lasts.
    pub since: Timestamp,
    /// Where it runs, as the database sees it; `None` if it came through a socket.
    pub address: Option<String>,
}

impl DaemonState {
    /// The session's name.
    pub fn name(&self) -> String {
        let Self { version, instance, leads, connected, modules } = self;
        let flag = |is: bool| u8::from(is);
        format!("{PREFIX} {version} {instance} {} {} {modules}", flag(*leads), flag(*connected))
    }

    fn parse(name: &str) -> Option<Self> {
        let mut words = name.strip_prefix(PREFIX)?.split_whitespace();
        let (version, instance) = (words.next()?.to_owned(), words.next()?.to_owned());
        let leads = words.next()? == "1";
        let connected = words.next()? == "1";
        Some(Self { version, instance, leads, connected, modules: words.next()?.parse().ok()? })
    }
}

/// Names this session, which the daemon keeps for as long as it runs.
pub async fn name_session(session: impl PgExecutor<'_>, state: &DaemonState) -> Result<()> {
    sqlx::query!(
        "-- name_session\nSELECT set_config('application_name', $1, false) AS name",
        state.name()
    )
    .fetch_one(session)
    .await
    .named("name_session")?;
    Ok(())
}

/// The daemons of this database and role that are alive, at most a hundred.
pub async fn daemons(connection: &mut PgConnection) -> Result<Vec<Daemon>> {
    let found = sqlx::query!(
        r#"-- daemons
        SELECT application_name AS "name!", backend_start AS "since!", host(client_addr) AS address
          FROM pg_stat_activity
         WHERE datname = current_database() AND usename = current_user AND starts_with(application_name, $1)
         ORDER BY backend_start DESC, pid
         LIMIT 100"#,
        PREFIX,
    )
    .fetch_all(connection)
    .await
    .named("daemons")?;
    let daemons = found.into_iter().filter_map(|row| {
        Some(Daemon {
            state: DaemonState::parse(&row.name)?,
            since: row.since,
            address: row.address,
        })
    });
    // A session that a daemon has given up may keep its name.
    let mut daemons: Vec<Daemon> = daemons.collect();
    let mut known = BTreeSet::new();
    daemons.retain(|it| known.insert(it.state.instance.clone()));
    Ok(daemons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_daemon_says() {
        let state = DaemonState {
            version: "0.1.0".into(),
            instance: "0123abcd".into(),
            leads: true,
            connected: false,
            modules: 3,
        };
        assert_eq!(DaemonState::parse(&state.name()), Some(state.clone()));
        assert!(state.name().len() < 64, "PostgreSQL cuts longer ones");
        for other in ["ephemerd", "ephemerd run", "ephemerd run 0.1.0 0123abcd 1", "psql"] {
            assert_eq!(DaemonState::parse(other), None, "{other}");
        }
    }
}
