//! A batch after its commit: what is counted, and where the next claim starts.

use tokio::time::Instant;

use super::fate::Fate;
use crate::{
    ledger::{Bound, Claims, Expiry, Phase},
    metrics::Metrics,
    model::{Mode, StartedBy},
};

/// Claimed entries, and what became of each.
pub(super) struct Batch {
    pub(super) claims: Claims,
    pub(super) fates: Vec<Fate>,
    pub(super) claimed_at: Instant,
    pub(super) settled_at: Instant,
}

impl Batch {
    /// The number of entries whose rows were to be erased.
    pub(super) fn len(&self) -> usize {
        self.claims.entries.len()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&Expiry, &Fate)> {
        self.claims.entries.iter().map(|it| &it.entry.expiry).zip(&self.fates)
    }

    /// Where the next claim starts. A dry run skips what it saw, because all of it is still there.
    pub(super) fn next_from(&self, is_dry_run: bool) -> Bound {
        let (at, id) = self.claims.last;
        if is_dry_run { (at, id + 1) } else { (at, 0) }
    }

    /// Counts what was committed.
    pub(super) fn count(&self, metrics: &Metrics) {
        let took = self.settled_at.duration_since(self.claimed_at).as_secs_f64();
        for (expiry, fate) in self.entries() {
            match (fate, expiry.phase) {
                (Fate::Untried, _) | (Fate::Erased(Mode::DryRun), Phase::Placeholder) => {}
                (Fate::Erased(_) | Fate::Kept(_), Phase::Placeholder) => {
                    metrics.placeholders_deleted.inc();
                }
                (Fate::Erased(_) | Fate::Kept(_), Phase::Pending) => {
                    let mode = fate.erased().unwrap_or(Mode::DryRun);
                    metrics.erased.of(expiry.row.store, expiry.reason, mode).inc();
                    let capped = expiry.start.by == StartedBy::Unread && mode != Mode::DryRun;
                    metrics.unread_capped.inc_by(u64::from(capped));
                    let late = (self.claims.now - expiry.due_at).as_seconds_f64();
                    metrics.erase_delay_seconds.observe(late + took);
                }
                (Fate::AlreadyGone, _) => metrics.already_gone.inc(),
                (Fate::TakenOver, _) => metrics.taken_over.inc(),
                (Fate::PutOff(cause), _) => metrics.erase_failures.of(*cause).inc(),
            }
        }
    }
}
