//! Tables from which nothing can be erased at all: said once for each, and tried again after a while.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tracing::{info, warn};

use super::REST_AFTER_FAILURES;
use crate::{archive::Table, database::Error};

/// The tables that refuse everything.
#[derive(Debug, Default)]
pub(super) struct Refused(BTreeMap<&'static str, Refusal>);

#[derive(Debug)]
struct Refusal {
    cause: String,
    until: Instant,
}

impl Refused {
    /// Whether it is not yet time to try this table again.
    pub(super) fn is_resting(&self, table: &Table) -> bool {
        self.0.get(table.name()).is_some_and(|it| it.until > Instant::now())
    }

    /// The table refused all of it.
    pub(super) fn note(&mut self, table: &Table, which: &str, error: &Error) {
        let (table, cause) = (table.name(), error.to_string());
        if self.0.get(table).is_none_or(|it| it.cause != cause) {
            warn!(
                table,
                cause,
                help = error.remedy(),
                "nothing {which} can be erased from this table"
            );
        }
        self.0.insert(table, Refusal { cause, until: Instant::now() + REST_AFTER_FAILURES });
    }

    /// Something was erased from the table.
    pub(super) fn end(&mut self, table: &Table) {
        if let Some(Refusal { cause, .. }) = self.0.remove(table.name()) {
            info!(table = table.name(), cause, "this no longer keeps rows from being erased");
        }
    }

    /// New settings: everything is tried again at once.
    pub(super) fn try_again(&mut self) {
        for refusal in self.0.values_mut() {
            refusal.until = Instant::now();
        }
    }
}
