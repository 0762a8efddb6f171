use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
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
/// No value is ever quoted: it may be a secret, put where it does not belong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no configuration at all.
    #[error(
        "there is no configuration: {} does not exist\n\
         help: write one, or name another by --config FILE or by EPHEMERD_CONFIG", file.display()
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
        "{}{}: {problem}\nhelp: this place is not valid TOML; text and durations stand in double \
         quotes: poll = \"1s\"", file.display(), at(*line)
    )]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1, where known.
        line: Option<usize>,
        /// What the parser says of it.
        problem: String,
    },
    /// A key that there is not.
    #[error(
        "unknown key {key} ({origin})\nhelp: remove it or correct its name; expected {expected}"
    )]
    Unknown {
        /// The key, as `section.key`.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The keys that there are in that section.
        expected: String,
    },
    /// A key without default that nobody set.
    #[error("{key} is missing ({})\nhelp: {remedy}, or set {}", file.display(), environment_name(key))]
    Missing {
        /// The key, as `section.key`.
        key: &'static str,
        /// The file it belongs in.
        file: PathBuf,
        /// What to write there.
        remedy: String,
    },
    /// A value that cannot be used.
    #[error("{key} {problem} ({origin})\nhelp: {remedy}")]
    Invalid {
        /// The key, as `section.key`.
        key: String,
        /// Where its value stands.
        origin: Origin,
        /// What is wrong, as the end of a sentence that begins with the key.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A secret that is given inline and by file as well.
    #[error("{key} ({origin}) and {other} ({other_origin}) are both set\nhelp: keep one of them")]
    GivenTwice {
        /// The key.
        key: &'static str,
        /// Where it stands.
        origin: Origin,
        /// The other.
        other: &'static str,
        /// Where the other stands.
        other_origin: Origin,
    },
    /// The file that a secret is in cannot be read.
    #[error(
        "cannot read {}, named by {key} ({origin}): {source}\nhelp: {}", file.display(), read_help(source, file)
    )]
    SecretUnreadable {
        /// The key that names the file.
        key: &'static str,
        /// Where the key stands.
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

fn at(line: Option<usize>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

fn read_help(error: &io::Error, file: &Path) -> String {
    let file = file.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("make {file}, or name the file that you mean"),
        io::ErrorKind::PermissionDenied => {
            format!(
                "let the user that ephemerd runs as read it: chgrp ephemerd {file}; chmod 640 {file}"
            )
        }
        _ => "name a readable file of UTF-8 text".to_owned(),
    }
}
