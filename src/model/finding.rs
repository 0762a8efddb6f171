/// One line of `check`: what was looked at, how it stands, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub level: Level,
    /// What was found, one sentence. Never a JID, user name, archive id or password.
    pub what: String,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: String,
}

/// How a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// It works, but somebody should look.
    Warning,
    /// It will not work.
    Problem,
}

impl Finding {
    /// Something is as it should be.
    pub fn good(what: impl Into<String>) -> Self {
        Self { level: Level::Good, what: what.into(), remedy: String::new() }
    }

    /// It works, but somebody should look.
    pub fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, what: what.into(), remedy: remedy.into() }
    }

    /// It will not work.
    pub fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Problem, what: what.into(), remedy: remedy.into() }
    }
}
