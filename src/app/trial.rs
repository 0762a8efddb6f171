//! `ephemerd try`: a running daemon sends a message with a timer to an account of the server, and we watch it vanish.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgListener};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Error, archive_kind, connect, open_archive, pooled};
use crate::{
    archive::{Archive, Sought},
    component::{Link, Trial},
    config::Config,
    database::{self, DatabaseSettings, Named},
    ledger::{self, Entry, Pause, TRIAL_CHANNEL, TRIED_CHANNEL},
    model::{Address, Reason, Stamp, StartedBy, Store, Timestamp},
};

/// How long daemons have to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the server and the tail have to archive and record it, besides two intervals of polls.
const RECORD_WITHIN: Duration = Duration::from_secs(10);
/// When it is overdue we say why.
const LATE: TimeDelta = TimeDelta::seconds(5);
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A daemon sends one in this time.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// The shortest and the longest timer, in seconds.
const TIMERS: std::ops::RangeInclusive<u32> = 1..=86_400;
const ID: &str = "try-";

/// What a command asks the daemons for.
#[derive(Serialize, Deserialize)]
struct Asked {
    id: String,
    local: String,
    host: String,
    seconds: u32,
}

/// What a daemon answers.
#[derive(Serialize, Deserialize)]
struct Answered {
    id: String,
    sent: bool,
}

/// How far a trial has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialStep {
    /// The message is on its way.
    Sent,
    /// It goes then.
    Recorded(Timestamp),
    /// Nobody has received it, so its timer does not run.
    Undelivered,
    /// Its reader has not read it, so its timer does not run.
    Unread,
}

impl TrialStep {
    /// Its timer does not run.
    pub(super) const fn waits(self) -> bool {
        matches!(self, Self::Undelivered | Self::Unread)
    }
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialEnd {
    /// The text is gone, so long after it was due; negative by the clock's inaccuracy at most.
    Gone(TimeDelta),
    /// No daemon listens to this database.
    NoDaemon,
    /// A daemon runs, but its component is not connected.
    Disconnected,
    /// The server archived nothing.
    NotArchived,
    /// The server may have archived it; nothing recorded that it must go.
    NotRecorded,
    /// It waits for this still: undelivered, unread, or its timer.
    Waits(TrialStep),
    /// It is overdue: erasing is paused.
    Paused,
    /// It is overdue: the configuration has `erase.dry_run`.
    DryRun,
    /// It is overdue: a hold keeps it.
    OnHold,
    /// It is overdue, for no reason that is known.
    Overdue,
    /// It is recorded as gone, and the archive still has its text.
    StillThere,
}

impl TrialEnd {
    /// A word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone(_) => "gone",
            Self::NoDaemon => "no_daemon",
            Self::Disconnected => "disconnected",
            Self::NotArchived => "not_archived",
            Self::NotRecorded => "not_recorded",
            Self::Waits(TrialStep::Undelivered) => "undelivered",
            Self::Waits(TrialStep::Unread) => "unread",
            Self::Waits(_) => "not_due",
            Self::Paused => "paused",
            Self::DryRun => "dry_run",
            Self::OnHold => "on_hold",
            Self::Overdue => "overdue",
            Self::StillThere => "still_there",
        }
    }
}

/// Sends a message with a timer of so many seconds to an account, and watches it for `wait` at most.
pub async fn try_out(
    config: &Config,
    to: &Address,
    seconds: u32,
    wait: Duration,
    mut report: impl FnMut(TrialStep),
) -> Result<TrialEnd, Error> {
    let mut watched = Watched::new(config, to, LATE).await?;
    let id = watched.id.clone();
    let end = match ask(config, &mut watched.connection, to, (&id, seconds)).await {
        Ok(None) => {
            report(TrialStep::Sent);
            watched.until_gone(wait, None, &mut report).await
        }
        Ok(Some(end)) => Ok(end),
        Err(error) => Err(error),
    };
    watched.close().await;
    end
}

