//! Where values come from: one file, and above it the environment.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Source as _, Value, ValueKind};

use super::error::{ConfigError, Origin, environment_name};
use super::raw::RawConfig;

/// The file that is read when nobody names another.
pub const DEFAULT_FILE: &str = "/etc/ephemerd/ephemerd.toml";

const PREFIX: &str = "EPHEMERD__";
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What the configuration is read from. Tests bring their own.
#[derive(Debug, Clone)]
pub struct Sources {
    file: PathBuf,
    text: String,
    environment: BTreeMap<String, String>,
}

impl Sources {
    /// The process's own: the file named, else [`DEFAULT_FILE`], and the environment.
    ///
    /// Without a file the environment alone may do, but a file that was named must be there.
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
            Err(source) => return Err(ConfigError::Unreadable { file, source }),
        };
        Ok(Self { file, text, environment })
    }

    /// A text as if it stood in `file`, and an environment by full names (`EPHEMERD__HTTP__LISTEN`).
    pub fn of_text(
        file: impl Into<PathBuf>,
        text: impl Into<String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let environment = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX));
        Self { file: file.into(), text: text.into(), environment: environment.collect() }
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

    /// Reads both and lays the environment over the file.
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

    /// Everything stands in a section: a plain value at the top is a key without one.
    fn check_sections(&self, layers: &Layers) -> Result<(), ConfigError> {
        let is_table = |value: &Value| matches!(value.kind, ValueKind::Table(_));
        let in_file = layers.file.0.iter().filter(|(_, value)| !is_table(value));
        let in_environment = layers.environment.iter().filter(|(key, _)| !key.contains('.'));
        let stray = in_environment.chain(in_file).map(|(key, _)| key).min();
        stray.map_or(Ok(()), |key| {
            Err(ConfigError::invalid(
                key,
                self.origin(key, layers),
                "stands outside of any section",
                "put it below its section, such as [component], or name it \
                 EPHEMERD__SECTION__KEY in the environment",
            ))
        })
    }

    /// The parser's words without the line it quotes: a secret may stand there.
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

    /// What serde refused: an unknown key, or a table where a value belongs.
    fn explain(&self, error: config::ConfigError, layers: Option<&Layers>) -> ConfigError {
        let (section, message) = match error {
            config::ConfigError::At { error, key, .. } => {
                (key.unwrap_or_default(), error.to_string())
            }
            other => (String::new(), other.to_string()),
        };
        let unknown = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once("`, "))
            .map(|(field, expected)| (field, expected.trim_start_matches("expected ")));
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
                ConfigError::Unknown { key, origin, expected: expected.to_owned() }
            }
            None => ConfigError::invalid(
                section.clone(),
                origin(&section),
                "cannot be read",
                "write it as docs/configuration.md shows",
            ),
        }
    }

    /// The variable that made a whole section which there is not.
    fn origin_below(&self, key: &str, layers: Option<&Layers>) -> Option<Origin> {
        let section = format!("{key}.");
        let found = layers?.environment.keys().find(|name| name.starts_with(&section))?;
        Some(Origin::Environment(environment_name(found)))
    }
}

/// Which key stands where.
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

/// The text of a file that is not longer than `max_bytes`.
pub(super) fn read_text(file: &Path, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too long"));
    }
    Ok(text)
}
