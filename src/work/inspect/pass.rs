//! How far a pass over one table goes, and how far the cursor may follow.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::{
    archive::{Horizon, Order, Table},
    ledger::{Cursor, Look},
    model::Timestamp,
};

/// Within this time, a number drawn from the sequence is in its row, or its transaction is visible.
const SETTLING: Duration = Duration::from_secs(5);

/// A transaction that is open for longer than this does not hold the cursor back; a sweep follows when it ends.
const PATIENCE: Duration = Duration::from_secs(600);

/// Nearly all stamped rows commit within this time. Each poll reads this far back.
const RECENT: Duration = Duration::from_secs(5);
/// Now and then a poll reads further back, for the few others. The sweep finds what commits even later.
const LATE: Duration = Duration::from_secs(600);
const LATE_EVERY: Duration = Duration::from_secs(60);
/// Rows stamped further ahead than this are read again until their time comes: the server's clock is wrong.
const AHEAD: Duration = Duration::from_secs(60);

/// A table that is read in full takes at most one part in this many of the time, unless it is needed earlier.
const RESTING_PARTS: u32 = 20;
/// A needed reading begins this long before its result is needed, and twice as long as the last one took.
const AHEAD_OF_NEED: Duration = Duration::from_secs(2);

/// One pass from the cursor to the table's end. A long one takes several transactions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) at: i64,
    pub(super) until: i64,
    /// Everything up to here is final, and the cursor may follow.
    safe: i64,
    /// Nothing beyond this counts as read.
    known: i64,
    started: Instant,
    /// It reads further back than the cursor.
    is_late: bool,
    /// It reads the whole table.
    is_whole: bool,
    /// All transactions that could still add to what it reads have ended.
    is_settled: bool,
    pub(super) horizon: Horizon,
}

impl Pass {
    /// The cursor after this much of the pass.
    pub(super) fn moved(&self, cursor: Cursor) -> Cursor {
        Cursor {
            position: cursor.position.max(self.at.min(self.safe)),
            frontier: cursor.frontier.max(self.at.min(self.known)).max(cursor.position),
            filenode: Some(self.horizon.filenode),
            ..cursor
        }
    }
}

/// The tail of one table.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) table: Table,
    /// The pass that is under way.
    pub(super) pass: Option<Pass>,
    mark: Option<Mark>,
    /// The cursor moved on without waiting for the transactions below this one.
    passed: Option<i64>,
    /// When a poll last read far back.
    late_at: Option<Instant>,
    /// The rest after a reading of the whole table.
    rest: Option<Rest>,
    /// The earliest time at which a row of another table goes, of those recorded since the last reading began.
    needed_by: Option<Timestamp>,
    /// The cursor and the horizon when a pass left nothing to read or to wait for.
    quiet: Option<(Cursor, Horizon)>,
    /// What the last look saw in the ledger, and the horizon just before it.
    seen: Option<(Horizon, Look)>,
}

/// The pause after a reading of the whole table.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    /// How long the reading took.
    took: Duration,
}

/// An earlier poll: how far rows and transactions had come.
#[derive(Debug, Clone, Copy)]
struct Mark {
    newest: i64,
    xmax: i64,
    server_started: Timestamp,
    taken: Instant,
}

impl Mark {
    fn of(horizon: Horizon, taken: Instant) -> Self {
        let Horizon { newest, xmax, server_started, .. } = horizon;
        Self { newest, xmax, server_started, taken }
    }

    /// Everything that could still appear below this mark is visible by now.
    fn is_settled(&self, horizon: Horizon) -> bool {
        horizon.xmin >= self.xmax && self.taken.elapsed() >= SETTLING
    }

    /// The database was restored, or another server took over that lacks the last transactions. Rows or transactions behind
    /// the mark show that only until new ones have caught up.
    fn is_of_another_time(&self, horizon: Horizon) -> bool {
        self.server_started != horizon.server_started
            || self.newest > horizon.newest.max(horizon.sequence)
            || self.xmax > horizon.xmax
    }
}

impl Tail {
    pub(super) fn new(table: Table) -> Self {
        Self {
            table,
            pass: None,
            mark: None,
            passed: None,
            late_at: None,
            rest: None,
            needed_by: None,
            quiet: None,
            seen: None,
        }
    }

    /// What was read and not committed is read again.
    pub(super) fn give_up(&mut self) {
        (self.pass, self.quiet, self.seen) = (None, None, None);
    }

    /// Something else is looked for in it from now on.
    pub(super) fn look_again(&mut self) {
        self.quiet = None;
    }

    /// Whether a look at the horizon may be enough.
    pub(super) fn may_be_quiet(&self) -> bool {
        self.quiet.is_some()
    }

