//! How two configurations differ, and which differences a running daemon can apply.

use std::fmt;

use serde_json::Value;

use super::secret::is_alike;
use super::{Config, Setting};

/// These sections only change with a restart.
const NEED_A_RESTART: [&str; 5] = ["component", "database", "archive", "canary", "http"];

/// Whether a running daemon applies a new value of this key, `section.key`.
pub fn changes_in_place(key: &str) -> bool {
    !NEED_A_RESTART.iter().any(|section| key.split('.').next() == Some(section))
}

/// A key whose value has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The key, as `section.key`.
    pub key: &'static str,
    /// The old and new values, as TOML; `None` for a secret.
    pub values: Option<(Value, Value)>,
}

impl Change {
    /// Whether a running daemon applies it.
    pub fn is_in_place(&self) -> bool {
        changes_in_place(self.key)
    }
}

/// `erase.batch = 500 (was 1000)`; only the key if it is a secret.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values {
            Some((was, is)) => write!(f, "{} = {is} (was {was})", self.key),
            None => f.write_str(self.key),
        }
    }
}

impl Config {
    /// The keys whose values differ in `new`.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let (old_settings, new_settings) = (self.settings(), new.settings());
        let differing = old_settings.iter().filter_map(|old| {
            // A password alone may be there or not: see below.
            let new = new_settings.iter().find(|new| new.key == old.key)?;
            let is_other = new.value != old.value;
            let values = || Some((old.value.clone(), new.value.clone()));
            is_other.then(|| Change { key: old.key, values: values() })
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

    /// This configuration, with the values of `new` that change in place.
    #[must_use]
    pub fn with_changes(self, new: Self) -> Self {
        let newer = |old: &Setting| {
            let new = new.settings.iter().find(|it| it.key == old.key);
            new.filter(|it| changes_in_place(it.key)).unwrap_or(old).clone()
        };
        let settings = self.settings.iter().map(newer).collect();
        // All are named, so that the compiler asks whether a new section changes in place.
        let Self {
            component: _,
            database: _,
            archive: _,
            timers,
            hints,
            rooms,
            inherit,
            erase,
            uploads,
            retention,
            sweep,
            canary: _,
            commands,
            http: _,
            log,
            settings: _,
            remarks,
        } = new;
        Self {
            timers,
            hints,
            rooms,
            inherit,
            erase,
            uploads,
            retention,
            sweep,
            commands,
            log,
            remarks,
            settings,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::KEY_INFOS;
    use super::super::{KEYS, Sources};
    use super::*;

    const BASE: &[(&str, &str)] = &[
        ("component.jid", "e.example.org"),
        ("component.server", "127.0.0.1:1"),
        ("component.secret", "one-secret"),
        ("database.url", "postgres://e:one-secret@db/prosody"),
        ("archive.kind", "prosody"),
        ("archive.hosts", "example.org, example.net"),
    ];

    fn read(set: &[(&str, &str)]) -> Config {
        let kept = BASE.iter().filter(|(key, _)| !set.iter().any(|(other, _)| other == key));
        let environment = kept.chain(set).map(|(key, value)| {
            let name = format!("EPHEMERD__{}", key.replace('.', "__").to_uppercase());
            (name, (*value).to_owned())
        });
        Config::from_sources(&Sources::of_text("none", "", environment)).unwrap()
    }

    /// Each key in turn gets another value: only it is reported, and applied if it should be.
    #[test]
    fn each_key_is_named_and_taken_up_or_not() {
        // A secret may also be in a file, a password in the URL, and one key has an older name.
        let by_other_ways = |key: &str| {
            key.ends_with("_file")
                || ["database.password", "offline.undelivered_for"].contains(&key)
        };
        let others = KEY_INFOS.iter().filter(|it| !by_other_ways(it.key));
        let others: Vec<_> = others.map(|it| (it.key, it.example)).collect();
        assert_eq!(others.len(), KEYS.len() - 4);
        for other in others {
            let (base, new) = (read(&[]), read(&[other]));
            let keys = |changes: &[Change]| changes.iter().map(|it| it.key).collect::<Vec<_>>();
            let changes = base.changes(&new);
            assert_eq!(keys(&changes), [other.0]);
            let section = other.0.split('.').next().unwrap();
            let is_in_place = !NEED_A_RESTART.contains(&section);
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