/// Asks the daemons to send it. `None` if one did.
async fn ask(
    config: &Config,
    connection: &mut PgConnection,
    to: &Address,
    (id, seconds): (&str, u32),
) -> Result<Option<TrialEnd>, Error> {
    let settings = DatabaseSettings::new(config.database.options());
    let pool = settings.pool();
    let mut listener =
        PgListener::connect_with(&pool).await.named("trial_listen").map_err(pooled)?;
    listener.listen(TRIED_CHANNEL).await.named("trial_listen")?;
    let asked =
        Asked { id: id.to_owned(), local: to.local.clone(), host: to.host.clone(), seconds };
    let asked = serde_json::to_string(&asked).unwrap_or_default();
    ledger::tell(connection, TRIAL_CHANNEL, &asked).await?;
    let until = Instant::now() + ANSWER_WITHIN;
    let mut end = TrialEnd::NoDaemon;
    // A daemon without a connection answers too; another may have one.
    while let Ok(heard) = timeout_at(until, listener.recv()).await {
        let heard = heard.named("trial_listen")?;
        match serde_json::from_str::<Answered>(heard.payload()) {
            Ok(answer) if answer.id == id && answer.sent => return Ok(None),
            Ok(answer) if answer.id == id => end = TrialEnd::Disconnected,
            _ => {}
        }
    }
    Ok(Some(end))
}

/// A message to an account, before and after it is sent.
pub(super) struct Watched<'a> {
    config: &'a Config,
    to: &'a Address,
    /// The message's id.
    pub(super) id: String,
    peer: Vec<u8>,
    after: i64,
    late: TimeDelta,
    archive: Option<Archive>,
    connection: PgConnection,
}

impl<'a> Watched<'a> {
    /// Before it is sent. It is overdue when it is so late.
    pub(super) async fn new(
        config: &'a Config,
        to: &'a Address,
        late: TimeDelta,
    ) -> Result<Self, Error> {
        let mut connection = connect(config).await?;
        let archive = match archive_kind(config) {
            Some(_) => Some(open_archive(&mut connection, config).await?.0),
            None => None,
        };
        let id = format!("{ID}{}", hex::encode(rand::random::<[u8; 8]>()));
        let after = ledger::newest_entry(&mut connection).await?;
        let chat = [(to.host.as_str(), to.local.as_str(), config.component.jid.as_str())];
        let peer = ledger::peers(&mut connection, &chat).await?.pop().unwrap_or_default();
        Ok(Self { config, to, id, peer, after, late, archive, connection })
    }