    /// What a look at the ledger would see now, if that is known: nobody has written anything since the last one.
    pub(super) fn seen(&self, now: Horizon) -> Option<Look> {
        let is_still = |it: Horizon| it.xmin == it.xmax;
        let is_same =
            |a: Horizon, b: Horizon| (a.xmax, a.server_started) == (b.xmax, b.server_started);
        let (then, look) = self.seen?;
        (is_still(then) && is_still(now) && is_same(then, now)).then_some(look)
    }

    /// A look that was taken after this horizon.
    pub(super) fn saw(&mut self, before: Horizon, look: Look) {
        self.seen = Some((before, look));
    }

    /// Nothing has come since the last pass, and nothing can come late: it had read up to the newest row, and waited
    /// for all transactions before it. Another cursor means that our own tables were restored.
    pub(super) fn is_quiet(&self, now: Horizon, cursor: Cursor) -> bool {
        self.quiet.is_some_and(|(left, then)| {
            let rows = |it: Horizon| (it.newest, it.sequence, it.filenode, it.server_started);
            (cursor, rows(now)) == (left, rows(then))
                && now.xmax >= then.xmax
                && !(self.table.order() == Order::Stamps && self.is_late(now))
        })
    }

    /// Whether it is time to read further back. What is stamped within that time may still come.
    fn is_late(&self, now: Horizon) -> bool {
        let reach = now.now.timestamp_micros().saturating_sub(micros(LATE));
        now.newest > reach && self.late_at.is_none_or(|at| at.elapsed() >= LATE_EVERY)
    }

    /// A row recorded from another table goes at this time, unless this table has a copy that nobody has received:
    /// it is read again before that time, rest or not.
    pub(super) fn needed_by(&mut self, due: Timestamp) {
        self.needed_by = Some(self.needed_by.map_or(due, |earlier| earlier.min(due)));
    }

    fn is_resting(&self, now: Timestamp) -> bool {
        self.rest.is_some_and(|rest| {
            let ahead = AHEAD_OF_NEED + rest.took * 2;
            let is_needed = self.needed_by.is_some_and(|by| by <= now + ahead);
            Instant::now() < rest.until && !is_needed
        })
    }

    /// The table went back in time: numbers that were read will be given out again.
    pub(super) fn is_restored(&self, horizon: Horizon, cursor: Cursor) -> bool {
        match self.table.order() {
            Order::Sequence | Order::Unordered => horizon.is_before(cursor.frontier),
            // The newest row may be deleted at any time.
            Order::Stamps => false,
        }
    }

    /// The table has a different file: it was restored, even if its numbers look right, or rewritten. Reading it again
    /// does no harm.
    pub(super) fn is_remade(&mut self, horizon: Horizon, cursor: Cursor) -> bool {
        let remade = cursor.filenode.is_some_and(|filenode| filenode != horizon.filenode);
        // What an earlier poll saw may be from a time that was undone.
        self.mark.take_if(|mark| remade || mark.is_of_another_time(horizon));
        remade
    }

    /// The cursor after a restore. Nothing known from before counts.
    pub(super) fn restart(&mut self, horizon: Horizon, cursor: Cursor) -> Cursor {
        self.mark = None;
        let newest = horizon.newest.max(horizon.sequence);
        Cursor {
            first_position: cursor.first_position.min(newest),
            position: cursor.position.min(newest),
            frontier: newest,
            filenode: Some(horizon.filenode),
        }
    }

    /// A transaction that the cursor did not wait for has ended. Only a sweep finds its rows.
    pub(super) fn wants_sweep(&mut self, horizon: Horizon) -> bool {
        self.passed.take_if(|xmax| horizon.xmin >= *xmax).is_some()
    }

    pub(super) fn start_pass(&mut self, horizon: Horizon, cursor: Cursor) -> Pass {
        let pass = Pass {
            at: cursor.position,
            until: horizon.newest,
            safe: horizon.newest,
            known: horizon.newest,
            started: Instant::now(),
            is_late: false,
            is_whole: false,
            is_settled: true,
            horizon,
        };
        match self.table.order() {
            Order::Sequence => {
                let mut settled = self.mark.filter(|mark| mark.is_settled(horizon));
                if let Some(mark) = self.mark.filter(|mark| mark.taken.elapsed() >= PATIENCE) {
                    if settled.is_none() {
                        warn!(
                            "a transaction has been open for a long time: inspection continues without waiting for it"
                        );
                        self.passed = Some(mark.xmax);
                    }
                    settled = Some(mark);
                }
                Pass { safe: settled.map_or(cursor.position, |mark| mark.newest), ..pass }
            }
            Order::Stamps => {
                let now = horizon.now.timestamp_micros();
                let is_late = self.is_late(horizon);
                let back = if is_late { micros(LATE) } else { 0 };
                Pass {
                    is_late,
                    // What was there before the first start is backlog, and left to the sweep.
                    at: (cursor.position - back).max(cursor.first_position),
                    safe: now - micros(RECENT),
                    known: now + micros(AHEAD),
                    ..pass
                }
            }
            Order::Unordered if self.is_resting(horizon.now) => {
                Pass { at: horizon.newest, safe: cursor.position, ..pass }
            }
            Order::Unordered => {
                // A reading that fails is repeated without a rest.
                (self.rest, self.needed_by) = (None, None);
                let is_settled = self.mark.is_some_and(|mark| mark.is_settled(horizon));
                Pass { at: cursor.first_position, is_whole: true, is_settled, ..pass }
            }
        }
    }

