//! The effective configuration as `ephemerd config` shows it: TOML that can be read back, except for secrets.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Config;
use super::error::Origin;

/// One effective value.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key, as `section.key`.
    pub key: &'static str,
    /// Its value, as both TOML and JSON write it; secrets are `***`.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

impl Config {
    /// Every effective value, section by section.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// TOML with a comment on each value that says where it came from.
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
            let line = format!("{name} = {}", toml(value));
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
}

/// TOML writes texts, numbers and lists as JSON does, but not tables.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => {
            format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        Value::Object(keys) => {
            let keys = keys.iter().map(|(key, value)| format!("{key} = {}", toml(value)));
            format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
