/// One line of `check`: what was checked, the result, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How serious it is.
    pub level: Level,
    /// What was found, in one sentence. Never a JID, user name, archive id or password.
    pub what: String,
    /// What to do about it; empty if nothing is to be done.
    pub remedy: String,
    /// The documentation page with more details; empty if nothing is to be done.
    pub page: &'static str,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Good,
    /// It works, but deserves a look.
    Warning,
    /// It will not work.
    Problem,
}

impl Finding {
    /// All is well.
    pub fn good(what: impl Into<String>) -> Self {
        Self { level: Level::Good, what: what.into(), remedy: String::new(), page: "" }
    }

    /// It works, but deserves a look.
    pub fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, what: what.into(), remedy: remedy.into(), page: "" }
    }

    /// It will not work.
    pub fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Problem, what: what.into(), remedy: remedy.into(), page: "" }
    }

    /// Adds the documentation page, if there is anything to do.
    #[must_use]
    pub fn see(self, page: &'static str) -> Self {
        if self.remedy.is_empty() { self } else { Self { page, ..self } }
    }
}
