//! Rooms whose timers start when every member has read the message (`rooms.start = "everyone"`): asks the module who the
//! members are, and judges what waits there.
//!
//! What somebody has just read is judged at once, everything else in rounds, because members come and go. Members are known
//! only here, and only while a room is judged.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sqlx::{PgPool, Postgres, Transaction};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    archive::companion::{Requests, Unanswered},
    database::{self, Named as _, Result, in_time},
    ledger::{self, Judged, Member, Started},
    metrics::Metrics,
    model::{Occupant, RoomStart, Rules, Stamp, Start, StartedBy, Timestamp},
    policy,
    work::{
        TRANSACTION_LIMIT,
        base::{Retry, count, presence::CompanionSettings, wake::rung},
    },
};

/// Interval between looks for rooms in which somebody has read something, unless the bell rings.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Minimum interval between looks, however often the bell rings; more if a look takes longer, so that modules and database
/// have half of the time for others.
const SHORTEST: Duration = Duration::from_millis(100);
/// Maximum number of rooms judged at each look for that reason, and of those judged again in a round.
const ROOMS: i64 = 20;
/// Interval between rounds; more if a round takes longer.
const ROUND_EVERY: Duration = Duration::from_secs(5);
/// Maximum number of entries in one transaction, which keeps the tail out: with 500 members, each known by two digests, it
/// takes about 0.1 s.
const ENTRIES: i64 = 200;
/// How long until a module that does not answer, or cannot, is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The worker of one daemon. Only a daemon whose component is connected can ask.
pub struct Everyone<R> {
    pool: PgPool,
    requests: R,
    settings: watch::Receiver<CompanionSettings>,
    /// The archive's stamps may be whole seconds.
    whole_seconds: bool,
    /// Modules that did not answer are not asked before.
    not_before: HashMap<String, Instant>,
    /// Hosts of which it was logged that nothing there lists members.
    logged: HashSet<String>,
    round: Round,
    /// The room up to which what was not judged before is judged; `None` if all of it is.
    unjudged_after: Option<(String, String)>,
    /// Since the rule changed, nothing was left that somebody has read.
    none_is_partly_read: bool,
    metrics: Arc<Metrics>,
    retry: Retry,
}

/// Rooms are judged again in rounds: which one was last, when this round began, and when the next one begins.
struct Round {
    after: Option<(String, String)>,
    began: Instant,
    next: Instant,
}

impl<R: Requests> Everyone<R> {
    /// A worker that starts with [`Everyone::run`]. `whole_seconds`: the archive's stamps may be whole seconds.
    pub fn new(
        pool: PgPool,
        requests: R,
        settings: watch::Receiver<CompanionSettings>,
        whole_seconds: bool,
        metrics: Arc<Metrics>,
    ) -> Self {
        let round = Round { after: None, began: Instant::now(), next: Instant::now() };
        let retry = Retry::new("judging whether every member has read something", LOOK_EVERY, 10);
        Self {
            pool,
            requests,
            settings,
            whole_seconds,
            not_before: HashMap::new(),
            logged: HashSet::new(),
            round,
            unjudged_after: None,
            none_is_partly_read: false,
            metrics,
            retry,
        }
    }