    /// The cursor is where the pass left it.
    pub(super) fn end_pass(&mut self, pass: Pass, cursor: Cursor) {
        let is_at_end = match self.table.order() {
            // The newest row may have been deleted since.
            Order::Sequence | Order::Stamps => cursor.position >= pass.horizon.newest,
            Order::Unordered => pass.is_whole,
        };
        let is_quiet = is_at_end && pass.is_settled && self.passed.is_none();
        self.quiet = is_quiet.then_some((cursor, pass.horizon));
        match self.table.order() {
            Order::Sequence => {
                let keep = self.mark.is_some_and(|mark| pass.safe < mark.newest);
                if !keep {
                    self.mark = Some(Mark::of(pass.horizon, Instant::now()));
                }
            }
            Order::Stamps if pass.is_late => self.late_at = Some(pass.started),
            Order::Unordered if pass.is_whole => {
                let mark = Mark::of(pass.horizon, pass.started);
                self.mark = self.mark.filter(|it| it.newest == mark.newest).or(Some(mark));
                let took = pass.started.elapsed();
                self.rest = Some(Rest { until: Instant::now() + took * RESTING_PARTS, took });
            }
            Order::Stamps | Order::Unordered => {}
        }
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ejabberd::Schema;

    const CURSOR: Cursor = Cursor { first_position: 0, position: 0, frontier: 0, filenode: None };

    fn horizon(now: Timestamp) -> Horizon {
        let server_started = Timestamp::UNIX_EPOCH;
        Horizon { xmin: 0, xmax: 0, newest: 9, sequence: 9, now, server_started, filenode: 1 }
    }

    /// Reads the whole table; it takes a second.
    async fn slowly_read(tail: &mut Tail) {
        let pass = tail.start_pass(horizon(Timestamp::UNIX_EPOCH), CURSOR);
        assert!(pass.is_whole);
        tokio::time::advance(Duration::from_secs(1)).await;
        tail.end_pass(pass, CURSOR);
    }

    /// After a slow reading the queue is left alone, but never beyond the time at which a message goes that may have
    /// come to it since: nobody has received what waits there.
    #[tokio::test(start_paused = true)]
    async fn a_queue_rests_only_until_it_is_needed() {
        let mut tail = Tail::new(Table::EjabberdSpool(Schema::MultiHost));
        slowly_read(&mut tail).await;
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1);
        assert!(!tail.start_pass(horizon(now), CURSOR).is_whole, "it rests for 20 seconds");
        tail.needed_by(now + Duration::from_secs(6));
        tail.needed_by(now + Duration::from_secs(60));
        let just_before = now + Duration::from_millis(1_990);
        assert!(!tail.start_pass(horizon(just_before), CURSOR).is_whole);
        let needed = now + Duration::from_secs(2);
        let pass = tail.start_pass(horizon(needed), CURSOR);
        assert!(pass.is_whole, "4 s before: the last reading took one");
        assert!(tail.start_pass(horizon(needed), CURSOR).is_whole, "one that failed is repeated");
        tokio::time::advance(Duration::from_secs(1)).await;
        tail.end_pass(pass, CURSOR);
        assert!(!tail.start_pass(horizon(needed), CURSOR).is_whole, "one reading is enough");
    }

