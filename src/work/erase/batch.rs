//! One transaction of the worker: claim, erase, settle, commit.

use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;

use super::{
    super::{crash::crash_point, row_key},
    Settings,
};
use crate::{
    archive::{Archive, Erased, RowKey},
    database::{Error, Named},
    ledger::{self, Claim, Claimed, Claims, Expiry, Phase},
    metrics::{FailureCause, Metrics},
    model::{Mode, Store, Timestamp},
    policy, stanza,
};

/// What one transaction did.
pub(super) struct Batch {
    claims: Claims,
    claimed_at: Instant,
    committed_at: Instant,
    fates: Vec<Fate>,
}

/// What became of one claimed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Its words, or its placeholder's row, are gone.
    Erased(Mode),
    /// Its words are gone; the row stands as a placeholder with this digest, and goes later.
    Kept(Vec<u8>),
    /// Somebody else had taken it.
    AlreadyGone,
    /// Another session holds it.
    PutOff,
}

impl Fate {
    fn mode(&self) -> Mode {
        if let Self::Erased(mode) = self { *mode } else { Mode::Placeholder }
    }
}

/// A transaction that failed: nothing of it stays.
pub(super) struct Failure {
    pub(super) error: Error,
    /// The entries that it had claimed.
    pub(super) claimed: Vec<i64>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, claimed: Vec::new() }
    }
}

/// Claims up to `rows` entries from `from` on and erases them. `None` where nothing is due.
pub(super) async fn run(
    pool: &PgPool,
    archive: &Archive,
    settings: &Settings,
    from: (Timestamp, i64),
    rows: u32,
) -> Result<Option<Batch>, Failure> {
    let mut transaction = pool.begin().await.named("erase_begin")?;
    let what = Claim { hosts: &settings.hosts, from, rows: i64::from(rows) };
    let Some(claims) = ledger::claim(&mut transaction, what).await? else {
        return Ok(None);
    };
    let claimed_at = Instant::now();
    let claimed: Vec<i64> = claims.entries.iter().map(|it| it.entry.id).collect();
    crash_point!("claimed");
    let failed = |error| Failure { error, claimed: claimed.clone() };
    let fates = if settings.dry_run {
        vec![Fate::Erased(Mode::DryRun); claims.entries.len()]
    } else {
        let fates = erase(&mut transaction, archive, settings, &claims).await.map_err(failed)?;
        crash_point!("settled");
        transaction.commit().await.named("erase_commit").map_err(failed)?;
        crash_point!("committed");
        fates
    };
    let committed_at = Instant::now();
    Ok(Some(Batch { claims, claimed_at, committed_at, fates }))
}

/// Rows that go the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The row goes.
    Delete,
    /// The words go, the row stays.
    Blank,
    /// A queue row: the words go, the row stays with its ids and stamps.
    BlankQueued,
}

impl Way {
    fn of(claimed: &Claimed, mode: Mode) -> Self {
        let expiry = &claimed.entry.expiry;
        match (expiry.phase, expiry.store) {
            (Phase::Placeholder, _) => Self::Delete,
            (Phase::Pending, Store::Queue) => Self::BlankQueued,
            (Phase::Pending, _) if mode == Mode::Delete => Self::Delete,
            (Phase::Pending, _) => Self::Blank,
        }
    }

    fn mode(self) -> Mode {
        match self {
            Self::Delete => Mode::Delete,
            Self::Blank | Self::BlankQueued => Mode::Placeholder,
        }
    }
}

async fn erase(
    connection: &mut PgConnection,
    archive: &Archive,
    settings: &Settings,
    claims: &Claims,
) -> Result<Vec<Fate>, Error> {
    let until = policy::later(claims.now, settings.placeholder_for);
    let mut fates = vec![Fate::PutOff; claims.entries.len()];
    for way in [Way::Delete, Way::Blank, Way::BlankQueued] {
        let group: Vec<usize> = claims
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| Way::of(entry, settings.mode) == way)
            .map(|(position, _)| position)
            .collect();
        if group.is_empty() {
            continue;
        }
        let keys: Vec<RowKey> = group
            .iter()
            .filter_map(|at| claims.entries.get(*at))
            .map(|it| row_key(&it.entry.expiry))
            .collect();
        let keys: Vec<&RowKey> = keys.iter().collect();
        let erased = match way {
            Way::Delete => archive.delete(connection, &keys).await?,
            Way::Blank => {
                let blank = |xml: &str| stanza::placeholder(xml, until);
                archive.blank(connection, &keys, blank).await?
            }
            Way::BlankQueued => {
                let blank = |xml: &str| stanza::blank_queued(xml, until);
                archive.blank_queued(connection, &keys, blank).await?
            }
        };
        note(&mut fates, &group, &erased, way);
    }
    crash_point!("erased");
    settle(connection, claims, &fates, until).await?;
    Ok(fates)
}

