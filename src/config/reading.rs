//! What starts timers, as far as it is about reading: `timers.start`, `timers.unread_for`, `timers.read_evidence`,
//! and the same for rooms: `rooms.start`, `rooms.ignore_readers`.

use std::time::Duration;

use super::address;
use super::duration;
use super::error::ConfigError;
use super::judge::{CENTURY, Choice, Judge};
use super::raw::Plain;
use crate::model::{QuoteRule, ReadEvidence, RoomStart, StartRule, TimerRules};

const EVIDENCE: &str = "timers.read_evidence";
const IGNORED: &str = "rooms.ignore_readers";
/// Addresses in that list: each evidence in a room is compared with all of them.
const MOST_IGNORED: usize = 1000;

type Result<T> = std::result::Result<T, ConfigError>;

impl Choice for StartRule {
    fn all() -> &'static [Self] {
        &[Self::Archived, Self::Delivered, Self::Read, Self::Auto]
    }

    fn name(self) -> &'static str {
        match self {
            Self::Archived => "archived",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Auto => "auto",
        }
    }
}

impl Choice for RoomStart {
    fn all() -> &'static [Self] {
        &[Self::Archived, Self::FirstReader, Self::Everyone]
    }

    fn name(self) -> &'static str {
        match self {
            Self::Archived => "archived",
            Self::FirstReader => "first_reader",
            Self::Everyone => "everyone",
        }
    }
}

impl Choice for QuoteRule {
    fn all() -> &'static [Self] {
        &[Self::Cut, Self::Leave, Self::Erase]
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Leave => "leave",
            Self::Erase => "erase",
        }
    }
}

impl Judge<'_> {
    /// How long a message waits that nobody has received or read; `older` is what the key was called before.
    pub(super) fn unread_for(
        &self,
        value: Option<Plain>,
        older: Option<Plain>,
    ) -> Result<Option<Duration>> {
        const KEYS: [&str; 2] = ["timers.unread_for", "offline.undelivered_for"];
        let [key, older_key] = KEYS;
        let default = TimerRules::default().unread_for;
        let range = Duration::ZERO..=CENTURY;
        let (named, value) = match (value, older) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::GivenTwice {
                    key,
                    origin: self.origin(key),
                    other: older_key,
                    other_origin: self.origin(older_key),
                });
            }
            (None, Some(older)) => (older_key, Some(older)),
            (value, None) => (key, value),
        };
        let wait = match value {
            None => default,
            Some(Plain::Text(text)) if text == "never" => None,
            Some(value) => Some(self.read_span(named, &value, range, ", or \"never\"")?),
        };
        self.show(key, wait.map_or("never".to_owned(), duration::print));
        Ok(wait)
    }

    /// What counts as read.
    pub(super) fn read_evidence(&self, value: Option<Plain>) -> Result<ReadEvidence> {
        let remedy = "write some of [\"mds\", \"markers\", \"replies\"]";
        let listed = self.listed(EVIDENCE, value, ("names", remedy))?;
        let listed = listed.unwrap_or_else(|| {
            ReadEvidence::default().names().into_iter().map(str::to_owned).collect()
        });
        if listed.is_empty() {
            let remedy = format!("{remedy}, or set timers.start = \"delivered\"");
            return Err(self.invalid(EVIDENCE, "is empty, so that nothing would be read", remedy));
        }
        if listed.iter().any(|it| !ReadEvidence::NAMES.contains(&it.as_str())) {
            return Err(self.invalid(EVIDENCE, "has a name that is not known", remedy));
        }
        let has = |name: &str| listed.iter().any(|it| it == name);
        let evidence =
            ReadEvidence { mds: has("mds"), markers: has("markers"), replies: has("replies") };
        self.show(EVIDENCE, evidence.names());
        Ok(evidence)
    }

    /// Whose reading starts no timer in rooms.
    pub(super) fn ignore_readers(&self, value: Option<Plain>) -> Result<Vec<String>> {
        let remedy = "write addresses such as [\"bot@example.org\", \"bots.example.org\", \"den@rooms.example.org/Bot\"]";
        let listed = self.listed(IGNORED, value, ("addresses", remedy))?.unwrap_or_default();
        if listed.len() > MOST_IGNORED {
            let remedy = "name whole domains, or leave rooms.start at \"archived\"";
            return Err(self.invalid(IGNORED, "has more than 1000 addresses", remedy));
        }
        for reader in &listed {
            address::reader(reader).map_err(|problem| self.invalid(IGNORED, problem, remedy))?;
        }
        self.show(IGNORED, listed.clone());
        Ok(listed)
    }
}
