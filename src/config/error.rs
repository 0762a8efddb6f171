use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is not set.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by its name.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

/// What is wrong with the configuration, where, and what to do: one sentence, then `help: …`.
///
/// Values are never quoted: they may be misplaced secrets.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no configuration at all.
    #[error(
        "there is no configuration: {} does not exist\n\
         help: write one with `ephemerd init`, or name another by --config FILE or by EPHEMERD_CONFIG", file.display()
    )]
    Absent {
        /// The file that was looked for.
        file: PathBuf,
    },
    /// The configuration file cannot be read.
    #[error("cannot read the configuration {}: {source}\nhelp: {}", file.display(), read_help(source, file))]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The configuration file is not TOML.
    #[error(
        "{}{}: {problem}\nhelp: this place is not valid TOML; text and durations go in double \
         quotes: poll = \"1s\"", file.display(), at(*line)
    )]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1, if known.
        line: Option<usize>,
        /// The parser's message.
        problem: String,
    },
    /// An unknown key.
    #[error(
        "unknown key {key} ({origin})\nhelp: remove it or correct its name; expected {expected}"
    )]
    Unknown {
        /// The key, as `section.key`.
        key: String,
        /// Where it is.
        origin: Origin,
        /// The keys of that section.
        expected: String,
    },
    /// A key without a default that is not set.
    #[error("{key} is missing ({})\nhelp: {remedy}, or set {}", file.display(), environment_name(key))]
    Missing {
        /// The key, as `section.key`.
        key: &'static str,
        /// The file where it belongs.
        file: PathBuf,
        /// What to write there.
        remedy: String,
    },
    /// An invalid value.
    #[error("{key} {problem} ({origin})\nhelp: {remedy}")]
    Invalid {
        /// The key, as `section.key`.
        key: String,
        /// Where its value is.
        origin: Origin,
        /// What is wrong, as the end of a sentence that begins with the key.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A value that is given under two keys: a secret inline and by file, or a key and its older name.
    #[error("{key} ({origin}) and {other} ({other_origin}) are both set\nhelp: keep one of them")]
    GivenTwice {
        /// The key.
        key: &'static str,
        /// Where it is.
        origin: Origin,
        /// The other.
        other: &'static str,
        /// Where the other is.
        other_origin: Origin,
    },
    /// A secret's file cannot be read.
    #[error(
        "cannot read {}, named by {key} ({origin}): {source}\nhelp: {}", file.display(), read_help(source, file)
    )]
    SecretUnreadable {
        /// The key that names the file.
        key: &'static str,
        /// Where the key is.
        origin: Origin,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ConfigError {
    pub(super) fn invalid(
        key: impl Into<String>,
        origin: Origin,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Invalid { key: key.into(), origin, problem: problem.into(), remedy: remedy.into() }
    }
}

/// The environment variable of a key.
pub(super) fn environment_name(key: &str) -> String {
    format!("EPHEMERD__{}", key.replace('.', "__").to_uppercase())
}

/// A path that may be shown. The secret itself may have been written where its file name belongs, so only
/// paths in an existing directory below the root are shown.
pub(super) fn known_path(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|it| it.parent().is_some() && it.is_dir());
    folder.map_or_else(|| PathBuf::from("the file"), |_| file.to_path_buf())
}

/// A key as written, if it looks like one.
pub(super) fn known_key(written: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if written.len() <= 64 && written.chars().all(is_plain) {
        return written.to_owned();
    }
    "that does not look like a key".to_owned()
}

fn at(line: Option<usize>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

fn read_help(error: &io::Error, file: &Path) -> String {
    let file = file.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("create {file}, or name the right file"),
        io::ErrorKind::PermissionDenied => {
            format!(
                "let the user that ephemerd runs as read it: chgrp ephemerd {file}; chmod 640 {file}"
            )
        }
        _ => "name a readable file of UTF-8 text".to_owned(),
    }
}