    /// A row whose number was drawn before may commit long after: its queue is read until that is impossible.
    #[tokio::test(start_paused = true)]
    async fn a_queue_is_quiet_once_nothing_can_come_late() {
        let mut tail = Tail::new(Table::EjabberdSpool(Schema::MultiHost));
        let open = Horizon { xmin: 7, xmax: 9, ..horizon(Timestamp::UNIX_EPOCH) };
        let ended = Horizon { xmin: 9, ..open };
        for (now, is_quiet) in [(open, false), (open, false), (ended, true)] {
            let pass = Pass { at: 9, ..tail.start_pass(now, CURSOR) };
            tail.end_pass(pass, CURSOR);
            assert_eq!(tail.is_quiet(now, CURSOR), is_quiet, "{now:?}");
            tokio::time::advance(SETTLING).await;
        }
        assert!(!tail.is_quiet(Horizon { newest: 10, sequence: 10, ..ended }, CURSOR));
        assert!(!tail.is_quiet(Horizon { filenode: 2, ..ended }, CURSOR));
        assert!(!tail.is_quiet(ended, Cursor { position: 1, ..CURSOR }), "a restored ledger");
    }

    /// What a look saw holds as long as no transaction is open and none has come. One that was open then may have
    /// written what the look did not see.
    #[test]
    fn a_look_holds_until_somebody_may_have_written() {
        let mut tail = Tail::new(Table::EjabberdSpool(Schema::MultiHost));
        let still = Horizon { xmin: 9, xmax: 9, ..horizon(Timestamp::UNIX_EPOCH) };
        let look = Look { cursor: CURSOR, has_queued: true, has_unread: false };
        assert!(tail.seen(still).is_none(), "before the first look");
        tail.saw(still, look);
        assert!(tail.seen(still).is_some_and(|it| it.has_queued));
        assert!(tail.seen(Horizon { xmin: 9, xmax: 10, ..still }).is_none(), "one is open");
        assert!(tail.seen(Horizon { xmin: 10, xmax: 10, ..still }).is_none(), "one has ended");
        tail.saw(Horizon { xmin: 8, ..still }, look);
        assert!(tail.seen(still).is_none(), "one was open at the look, and has ended");
        tail.saw(still, look);
        tail.give_up();
        assert!(tail.seen(still).is_none(), "the connection failed: it may be another database");
    }

    /// What commits late may have an earlier stamp than the newest row: within ten minutes it is looked for.
    #[tokio::test(start_paused = true)]
    async fn a_stamped_archive_is_quiet_between_two_looks_back() {
        let mut tail = Tail::new(Table::EjabberdArchive(Schema::MultiHost));
        let newest = Timestamp::UNIX_EPOCH + Duration::from_secs(1);
        let at = newest.timestamp_micros();
        let now = |later| Horizon { newest: at, ..horizon(newest + Duration::from_secs(later)) };
        let read = |tail: &mut Tail, horizon: Horizon| {
            let pass = Pass { at, ..tail.start_pass(horizon, CURSOR) };
            let cursor = pass.moved(CURSOR);
            tail.end_pass(pass, cursor);
            cursor
        };
        let cursor = read(&mut tail, now(1));
        assert!(!tail.is_quiet(now(1), cursor), "what came just now is read again");
        let cursor = read(&mut tail, now(6));
        assert!(tail.is_quiet(now(6), cursor));
        tokio::time::advance(LATE_EVERY).await;
        assert!(!tail.is_quiet(now(66), cursor), "time to look back");
        assert!(tail.is_quiet(now(700), cursor), "what comes even later is the sweep's");
    }

    /// A server that took over without the last transactions soon has as many again: what was seen on the other one says
    /// nothing about those.
    #[tokio::test(start_paused = true)]
    async fn a_mark_of_another_server_counts_for_nothing() {
        let mut tail = Tail::new(Table::Prosody);
        let before = Horizon { xmin: 9, xmax: 9, ..horizon(Timestamp::UNIX_EPOCH) };
        let pass = Pass { at: 9, ..tail.start_pass(before, CURSOR) };
        tail.end_pass(pass, CURSOR);
        tokio::time::advance(SETTLING).await;
        // Number 9 was given out again, by a transaction that is still open.
        let caught_up = Horizon { xmin: 10, xmax: 12, newest: 12, sequence: 12, ..before };
        let after = Horizon { server_started: Timestamp::UNIX_EPOCH + SETTLING, ..caught_up };
        for (horizon, safe) in [(caught_up, 9), (after, CURSOR.position)] {
            tail.is_remade(horizon, CURSOR);
            assert_eq!(tail.start_pass(horizon, CURSOR).safe, safe, "{horizon:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_nobody_needs_rests_twenty_times_as_long_as_it_was_read() {
        let mut tail = Tail::new(Table::EjabberdSpool(Schema::MultiHost));
        slowly_read(&mut tail).await;
        tokio::time::advance(Duration::from_millis(19_990)).await;
        assert!(!tail.start_pass(horizon(Timestamp::UNIX_EPOCH), CURSOR).is_whole);
        tokio::time::advance(Duration::from_millis(20)).await;
        assert!(tail.start_pass(horizon(Timestamp::UNIX_EPOCH), CURSOR).is_whole);
    }
}
