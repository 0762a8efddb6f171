//! What the daemon does: inspect, erase, sweep. It opens the transactions and joins ledger and archive
//! by arrays of keys.

pub mod backlog;
mod changing;
mod crash;
pub mod erase;
pub mod gauges;
pub mod inspect;
pub mod leader;
mod reconcile;
pub mod remote;
pub mod sweep;
pub mod wake;

use std::time::Duration;

pub use changing::Changing;

use crate::{archive::RowKey, ledger::Expiry};

/// For one transaction: longer than any statement may take, and not for ever, since a connection may be
/// cut without a word.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(120);

/// The archived row that an entry stands for.
fn row_key(expiry: &Expiry) -> RowKey {
    RowKey {
        store: expiry.store,
        host: expiry.host.clone(),
        owner: expiry.owner.clone(),
        archive_id: expiry.archive_id.clone(),
        row_number: expiry.row_number,
        stamped_at: expiry.stamped_at,
        digest: expiry.digest.clone(),
    }
}
