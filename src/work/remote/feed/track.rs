//! The running numbers of one module's notices: which have come, and which have not.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::archive::remote::Unanswered;

/// Numbers that came before others are remembered up to so many.
const MOST_AHEAD: usize = 10_000;

/// What has come of one module's notices.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    /// The ledger was asked.
    pub(super) is_known: bool,
    /// The module's start that the numbers belong to.
    pub(super) boot: String,
    /// Everything up to here has come.
    pub(super) number: i64,
    /// What came beyond, and since when something before it is missing.
    ahead: BTreeSet<i64>,
    ahead_since: Option<Instant>,
    /// The module spoke once of a number that had not come.
    pub(super) doubted: bool,
    /// When to ask who is there.
    pub(super) greet_at: Option<Instant>,
    /// It answered when it was last asked.
    pub(super) answers: bool,
    /// Why it was of no use when it was last asked.
    pub(super) refused: Option<Unanswered>,
}

impl Track {
    /// A notice has come. Returns whether it is of another start of the module: what the last one told at its
    /// end, and this one before, is not known.
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
            // What is missing now is another one.
            self.ahead_since = Some(Instant::now());
        } else {
            self.ahead_since.get_or_insert_with(Instant::now);
        }
        false
    }

    /// The highest number that has come.
    pub(super) fn highest(&self) -> i64 {
        self.ahead.last().copied().unwrap_or(self.number)
    }

    /// If these are the module's numbers, something may have been lost: so many notices, as far as is known.
    pub(super) fn lost(&self, (boot, number): (&str, i64)) -> Option<u64> {
        // A number that went back is a start that says it is none.
        if boot != self.boot || number < self.number {
            return Some(u64::try_from(number).unwrap_or(0));
        }
        let come = i64::try_from(self.ahead.range(..=number).count()).unwrap_or(0);
        u64::try_from(number - self.number - come).ok().filter(|missing| *missing > 0)
    }

    /// All is known up to these numbers, or is listed.
    pub(super) fn follow(&mut self, (boot, number): (&str, i64)) {
        if boot != self.boot {
            self.ahead.clear();
        }
        self.boot = boot.to_owned();
        self.number = number;
        self.ahead = self.ahead.split_off(&(number + 1));
        (self.ahead_since, self.doubted) = (None, false);
    }

    /// Something has been missing for so long.
    pub(super) fn is_overdue(&self, patience: Duration) -> bool {
        self.ahead_since.is_some_and(|since| since.elapsed() >= patience)
    }

    /// Nothing has been missing for so long, and nothing else is doubtful.
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
    fn a_gap_is_told_when_it_does_not_close() {
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
    async fn numbers_that_come_in_disorder_for_long_are_no_loss() {
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
    fn a_module_that_started_anew_may_have_told_what_was_not_heard() {
        let mut track = known();
        assert_eq!(track.lost(("b", 0)), Some(0));
        assert!(track.hear(("b", 1)));
        assert!(!track.hear(("b", 2)));
        assert_eq!(track.number, 2);
        assert_eq!(track.lost(("b", 1)), Some(1), "a number that went back");
        assert_eq!(track.lost(("b", 2)), None);
    }
}
