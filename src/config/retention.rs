//! `[retention]`: how long messages are kept at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::error::ConfigError;
use super::judge::{CENTURY, Judge};
use super::raw::{Plain, RawRetention};
use super::types::{ArchiveConfig, ArchiveKind, RetentionConfig};
use super::{address, duration};
use crate::model::{Limit, Limits, RetentionRule, RetentionRules, Whose};

const RULE: &str = "retention.rule";
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Rules, and names in all of them together.
const MOST_NAMES: usize = 10_000;
/// The longest reason, in characters.
const MOST_CHARACTERS: usize = 500;
const EXAMPLE: &str = "write [[retention.rule]], users = [\"peter@example.org\"] and archive_for = \"never\", each on a line of its own";

type Result<T> = std::result::Result<T, ConfigError>;
type RawRule = BTreeMap<String, Plain>;

impl Judge<'_> {
    pub(super) fn retention(
        &self,
        raw: RawRetention,
        archive: &ArchiveConfig,
    ) -> Result<RetentionConfig> {
        let mut limits = Limits::default();
        for (limit, key, value) in [
            (&mut limits.archive, "retention.archive_for", raw.archive_for),
            (&mut limits.room, "retention.rooms_for", raw.rooms_for),
            (&mut limits.queue, "retention.queue_for", raw.queue_for),
        ] {
            let after = self.span_or("never", key, value, SECOND..=CENTURY, None)?;
            if after.is_some() {
                self.reaches(key, archive)?;
            }
            *limit = Some(after.map_or(Limit::Never, Limit::After));
        }
        let rules = self.retention_rules(raw.rule, archive)?;
        Ok(RetentionConfig {
            rules: RetentionRules { everyone: limits, rules },
            confirm_above: self.whole(
                "retention.confirm_above",
                raw.confirm_above,
                0..=1_000_000_000,
                10_000,
            )?,
            grace: self.span("retention.grace", raw.grace, Duration::ZERO..=DAY * 365, DAY)?,
        })
    }

    /// By age rows are erased in the tables themselves.
    fn reaches(&self, key: &str, archive: &ArchiveConfig) -> Result<()> {
        match archive.kind {
            ArchiveKind::Prosody | ArchiveKind::Ejabberd => Ok(()),
            ArchiveKind::Component => Err(self.invalid(
                key,
                "needs the archives in PostgreSQL, but archive.kind is \"component\"",
                "remove it, and let the server's own expiry do this; or keep the archives in PostgreSQL",
            )),
        }
    }

    fn retention_rules(
        &self,
        value: Option<Plain>,
        archive: &ArchiveConfig,
    ) -> Result<Vec<RetentionRule>> {
        let written = match value {
            None => Vec::new(),
            Some(Plain::Tables(rules)) => rules,
            Some(Plain::List(none)) if none.is_empty() => Vec::new(),
            // From the environment.
            Some(Plain::Text(text)) => serde_json::from_str::<Vec<RawRule>>(&text)
                .map_err(|_| self.invalid(RULE, "is not a list of rules in JSON", EXAMPLE))?,
            Some(_) => return Err(self.invalid(RULE, "is not a list of rules", EXAMPLE)),
        };
        if !written.is_empty() {
            self.reaches(RULE, archive)?;
        }
        let rules: Result<Vec<RetentionRule>> = (written.iter().enumerate())
            .map(|(at, raw)| {
                Reader { judge: self, number: at + 1, hosts: &archive.hosts }.rule(raw)
            })
            .collect();
        let rules = rules?;
        self.each_name_once(&rules)?;
        self.show(RULE, rules.iter().map(shown).collect::<Vec<Value>>());
        Ok(rules)
    }

    /// Two rules for the same name would contradict each other.
    fn each_name_once(&self, rules: &[RetentionRule]) -> Result<()> {
        let mut names = BTreeSet::new();
        for (at, rule) in rules.iter().enumerate() {
            if rule.names.iter().any(|name| !names.insert(name)) {
                let problem = format!("number {} has a name that a rule has already", at + 1);
                let remedy = "name each user, room and host once: all that is said of one belongs into one rule";
                return Err(self.invalid(RULE, problem, remedy));
            }
        }
        if names.len() > MOST_NAMES {
            let problem = "has more than 10000 names";
            return Err(self.invalid(RULE, problem, "write rules for whole hosts"));
        }
        Ok(())
    }
}

/// Reads one rule.
struct Reader<'a> {
    judge: &'a Judge<'a>,
    /// Counted from 1, as people do.
    number: usize,
    hosts: &'a [String],
}

