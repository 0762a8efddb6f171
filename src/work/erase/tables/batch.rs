//! One transaction of the eraser: claim, erase, settle, commit.

use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;

use crate::{
    archive::{Archive, Erasure, Which},
    database::{Error, Named},
    ledger::{self, Bound, Claim, Claimed, Claims},
    metrics::FailureCause,
    model::{Mode, RowKey, Store},
    policy, stanza,
    work::{
        base::crash::crash_point,
        erase::{
            EraseSettings,
            count::Batch,
            fate::{Fate, Way},
            settle::settle,
            turn::{Turn, claim},
        },
    },
};

/// A transaction that failed and left nothing behind.
pub(super) struct Failure {
    pub(super) error: Error,
    /// The entries that it had claimed, and the stores of their rows.
    pub(super) claimed: Vec<(i64, Store)>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, claimed: Vec::new() }
    }
}

/// What became of a transaction.
pub(super) enum Ran {
    /// It was committed, or it was a dry run.
    Batch(Batch),
    /// Nothing is due.
    Nothing,
    /// Somebody places or ends a hold: nothing was claimed.
    HoldUnderWay,
}

/// Claims up to `rows` entries from `from` on and erases them.
pub(super) async fn run(
    pool: &PgPool,
    archive: &Archive,
    settings: &EraseSettings,
    from: Bound,
    rows: u32,
) -> Result<Ran, Failure> {
    let mut transaction = pool.begin().await.named("erase_begin")?;
    let what = Claim { hosts: &settings.hosts, from, rows: i64::from(rows) };
    let claims = match claim(&mut transaction, what).await? {
        Turn::Claims(claims) => claims,
        Turn::Nothing => return Ok(Ran::Nothing),
        Turn::HoldUnderWay => return Ok(Ran::HoldUnderWay),
    };
    let claimed_at = Instant::now();
    let id = |it: &Claimed| (it.entry.id, it.entry.expiry.row.store);
    let claimed: Vec<(i64, Store)> = claims.entries.iter().map(id).collect();
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
    Ok(Ran::Batch(Batch { claims, fates, claimed_at, settled_at: Instant::now() }))
}

async fn erase(
    connection: &mut PgConnection,
    archive: &Archive,
    settings: &EraseSettings,
    claims: &Claims,
) -> Result<Vec<Fate>, Error> {
    let until = policy::later(claims.now, settings.placeholder_for);
    let mut fates = vec![Fate::PutOff(FailureCause::Locked); claims.entries.len()];
    for way in [Way::Delete, Way::Blank, Way::BlankQueued] {
        let (group, keys): (Vec<usize>, Vec<&RowKey>) = claims
            .entries
            .iter()
            .map(|it| &it.entry.expiry)
            .enumerate()
            .filter(|(_, expiry)| Way::of(expiry, settings.mode) == way)
            .map(|(position, expiry)| (position, &expiry.row))
            .unzip();
        if group.is_empty() {
            continue;
        }
        let erasures = match way {
            Way::Delete => archive.delete(connection, &keys, Which::Marked).await?,
            Way::Blank => {
                let blank = |xml: &str| stanza::placeholder(xml, until);
                archive.blank(connection, &keys, Which::Marked, blank).await?
            }
            Way::BlankQueued => {
                let blank = |xml: &str| stanza::blank_queued(xml, until);
                archive.blank_queued(connection, &keys, blank).await?
            }
        };
        for (at, erasure) in group.into_iter().zip(erasures) {
            if let Some(slot) = fates.get_mut(at) {
                *slot = fate(erasure, way);
            }
        }
    }
    crash_point!("erased");
    settle(connection, claims, &fates, until).await?;
    if settings.removes_files {
        let settled = claims.entries.iter().zip(&fates).filter(|(_, fate)| fate.is_settled());
        let settled: Vec<i64> = settled.map(|(claimed, _)| claimed.entry.id).collect();
        ledger::look_at_files(connection, &settled).await?;
    }
    Ok(fates)
}

fn fate(erasure: Erasure, way: Way) -> Fate {
    match erasure {
        Erasure::Done => Fate::Erased(way.mode()),
        Erasure::Placeholder(digest) => Fate::Kept(digest),
        Erasure::AlreadyGone => Fate::AlreadyGone,
        Erasure::TakenOver => Fate::TakenOver,
        Erasure::Locked => Fate::PutOff(FailureCause::Locked),
        Erasure::Unchanged => Fate::PutOff(FailureCause::Unchanged),
    }
}
