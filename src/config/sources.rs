//! Where values come from: one file, overridden by the environment.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Source as _, Value, ValueKind};

use super::error::{ConfigError, Origin, environment_name, known_key};
use super::raw::{KEYS, RawConfig};
use crate::model::Finding;

/// The file that is read by default.
pub const DEFAULT_FILE: &str = "/etc/ephemerd/ephemerd.toml";

const PREFIX: &str = "EPHEMERD__";
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What the configuration is read from. Tests supply their own.
#[derive(Debug, Clone)]
pub struct Sources {
    file: PathBuf,
    text: String,
    environment: BTreeMap<String, String>,
    others: Others,
}

/// Variables that are not ours, but hint at a mistake.
#[derive(Debug, Clone, Default)]
struct Others {
    /// Names with too few underscores, and the key that was probably meant.
    mistyped: Vec<(String, &'static str)>,
    has_service: bool,
    ssl_mode: Option<String>,
}

impl Others {
    fn of(environment: impl Iterator<Item = (String, String)>) -> Self {
        let mut others = Self::default();
        for (name, value) in environment {
            match name.as_str() {
                "PGSERVICE" => others.has_service = true,
                "PGSSLMODE" => others.ssl_mode = Some(value),
                _ => others.mistyped.extend(meant(&name).map(|key| (name, key))),
            }
        }
        others
    }
}

/// The key that was probably meant by a variable with too few underscores.
fn meant(name: &str) -> Option<&'static str> {
    let written = name.strip_prefix("EPHEMERD_")?.replace("__", "_").to_lowercase();
    let is_mistyped = !name.starts_with(PREFIX);
    KEYS.iter().find(|key| is_mistyped && key.replace('.', "_") == written).copied()
}

