//! What the daemon does: inspect, erase, sweep, and erase by age. It opens the transactions, and joins ledger and archive by arrays of
//! keys.
//!
//! Each verb is implemented twice: as `tables`, `tail` for archives in PostgreSQL; as `companion`, `feed`, `owners`
//! for archives that only the server's companion module can reach (`archive.kind = "component"`).
//! Inspecting and sweeping share `reconcile`. The verbs do not use each other; what they share is in `base`.

pub mod age;
pub mod backlog;
pub mod base;
pub mod erase;
pub mod gauges;
pub mod holds;
pub mod inspect;
mod reconcile;
pub mod sweep;

use std::time::Duration;

pub use base::Changing;

/// Maximum time for one transaction. Longer than any statement may take, but finite: a connection may be cut
/// without notice.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(120);
