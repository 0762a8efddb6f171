//! Reads one value at a time: its type, its range, and what to say when it is wrong.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::address::domain;
use super::error::{ConfigError, Origin};
use super::raw::{KEYS, Plain};
use super::sources::{Layers, Sources};
use super::{DurationError, duration, secret};
use crate::model::Conflict;

/// No duration is longer: beyond it, dates no longer fit where they are kept.
pub(super) const CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

const MAX_HOSTS: usize = 1000;
const MAX_ROWS_PER_SECOND: u32 = 10_000_000;

type Result<T> = std::result::Result<T, ConfigError>;

/// A setting that is one of a few names.
pub(super) trait Choice: Copy + 'static {
    fn all() -> &'static [Self];
    fn name(self) -> &'static str;
}

impl Choice for Conflict {
    fn all() -> &'static [Self] {
        &[Self::Store, Self::NoPermanentStore]
    }

    fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::NoPermanentStore => "no-permanent-store",
        }
    }
}

pub(super) struct Judge<'a> {
    sources: &'a Sources,
    layers: &'a Layers,
}

impl<'a> Judge<'a> {
    pub(super) fn new(sources: &'a Sources, layers: &'a Layers) -> Self {
        Self { sources, layers }
    }

    /// Where the keys that somebody set come from.
    pub(super) fn origins(&self) -> BTreeMap<&'static str, Origin> {
        let origins = KEYS.iter().map(|key| (*key, self.origin(key)));
        origins.filter(|(_, origin)| *origin != Origin::Default).collect()
    }

    fn origin(&self, key: &str) -> Origin {
        self.sources.origin(key, self.layers)
    }

    pub(super) fn invalid(
        &self,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ConfigError {
        ConfigError::invalid(key, self.origin(key), problem, remedy)
    }

    pub(super) fn missing(&self, key: &'static str, remedy: impl Into<String>) -> ConfigError {
        let section = key.split('.').next().unwrap_or_default();
        let remedy = format!("below [{section}], {}", remedy.into());
        ConfigError::Missing { key, file: self.sources.file().to_path_buf(), remedy }
    }

    pub(super) fn text(&self, key: &'static str, value: Option<Plain>) -> Result<Option<String>> {
        match value {
            None => Ok(None),
            Some(Plain::Text(text)) if text.is_empty() => {
                Err(self.invalid(key, "is empty", "give it a value, or remove it"))
            }
            Some(Plain::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(key, "is not text", "write it in double quotes")),
        }
    }

    pub(super) fn required(
        &self,
        key: &'static str,
        value: Option<Plain>,
        remedy: &str,
    ) -> Result<String> {
        self.text(key, value)?.ok_or_else(|| self.missing(key, remedy))
    }

    pub(super) fn flag(&self, key: &'static str, value: Option<Plain>) -> Result<bool> {
        match value {
            None => Ok(false),
            Some(Plain::Flag(flag)) => Ok(flag),
            Some(Plain::Text(text)) if text == "true" => Ok(true),
            Some(Plain::Text(text)) if text == "false" => Ok(false),
            Some(_) => Err(self.invalid(key, "is neither true nor false", "write true or false")),
        }
    }

    pub(super) fn whole(
        &self,
        key: &'static str,
        value: Option<Plain>,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32> {
        let number = match value {
            None => return Ok(default),
            Some(Plain::Whole(number)) => u32::try_from(number).ok(),
            Some(Plain::Text(text)) => text.parse().ok(),
            Some(_) => None,
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.invalid(
                key,
                format!("is no whole number from {least} to {most}"),
                format!("write one, such as {default}"),
            )
        })
    }

    /// Rows in a second, where 0 is no limit.
    pub(super) fn rate(
        &self,
        key: &'static str,
        value: Option<Plain>,
        default: u32,
    ) -> Result<Option<u32>> {
        let rate = self.whole(key, value, 0..=MAX_ROWS_PER_SECOND, default)?;
        Ok((rate > 0).then_some(rate))
    }

    pub(super) fn span(
        &self,
        key: &'static str,
        value: Option<Plain>,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Result<Duration> {
        value.map_or(Ok(default), |value| self.read_span(key, &value, range, ""))
    }

    /// `or` is what may be written instead, for the help.
    fn read_span(
        &self,
        key: &'static str,
        value: &Plain,
        range: RangeInclusive<Duration>,
        or: &str,
    ) -> Result<Duration> {
        let read = match value {
            Plain::Text(text) => duration::parse(text),
            _ => Err(DurationError::NoUnit),
        };
        let span = read.map_err(|error| {
            let remedy = format!(
                "write a number and a unit of ms, s, m, h, d or w, such as \"250ms\", \"1h 30m\" or \"90d\"{or}"
            );
            self.invalid(key, error.to_string(), remedy)
        })?;
        if range.contains(&span) {
            return Ok(span);
        }
        let (least, most) = (duration::print(*range.start()), duration::print(*range.end()));
        let remedy = format!("write a duration from {least} to {most}{or}");
        Err(self.invalid(key, format!("is not between {least} and {most}"), remedy))
    }

    /// A duration, or the word for "there is none".
    pub(super) fn span_or(
        &self,
        word: &str,
        key: &'static str,
        value: Option<Plain>,
        range: RangeInclusive<Duration>,
        default: Option<Duration>,
    ) -> Result<Option<Duration>> {
        match value {
            None => Ok(default),
            Some(Plain::Text(text)) if text == word => Ok(None),
            Some(value) => {
                self.read_span(key, &value, range, &format!(", or \"{word}\"")).map(Some)
            }
        }
    }

    pub(super) fn choice<C: Choice>(&self, key: &'static str, text: &str) -> Result<C> {
        C::all().iter().find(|choice| choice.name() == text).copied().ok_or_else(|| {
            let names: Vec<_> = C::all().iter().map(|choice| choice.name()).collect();
            let names = names.join("\", \"");
            self.invalid(key, "is none of the known names", format!("write one of \"{names}\""))
        })
    }

    pub(super) fn choice_or<C: Choice>(
        &self,
        key: &'static str,
        value: Option<Plain>,
        default: C,
    ) -> Result<C> {
        self.text(key, value)?.map_or(Ok(default), |text| self.choice(key, &text))
    }

    /// `archive.hosts`: a list, or in the environment one text with commas.
    pub(super) fn hosts(&self, value: Option<Plain>) -> Result<Vec<String>> {
        const KEY: &str = "archive.hosts";
        let example = "write hosts = [\"example.org\", \"conference.example.org\"]";
        let hosts: Vec<String> = match value {
            None => return Err(self.missing(KEY, example)),
            Some(Plain::List(hosts)) => hosts,
            Some(Plain::Text(text)) => text.split(',').map(|host| host.trim().to_owned()).collect(),
            Some(_) => return Err(self.invalid(KEY, "is no list of names", example)),
        };
        if hosts.is_empty() {
            return Err(self.invalid(KEY, "is empty, so that nothing would be erased", example));
        }
        if hosts.len() > MAX_HOSTS {
            return Err(self.invalid(
                KEY,
                "has more than 1000 names",
                "run a daemon for each server",
            ));
        }
        for host in &hosts {
            domain(host).map_err(|problem| self.invalid(KEY, problem, example))?;
        }
        let distinct: std::collections::BTreeSet<_> = hosts.iter().collect();
        match distinct.len() == hosts.len() {
            true => Ok(hosts),
            false => Err(self.invalid(KEY, "has a name twice", "name each host once")),
        }
    }

    /// A secret, inline or in a file: `keys` are both of its keys.
    pub(super) fn secret(
        &self,
        keys: [&'static str; 2],
        inline: Option<Plain>,
        in_file: Option<Plain>,
    ) -> Result<Option<SecretString>> {
        let [key, file_key] = keys;
        let (from, secret) = match (self.text(key, inline)?, self.text(file_key, in_file)?) {
            (None, None) => return Ok(None),
            (Some(text), None) => (key, text.into()),
            (None, Some(file)) => (file_key, self.secret_file(file_key, file.into())?),
            (Some(_), Some(_)) => {
                return Err(ConfigError::GivenTwice {
                    key,
                    origin: self.origin(key),
                    other: file_key,
                    other_origin: self.origin(file_key),
                });
            }
        };
        let text: &str = secret.expose_secret();
        if text.is_empty() {
            return Err(self.invalid(
                from,
                "names a file that is empty",
                "write the secret into that file",
            ));
        }
        if text.contains(['\0', '\n', '\r']) {
            return Err(self.invalid(from, "has more than one line", "keep to one line of text"));
        }
        Ok(Some(secret))
    }

    fn secret_file(&self, key: &'static str, file: PathBuf) -> Result<SecretString> {
        secret::read(&file).map_err(|source| ConfigError::SecretUnreadable {
            key,
            origin: self.origin(key),
            file,
            source,
        })
    }
}
