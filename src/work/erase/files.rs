//! Uploaded files go with the last message that names them. What erases rows has the files looked at that they named;
//! this worker asks ledger and archive whether anything else names them, and then has the companion module remove them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    archive::{
        Archive, Namers, Order, Range,
        companion::{Answer, FileItem, FileState, Outcome, Request, Requests, Unanswered},
    },
    database::{Error, Named as _, Result, in_time},
    ledger::{self, DueFile, Pause, Phase},
    metrics::{FileOutcome, Metrics},
    model::{RowId, Timestamp},
    work::{
        TRANSACTION_LIMIT,
        base::{Changing, Retry},
    },
};

/// Files that one round looks at.
const MOST_FILES: i64 = 100;
/// Maximum sleep: a lost wake-up costs at most that.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Pause between two rounds, and while nothing may be erased.
const REST: Duration = Duration::from_millis(50);
const PAUSED_REST: Duration = Duration::from_secs(1);
/// A row may name a file so long before the server knows of it: clocks and whole seconds.
const MARGIN: Duration = Duration::from_secs(60);
/// Rows may be committed so long after their stamps.
const LATE: Duration = Duration::from_secs(600);

/// What the worker needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// The hosts whose rows may be erased.
    pub hosts: Vec<String>,
    /// The hosts whose modules know the files; none if no files go.
    pub modules: Vec<String>,
    /// Nothing is erased.
    pub dry_run: bool,
}

/// The worker of one daemon. It works while that one is connected.
pub struct FileEraser<R> {
    pool: PgPool,
    archive: Archive,
    requests: R,
    settings: Changing<FileSettings>,
    metrics: Arc<Metrics>,
    /// Why a host's module did not answer last time: said once.
    silent: BTreeMap<String, Unanswered>,
}

/// What a look at the archive found.
enum Seen {
    /// Nothing names the file.
    Nothing,
    /// Entries that are still to go, which the ledger did not know to name it.
    Entries(Vec<i64>),
    /// Rows that the tail has not seen yet.
    New,
    /// Something that stays, or too much to look through.
    Stays(FileOutcome),
}

impl<R: Requests> FileEraser<R> {
    /// A worker that starts with [`FileEraser::run`].
    pub fn new(
        pool: PgPool,
        archive: Archive,
        requests: R,
        settings: Changing<FileSettings>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { pool, archive, requests, settings, metrics, silent: BTreeMap::new() }
    }

