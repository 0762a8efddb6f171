//! What differs between two configurations, and what of it a running daemon can take up.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::Config;

/// What a daemon is built on: it is not changed under a running one.
const NEED_A_RESTART: [&str; 4] = ["component", "database", "archive", "http"];

/// Whether a running daemon takes up another value of this key, `section.key`.
pub fn changes_in_place(key: &str) -> bool {
    !NEED_A_RESTART.iter().any(|section| key.split('.').next() == Some(section))
}

/// A key whose value is another now.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The key, as `section.key`.
    pub key: &'static str,
    /// Its values before and now, as TOML writes them; `None` for a secret.
    pub values: Option<(Value, Value)>,
}

impl Change {
    /// Whether a running daemon takes it up.
    pub fn is_in_place(&self) -> bool {
        changes_in_place(self.key)
    }
}

/// `erase.batch = 500 (was 1000)`; of a secret the key alone.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values {
            Some((was, is)) => write!(f, "{} = {is} (was {was})", self.key),
            None => f.write_str(self.key),
        }
    }
}

impl Config {
    /// The keys whose values are others in `new`.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let (old_settings, new_settings) = (self.settings(), new.settings());
        let differing = old_settings.into_iter().filter_map(|old| {
            // A password alone may be there or not: see below.
            let new = new_settings.iter().find(|new| new.key == old.key)?;
            let is_other = new.value != old.value;
            is_other.then(|| Change { key: old.key, values: Some((old.value, new.value.clone())) })
        });
        let mut changes: Vec<_> = differing.collect();
        let secrets = [
            (
                "component.secret",
                is_alike(Some(&self.component.secret), Some(&new.component.secret)),
            ),
            (
                "database.password",
                is_alike(self.database.password.as_ref(), new.database.password.as_ref()),
            ),
            ("database.url", self.database.url.has_same_password(&new.database.url)),
        ];
        let others = secrets.into_iter().filter(|(_, is_alike)| !is_alike).map(|(key, _)| key);
        for key in others {
            if !changes.iter().any(|change| change.key == key) {
                changes.push(Change { key, values: None });
            }
        }
        changes
    }

    /// This configuration with what changes in place as `new` has it.
    #[must_use]
    pub fn with_changes(self, new: Self) -> Self {
        let Self { timers, hints, offline, erase, sweep, log, .. } = new;
        Self { timers, hints, offline, erase, sweep, log, ..self }
    }
}

fn is_alike(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(ExposeSecret::expose_secret) == other.map(ExposeSecret::expose_secret)
}

#[cfg(test)]
mod tests {
    use super::super::{KEYS, Sources};
    use super::*;

    const BASE: [(&str, &str); 22] = [
        ("component.jid", "e.example.org"),
        ("component.server", "127.0.0.1:1"),
        ("component.secret", "one-secret"),
        ("database.url", "postgres://e:one-secret@db/prosody"),
        ("archive.kind", "prosody"),
        ("archive.hosts", "example.org"),
        ("archive.poll", "1s"),
        ("archive.max_lag", "30s"),
        ("timers.min", "0s"),
        ("timers.max", "none"),
        ("timers.negotiation_for", "90d"),
        ("hints.keep_for", "0s"),
        ("hints.conflict", "store"),
        ("offline.undelivered_for", "14d"),
        ("erase.mode", "auto"),
        ("erase.placeholder_for", "30d"),
        ("erase.batch", "1000"),
        ("erase.rows_per_second", "0"),
        ("erase.dry_run", "false"),
        ("erase.backlog", "hold"),
        ("sweep.every", "1d"),
        ("sweep.rows_per_second", "50000"),
    ];

    fn read(set: &[(&str, &str)]) -> Config {
        let kept = BASE.iter().filter(|(key, _)| !set.iter().any(|(other, _)| other == key));
        let environment = kept.chain(set).map(|(key, value)| {
            let name = format!("EPHEMERD__{}", key.replace('.', "__").to_uppercase());
            (name, (*value).to_owned())
        });
        Config::from_sources(&Sources::of_text("none", "", environment)).unwrap()
    }

    /// Each key in turn gets another value: it alone is named, and taken up where it should be.
    #[test]
    fn each_key_is_named_and_taken_up_or_not() {
        let others = [
            ("component.jid", "f.example.org"),
            ("component.server", "127.0.0.1:2"),
            ("component.secret", "another-secret"),
            ("database.url", "postgres://e:one-secret@other/prosody"),
            ("archive.kind", "ejabberd"),
            ("archive.hosts", "example.net"),
            ("archive.poll", "2s"),
            ("archive.max_lag", "31s"),
            ("timers.min", "1s"),
            ("timers.max", "7d"),
            ("timers.negotiation_for", "91d"),
            ("hints.keep_for", "1s"),
            ("hints.conflict", "no-permanent-store"),
            ("offline.undelivered_for", "never"),
            ("erase.mode", "delete"),
            ("erase.placeholder_for", "31d"),
            ("erase.batch", "7"),
            ("erase.rows_per_second", "7"),
            ("erase.dry_run", "true"),
            ("erase.backlog", "erase"),
            ("sweep.every", "2d"),
            ("sweep.rows_per_second", "7"),
            ("http.listen", "127.0.0.1:1"),
            ("log.level", "debug"),
            ("log.format", "json"),
        ];
        let unnamed = KEYS.iter().filter(|key| !others.iter().any(|(other, _)| other == *key));
        let by_other_ways =
            ["component.secret_file", "database.password", "database.password_file"];
        assert!(unnamed.eq(by_other_ways.iter()), "every key there is has its turn");
        for other in others {
            let (base, new) = (read(&[]), read(&[other]));
            let keys = |changes: &[Change]| changes.iter().map(|it| it.key).collect::<Vec<_>>();
            let changes = base.changes(&new);
            assert_eq!(keys(&changes), [other.0]);
            let section = other.0.split('.').next().unwrap();
            let is_in_place = !["component", "database", "archive", "http"].contains(&section);
            assert_eq!(changes[0].is_in_place(), is_in_place, "{}", other.0);
            let left = base.with_changes(new.clone()).changes(&new);
            assert_eq!(left.is_empty(), is_in_place, "{}", other.0);
        }
        assert_eq!(read(&[]).changes(&read(&[])), []);
    }

    #[test]
    fn of_a_secret_only_the_name_is_told() {
        let base = read(&[]);
        let shown = |set: &[(&str, &str)]| {
            base.changes(&read(set)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown(&[("component.secret", "hush")]), ["component.secret"]);
        assert_eq!(shown(&[("database.url", "postgres://e:hush@db/prosody")]), ["database.url"]);
        let passwords =
            [("database.url", "postgres://e@db/prosody"), ("database.password", "hush")];
        for line in shown(&passwords) {
            assert!(line.starts_with("database.") && !line.contains("hush"), "{line}");
            assert!(!line.contains("one-secret"), "{line}");
        }
        assert_eq!(shown(&passwords).len(), 2);
        assert_eq!(shown(&[("erase.batch", "5")]), ["erase.batch = 5 (was 1000)"]);
    }
}