impl Sources {
    /// The process's own: the named file, or [`DEFAULT_FILE`], and the environment.
    ///
    /// Without a file the environment may suffice, but a file that was named must exist.
    pub fn of_process(named: Option<&Path>) -> Result<Self, ConfigError> {
        let environment = process_environment()?;
        let file = named.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_path_buf);
        let text = match read_text(&file, MAX_FILE_BYTES) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
                if environment.is_empty() {
                    return Err(ConfigError::Absent { file });
                }
                String::new()
            }
            Err(source) => {
                let is_url = file.to_string_lossy().contains("://");
                let file = if is_url { PathBuf::from("that was named, a URL") } else { file };
                return Err(ConfigError::Unreadable { file, source });
            }
        };
        let strings = std::env::vars_os();
        let strings = strings.filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Ok(Self { file, text, environment, others: Others::of(strings) })
    }

    /// A text as if it were `file`, and an environment by full names (`EPHEMERD__HTTP__LISTEN`).
    pub fn of_text(
        file: impl Into<PathBuf>,
        text: impl Into<String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let all: Vec<_> = environment.into_iter().collect();
        let others = Others::of(all.iter().cloned());
        let environment = all.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        Self { file: file.into(), text: text.into(), environment, others }
    }

    /// Warnings about probable mistakes.
    pub(super) fn remarks(&self) -> Vec<Finding> {
        let mistyped = self.others.mistyped.iter().map(|(name, key)| {
            let name_of_key = environment_name(key);
            Finding::warning(
                format!("The variable {name} has no effect."),
                format!("write {name_of_key}, with two underscores, if you mean {key}"),
            )
        });
        let service = self.others.has_service.then(|| {
            Finding::warning(
                "The variable PGSERVICE is ignored.",
                "put what the service defines into database.url, and unset PGSERVICE",
            )
        });
        mistyped.chain(service).collect()
    }

    /// The value of PGSSLMODE.
    pub(super) fn ssl_mode(&self) -> Option<&str> {
        self.others.ssl_mode.as_deref()
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Where the value of `key` comes from.
    pub(super) fn origin(&self, key: &str, layers: &Layers) -> Origin {
        if layers.environment.contains_key(key) {
            Origin::Environment(environment_name(key))
        } else if layers.file.contains(key) {
            Origin::File(self.file.clone())
        } else {
            Origin::Default
        }
    }

    /// Reads both; the environment overrides the file.
    pub(super) fn read(&self) -> Result<(RawConfig, Layers), ConfigError> {
        let file = config::File::from_str(&self.text, FileFormat::Toml);
        let environment = config::Environment::with_prefix("EPHEMERD")
            .prefix_separator("__")
            .separator("__")
            .source(Some(self.environment.clone().into_iter().collect()));
        let in_file = file.collect().map_err(|error| self.syntax_error(error))?;
        let layers = Layers {
            file: FileKeys(in_file),
            environment: environment.collect().map_err(|error| self.explain(error, None))?,
        };
        self.check_sections(&layers)?;
        let raw = config::Config::builder()
            .add_source(file)
            .add_source(environment)
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|error| self.explain(error, Some(&layers)))?;
        Ok((raw, layers))
    }

    /// Every key belongs to a section: a plain value at the top level is a key without one.
    fn check_sections(&self, layers: &Layers) -> Result<(), ConfigError> {
        let is_table = |value: &Value| matches!(value.kind, ValueKind::Table(_));
        let in_file = layers.file.0.iter().filter(|(_, value)| !is_table(value));
        let in_environment = layers.environment.iter().filter(|(key, _)| !key.contains('.'));
        let stray = in_environment.chain(in_file).map(|(key, _)| key).min();
        stray.map_or(Ok(()), |key| {
            Err(ConfigError::invalid(
                known_key(key),
                self.origin(key, layers),
                "is outside any section",
                "put it below its section, such as [component], or name it \
                 EPHEMERD__SECTION__KEY in the environment",
            ))
        })
    }

    /// The parser's message without the line that it quotes, which may contain a secret.
    fn syntax_error(&self, error: config::ConfigError) -> ConfigError {
        let shown = match error {
            config::ConfigError::FileParse { cause, .. } => cause.to_string(),
            other => other.to_string(),
        };
        let line = shown
            .lines()
            .next()
            .and_then(|first| first.split_once("at line "))
            .and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        let is_quote = |line: &&str| {
            line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|')
        };
        let skipped = usize::from(line.is_some());
        let words: Vec<_> = shown.lines().skip(skipped).filter(|line| !is_quote(line)).collect();
        ConfigError::Syntax { file: self.file.clone(), line, problem: words.join(", ") }
    }

    /// What serde rejected: an unknown key, or a table instead of a value.
    fn explain(&self, error: config::ConfigError, layers: Option<&Layers>) -> ConfigError {
        let (section, message) = match error {
            config::ConfigError::At { error, key, .. } => {
                (key.unwrap_or_default(), error.to_string())
            }
            other => (String::new(), other.to_string()),
        };
        // From the end: what was written may itself contain any of this.
        let unknown = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.rsplit_once("`, expected "));
        let origin = |key: &str| {
            layers.map_or(Origin::File(self.file.clone()), |layers| self.origin(key, layers))
        };
        match unknown {
            Some((field, expected)) => {
                let key = match section.as_str() {
                    "" => field.to_owned(),
                    section => format!("{section}.{field}"),
                };
                let origin = self.origin_below(&key, layers).unwrap_or_else(|| origin(&key));
                ConfigError::Unknown { key: known_key(&key), origin, expected: expected.to_owned() }
            }
            None => ConfigError::invalid(
                known_key(&section),
                origin(&section),
                "cannot be read",
                "write it as docs/configuration.md shows",
            ),
        }
    }

    /// The variable that introduced an unknown section.
    fn origin_below(&self, key: &str, layers: Option<&Layers>) -> Option<Origin> {
        let section = format!("{key}.");
        let found = layers?.environment.keys().find(|name| name.starts_with(&section))?;
        Some(Origin::Environment(environment_name(found)))
    }
}

/// Where each key is.
pub(super) struct Layers {
    file: FileKeys,
    environment: Map<String, Value>,
}

struct FileKeys(Map<String, Value>);

impl FileKeys {
    fn contains(&self, key: &str) -> bool {
        let Some((section, name)) = key.split_once('.') else { return self.0.contains_key(key) };
        match self.0.get(section).map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table.contains_key(name),
            _ => false,
        }
    }
}

fn process_environment() -> Result<BTreeMap<String, String>, ConfigError> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError::invalid(
                name.trim_start_matches(PREFIX).replace("__", ".").to_lowercase(),
                Origin::Environment(name),
                "is not UTF-8",
                "write it in UTF-8, or keep a secret in a file",
            )),
        })
        .collect()
}

/// Reads a text file of at most `max_bytes`.
pub(super) fn read_text(file: &Path, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too long"));
    }
    // Some editors begin a file with a byte order mark, which is not part of the text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
