use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What the laboratory's functions return.
pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// Something in the laboratory failed. `Debug` prints the same as `Display`, so that a test that returns it
/// says what happened.
pub enum LabError {
    /// The XMPP server answered with a stanza error (RFC 6120, 8.3).
    Stanza {
        /// The defined condition, for example `item-not-found`.
        condition: String,
        /// The server's text, often empty.
        text: String,
    },
    /// Something expected did not happen in time.
    TimedOut {
        /// What was expected.
        what: String,
        /// How long.
        after: Duration,
    },
    /// Anything else, in words, with its source.
    Failed {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl LabError {
    /// A failure in words.
    pub fn new(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), source: None }
    }

    /// The defined condition, if the server answered with a stanza error.
    pub fn condition(&self) -> Option<&str> {
        match self {
            Self::Stanza { condition, .. } => Some(condition),
            _ => None,
        }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stanza { condition, text } => write!(f, "stanza error {condition} {text:?}"),
            Self::TimedOut { what, after } => write!(f, "waited {after:?} in vain for {what}"),
            Self::Failed { what, source: None } => f.write_str(what),
            Self::Failed { what, source: Some(source) } => write!(f, "{what}: {source}"),
        }
    }
}

impl fmt::Debug for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for LabError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { source: Some(source), .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for LabError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed { what: "SQL".to_owned(), source: Some(error.into()) }
    }
}

impl From<std::io::Error> for LabError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed { what: "I/O".to_owned(), source: Some(error.into()) }
    }
}

/// Adds what was attempted to an error.
pub trait Context<T> {
    /// Adds what was tried.
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Context<T> for Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| LabError::Failed { what: what.into(), source: Some(error.into()) })
    }
}