fn note(fates: &mut [Fate], group: &[usize], erased: &Erased, way: Way) {
    let told = |positions: &[usize], fate: Fate| {
        positions.iter().map(move |position| (*position, fate.clone())).collect::<Vec<_>>()
    };
    let done = told(&erased.done, Fate::Erased(way.mode()));
    let kept = erased.placeholders.iter().map(|(at, digest)| (*at, Fate::Kept(digest.clone())));
    let gone = told(&erased.gone, Fate::AlreadyGone);
    let locked = told(&erased.locked, Fate::PutOff);
    for (position, fate) in done.into_iter().chain(kept).chain(gone).chain(locked) {
        let slot = group.get(position).and_then(|at| fates.get_mut(*at));
        if let Some(slot) = slot {
            *slot = fate;
        }
    }
}

/// Brings the ledger in line with the archive, in the same transaction.
async fn settle(
    connection: &mut PgConnection,
    claims: &Claims,
    fates: &[Fate],
    until: Timestamp,
) -> Result<(), Error> {
    let (mut forget, mut keep, mut put_off) = (Vec::new(), Vec::new(), Vec::new());
    let mut renamed = Vec::new();
    for (Claimed { entry, .. }, fate) in claims.entries.iter().zip(fates) {
        match fate {
            Fate::Kept(digest) if *digest == entry.expiry.digest => keep.push(entry.id),
            Fate::Kept(digest) => {
                forget.push(entry.id);
                renamed.push(placeholder(&entry.expiry, digest, until));
            }
            Fate::Erased(_) | Fate::AlreadyGone => forget.push(entry.id),
            Fate::PutOff => put_off.push(entry.id),
        }
    }
    if !forget.is_empty() {
        ledger::forget(connection, &forget).await?;
    }
    // Two rows may have become the same: then one entry stands for both.
    ledger::record(connection, &renamed).await?;
    if !keep.is_empty() {
        ledger::keep_placeholders(connection, &keep, until).await?;
    }
    if !put_off.is_empty() {
        ledger::put_off(connection, &put_off).await?;
    }
    Ok(())
}

/// The entry of a row that has a new digest since its words are gone.
fn placeholder(expiry: &Expiry, digest: &[u8], until: Timestamp) -> Expiry {
    Expiry {
        digest: digest.to_vec(),
        phase: Phase::Placeholder,
        due_at: until,
        copy_of: None,
        backlog: false,
        ..expiry.clone()
    }
}

impl Batch {
    /// How many entries it claimed.
    pub(super) fn len(&self) -> usize {
        self.claims.entries.len()
    }

    /// The rows that it took the words of: store, host, owner, archive id.
    pub(super) fn erased(&self) -> impl Iterator<Item = (Store, &str, &str, &str)> {
        let entries = self.claims.entries.iter().zip(&self.fates);
        let entries = entries.filter(|(claimed, fate)| {
            let is_done =
                matches!(fate, Fate::Erased(Mode::Placeholder | Mode::Delete) | Fate::Kept(_));
            is_done && claimed.entry.expiry.phase == Phase::Pending
        });
        entries.map(|(claimed, _)| {
            let it = &claimed.entry.expiry;
            (it.store, it.host.as_str(), it.owner.as_str(), it.archive_id.as_str())
        })
    }

    /// Where the next claim starts. A dry run goes past what it saw, since it all still stands.
    pub(super) fn next_from(&self, past: bool) -> (Timestamp, i64) {
        self.claims.entries.last().map_or((Timestamp::UNIX_EPOCH, 0), |last| {
            if past { (last.next_at, last.entry.id + 1) } else { (last.next_at, 0) }
        })
    }

    /// Counts what was committed.
    pub(super) fn count(&self, metrics: &Metrics) {
        let took = self.committed_at.duration_since(self.claimed_at).as_secs_f64();
        for (claimed, fate) in self.claims.entries.iter().zip(&self.fates) {
            let expiry = &claimed.entry.expiry;
            match (fate, expiry.phase) {
                (Fate::Erased(Mode::DryRun), Phase::Placeholder) => {}
                (Fate::Erased(_) | Fate::Kept(_), Phase::Placeholder) => {
                    metrics.placeholders_deleted.inc();
                }
                (Fate::Erased(_) | Fate::Kept(_), Phase::Pending) => {
                    let mode = fate.mode();
                    metrics.erased.of(expiry.store, expiry.reason, mode).inc();
                    let late = (self.claims.now - expiry.due_at).as_seconds_f64();
                    metrics.erase_delay_seconds.observe(late + took);
                }
                (Fate::AlreadyGone, _) => metrics.already_gone.inc(),
                (Fate::PutOff, _) => metrics.erase_failures.of(FailureCause::Locked).inc(),
            }
        }
    }
}
