//! The same database for another role, as `ephemerd init` needs it.

use super::{DatabaseUrl, Fault, Parts};

/// Parameters that belong to a role.
const OF_ROLE: [&str; 6] = ["user", "password", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// A URL that somebody else than the configuration gave, and what follows from it.
#[derive(Debug, Clone)]
pub struct GivenUrl {
    /// The URL.
    pub url: DatabaseUrl,
    /// The database's name.
    pub database: String,
    /// The hosts, in order; none if the environment decides.
    pub hosts: Vec<String>,
    /// The ports as written: none, one for all hosts, or one per host.
    pub ports: Vec<String>,
}

impl GivenUrl {
    /// Reads it. The error is the end of a sentence and a remedy; neither quotes the URL.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let told = |fault: Fault| (fault.problem.into_owned(), fault.remedy.into_owned());
        let url = DatabaseUrl::parse(text).map_err(told)?;
        let database = url.parameters.iter().rev().find(|it| it.0 == "dbname");
        let database = database.map(|it| it.1.clone()).ok_or_else(|| {
            let remedy = "write it at the end: postgres://prosody@127.0.0.1/prosody";
            ("names no database".to_owned(), remedy.to_owned())
        })?;
        let given = Self { database, hosts: url.hosts.clone(), ports: url.ports.clone(), url };
        // They become part of a shell's command line.
        let are_plain = is_plain(&given.database) && given.hosts.iter().all(|it| is_plain(it));
        match are_plain {
            true => Ok(given),
            false => Err((
                "has a database or a host with unusual characters".to_owned(),
                "write the configuration by hand, as docs/configuration.md shows".to_owned(),
            )),
        }
    }

    /// The same database for this role, without a password.
    pub fn for_role(text: &str, role: &str) -> Option<String> {
        let (scheme, rest) = text.split_once("://")?;
        let Parts { hosts, path, query, .. } = Parts::of(rest).ok()?;
        let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
        let kept = query.split('&').filter(|it| !it.is_empty() && !OF_ROLE.contains(&&*name(it)));
        let query = kept.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        Some(format!("{scheme}://{role}@{hosts}{path}{mark}{query}"))
    }
}

fn is_plain(text: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    text.chars().all(is_usual) && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_role_has_neither_password_nor_certificate() {
        for (given, ours) in [
            ("postgres://prosody:pw@127.0.0.1/x", "postgres://ephemerd@127.0.0.1/x"),
            ("postgresql://db:5433/x", "postgresql://ephemerd@db:5433/x"),
            (
                "postgres:///x?host=/run/postgresql&user=a&password=b&sslmode=disable",
                "postgres://ephemerd@/x?host=/run/postgresql&sslmode=disable",
            ),
            ("postgres://a@h/x?sslcert=/c&sslkey=/k", "postgres://ephemerd@h/x"),
        ] {
            let made = GivenUrl::for_role(given, "ephemerd").unwrap();
            assert_eq!(made, ours);
            assert!(DatabaseUrl::parse(&made).is_ok());
        }
    }

    #[test]
    fn names_are_fit_for_a_command_line() {
        let given = GivenUrl::parse("postgres://p@[::1]:5433/my-db_1.x").unwrap();
        let hosts = (given.hosts[0].as_str(), given.ports[0].as_str());
        assert_eq!((given.database.as_str(), hosts), ("my-db_1.x", ("::1", "5433")));
        for wrong in [
            "postgres://p@127.0.0.1",
            "postgres://p@127.0.0.1/x;y",
            "postgres://p@127.0.0.1/x'y",
            "postgres://p@127.0.0.1/-x",
            "postgres://p@127.0.0.1/x%20y",
            "postgres:///x?host=/a%27b",
            "postgres://p@h/x?dbname=$(y)",
        ] {
            assert!(GivenUrl::parse(wrong).is_err(), "{wrong}");
        }
    }
}
