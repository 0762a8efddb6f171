/// One line of `check`: what was looked at, how it stands, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub level: Level,
    /// What was found, one sentence. Never a JID, user name, archive id or password.
    pub what: String,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: String,
    /// The page of the documentation that has more of it; empty where there is nothing to do.
    pub page: &'static str,
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
        Self { level: Level::Good, what: what.into(), remedy: String::new(), page: "" }
    }

    /// It works, but somebody should look.
    pub fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, what: what.into(), remedy: remedy.into(), page: "" }
    }

    /// It will not work.
    pub fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Problem, what: what.into(), remedy: remedy.into(), page: "" }
    }

    /// The same; where there is something to do, this page has more of it.
    #[must_use]
    pub fn see(self, page: &'static str) -> Self {
        if self.remedy.is_empty() { self } else { Self { page, ..self } }
    }
}
