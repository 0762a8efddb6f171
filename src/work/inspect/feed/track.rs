//! The numbers of one module's notices: which have arrived, and which have not.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::archive::companion::Unanswered;

/// Maximum number of notices remembered that arrived ahead of others.
const MOST_AHEAD: usize = 10_000;

/// Which of one module's notices have arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    /// It was loaded from the ledger.
    pub(super) is_known: bool,
    /// The module's start that the numbers belong to.
    pub(super) boot: String,
    /// Everything up to here has arrived.
    pub(super) number: i64,
    /// What arrived beyond that, and since when something before it is missing.
    ahead: BTreeSet<i64>,
    ahead_since: Option<Instant>,
    /// The module reported a number that had not arrived; this was seen once.
    pub(super) doubted: bool,
    /// When to greet it.
    pub(super) greet_at: Option<Instant>,
    /// It was asked to announce again what it knows about sessions, since something may have been lost.
    pub(super) recalled: bool,
    /// The greeting under way asks for that.
    pub(super) recalls: bool,
    /// A greeting is under way. There is never a second one: it would be unclear which numbers are newer.
    pub(super) greets: bool,
    /// It answered the last greeting.
    pub(super) answers: bool,
    /// Why it could not be used at the last greeting.
    pub(super) refused: Option<Unanswered>,
    /// It has stopped erasing after a failed write.
    pub(super) halted: bool,
}

impl Track {
    /// A notice has arrived. Returns whether the module was restarted: then what it sent shortly before is not known.
    pub(super) fn hear(&mut self, (boot, number): (&str, i64)) -> bool {
        if boot != self.boot {
            self.follow((boot, number));
            return true;
        }
        if number <= self.number {
            return false;
        }
        let before = self.number;
        self.ahead.insert(number);
        while self.ahead.remove(&(self.number + 1)) {
            self.number += 1;
        }
        if self.ahead.len() > MOST_AHEAD {
            self.ahead.pop_last();
        }
        if self.ahead.is_empty() {
            self.ahead_since = None;
        } else if self.number > before {
            // What is missing now is another notice.
            self.ahead_since = Some(Instant::now());
        } else {
            self.ahead_since.get_or_insert_with(Instant::now);
        }
        false
    }

    /// The highest number that has arrived.
    pub(super) fn highest(&self) -> i64 {
        self.ahead.last().copied().unwrap_or(self.number)
    }

    /// Whether something may have been lost, if these are the module's numbers: how many notices, as far as is known.
    pub(super) fn lost(&self, (boot, number): (&str, i64)) -> Option<u64> {
        // A number that went back means an unannounced restart.
        if boot != self.boot || number < self.number {
            return Some(u64::try_from(number).unwrap_or(0));
        }
        let come = i64::try_from(self.ahead.range(..=number).count()).unwrap_or(0);
        u64::try_from(number - self.number - come).ok().filter(|missing| *missing > 0)
    }

    /// Everything up to these numbers is known, or will be listed.
    pub(super) fn follow(&mut self, (boot, number): (&str, i64)) {
        if boot != self.boot {
            self.ahead.clear();
        }
        self.boot = boot.to_owned();
        self.number = number;
        self.ahead = self.ahead.split_off(&(number + 1));
        (self.ahead_since, self.doubted) = (None, false);
    }

    /// Something has been missing for this long.
    pub(super) fn is_overdue(&self, patience: Duration) -> bool {
        self.ahead_since.is_some_and(|since| since.elapsed() >= patience)
    }

    /// Nothing has been missing for this long, and nothing else is doubtful.
    pub(super) fn keeps_up(&self, patience: Duration) -> bool {
        self.is_known && !self.doubted && !self.is_overdue(patience)
    }

    /// Nothing is missing, as far as is known.
    pub(super) fn is_clear(&self) -> bool {
        self.is_known && self.ahead_since.is_none() && !self.doubted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Track {
        let mut track = Track { is_known: true, ..Track::default() };
        track.follow(("a", 10));
        track
    }

    #[test]
    fn numbers_in_any_order_are_complete_in_the_end() {
        let mut track = known();
        for number in [12, 13, 11, 11, 5] {
            track.hear(("a", number));
        }
        assert_eq!((track.number, track.is_clear()), (13, true));
        assert_eq!(track.lost(("a", 13)), None);
    }

    #[test]
    fn a_gap_that_does_not_close_is_reported() {
        let mut track = known();
        track.hear(("a", 14));
        track.hear(("a", 12));
        assert!(!track.is_clear() && track.is_overdue(Duration::ZERO));
        assert_eq!((track.number, track.highest()), (10, 14));
        assert_eq!(track.lost(("a", 14)), Some(2));
        assert_eq!(track.lost(("a", 15)), Some(3));
        track.follow(("a", 14));
        assert!(track.is_clear());
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_that_arrive_out_of_order_for_long_are_not_lost() {
        let patience = Duration::from_secs(2);
        let mut track = known();
        for number in (10..30).step_by(2) {
            track.hear(("a", number + 2));
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(track.keeps_up(patience) && !track.is_clear(), "{number}");
            track.hear(("a", number + 4));
            track.hear(("a", number + 1));
        }
        tokio::time::advance(patience).await;
        assert!(track.is_overdue(patience) && !track.keeps_up(patience));
    }

    #[test]
    fn a_restarted_module_may_have_sent_what_was_not_received() {
        let mut track = known();
        assert_eq!(track.lost(("b", 0)), Some(0));
        assert!(track.hear(("b", 1)));
        assert!(!track.hear(("b", 2)));
        assert_eq!(track.number, 2);
        assert_eq!(track.lost(("b", 1)), Some(1), "a number that went back");
        assert_eq!(track.lost(("b", 2)), None);
    }
}
