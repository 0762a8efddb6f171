//! A new configuration: the sample, with the values that have no default.

use std::path::Path;

use super::ArchiveKind;

/// Every key with its default and what it does.
const SAMPLE: &str = include_str!("../../deploy/ephemerd.toml");

/// The values that have no default.
#[derive(Debug)]
pub struct Sample<'a> {
    /// `component.jid`
    pub jid: &'a str,
    /// `component.server`
    pub server: String,
    /// `component.secret_file`: an absolute path.
    pub secret_file: &'a Path,
    /// `database.url`, without a password.
    pub url: &'a str,
    /// `database.password_file`: an absolute path.
    pub password_file: &'a Path,
    /// `archive.kind`
    pub kind: ArchiveKind,
    /// `archive.hosts`
    pub hosts: &'a [String],
}

/// The sample with these values; `None` if a path is not UTF-8.
pub fn filled_sample(values: &Sample<'_>) -> Option<String> {
    let hosts: Vec<String> = values.hosts.iter().map(|host| quoted(host)).collect();
    let values = [
        ("jid", quoted(values.jid)),
        ("server", quoted(&values.server)),
        ("secret_file", quoted(values.secret_file.to_str()?)),
        ("url", quoted(values.url)),
        ("password_file", quoted(values.password_file.to_str()?)),
        ("kind", quoted(values.kind.as_str())),
        ("hosts", format!("[{}]", hosts.join(", "))),
    ];
    let line = |line: &str| {
        let set =
            values.iter().find(|(key, _)| line.split_once(" = ").is_some_and(|it| it.0 == *key));
        set.map_or_else(|| format!("{line}\n"), |(key, value)| format!("{key} = {value}\n"))
    };
    Some(SAMPLE.lines().map(line).collect())
}

/// JSON quotes text as TOML does.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    /// All values arrive, whatever characters they have, and each secret is a file's.
    #[test]
    fn the_filled_sample_is_read_as_it_was_meant() {
        let folder = std::env::temp_dir().join(format!("ephemerd \"{}\" \\", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = ["a.secret", "b.password"].map(|name| folder.join(name));
        for file in &files {
            std::fs::write(file, "s3cret").unwrap();
        }
        let hosts = ["bücher.example".to_owned(), "rooms.bücher.example".to_owned()];
        let text = filled_sample(&Sample {
            jid: "e.bücher.example",
            server: "[::1]:5348".to_owned(),
            secret_file: &files[0],
            url: "postgres://ephemerd@db:5433/xmpp?sslmode=disable",
            password_file: &files[1],
            kind: ArchiveKind::Ejabberd,
            hosts: &hosts,
        });
        let sources = Sources::of_text("x.toml", text.unwrap(), []);
        let config = Config::from_sources(&sources).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(config.component.jid, "e.bücher.example");
        assert_eq!(config.component.server.to_string(), "[::1]:5348");
        let url = config.database.url.to_string();
        assert_eq!(url, "postgres://ephemerd@db:5433/xmpp?sslmode=disable");
        assert!(config.database.password.is_some());
        assert_eq!(config.archive.kind, ArchiveKind::Ejabberd);
        assert_eq!(config.archive.hosts, hosts);
    }
}
