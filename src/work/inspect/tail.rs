//! The tail: reads what is new in the archive, records what must go, moves the cursor.
//!
//! Rows may commit late, with a lower number than rows read before. So each poll reads everything beyond the cursor
//! again, and the cursor moves to the newest row of an *earlier* poll once all transactions of that time have ended and
//! five seconds have passed (a number is drawn from the sequence before its transaction has an id).

use std::{sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Inspection,
    pass::{Pass, Tail},
    start::{begin_pass, first_start},
};
use crate::{
    archive::{Archive, Order, Search, Table},
    database::{Named, Result, in_time},
    ledger,
    metrics::Metrics,
    model::{Rules, Store, Timestamp},
    work::{
        TRANSACTION_LIMIT,
        base::{Changing, Retry, crash::crash_point, replace, wake::rung},
        reconcile::{
            Context, Read, Reconciled, Round, candidates, encrypted_owners, end_page,
            find_belonging, notice_deliveries, notice_positions, notice_reading, notice_receipts,
            reconcile,
        },
    },
};

/// Archive rows that one statement searches.
const SPAN_ROWS: i64 = 5_000;
/// Minimum interval between polls, however often the bell rings.
const SHORTEST_POLL: Duration = Duration::from_millis(20);
/// How long one connection is kept: taking one from the pool and giving it back asks the database as often as a poll that
/// finds nothing.
const KEEP_FOR: Duration = Duration::from_secs(60);
/// How long to wait after a poll that failed or found a lock in its way, if polls are rarer: until one succeeds, a daemon
/// that has just started is not ready. It grows with each failure.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// When a poll found the cursor locked, the next comes so soon, and each further one twice as late: few hold it for longer.
const LOCKED_AGAIN: Duration = Duration::from_millis(50);
/// Maximum number of spans in one transaction: short transactions let others in.
const SPANS: usize = 10;

/// How long to wait after a poll that took this long: until the next is due, but no shorter than the poll took, so that
/// a busy tail leaves the database half of the time.
fn rest(poll: Duration, took: Duration) -> Duration {
    poll.saturating_sub(took).max(took.min(poll))
}

/// The same after a step that did not fail. `locked`: so many steps just before it had found the cursor locked.
fn pause(step: Step, locked: u32, poll: Duration, took: Duration) -> Duration {
    let rest = rest(poll, took);
    match step {
        Step::More => Duration::ZERO,
        Step::Elsewhere => rest.min(LOCKED_AGAIN * 2_u32.saturating_pow(locked.min(10))),
        Step::CaughtUp => rest,
        Step::Waits => rest.min(TRY_AGAIN),
    }
}

/// What the tail needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectSettings {
    /// Only rows of these hosts.
    pub hosts: Vec<String>,
    /// Interval between polls, from the beginning of one to the beginning of the next.
    pub poll: Duration,
    /// What the operator decided.
    pub rules: Rules,
}

/// The tail of one archive.
pub struct Inspector {
    pool: PgPool,
    kept: Option<Kept>,
    archive: Archive,
    tails: Vec<Tail>,
    settings: Changing<InspectSettings>,
    metrics: Arc<Metrics>,
    state: watch::Sender<Inspection>,
    judging: watch::Sender<Rules>,
    started: Instant,
    /// Queue entries are checked in rounds: this is the last one checked.
    queue_seen: i64,
    /// Accounts whose published positions are looked up in rounds.
    positions: Round,
}

/// A connection in order, and since when it is out of the pool.
struct Kept {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

/// How a step of the tail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It reached the archive's end.
    CaughtUp,
    /// There is more.
    More,
    /// Another daemon is inspecting.
    Elsewhere,
    /// Another session holds a lock, and nothing was read.
    Waits,
}

impl Inspector {
    /// A tail that starts with [`Inspector::run`]. `judging` gets new rules once nothing is recorded by the old ones
    /// any more.
    pub fn new(
        pool: PgPool,
        archive: Archive,
        settings: Changing<InspectSettings>,
        metrics: Arc<Metrics>,
        state: watch::Sender<Inspection>,
        judging: watch::Sender<Rules>,
    ) -> Self {
        let started = Instant::now();
        let tails = archive.tables().into_iter().map(Tail::new).collect();
        let (queue_seen, positions) = (0, Round::default());
        Self {
            pool,
            kept: None,
            archive,
            tails,
            settings,
            metrics,
            state,
            judging,
            started,
            queue_seen,
            positions,
        }
    }