    /// Judges what waits, until stopped, and soon when somebody has read something.
    pub async fn run(mut self, bell: Arc<Notify>, stop: CancellationToken) {
        let mut connection = self.requests.connection();
        let (mut wait, mut rest) = (LOOK_EVERY, SHORTEST);
        loop {
            let is_connected = connection.borrow_and_update().is_some();
            let looks = match self.rule() {
                RoomStart::Everyone => is_connected,
                RoomStart::FirstReader => !self.none_is_partly_read,
                RoomStart::Archived => false,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.settings.changed() => match changed {
                    Ok(()) => self.none_is_partly_read = false,
                    Err(_) => return stop.cancelled().await,
                },
                changed = connection.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.not_before.clear();
                }
                _ = timeout(wait.max(rest), rung(&bell, rest)), if looks => {
                    let began = Instant::now();
                    let Some(looked) = stop.run_until_cancelled(self.look()).await else { return };
                    (rest, wait) = match looked {
                        Ok(()) => {
                            self.retry.succeeded();
                            (SHORTEST.max(began.elapsed()), LOOK_EVERY)
                        }
                        Err(error) => {
                            let later = LOOK_EVERY + self.retry.failed(&error, &self.metrics);
                            (later, later)
                        }
                    };
                }
            }
        }
    }

    fn rule(&self) -> RoomStart {
        self.settings.borrow().rules.rooms.start
    }

    /// Nobody else is waited for any more: what somebody has read starts.
    async fn start_partly_read(&mut self) -> Result<()> {
        let hosts = self.settings.borrow().hosts.clone();
        let mut transaction = self.begin(&hosts).await?;
        let now = database::now(&mut transaction).await?;
        let found = ledger::partly_read(&mut transaction, &hosts, ENTRIES).await?;
        let starting = found.iter().filter_map(|it| starts(it, self.whole_seconds, now));
        let starting: Vec<Started> =
            starting.map(|it| Started { by_everyone: false, ..it }).collect();
        let started = ledger::start_read(&mut transaction, &starting).await?;
        transaction.commit().await.named("everyone_commit")?;
        started.iter().for_each(|by| self.metrics.started.of(*by).inc());
        self.none_is_partly_read = count(found.len()) < ENTRIES || started.is_empty();
        Ok(())
    }

    /// A transaction with the locks under which others change what waits, in their order.
    async fn begin(&self, hosts: &[String]) -> Result<Transaction<'static, Postgres>> {
        let mut transaction = self.pool.begin().await.named("everyone_begin")?;
        ledger::lock_feeds(&mut transaction, hosts).await?;
        ledger::lock_cursors(&mut transaction).await?;
        Ok(transaction)
    }

    /// Judges the rooms in which somebody has read something, and a part of the others if their round is due.
    async fn look(&mut self) -> Result<()> {
        if self.rule() == RoomStart::FirstReader {
            return in_time("everyone", TRANSACTION_LIMIT, self.start_partly_read()).await;
        }
        let now = Instant::now();
        self.not_before.retain(|_, until| *until > now);
        let mut hosts = self.settings.borrow().hosts.clone();
        hosts.retain(|it| !self.not_before.contains_key(it));
        if hosts.is_empty() {
            return Ok(());
        }
        for room in self.rooms(&hosts).await? {
            if !self.not_before.contains_key(&room.1) {
                self.judge(&room).await?;
            }
        }
        Ok(())
    }

    /// The rooms to judge now, by local part and host.
    async fn rooms(&mut self, hosts: &[String]) -> Result<Vec<(String, String)>> {
        let mut connection = self.pool.acquire().await.named("everyone_connect")?;
        let after = self.unjudged_after.as_ref();
        let mut rooms = ledger::waiting_rooms(&mut connection, hosts, false, after, ROOMS).await?;
        // So that rooms in which much happens keep none of the others waiting.
        self.unjudged_after = rooms.last().filter(|_| count(rooms.len()) >= ROOMS).cloned();
        if Instant::now() >= self.round.next {
            let after = self.round.after.as_ref();
            let others = ledger::waiting_rooms(&mut connection, hosts, true, after, ROOMS).await?;
            if after.is_none() {
                self.round.began = Instant::now();
            }
            self.round.after = others.last().filter(|_| count(others.len()) >= ROOMS).cloned();
            if self.round.after.is_none() {
                self.round.next = Instant::now() + ROUND_EVERY.max(self.round.began.elapsed());
            }
            rooms.extend(others.into_iter().filter(|it| !rooms.contains(it)).collect::<Vec<_>>());
        }
        Ok(rooms)
    }

    /// Judges what waits in a room.
    async fn judge(&mut self, (room, host): &(String, String)) -> Result<()> {
        let members = match self.requests.members(host, room).await {
            Ok(members) => members,
            // It is there, and has no answer for this room now.
            Err(
                Unanswered::Busy
                | Unanswered::StorageFailed
                | Unanswered::Refused
                | Unanswered::Unreadable,
            ) => None,
            Err(why) => {
                self.complain(host, why);
                self.not_before.insert(host.clone(), Instant::now() + ASK_AGAIN);
                return Ok(());
            }
        };
        if self.rule() != RoomStart::Everyone {
            return Ok(());
        }
        let rules = self.settings.borrow().rules.clone();
        let members = members.map(|all| waited_for(all, &rules));
        let mut after = 0;
        loop {
            let page = self.judge_page((host, room), members.as_deref(), after);
            let Some(last) = in_time("everyone", TRANSACTION_LIMIT, page).await? else {
                return Ok(());
            };
            after = last;
        }
    }

    /// Logs once for each host that nothing there lists members.
    fn complain(&mut self, host: &str, why: Unanswered) {
        let lists_none =
            matches!(why, Unanswered::Absent | Unanswered::Unimplemented | Unanswered::Forbidden);
        if lists_none && self.logged.insert(host.to_owned()) {
            warn!(
                host,
                help = why.remedy(),
                "rooms' members are not known, so messages there wait for timers.unread_for: {why}"
            );
        } else {
            debug!(host, "rooms' members are not known: {why}");
        }
    }

    /// Judges the entries after this one. Returns the last one, if there may be more.
    async fn judge_page(
        &self,
        owner: (&str, &str),
        members: Option<&[Member]>,
        after: i64,
    ) -> Result<Option<i64>> {
        let mut connection = self.pool.acquire().await.named("everyone_connect")?;
        let page = ledger::judge_room(&mut connection, owner, members, after, ENTRIES).await?;
        drop(connection);
        // In most rounds nothing is new, and no tail is kept out for that.
        if page.iter().any(|it| it.is_read || !it.was_judged) {
            self.settle_page(owner, members, after).await?;
        }
        Ok(page.last().filter(|_| count(page.len()) >= ENTRIES).map(|it| it.id))
    }

    /// Starts what everyone has read among the entries after this one, and notes that the others were judged, in one
    /// transaction.
    async fn settle_page(
        &self,
        owner: (&str, &str),
        members: Option<&[Member]>,
        after: i64,
    ) -> Result<()> {
        let mut transaction = self.begin(&[owner.0.to_owned()]).await?;
        let now = database::now(&mut transaction).await?;
        let page = ledger::judge_room(&mut transaction, owner, members, after, ENTRIES).await?;
        let (read, missing): (Vec<&Judged>, Vec<_>) = page.iter().partition(|it| it.is_read);
        let starting: Vec<Started> =
            read.iter().filter_map(|it| starts(it, self.whole_seconds, now)).collect();
        let started = ledger::start_read(&mut transaction, &starting).await?;
        ledger::note_judged(&mut transaction, &missing).await?;
        transaction.commit().await.named("everyone_commit")?;
        started.iter().for_each(|by| self.metrics.started.of(*by).inc());
        Ok(())
    }
}

