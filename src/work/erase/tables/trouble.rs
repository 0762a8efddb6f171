//! What keeps rows from being erased: logged once per table and cause, however many rows and attempts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

use crate::{
    archive::Archive,
    database::Error,
    metrics::FailureCause,
    model::Store,
    work::{
        base::replace,
        erase::{count::Batch, fate::Fate},
    },
};

/// A cause that was not seen for this long is over. Longer than the longest time that a row is put off.
const OVER_AFTER: Duration = Duration::from_secs(600);

/// Maximum number of causes remembered. A trigger chooses its own SQLSTATE: beyond these, nothing is logged.
const MOST_CAUSES: usize = 32;

/// Why a row could not be erased.
pub(super) struct Cause {
    what: String,
    remedy: &'static str,
    /// It affects every row of the table.
    blocks: bool,
}

impl Cause {
    /// The database refused it.
    pub(super) fn refused(error: &Error) -> Self {
        Self { what: error.to_string(), remedy: error.remedy(), blocks: error.is_of_the_table() }
    }

    /// The database reported success, but the row is unchanged.
    fn unchanged() -> Self {
        Self {
            what: "a trigger or rule keeps rows as they are".to_owned(),
            remedy: "look at the triggers and rules of this table, in psql by \\d and its name",
            blocks: false,
        }
    }
}

struct Trouble {
    blocks: bool,
    seen: Instant,
}

/// The causes that apply now, by table and text.
pub(super) struct Troubles {
    archive: Archive,
    open: BTreeMap<(&'static str, String), Trouble>,
    blocked: watch::Sender<Option<String>>,
}

impl Troubles {
    pub(super) fn new(archive: Archive, blocked: watch::Sender<Option<String>>) -> Self {
        Self { archive, open: BTreeMap::new(), blocked }
    }

    /// A row of this store could not be erased.
    pub(super) fn note(&mut self, store: Store, cause: Cause) {
        let Some(table) = self.archive.table_of(store) else { return };
        let Cause { what, remedy: help, blocks } = cause;
        let key = (table, what.clone());
        let is_known = self.open.contains_key(&key);
        if !is_known && self.open.len() >= MOST_CAUSES {
            debug!(table, cause = what, "a row cannot be erased, put off");
            return;
        }
        self.open.insert(key, Trouble { blocks, seen: Instant::now() });
        if !is_known {
            warn!(table, cause = what, help, "rows cannot be erased: each is put off and retried");
            self.notify();
        }
    }

    /// Erasing a row ends whatever kept its whole table from being erased.
    pub(super) fn after(&mut self, batch: &Batch) {
        let stores = |is: fn(&Fate) -> bool| -> BTreeSet<Store> {
            batch.entries().filter(|it| is(it.1)).map(|it| it.0.row.store).collect()
        };
        for store in stores(|fate| fate.erased().is_some()) {
            let table = self.archive.table_of(store);
            self.end(|(of, _), trouble| Some(*of) == table && trouble.blocks);
        }
        for store in stores(|fate| *fate == Fate::PutOff(FailureCause::Unchanged)) {
            self.note(store, Cause::unchanged());
        }
    }

    /// Drops the causes that were not seen for long.
    pub(super) fn expire(&mut self) {
        self.end(|_, trouble| trouble.seen.elapsed() >= OVER_AFTER);
    }

    fn end(&mut self, is_over: impl Fn(&(&'static str, String), &Trouble) -> bool) {
        let over: Vec<_> = self.open.extract_if(.., |key, trouble| is_over(key, trouble)).collect();
        if over.is_empty() {
            return;
        }
        for ((table, cause), _) in over {
            info!(table, cause, "this no longer keeps rows from being erased");
        }
        self.notify();
    }

    fn notify(&self) {
        let blocking = self.open.iter().find(|(_, trouble)| trouble.blocks);
        let why = blocking
            .map(|((table, cause), _)| format!("nothing can be erased from {table}: {cause}"));
        replace(&self.blocked, why);
    }
}