    /// Watches it for `wait` at most. With a `timer` we are the account's client, too: we receive and read what waits for
    /// that, and it goes this long after.
    pub(super) async fn until_gone(
        &mut self,
        wait: Duration,
        timer: Option<Duration>,
        report: &mut impl FnMut(TrialStep),
    ) -> Result<TrialEnd, Error> {
        let began = Instant::now();
        let record_within = RECORD_WITHIN + 2 * self.config.archive.poll;
        let mut last: Option<(TrialStep, Timestamp)> = None;
        loop {
            let owner = (self.to.host.as_str(), self.to.local.as_str());
            let entries =
                ledger::pending_with(&mut self.connection, owner, &self.peer, self.after).await?;
            let now = database::now(&mut self.connection).await?;
            match (step(&entries), last) {
                (None, Some((_, due_at))) => {
                    let end = TrialEnd::Gone(now - due_at);
                    return Ok(if self.rows().await? > 0 { TrialEnd::StillThere } else { end });
                }
                (None, None) if began.elapsed() > record_within => {
                    let known = self.archive.is_some() && self.rows().await? == 0;
                    return Ok(if known { TrialEnd::NotArchived } else { TrialEnd::NotRecorded });
                }
                (None, None) => {}
                (Some((step, due_at)), before) => {
                    if before.map(|it| it.0) != Some(step) {
                        report(step);
                    }
                    last = Some((step, due_at));
                    if matches!(step, TrialStep::Recorded(due_at) if now > due_at + self.late) {
                        return self.in_the_way(&entries).await;
                    }
                    if let Some(timer) = timer.filter(|_| step.waits()) {
                        ledger::receive(&mut self.connection, &ids(&entries), timer).await?;
                    }
                }
            }
            if let Some((step, _)) = last.filter(|_| began.elapsed() > wait) {
                return Ok(TrialEnd::Waits(step));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// A polite goodbye; it does not matter whether it arrives.
    pub(super) async fn close(self) {
        let _ = self.connection.close().await;
    }

    /// How many rows of the archive have its text; none where only a module reaches the archive.
    async fn rows(&mut self) -> Result<usize, Error> {
        let Some(archive) = &self.archive else { return Ok(0) };
        let since = Stamp { at: Timestamp::UNIX_EPOCH, whole_seconds: false };
        let sought = Sought {
            store: Store::Archive,
            host: &self.to.host,
            owner: &self.to.local,
            chat: &self.config.component.jid,
            id: &self.id,
            since,
            upto: i64::MAX,
        };
        let rows = archive.rows_naming(&mut self.connection, &[sought]).await?;
        Ok(rows.iter().filter(|(_, _, xml)| xml.contains(Trial::words())).count())
    }

    async fn in_the_way(&mut self, entries: &[Entry]) -> Result<TrialEnd, Error> {
        Ok(if ledger::paused(&mut self.connection).await? != Pause::None {
            TrialEnd::Paused
        } else if !ledger::entries_on_hold(&mut self.connection, &ids(entries)).await?.is_empty() {
            TrialEnd::OnHold
        } else if self.config.erase.dry_run {
            TrialEnd::DryRun
        } else {
            TrialEnd::Overdue
        })
    }
}

fn ids(entries: &[Entry]) -> Vec<i64> {
    entries.iter().map(|it| it.id).collect()
}

/// What these entries wait for, and when the last of them goes; `None` if there are none.
fn step(entries: &[Entry]) -> Option<(TrialStep, Timestamp)> {
    let due_at = entries.iter().map(|it| it.expiry.due_at).max()?;
    let any = |of: fn(&Entry) -> bool| entries.iter().any(of);
    let step = if any(|it| it.expiry.start.by == StartedBy::Unread) {
        TrialStep::Unread
    } else if any(|it| it.expiry.reason == Reason::Undelivered) {
        TrialStep::Undelivered
    } else {
        TrialStep::Recorded(due_at)
    };
    Some((step, due_at))
}

/// Sends the trials that commands ask for, to accounts of these hosts.
pub(super) async fn send_trials(
    pool: PgPool,
    link: Link,
    hosts: Vec<String>,
    mut asked: mpsc::Receiver<String>,
    stop: CancellationToken,
) {
    let sending = async {
        while let Some(text) = asked.recv().await {
            let Some(Asked { id, local, host, seconds }) = sound(&text, &hosts) else { continue };
            let trial = Trial { to: format!("{local}@{host}"), id: id.clone(), seconds };
            let answer = Answered { id, sent: link.try_out(trial) };
            if let Err(error) = answered(&pool, &answer).await {
                tracing::debug!(%error, "a trial was not answered");
            }
            sleep(SEND_EVERY).await;
        }
        // The listener holds the other end as long as it runs.
        std::future::pending::<()>().await
    };
    stop.run_until_cancelled(sending).await;
}

/// What was asked for, if it is what the command asks for.
fn sound(text: &str, hosts: &[String]) -> Option<Asked> {
    let asked: Asked = serde_json::from_str(text).ok()?;
    let number = asked.id.strip_prefix(ID)?;
    let is_id = number.len() == 16 && number.bytes().all(|it| it.is_ascii_hexdigit());
    let is_local = !asked.local.is_empty() && !asked.local.contains(['@', '/']);
    let is_ours = hosts.contains(&asked.host) && TIMERS.contains(&asked.seconds);
    (is_id && is_local && is_ours).then_some(asked)
}

async fn answered(pool: &PgPool, answer: &Answered) -> database::Result<()> {
    let text = serde_json::to_string(answer).unwrap_or_default();
    let mut connection = pool.acquire().await.named("trial_connect")?;
    ledger::tell(&mut connection, TRIED_CHANNEL, &text).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_command_asks_for_is_sent() {
        let hosts = ["h.example".to_owned()];
        let of = |id: &str, local: &str, host: &str, seconds: u32| {
            let asked =
                serde_json::json!({"id": id, "local": local, "host": host, "seconds": seconds});
            sound(&asked.to_string(), &hosts).is_some()
        };
        let id = "try-0123456789abcdef";
        assert!(of(id, "alice", "h.example", 1) && of(id, "alice", "h.example", 86_400));
        assert!(!of(id, "alice", "other.example", 1), "no account of ours");
        assert!(!of(id, "", "h.example", 1) && !of(id, "a/b", "h.example", 1));
        assert!(!of(id, "alice", "h.example", 0) && !of(id, "alice", "h.example", 86_401));
        assert!(!of("try-1", "alice", "h.example", 1) && !of("mine", "alice", "h.example", 1));
        assert!(sound("{", &hosts).is_none());
    }
}
