//! Erasing: what is due is erased, and the ledger forgets it.
//!
//! `tables` does both in one transaction. `companion` leases what is due, asks the module, and settles by its answers.
//! How they claim (`turn`), and what becomes of claimed entries (`fate`), ledger (`settle`) and metrics (`count`), is the
//! same for both.

mod asked;
pub mod companion;
mod count;
mod fate;
pub mod files;
mod pace;
pub mod remembered;
pub mod scrub;
mod settle;
pub mod tables;
mod turn;

pub use self::pace::Pace;

use std::time::Duration;

use crate::model::Mode;

/// What the eraser needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseSettings {
    /// Only rows of these hosts.
    pub hosts: Vec<String>,
    /// What becomes of archived rows: placeholder or delete.
    pub mode: Mode,
    /// How long a placeholder is kept.
    pub placeholder_for: Duration,
    /// Maximum number of rows in one transaction.
    pub batch: u32,
    /// 0 means no limit.
    pub rows_per_second: u32,
    /// Go through what is due once and count it; erase nothing.
    pub dry_run: bool,
    /// What replies quote is cut out of them; not in a dry run.
    pub cut_quotes: bool,
    /// Uploaded files go with the rows that name them.
    pub removes_files: bool,
}

impl EraseSettings {
    /// Quotes are cut now.
    const fn cuts(&self) -> bool {
        self.cut_quotes && !self.dry_run
    }

    /// The largest batch: at most one second's worth if the rate is limited.
    fn most_rows(&self) -> u32 {
        match self.rows_per_second {
            0 => self.batch.max(1),
            rate => self.batch.clamp(1, rate),
        }
    }
}
