//! Reads one value at a time: checks type and range, and says what to do if it is invalid.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sqlx::postgres::PgSslMode;

use super::address::domain;
use super::error::{ConfigError, Origin, known_path};
use super::raw::{KEYS, Plain};
use super::secret::HIDDEN;
use super::sources::{Layers, Sources};
use super::{DatabaseUrl, DurationError, Setting, duration, secret};
use crate::model::{Conflict, Finding};

/// Maximum duration: beyond it, dates do not fit where they are stored.
pub(super) const CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

const MAX_HOSTS: usize = 1000;
const MAX_ROWS_PER_SECOND: u32 = 10_000_000;

type Result<T> = std::result::Result<T, ConfigError>;

/// A setting with a fixed set of names.
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
    remarks: RefCell<Vec<Finding>>,
    /// What is in force, as it is shown.
    shown: RefCell<BTreeMap<&'static str, Value>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(sources: &'a Sources, layers: &'a Layers) -> Self {
        let remarks = RefCell::new(sources.remarks());
        Self { sources, layers, remarks, shown: RefCell::default() }
    }

    /// Warnings: what works but should be looked at. Complete once everything was validated.
    pub(super) fn remarks(&self) -> Vec<Finding> {
        self.remarks.take()
    }

    /// A secret in the configuration file itself.
    pub(super) fn look_at_inline(&self, key: &'static str) {
        if let Origin::File(file) = self.origin(key) {
            self.look_at(key, &file);
        }
    }

    /// A world-readable file with a secret is no reason to stop, but deserves a warning.
    fn look_at(&self, key: &'static str, file: &Path) {
        if secret::is_readable_by_all(file) {
            let file = file.display();
            self.remarks.borrow_mut().push(Finding::warning(
                format!(
                    "{file} is readable by everyone on this machine and contains a secret ({key})."
                ),
                format!("chmod 640 {file}"),
            ));
        }
    }

    /// This value of the key is in force, as TOML and JSON write it alike.
    pub(super) fn show(&self, key: &'static str, value: impl Into<Value>) {
        self.shown.borrow_mut().insert(key, value.into());
    }

    /// What is in force, key by key, once everything was judged.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let mut shown = self.shown.take();
        let setting = |key: &'static str| {
            let in_file = KEYS.iter().copied().find(|it| it.strip_suffix("_file") == Some(key));
            let older = (key == "timers.unread_for").then_some("offline.undelivered_for");
            let mut origins =
                [Some(key), in_file, older].into_iter().flatten().map(|it| self.origin(it));
            let origin = origins.find(|it| *it != Origin::Default).unwrap_or(Origin::Default);
            Some(Setting { key, value: shown.remove(key)?, origin })
        };
        KEYS.iter().copied().filter_map(setting).collect()
    }

    pub(super) fn origin(&self, key: &str) -> Origin {
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

    pub(super) fn flag(
        &self,
        key: &'static str,
        value: Option<Plain>,
        default: bool,
    ) -> Result<bool> {
        let flag = match value {
            None => Some(default),
            Some(Plain::Flag(flag)) => Some(flag),
            Some(Plain::Text(text)) => text.parse().ok(),
            Some(_) => None,
        };
        let invalid = || self.invalid(key, "is neither true nor false", "write true or false");
        let flag = flag.ok_or_else(invalid)?;
        self.show(key, flag);
        Ok(flag)
    }

    pub(super) fn whole(
        &self,
        key: &'static str,
        value: Option<Plain>,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32> {
        let number = match value {
            None => Some(default),
            Some(Plain::Whole(number)) => u32::try_from(number).ok(),
            Some(Plain::Text(text)) => text.parse().ok(),
            Some(_) => None,
        };
        let number = number.filter(|number| range.contains(number)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.invalid(
                key,
                format!("is not a whole number from {least} to {most}"),
                format!("write one, such as {default}"),
            )
        })?;
        self.show(key, number);
        Ok(number)
    }

    /// Rows per second; 0 means no limit.
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
        let span = value.map_or(Ok(default), |value| self.read_span(key, &value, range, ""))?;
        self.show(key, duration::print(span));
        Ok(span)
    }

    /// `or` is the alternative to mention in the help.
    pub(super) fn read_span(
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

    /// A duration, or the word that means "none".
    pub(super) fn span_or(
        &self,
        word: &str,
        key: &'static str,
        value: Option<Plain>,
        range: RangeInclusive<Duration>,
        default: Option<Duration>,
    ) -> Result<Option<Duration>> {
        let span = match value {
            None => default,
            Some(Plain::Text(text)) if text == word => None,
            Some(value) => Some(self.read_span(key, &value, range, &format!(", or \"{word}\""))?),
        };
        self.show(key, span.map_or(word.to_owned(), duration::print));
        Ok(span)
    }

    pub(super) fn choice<C: Choice>(&self, key: &'static str, text: &str) -> Result<C> {
        let found = C::all().iter().find(|choice| choice.name() == text).copied();
        let choice = found.ok_or_else(|| {
            let names: Vec<_> = C::all().iter().map(|choice| choice.name()).collect();
            let names = names.join("\", \"");
            self.invalid(key, "is not one of the known names", format!("write one of \"{names}\""))
        })?;
        self.show(key, choice.name());
        Ok(choice)
    }

    pub(super) fn choice_or<C: Choice>(
        &self,
        key: &'static str,
        value: Option<Plain>,
        default: C,
    ) -> Result<C> {
        let text = self.text(key, value)?;
        self.choice(key, text.as_deref().unwrap_or(default.name()))
    }

    /// A list of these, or in the environment one text with commas; `None` if it is not given.
    pub(super) fn listed(
        &self,
        key: &'static str,
        value: Option<Plain>,
        (these, remedy): (&str, &str),
    ) -> Result<Option<Vec<String>>> {
        match value {
            None => Ok(None),
            Some(Plain::List(listed)) => Ok(Some(listed)),
            Some(Plain::Text(text)) => {
                Ok(Some(text.split(',').map(|it| it.trim().to_owned()).collect()))
            }
            Some(_) => Err(self.invalid(key, format!("is not a list of {these}"), remedy)),
        }
    }

    /// `archive.hosts`.
    pub(super) fn hosts(&self, value: Option<Plain>) -> Result<Vec<String>> {
        const KEY: &str = "archive.hosts";
        let example = "write hosts = [\"example.org\", \"conference.example.org\"]";
        let listed = self.listed(KEY, value, ("names", example))?;
        let hosts = listed.ok_or_else(|| self.missing(KEY, example))?;
        if hosts.is_empty() {
            return Err(self.invalid(KEY, "is empty, so nothing would be erased", example));
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
            true => {
                self.show(KEY, hosts.clone());
                Ok(hosts)
            }
            false => Err(self.invalid(KEY, "lists a host twice", "name each host once")),
        }
    }

    /// A secret, inline or in a file: `keys` are its two keys.
    pub(super) fn secret(
        &self,
        keys: [&'static str; 2],
        inline: Option<Plain>,
        in_file: Option<Plain>,
    ) -> Result<Option<SecretString>> {
        let [key, file_key] = keys;
        let (from, secret) = match (self.text(key, inline)?, self.text(file_key, in_file)?) {
            (None, None) => return Ok(None),
            (Some(text), None) => {
                self.look_at_inline(key);
                (key, text.into())
            }
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
            return Err(self.invalid(
                from,
                "has more than one line",
                "write a single line of text",
            ));
        }
        self.show(key, HIDDEN);
        Ok(Some(secret))
    }

    /// Files that are named here and only read when connecting.
    pub(super) fn can_open<'b>(
        &self,
        key: &'static str,
        files: impl Iterator<Item = &'b Path>,
    ) -> Result<()> {
        for file in files {
            File::open(file).map_err(|source| {
                let origin = self.origin(key);
                ConfigError::SecretUnreadable { key, origin, file: known_path(file), source }
            })?;
        }
        Ok(())
    }

    /// A typo in the environment must not turn off TLS.
    pub(super) fn knows_ssl_mode(&self, url: &DatabaseUrl) -> Result<()> {
        const NAME: &str = "PGSSLMODE";
        let mode = self.sources.ssl_mode().filter(|_| !url.has_ssl_mode());
        if mode.is_none_or(|mode| mode.parse::<PgSslMode>().is_ok()) {
            return Ok(());
        }
        let remedy = "write disable, prefer, require, verify-ca or verify-full, or set sslmode in database.url";
        Err(ConfigError::invalid(
            NAME,
            Origin::Environment(NAME.into()),
            "is not a TLS mode",
            remedy,
        ))
    }

    fn secret_file(&self, key: &'static str, file: PathBuf) -> Result<SecretString> {
        match secret::read(&file) {
            Ok(secret) => {
                self.look_at(key, &file);
                Ok(secret)
            }
            Err(source) => {
                let origin = self.origin(key);
                Err(ConfigError::SecretUnreadable { key, origin, file: known_path(&file), source })
            }
        }
    }
}
