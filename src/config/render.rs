//! The effective configuration as `ephemerd config` shows it: TOML that reads back, but for the secrets.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::Origin;
use super::judge::Choice as _;
use super::secret::HIDDEN;
use super::{Config, duration};

/// One effective value.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key, as `section.key`.
    pub key: &'static str,
    /// Its value as TOML and JSON write it alike; secrets are `***`.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

impl Config {
    /// Every effective value, section by section.
    pub fn settings(&self) -> Vec<Setting> {
        let values = self.connections().into_iter().chain(self.retention());
        values.map(|(key, value)| Setting { key, value, origin: self.origin(key) }).collect()
    }

    /// TOML, a comment at each value that says where it came from.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut last = "";
        for Setting { key, value, origin } in self.settings() {
            let (section, name) = key.split_once('.').unwrap_or(("", key));
            if section != last {
                let gap = if last.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}[{section}]");
                last = section;
            }
            let line = format!("{name} = {value}");
            let _ = writeln!(text, "{line:<50} # {origin}");
        }
        text
    }

    /// The same for programs: `{"section": {"key": {"value": …, "origin": …}}}`.
    pub fn to_json(&self) -> Value {
        let mut sections = serde_json::Map::new();
        for Setting { key, value, origin } in self.settings() {
            let (section, name) = key.split_once('.').unwrap_or(("", key));
            let section = sections.entry(section).or_insert_with(|| json!({}));
            if let Some(section) = section.as_object_mut() {
                let setting = json!({ "value": value, "origin": origin.to_string() });
                section.insert(name.to_owned(), setting);
            }
        }
        Value::Object(sections)
    }

    fn origin(&self, key: &'static str) -> Origin {
        let in_file = match key {
            "component.secret" => Some("component.secret_file"),
            "database.password" => Some("database.password_file"),
            _ => None,
        };
        let found = self.origins.get(key).or_else(|| self.origins.get(in_file?));
        found.cloned().unwrap_or(Origin::Default)
    }

    fn connections(&self) -> Vec<(&'static str, Value)> {
        let mut values = vec![
            ("component.jid", json!(self.component.jid)),
            ("component.server", json!(self.component.server.to_string())),
            ("component.secret", json!(HIDDEN)),
            ("database.url", json!(self.database.url.to_string())),
        ];
        values
            .extend(self.database.password.is_some().then(|| ("database.password", json!(HIDDEN))));
        values.extend([
            ("archive.kind", json!(self.archive.kind.as_str())),
            ("archive.hosts", json!(self.archive.hosts)),
            ("archive.poll", span(self.archive.poll)),
            ("archive.max_lag", span(self.archive.max_lag)),
        ]);
        values
    }

    fn retention(&self) -> Vec<(&'static str, Value)> {
        let (erase, sweep) = (&self.erase, &self.sweep);
        vec![
            ("timers.min", span(self.timers.min)),
            ("timers.max", self.timers.max.map_or(json!("none"), span)),
            ("timers.negotiation_for", span(self.timers.negotiation_for)),
            ("hints.keep_for", span(self.hints.keep_for)),
            ("hints.conflict", json!(self.hints.conflict.name())),
            ("offline.undelivered_for", self.offline.undelivered_for.map_or(json!("never"), span)),
            ("erase.mode", json!(erase.mode.as_str())),
            ("erase.placeholder_for", span(erase.placeholder_for)),
            ("erase.batch", json!(erase.batch)),
            ("erase.rows_per_second", json!(erase.rows_per_second.unwrap_or(0))),
            ("erase.dry_run", json!(erase.dry_run)),
            ("erase.backlog", json!(erase.backlog.as_str())),
            ("sweep.every", span(sweep.every)),
            ("sweep.rows_per_second", json!(sweep.rows_per_second.unwrap_or(0))),
            ("http.listen", json!(self.http.listen.to_string())),
            ("log.level", json!(self.log.level.as_str())),
            ("log.format", json!(self.log.format.as_str())),
        ]
    }
}

fn span(duration: Duration) -> Value {
    json!(duration::print(duration))
}