    /// Polls until stopped, and at once when the bell rings.
    pub async fn run(mut self, bell: Arc<Notify>, stop: CancellationToken) {
        let mut retry = Retry::new("inspection", TRY_AGAIN, 10);
        let mut locked = 0_u32;
        while !stop.is_cancelled() {
            if self.settings.take() {
                replace(&self.judging, self.settings.rules.clone());
            }
            let began = Instant::now();
            let step = match in_time("inspect", TRANSACTION_LIMIT, self.step()).await {
                Err(error) if error.is_contention() => {
                    debug!(%error, "inspection waits for another session");
                    self.give_up_passes();
                    Ok(Step::Waits)
                }
                step => step,
            };
            self.report(&step);
            let is_locked = matches!(step, Ok(Step::Elsewhere));
            let pause = match step {
                Ok(step) => {
                    if step != Step::More {
                        retry.succeeded();
                    }
                    pause(step, locked, self.settings.poll, began.elapsed())
                }
                Err(error) => {
                    self.give_up_passes();
                    retry.failed(&error, &self.metrics)
                }
            };
            locked = if is_locked { locked.saturating_add(1) } else { 0 };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.settings.changed() => {}
                () = rung(&bell, SHORTEST_POLL), if !retry.is_failing() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn report(&self, step: &Result<Step>) {
        let now = Instant::now();
        self.state.send_modify(|state| {
            state.reachable = step.is_ok();
            // Another daemon that inspects reports the lag; ours would only grow.
            if matches!(step, Ok(Step::CaughtUp | Step::Elsewhere)) {
                state.caught_up = Some(now);
            }
        });
        let since = self.state.borrow().caught_up.unwrap_or(self.started);
        self.metrics.inspection_lag_seconds.set(now.duration_since(since).as_secs_f64());
    }

    /// What was read and not committed is read again.
    fn give_up_passes(&mut self) {
        self.tails.iter_mut().for_each(Tail::give_up);
    }

    /// One transaction of each table's tail. The connection is kept only if all went well.
    async fn step(&mut self) -> Result<Step> {
        let kept = self.kept.take().filter(|it| it.since.elapsed() < KEEP_FOR);
        let mut kept = match kept {
            Some(kept) => kept,
            None => Kept {
                connection: self.pool.acquire().await.named("inspect_connect")?,
                since: Instant::now(),
            },
        };
        let step = self.steps(&mut kept.connection).await?;
        self.kept = Some(kept);
        Ok(step)
    }

    /// A table that has more is continued before the others get their turn.
    async fn steps(&mut self, connection: &mut PgConnection) -> Result<Step> {
        let mut together = Step::CaughtUp;
        for at in 0..self.tails.len() {
            match self.step_of(at, connection).await? {
                Step::CaughtUp => {}
                Step::More => return Ok(Step::More),
                other => together = other,
            }
        }
        Ok(together)
    }

    /// If it is interrupted at any point, the tails stay as they were.
    async fn step_of(&mut self, at: usize, connection: &mut PgConnection) -> Result<Step> {
        if self.is_quiet(at, connection).await? {
            return Ok(Step::CaughtUp);
        }
        let Some(tail) = self.tails.get_mut(at) else { return Ok(Step::CaughtUp) };
        let table = tail.table.clone();
        let name = table.name();
        let mut transaction = connection.begin().await.named("inspect_begin")?;
        let Some(cursor) = ledger::lock_cursor(&mut transaction, name).await? else {
            let first = first_start(&mut transaction, &table).await?;
            transaction.commit().await.named("inspect_commit")?;
            return Ok(if first { Step::More } else { Step::Elsewhere });
        };
        let pass = match tail.pass.take() {
            Some(pass) => Some(pass),
            None => begin_pass(&mut transaction, tail, cursor).await?,
        };
        let Some(pass) = pass else {
            transaction.commit().await.named("inspect_commit")?;
            return Ok(Step::More);
        };
        let mut reconciled = Reconciled::default();
        let pass = self.read_on(&mut transaction, &table, pass, &mut reconciled).await?;
        if table.stores().contains(&Store::Queue) {
            let context = self.context(pass.horizon.now);
            let (archive, seen) = (&self.archive, self.queue_seen);
            self.queue_seen = notice_deliveries(&mut transaction, archive, seen, context).await?;
        }
        if table.stores().contains(&Store::Archive) {
            let (context, round) = (self.context(pass.horizon.now), &self.positions);
            let next = notice_positions(&mut transaction, round, context, &mut reconciled).await?;
            self.positions = next;
        }
        let moved = pass.moved(cursor);
        let uploads = &self.settings.rules.uploads;
        if uploads.is_on() && table.order() != Order::Unordered {
            let (span, urls) = ((cursor.frontier, moved.frontier), uploads.urls.join("\n"));
            ledger::files_looked_for(&mut transaction, name, span, &urls).await?;
        }
        if moved != cursor {
            ledger::move_cursor(&mut transaction, name, moved).await?;
        }
        crash_point!("recorded");
        transaction.commit().await.named("inspect_commit")?;
        crash_point!("inspected");
        if let Some(due) = reconciled.first_due() {
            for tail in self.tails.iter_mut().filter(|it| it.table.name() != name) {
                tail.needed_by(due);
            }
        }
        if reconciled.names_more {
            // What belongs to these messages may wait in a table that was read before.
            let others = self.tails.iter_mut().filter(|it| it.table.name() != name);
            others.for_each(Tail::look_again);
        }
        // An earlier poll counted the rows up to the frontier.
        reconciled.count(&self.metrics, cursor.frontier);
        let Some(tail) = self.tails.get_mut(at) else { return Ok(Step::CaughtUp) };
        if pass.at < pass.until {
            tail.pass = Some(pass);
            return Ok(Step::More);
        }
        tail.end_pass(pass, moved);
        self.inspected_at(pass.horizon.now);
        Ok(Step::CaughtUp)
    }

    /// Whether nothing has come and nothing waits for what is not in the table's new rows: two looks, without a lock, a
    /// transaction or a record in the database's log; one if nobody has written anything since the last.
    async fn is_quiet(&mut self, at: usize, connection: &mut PgConnection) -> Result<bool> {
        let Some(tail) = self.tails.get_mut(at).filter(|it| it.may_be_quiet()) else {
            return Ok(false);
        };
        let horizon = tail.table.horizon(connection).await?;
        let look = match tail.seen(horizon) {
            Some(look) => Some(look),
            None => ledger::look(connection, tail.table.name()).await?,
        };
        let Some(look) = look else { return Ok(false) };
        tail.saw(horizon, look);
        if !tail.is_quiet(horizon, look.cursor) {
            return Ok(false);
        }
        let stores = tail.table.stores();
        let has_positions = self.archive.may_have_positions() && self.positions.is_due();
        if look.has_queued && stores.contains(&Store::Queue)
            || look.has_unread && stores.contains(&Store::Archive) && has_positions
        {
            return Ok(false);
        }
        self.inspected_at(horizon.now);
        Ok(true)
    }

    fn inspected_at(&self, now: Timestamp) {
        let seconds = now.timestamp_micros() as f64 / 1e6;
        self.metrics.last_inspection_timestamp_seconds.set(seconds);
    }

    /// Reads and records until the pass ends or the transaction is long enough.
    async fn read_on(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        mut pass: Pass,
        reconciled: &mut Reconciled,
    ) -> Result<Pass> {
        let (first, context) = (pass.at, self.context(pass.horizon.now));
        let hosts = &self.settings.hosts;
        let mut named = ledger::named_owners(connection).await?;
        let encrypted = encrypted_owners(connection, self.settings.rules.wishes).await?;
        let files = self.settings.rules.uploads.patterns();
        for _ in 0..SPANS {
            let rest = (pass.at, pass.until);
            let Some((end, _)) = table.span_end(connection, rest, SPAN_ROWS).await? else {
                pass.at = pass.until;
                break;
            };
            let span = (pass.at, end);
            let search = Search::marked_and(&named, context.rules)
                .and_encrypted(&encrypted)
                .and_naming(&files);
            let searched = (hosts.as_slice(), search);
            let (mut rows, end) = candidates(connection, table, searched, span).await?;
            pass.at = if end < pass.until { end_page(&mut rows, span.0, end) } else { end };
            let before = reconciled.recorded.len();
            reconcile(connection, Read::all(&rows), context, reconciled).await?;
            if reconciled.recorded.len() > before {
                let span = (span.0, pass.at);
                reconciled.names_more |=
                    find_belonging(connection, table, hosts, span, &mut named, context, reconciled)
                        .await?;
            }
        }
        // It comes after what it names, so all rows are recorded first.
        let read = (first, pass.at);
        notice_reading(connection, table, hosts, read, context, reconciled).await?;
        notice_receipts(connection, table, hosts, read, context).await?;
        Ok(pass)
    }

    fn context(&self, now: Timestamp) -> Context<'_> {
        Context { archive: Some(&self.archive), rules: &self.settings.rules, now, listed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rooms that wait for every member keep the tail out for moments, and so may another daemon.
    #[test]
    fn what_was_locked_for_a_moment_is_tried_again_soon() {
        let ms = Duration::from_millis;
        let pause = |step, locked| pause(step, locked, ms(500), ms(0));
        assert_eq!(pause(Step::Elsewhere, 0), ms(50));
        assert_eq!(pause(Step::Elsewhere, 1), ms(100));
        assert_eq!(pause(Step::Elsewhere, 9), ms(500), "another daemon inspects");
        assert_eq!(pause(Step::Elsewhere, u32::MAX), ms(500));
        assert_eq!(pause(Step::CaughtUp, 1), ms(500));
        assert_eq!(pause(Step::Waits, 0), ms(500));
        assert_eq!(pause(Step::More, 0), ms(0));
    }

    #[test]
    fn polls_keep_their_interval_and_leave_the_database_half_of_the_time() {
        let ms = Duration::from_millis;
        assert_eq!(rest(ms(500), ms(0)), ms(500));
        assert_eq!(rest(ms(500), ms(80)), ms(420));
        assert_eq!(rest(ms(500), ms(400)), ms(400));
        assert_eq!(rest(ms(500), ms(60_000)), ms(500), "never longer than the interval");
    }
}