    /// Removes files when their time has come, until stopped. The bell rings when rows have gone that named files.
    pub async fn run(mut self, bell: Arc<Notify>, stop: CancellationToken) {
        let mut connection = self.requests.connection();
        let mut retry = Retry::new("removing files", Duration::from_millis(500), 10);
        loop {
            self.settings.take();
            let is_connected = connection.borrow_and_update().is_some();
            let pause = if is_connected && !self.settings.modules.is_empty() {
                match stop.run_until_cancelled(self.round()).await {
                    None => return,
                    Some(Ok(pause)) => {
                        retry.succeeded();
                        pause
                    }
                    Some(Err(error)) => retry.failed(&error, &self.metrics),
                }
            } else {
                LONGEST_SLEEP
            };
            if stop.run_until_cancelled(sleep(REST)).await.is_none() {
                return;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = bell.notified(), if !retry.is_failing() => {}
                () = self.settings.changed() => {}
                changed = connection.changed() => if changed.is_err() {
                    return;
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks at files whose time has come. Returns how long to wait for the next.
    async fn round(&mut self) -> Result<Duration> {
        let due = in_time("files", TRANSACTION_LIMIT, self.due()).await?;
        let due = match due {
            Ok(due) => due,
            Err(pause) => return Ok(pause),
        };
        let mut left = Vec::new();
        for host in self.settings.modules.clone() {
            let asked: Vec<&DueFile> = due.iter().filter(|it| !left.contains(&it.id)).collect();
            left.extend(self.at_host(&host, &asked).await?);
        }
        // What no module knows is gone, or is not that user's.
        let unknown: Vec<i64> =
            due.iter().map(|it| it.id).filter(|it| !left.contains(it)).collect();
        self.count(FileOutcome::Unknown, unknown.len());
        self.forget(&unknown).await?;
        Ok(Duration::ZERO)
    }

    /// Files that nothing in the ledger names any more; or how long to wait. What stays is forgotten.
    async fn due(&self) -> Result<std::result::Result<Vec<DueFile>, Duration>> {
        let mut transaction = self.pool.begin().await.named("files_begin")?;
        let due = ledger::due_files(&mut transaction, MOST_FILES).await?;
        if due.is_empty() {
            let seconds = ledger::next_file(&mut transaction).await?;
            let next = seconds.map(|it| Duration::try_from_secs_f64(it).unwrap_or_default());
            return Ok(Err(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)));
        }
        if self.settings.dry_run || ledger::paused(&mut transaction).await? != Pause::None {
            return Ok(Err(PAUSED_REST));
        }
        let named = due.iter().filter_map(|it| Some((it.id, it.named_until?)));
        ledger::await_files(&mut transaction, &named.collect::<Vec<_>>()).await?;
        let free = due.into_iter().filter(|it| it.named_until.is_none());
        let (kept, free): (Vec<_>, Vec<_>) = free.partition(|it| it.kept);
        let kept: Vec<i64> = kept.iter().map(|it| it.id).collect();
        ledger::forget_files(&mut transaction, &kept).await?;
        transaction.commit().await.named("files_commit")?;
        self.count(FileOutcome::Kept, kept.len());
        Ok(if free.is_empty() { Err(Duration::ZERO) } else { Ok(free) })
    }

    /// Has this host's module remove what it knows of these. Returns what it knows, or may know.
    async fn at_host(&mut self, host: &str, files: &[&DueFile]) -> Result<Vec<i64>> {
        let all = || files.iter().map(|it| it.id).collect::<Vec<i64>>();
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let items = files.iter().map(|it| item(it)).collect();
        let known = match self.requests.ask(host, Request::Files(items)).await {
            Ok(Answer::Files(known)) => known,
            Ok(_) => return self.unanswered(host, Unanswered::Unreadable, all()).await,
            Err(why) => return self.unanswered(host, why, all()).await,
        };
        if self.silent.remove(host).is_some() {
            info!(host, "the companion module answers about files again");
        }
        let (mut there, mut untold) = (Vec::new(), Vec::new());
        for file in files {
            match known.iter().find(|(it, _)| *it == item(file)).map(|it| it.1) {
                Some(FileState::There(since)) => there.push((*file, since)),
                Some(FileState::Gone | FileState::Other) => {}
                None => untold.push(file.id),
            }
        }
        self.count(FileOutcome::Failed, untold.len());
        self.put_off(&untold).await?;
        let free = in_time("files", TRANSACTION_LIMIT, self.free(&there)).await?;
        if !free.is_empty() {
            self.unlink(host, &free).await?;
        }
        Ok(there.iter().map(|it| it.0.id).chain(untold).collect())
    }

    /// Which of these nothing in the archive names; what becomes of the others is noted.
    async fn free<'a>(&self, there: &[(&'a DueFile, Timestamp)]) -> Result<Vec<&'a DueFile>> {
        let mut transaction = self.pool.begin().await.named("files_begin")?;
        let (mut free, mut again, mut stay) = (Vec::new(), Vec::new(), Vec::new());
        for (file, since) in there {
            match self.look(&mut transaction, file, *since).await? {
                Seen::Nothing => free.push(*file),
                Seen::Entries(entries) => {
                    let names = entries.into_iter().map(|it| (file.place.as_str(), it));
                    ledger::name_files(&mut transaction, &names.collect::<Vec<_>>()).await?;
                }
                Seen::New => again.push(file.id),
                Seen::Stays(outcome) => stay.push((file.id, outcome)),
            }
        }
        ledger::put_off_files(&mut transaction, &again).await?;
        let ids: Vec<i64> = stay.iter().map(|it| it.0).collect();
        ledger::forget_files(&mut transaction, &ids).await?;
        // What has come to the ledger meanwhile holds its file.
        let ids: Vec<i64> = free.iter().map(|it| it.id).collect();
        let still = ledger::free_files(&mut transaction, &ids).await?;
        transaction.commit().await.named("files_commit")?;
        stay.iter().for_each(|it| self.count(it.1, 1));
        free.retain(|it| still.contains(&it.id));
        Ok(free)
    }

    /// Looks at the archive for what names a file: what was there before the tail knew of it, what has come since the last
    /// poll, and queues that have no order.
    async fn look(
        &self,
        connection: &mut sqlx::PgConnection,
        file: &DueFile,
        since: Timestamp,
    ) -> Result<Seen> {
        let table = self.archive.archive_table();
        let cursor = ledger::cursor(connection, table.name()).await?;
        let position = cursor.map_or(i64::MIN, |it| it.position);
        let late = i64::try_from(LATE.as_micros()).unwrap_or(i64::MAX);
        let seen_upto = match table.order() {
            Order::Stamps => position.saturating_sub(late),
            Order::Sequence | Order::Unordered => position,
        };
        let (place, since) = ((self.settings.hosts.as_slice(), &*file.place), since - MARGIN);
        let upto = file.unseen_upto.unwrap_or(i64::MAX);
        let unseen = Range { above: i64::MIN, upto, since };
        let new = Range { above: seen_upto, upto: i64::MAX, since };
        let unseen = self.archive.naming(connection, place, unseen).await?;
        let new = self.archive.naming(connection, place, new).await?;
        let queued = self.archive.naming_in_queues(connection, place).await?;
        let (mut entries, mut is_new) = (Vec::new(), false);
        for (namers, is_unseen) in [(unseen, true), (new, false), (queued, false)] {
            let rows = match namers {
                Namers::These(rows) => rows,
                Namers::Others => return Ok(Seen::Stays(FileOutcome::Kept)),
                Namers::Unclear => return Ok(Seen::Stays(FileOutcome::Unclear)),
            };
            let ids: Vec<RowId<'_>> = rows.iter().map(|it| it.key.id()).collect();
            let known = ledger::entries_of(connection, &ids).await?;
            let pending = known.iter().filter(|it| it.1.expiry.phase == Phase::Pending);
            let pending: Vec<i64> = pending.map(|it| it.1.id).collect();
            match pending.len() == rows.len() {
                true => {}
                false if is_unseen => return Ok(Seen::Stays(FileOutcome::Kept)),
                false => is_new = true,
            }
            entries.extend(pending);
        }
        Ok(match entries.is_empty() {
            _ if is_new => Seen::New,
            true => Seen::Nothing,
            false => Seen::Entries(entries),
        })
    }

    async fn unlink(&mut self, host: &str, files: &[&DueFile]) -> Result<()> {
        let items = files.iter().map(|it| item(it)).collect();
        let ids = || files.iter().map(|it| it.id).collect::<Vec<i64>>();
        let outcomes = match self.requests.ask(host, Request::Unlink(items)).await {
            Ok(Answer::Unlinked(outcomes)) => outcomes,
            Ok(_) => return self.unanswered(host, Unanswered::Unreadable, ids()).await.map(drop),
            Err(why) => return self.unanswered(host, why, ids()).await.map(drop),
        };
        let (mut over, mut again) = (Vec::new(), Vec::new());
        for file in files {
            let outcome = outcomes.iter().find(|(it, _)| *it == item(file)).map(|it| it.1);
            let outcome = match outcome {
                Some(Outcome::Done) => FileOutcome::Erased,
                Some(Outcome::Gone | Outcome::Other) => FileOutcome::Unknown,
                Some(Outcome::Failed) | None => FileOutcome::Failed,
            };
            self.count(outcome, 1);
            if outcome == FileOutcome::Failed { &mut again } else { &mut over }.push(file.id);
        }
        self.put_off(&again).await?;
        self.forget(&over).await
    }

    /// Says once why a module does not answer, and tries again later.
    async fn unanswered(
        &mut self,
        host: &str,
        why: Unanswered,
        files: Vec<i64>,
    ) -> Result<Vec<i64>> {
        if why == Unanswered::Disconnected {
            return Ok(files);
        }
        if self.silent.insert(host.to_owned(), why) != Some(why) {
            warn!(host, help = why.remedy(), "uploaded files are not removed: {why}");
        }
        self.count(FileOutcome::Failed, files.len());
        self.put_off(&files).await?;
        Ok(files)
    }

    async fn put_off(&self, files: &[i64]) -> Result<()> {
        let mut connection = self.pool.acquire().await.named("files_connect")?;
        ledger::put_off_files(&mut connection, files).await
    }

    async fn forget(&self, files: &[i64]) -> std::result::Result<(), Error> {
        let mut connection = self.pool.acquire().await.named("files_connect")?;
        ledger::forget_files(&mut connection, files).await
    }

    fn count(&self, outcome: FileOutcome, files: usize) {
        self.metrics.files.of(outcome).inc_by(u64::try_from(files).unwrap_or(u64::MAX));
    }
}

fn item(file: &DueFile) -> FileItem {
    FileItem { id: file.place.clone(), uploader: file.uploader.clone() }
}