/// Those whose reading counts.
fn waited_for(members: Vec<Occupant>, rules: &Rules) -> Vec<Member> {
    let lower = |it: Occupant| Occupant { jid: it.jid.map(|jid| jid.to_lowercase()), ..it };
    let counting = members.into_iter().map(lower).filter(|it| !rules.rooms.ignores(it));
    counting.filter_map(|it| Some(Member { jid: it.jid?, id: it.id })).collect()
}

/// When the timer of what everyone has read starts: when the last of them showed it. If somebody was missing before, and
/// nobody has shown anything since, whoever was missing has left, and it starts now. `None` if it starts by itself before.
fn starts(entry: &Judged, whole_seconds: bool, now: Timestamp) -> Option<Started> {
    let last = entry.last.filter(|_| !entry.was_judged);
    let (at, by) = last.unwrap_or((now, StartedBy::Members));
    let unread = Start { at: entry.starts_at, by: StartedBy::Unread };
    let stamp = Stamp { at: entry.stamped_at, whole_seconds };
    let start = policy::read(Start { at, by }, (stamp, now), unread);
    let due_at = policy::later(start.at, entry.timer);
    let started = Started { id: entry.id, start, due_at, by_everyone: true };
    (start.by != StartedBy::Unread).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).unwrap()
    }

    /// Archived at 100, and waiting until 1,000 at the latest.
    fn entry(last: Option<(i64, StartedBy)>, was_judged: bool) -> Judged {
        let last = last.map(|(seconds, by)| (at(seconds), by));
        Judged { last, was_judged, ..Judged::new(7, at(100), at(1_000), Duration::from_secs(60)) }
    }

    fn start(entry: &Judged, now: i64) -> Option<(i64, StartedBy, i64)> {
        let started = starts(entry, false, at(now))?;
        Some((started.start.at.timestamp(), started.start.by, started.due_at.timestamp()))
    }

    #[test]
    fn the_last_reader_starts_the_timer_when_they_read() {
        let read = |seconds| entry(Some((seconds, StartedBy::Mds)), false);
        assert_eq!(start(&read(300), 400), Some((300, StartedBy::Mds, 360)));
        assert_eq!(start(&read(50), 400), Some((100, StartedBy::Mds, 160)), "not before it came");
        assert_eq!(start(&read(1_000), 2_000), None, "it has started by itself");
    }

    #[test]
    fn who_leaves_starts_the_timer_when_that_is_noticed() {
        let members = Some((400, StartedBy::Members, 460));
        assert_eq!(start(&entry(Some((300, StartedBy::Marker)), true), 400), members);
        assert_eq!(start(&entry(None, true), 400), members);
        assert_eq!(start(&entry(None, false), 400), members, "nobody else was there");
        assert_eq!(start(&entry(None, true), 1_000), None);
    }

    #[test]
    fn ignored_members_are_not_waited_for() {
        let mut rules = Rules::default();
        rules.rooms.ignore_readers =
            ["bot@h", "bots.h", "den@rooms/Weather"].map(str::to_owned).to_vec();
        let member = |jid: &str, nick: Option<&str>| Occupant {
            jid: Some(jid.to_owned()),
            nick: nick.map(str::to_owned),
            id: None,
        };
        let all = vec![
            member("Bot@h", None),
            member("a@bots.h", None),
            member("w@h", Some("den@rooms/Weather")),
            member("Ann@h", Some("den@rooms/Ann")),
        ];
        let left = waited_for(all, &rules);
        assert_eq!(left, [Member { jid: "ann@h".to_owned(), id: None }]);
    }
}
