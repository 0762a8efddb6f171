//! Secrets: inline or in a file, never printed.

use std::fmt;
use std::io;
use std::path::Path;

use secrecy::SecretString;
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use url::Url;

use super::sources::read_text;

/// What stands for a secret wherever it is printed.
pub(super) const HIDDEN: &str = "***";

/// A secret of more bytes than this is some other file.
const MAX_SECRET_BYTES: u64 = 4096;

/// The secret in a file, without the line end that editors add.
pub(super) fn read(file: &Path) -> io::Result<SecretString> {
    let text = read_text(file, MAX_SECRET_BYTES)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).into())
}

/// Where the database is and who we are there. May hold a password, so it prints without.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: PgConnectOptions,
    shown: String,
    has_password: bool,
}

/// What sqlx understands after the `?`; it would log others, values included.
const PARAMETERS: [&str; 16] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
];

impl DatabaseUrl {
    /// Reads `postgres://user@host/database`; the error is the end of a sentence and quotes nothing.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is no URL")?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err("is no PostgreSQL URL");
        }
        if url.query_pairs().any(|(name, _)| !PARAMETERS.contains(&name.as_ref())) {
            return Err("has an unknown parameter after its question mark");
        }
        let in_query = url.query_pairs().any(|(name, _)| name == "password");
        let has_password = url.password().is_some() || in_query;
        let options = text.parse().map_err(|_| "has a parameter that cannot be read")?;
        Ok(Self { options, shown: without_password(url), has_password })
    }

    /// What the URL says, its password included: for whoever connects.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Whether both hold the same password, or none.
    pub(super) fn has_same_password(&self, other: &Self) -> bool {
        let password = |it: &Self| it.options.to_url_lossy().password().map(str::to_owned);
        password(self) == password(other)
    }

    /// Whether the URL holds a password.
    pub fn has_password(&self) -> bool {
        self.has_password
    }
}

/// The URL with `***` for its password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

fn without_password(mut url: Url) -> String {
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
        return HIDDEN.to_owned();
    }
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut query = url.query_pairs_mut();
        query.clear();
        for (name, value) in &pairs {
            query.append_pair(name, if name == "password" { HIDDEN } else { value });
        }
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_url_is_not_printed() {
        for text in [
            "postgres://ephemerd:pa%40ss@127.0.0.1/prosody",
            "postgresql://ephemerd@127.0.0.1/prosody?sslmode=require&password=pa%40ss",
        ] {
            let url = DatabaseUrl::parse(text).unwrap();
            assert!(url.has_password());
            for shown in [url.to_string(), format!("{url:?}")] {
                assert!(!shown.contains("pa%40ss") && !shown.contains("pa@ss"), "{shown}");
                assert!(shown.contains("***"), "{shown}");
            }
        }
    }

    #[test]
    fn whoever_connects_gets_the_password() {
        use crate::config::DatabaseConfig;

        for (url, password) in [
            ("postgres://e:hush%40@db/prosody", None),
            ("postgres://e@db/prosody", Some("hush@")),
            ("postgres://e@db/prosody?password=hush%40", None),
        ] {
            let url = DatabaseUrl::parse(url).unwrap();
            let config = DatabaseConfig { url, password: password.map(Into::into) };
            let url = config.options().to_url_lossy();
            assert_eq!(url.password(), Some("hush%40"));
            assert_eq!((url.host_str(), url.path()), (Some("db"), "/prosody"));
            assert!(!format!("{config:?}").contains("hush"));
        }
    }

    #[test]
    fn an_url_without_password_prints_as_written() {
        for text in [
            "postgres://ephemerd@127.0.0.1/prosody",
            "postgres://ephemerd@%2Fvar%2Frun%2Fpostgresql/prosody?sslmode=disable",
        ] {
            let url = DatabaseUrl::parse(text).unwrap();
            assert!(!url.has_password());
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for text in [
            "",
            "prosody",
            "mysql://ephemerd@127.0.0.1/prosody",
            "postgres://127.0.0.1:port/prosody",
            "postgres://127.0.0.1/prosody?sslpassword=secret",
            "postgres://127.0.0.1/prosody?sslmode=perhaps",
        ] {
            assert!(DatabaseUrl::parse(text).is_err(), "{text}");
        }
    }
}
