//! Inspecting: reads what is new and records what must go.
//!
//! `tail` reads the server's tables; `feed` takes what the companion modules send. `sessions` holds back what nobody
//! has received, wherever the archives are.

pub mod everyone;
pub mod feed;
mod pass;
mod readings;
pub mod sessions;
mod start;
mod tail;

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

pub use self::tail::{InspectSettings, Inspector};

/// The state of inspection, for `/readyz`.
#[derive(Debug, Clone, Copy)]
pub struct Inspection {
    /// When it last reached the archive's end; `None` before the first time.
    pub caught_up: Option<Instant>,
    /// Whether the last poll reached the database.
    pub reachable: bool,
}

/// If the archive cannot be read, erasing begins without that after this time.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// Waits until the archive has been read to its end once. Before that, a message may be due whose copy reached the
/// offline queue while no daemon ran.
pub async fn read_once(mut states: watch::Receiver<Inspection>) {
    let read = states.wait_for(|it| it.caught_up.is_some());
    let _ = timeout(READ_WITHIN, read).await;
}
