//! How a claimed row is erased, and what became of it.

use crate::{
    ledger::{Expiry, Phase},
    metrics::FailureCause,
    model::{Mode, Store},
};

/// How a row is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// The row is deleted.
    Delete,
    /// The row becomes a placeholder.
    Blank,
    /// A queue row: its text goes; ids and stamps remain.
    BlankQueued,
}

impl Way {
    /// How this row is erased if archived rows are erased by `mode`.
    pub(super) fn of(expiry: &Expiry, mode: Mode) -> Self {
        match (expiry.phase, expiry.row.store) {
            (Phase::Placeholder, _) => Self::Delete,
            (Phase::Pending, Store::Queue) => Self::BlankQueued,
            (Phase::Pending, _) if mode == Mode::Delete => Self::Delete,
            (Phase::Pending, _) => Self::Blank,
        }
    }

    pub(super) fn mode(self) -> Mode {
        match self {
            Self::Delete => Mode::Delete,
            Self::Blank | Self::BlankQueued => Mode::Placeholder,
        }
    }
}

/// What became of a claimed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its text, or its placeholder's row, is gone.
    Erased(Mode),
    /// Its text is gone. The row remains as a placeholder with this digest, to be deleted later.
    Kept(Vec<u8>),
    /// Someone else had already removed it.
    AlreadyGone,
    /// Someone else has rewritten it since, and it is left to them.
    TakenOver,
    /// It is still there, and is retried later.
    PutOff(FailureCause),
    /// Nothing was attempted.
    Untried,
}

impl Fate {
    /// The entry is done with; in `PutOff` and `Untried` it is not.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(self, Self::PutOff(_) | Self::Untried)
    }

    /// How the row was erased, if it was; not in a dry run.
    pub(super) fn erased(&self) -> Option<Mode> {
        match self {
            Self::Erased(Mode::DryRun) => None,
            Self::Erased(mode) => Some(*mode),
            Self::Kept(_) => Some(Mode::Placeholder),
            Self::AlreadyGone | Self::TakenOver | Self::PutOff(_) | Self::Untried => None,
        }
    }
}
