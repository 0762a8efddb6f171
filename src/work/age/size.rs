//! How much a transaction takes on.

use std::time::Duration;

use super::AgeSettings;

/// Owners that one transaction looks at, at most: one whose rows fill a batch is looked at alone.
const MOST_OWNERS: i64 = 500;
/// While much goes, batches grow up to so many times their size, …
const MOST_TIMES: u32 = 10;
/// … but not beyond so many rows, …
const MOST_ROWS: u32 = 10_000;
/// … nor beyond what takes so long: whoever places a hold, or wants such a row, waits for it.
const LONGEST: Duration = Duration::from_millis(200);
/// After something stood in the way, this many transactions look at rows one by one.
const ROW_BY_ROW: u32 = 10;

/// The most that a transaction takes on: fewer rows after one that failed or took long, fewer owners after one that was full,
/// and more again when one succeeds. Each table has its own, so that one in which nothing happens undoes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Rows that are looked at one by one.
    pub(super) rows: u32,
    /// Rows that go in the database alone.
    bulk: u32,
    /// Owners.
    pub(super) owners: i64,
    /// How many more transactions do nothing in the database alone.
    row_by_row: u32,
}

impl Size {
    /// The size to begin with.
    pub(super) fn first(settings: &AgeSettings) -> Self {
        let rows = settings.most_rows();
        Self { rows, bulk: rows, owners: MOST_OWNERS, row_by_row: 0 }
    }

    /// How many rows may go in the database alone; `None` if none may.
    pub(super) const fn bulk(self) -> Option<u32> {
        if self.row_by_row > 0 { None } else { Some(self.bulk) }
    }

    /// After a transaction that was committed, and was full or not.
    pub(super) fn after(self, settings: &AgeSettings, is_full: bool, took: Duration) -> Self {
        let base = settings.most_rows();
        // A limited rate is not for bursts.
        let most = match settings.rows_per_second {
            0 => base.saturating_mul(MOST_TIMES).min(MOST_ROWS).max(base),
            _ => base,
        };
        let bulk = match self.bulk() {
            Some(bulk) if took > LONGEST => (bulk / 2).max(base.min(bulk)),
            Some(bulk) if is_full && took < LONGEST / 2 => bulk.saturating_mul(2).min(most),
            _ => self.bulk,
        };
        let owners = match is_full {
            true => (self.owners / 2).max(1),
            false => (self.owners * 2).min(MOST_OWNERS),
        };
        let rows = self.rows.saturating_mul(2).min(base);
        Self { rows, bulk, owners, row_by_row: self.row_by_row.saturating_sub(1) }
    }

    /// Something stood in the way of what was to go in the database alone.
    pub(super) fn row_by_row(self, settings: &AgeSettings) -> Self {
        Self { bulk: settings.most_rows(), row_by_row: ROW_BY_ROW, ..self }
    }

    /// Half the rows, one by one, after a failure; `None` if that was a single one.
    pub(super) fn half(self) -> Option<Self> {
        (self.rows > 1).then_some(Self { rows: self.rows / 2, ..self })
    }

    /// A single row.
    pub(super) const fn one_row(self) -> Self {
        Self { rows: 1, row_by_row: ROW_BY_ROW, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::WishRules, policy::Retention};

    fn settings(rows_per_second: u32) -> AgeSettings {
        AgeSettings {
            hosts: Vec::new(),
            retention: Retention::default(),
            wishes: WishRules::default(),
            confirm_above: 0,
            grace: Duration::ZERO,
            batch: 1_000,
            rows_per_second,
            dry_run: false,
        }
    }

    /// Batches grow while there is more, but no further than their bounds in rows and in time.
    #[test]
    fn batches_grow_within_bounds() {
        let (fast, slow) = (Duration::from_millis(10), Duration::from_millis(300));
        let after = |mut size: Size, settings: &AgeSettings, full, took| {
            for _ in 0..20 {
                size = size.after(settings, full, took);
            }
            size
        };
        let unlimited = settings(0);
        let first = Size::first(&unlimited);
        assert_eq!(first.bulk(), Some(1_000));
        let grown = after(first, &unlimited, true, fast);
        assert_eq!((grown.bulk(), grown.rows, grown.owners), (Some(10_000), 1_000, 1));
        assert_eq!(after(first, &unlimited, false, fast).bulk(), Some(1_000), "nothing more to do");
        assert_eq!(after(grown, &unlimited, true, slow).bulk(), Some(1_000));
        let limited = settings(100);
        let size = after(Size::first(&limited), &limited, true, fast);
        assert_eq!((size.bulk(), size.rows), (Some(100), 100), "no bursts");
    }

    /// Where something stands in the way, rows are looked at one by one for a while.
    #[test]
    fn what_stands_in_the_way_is_looked_at_row_by_row() {
        let settings = settings(0);
        let mut size = Size::first(&settings).row_by_row(&settings);
        assert_eq!(size.half().map(|it| (it.rows, it.bulk())), Some((500, None)));
        assert_eq!(size.one_row().half(), None);
        for _ in 0..ROW_BY_ROW {
            assert_eq!(size.bulk(), None);
            size = size.after(&settings, true, Duration::ZERO);
        }
        assert_eq!(size.bulk(), Some(1_000));
    }
}