impl Reader<'_> {
    fn rule(&self, raw: &RawRule) -> Result<RetentionRule> {
        const KNOWN: [&str; 7] =
            ["users", "rooms", "hosts", "archive_for", "rooms_for", "queue_for", "reason"];
        // Below the first [[retention.rule]] every key is part of a rule.
        let displaced = raw.keys().find(|it| ["confirm_above", "grace"].contains(&it.as_str()));
        if let Some(key) = displaced {
            let remedy = format!("write {key} above the first [[retention.rule]]");
            return Err(self.fault(format!("has {key}, which belongs to [retention]"), remedy));
        }
        if raw.keys().any(|key| !KNOWN.contains(&key.as_str())) {
            return Err(
                self.fault("has a key that is not known", format!("expected {}", KNOWN.join(", ")))
            );
        }
        let all = [Whose::Users, Whose::Rooms, Whose::Hosts];
        let mut given = all.into_iter().filter(|it| raw.contains_key(it.as_str()));
        let (Some(whose), None) = (given.next(), given.next()) else {
            return Err(self.fault("does not have exactly one of users, rooms and hosts", EXAMPLE));
        };
        let names = self.names(whose, raw.get(whose.as_str()))?;
        let limits = self.limits(whose, raw)?;
        Ok(RetentionRule { whose, names, limits, reason: self.reason(raw.get("reason"))? })
    }

    fn names(&self, whose: Whose, value: Option<&Plain>) -> Result<Vec<String>> {
        let Some(Plain::List(names)) = value else {
            return Err(self.fault("has names that are not a list of text", EXAMPLE));
        };
        if names.is_empty() {
            return Err(self.fault("has an empty list of names", EXAMPLE));
        }
        for name in names {
            let host = match whose {
                Whose::Hosts => address::domain(name).map(|()| name.as_str()),
                Whose::Users | Whose::Rooms => address::account(name),
            };
            let host = host.map_err(|problem| self.fault(problem, EXAMPLE))?;
            if !self.hosts.iter().any(|it| it == host) {
                return Err(self.fault(
                    "names a host that is not in archive.hosts, so that it would do nothing",
                    "add the host to archive.hosts, or remove it here",
                ));
            }
        }
        Ok(names.clone())
    }

    fn limits(&self, whose: Whose, raw: &RawRule) -> Result<Limits> {
        let may: &[&str] = match whose {
            Whose::Users => &["archive_for", "queue_for"],
            Whose::Rooms => &["rooms_for"],
            Whose::Hosts => &["archive_for", "rooms_for", "queue_for"],
        };
        let limit = |key: &str| -> Result<Option<Limit>> {
            let Some(value) = raw.get(key) else { return Ok(None) };
            if !may.contains(&key) {
                let problem = format!("has {key}, which does not apply to {}", whose.as_str());
                return Err(
                    self.fault(problem, format!("for {} write {}", whose.as_str(), may.join(", ")))
                );
            }
            self.limit(key, value).map(Some)
        };
        let limits = Limits {
            archive: limit("archive_for")?,
            room: limit("rooms_for")?,
            queue: limit("queue_for")?,
        };
        if limits == Limits::default() {
            return Err(self.fault("says nothing", format!("write {} into it", may.join(" or "))));
        }
        Ok(limits)
    }

    fn limit(&self, key: &str, value: &Plain) -> Result<Limit> {
        let remedy = "write a duration from 1s to 36525d, or \"never\"";
        let Plain::Text(text) = value else {
            return Err(self.fault(format!("has {key} that is not text"), remedy));
        };
        if text == "never" {
            return Ok(Limit::Never);
        }
        let after = duration::parse(text)
            .map_err(|error| self.fault(format!("has {key} that {error}"), remedy))?;
        if !(SECOND..=CENTURY).contains(&after) {
            return Err(self.fault(format!("has {key} that is too short or too long"), remedy));
        }
        Ok(Limit::After(after))
    }

    fn reason(&self, value: Option<&Plain>) -> Result<Option<String>> {
        match value {
            None => Ok(None),
            Some(Plain::Text(text)) if text.chars().count() > MOST_CHARACTERS => {
                Err(self.fault("has a reason of more than 500 characters", "make it shorter"))
            }
            Some(Plain::Text(text)) if text.contains(char::is_control) => {
                Err(self.fault("has a reason of more than one line", "write one line"))
            }
            Some(Plain::Text(text)) => Ok(Some(text.clone())),
            Some(_) => {
                Err(self.fault("has a reason that is not text", "write it in double quotes"))
            }
        }
    }

    fn fault(&self, problem: impl AsRef<str>, remedy: impl Into<String>) -> ConfigError {
        let problem = format!("number {} {}", self.number, problem.as_ref());
        self.judge.invalid(RULE, problem, remedy)
    }
}

/// A rule as it is shown.
fn shown(rule: &RetentionRule) -> Value {
    let mut value = json!({ rule.whose.as_str(): rule.names });
    let limits = [
        ("archive_for", rule.limits.archive),
        ("rooms_for", rule.limits.room),
        ("queue_for", rule.limits.queue),
    ];
    if let Some(value) = value.as_object_mut() {
        for (key, limit) in limits.into_iter().filter_map(|it| Some((it.0, it.1?))) {
            value.insert(key.to_owned(), print(limit).into());
        }
        if let Some(reason) = &rule.reason {
            value.insert("reason".to_owned(), reason.as_str().into());
        }
    }
    value
}

/// A limit as the configuration has it.
pub fn print(limit: Limit) -> String {
    match limit {
        Limit::Never => "never".to_owned(),
        Limit::After(age) => duration::print(age),
    }
}
