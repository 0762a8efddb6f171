//! Corrections, reactions and attachments: which message they belong to, and what they inherit.
//!
//! They are recorded after it, and name it by an id, which the ledger knows by a digest. What comes before it, or commits
//! earlier, is found when the tail reads the same span again, or by the next sweep.
//!
//! An id that a sender gave may have been given again, to a message that nothing asks to go and the ledger does not know.
//! So the archive is asked for the rows in between, and where one may be meant, nothing is inherited.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::PgConnection;

use super::{Context, Read, Reconciled};
use crate::{
    archive::{Alike, Archive, Within},
    database::Result,
    ledger::{self, Belonging, Naming, Nearest},
    model::{BelongsTo, RowId},
    stanza::Signature,
};

/// What the archive shows of a message that another one may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing else can be meant.
    Meant,
    /// Another message may be.
    Ambiguous,
    /// There is too much to look through.
    TooFar,
    /// It cannot be asked.
    Nothing,
}

/// Finds out by what others may name the messages of these rows.
pub(super) async fn find_names(
    connection: &mut PgConnection,
    reads: &mut [Read<'_>],
) -> Result<()> {
    let signed: Vec<(usize, Signature)> = (reads.iter().enumerate())
        .filter(|(_, read)| read.may_go())
        .filter_map(|(at, read)| Some((at, read.row.signature()?)))
        .collect();
    let namings: Vec<Naming<'_>> = (signed.iter())
        .filter_map(|(at, signature)| Some(Naming::of(signature, &reads.get(*at)?.row.key)))
        .collect();
    let names = ledger::names(connection, &namings).await?;
    for ((at, _), name) in signed.iter().zip(names) {
        if let Some(read) = reads.get_mut(*at) {
            read.name = Some(name);
        }
    }
    Ok(())
}

/// Finds the messages that these belong to.
pub(super) async fn find_targets(
    connection: &mut PgConnection,
    reads: &mut [Read<'_>],
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<()> {
    let signed: Vec<(usize, &BelongsTo, Signature)> = (reads.iter().enumerate())
        .filter_map(|(at, read)| Some((at, read.belongs_to()?, read.row.signature()?)))
        .filter(|(_, to, signature)| signature.may_belong(to))
        .collect();
    let (mut positions, mut asked) = (Vec::new(), Vec::new());
    for (at, to, signature) in &signed {
        let Some(read) = reads.get(*at) else { continue };
        positions.push(*at);
        asked.push(Belonging { signature, row: &read.row.key, to });
    }
    let nearest = ledger::targets(connection, &asked).await?;
    let named: Vec<(&Belonging<'_>, &Nearest)> =
        nearest.iter().filter_map(|(at, nearest)| Some((asked.get(*at)?, nearest))).collect();
    let shown = shown(connection, &named, context.archive).await?;
    let found: Vec<_> = (nearest.iter().zip(shown))
        .filter_map(|((at, nearest), shown)| Some((*positions.get(*at)?, nearest.target, shown)))
        .collect();
    for read in reads.iter_mut() {
        read.names_another = false;
    }
    for (at, target, shown) in found {
        let Some(read) = reads.get_mut(at) else { continue };
        read.target = Some(target).filter(|_| shown == Shown::Meant);
        read.names_another = matches!(shown, Shown::Ambiguous | Shown::TooFar);
        if shown == Shown::TooFar {
            reconciled.too_far.insert(read.row.key.row_number);
        }
    }
    Ok(())
}

/// Where else what is named may be. Ids that an archive gave name one message.
fn looks<'a>(by: &Belonging<'a>, nearest: &Nearest) -> Vec<Within<'a>> {
    if !by.names_senders_id() {
        return Vec::new();
    }
    Within::before(by.row, &by.to.id, nearest.stamped_at, nearest.store)
}

/// What the archive shows of each.
pub(super) async fn shown(
    connection: &mut PgConnection,
    named: &[(&Belonging<'_>, &Nearest)],
    archive: Option<&Archive>,
) -> Result<Vec<Shown>> {
    let all: Vec<Vec<Within<'_>>> = named.iter().map(|(by, nearest)| looks(by, nearest)).collect();
    let Some(archive) = archive else {
        let shown = |it: &Vec<_>| if it.is_empty() { Shown::Meant } else { Shown::Nothing };
        return Ok(all.iter().map(shown).collect());
    };
    let different: HashSet<Within<'_>> = all.iter().flatten().copied().collect();
    let different: Vec<Within<'_>> = different.into_iter().collect();
    let found = archive.namesakes(connection, &different).await?;
    let found: HashMap<Within<'_>, Alike> = different.into_iter().zip(found).collect();
    let shown = |((by, nearest), looks): (&(&Belonging<'_>, &Nearest), &Vec<Within<'_>>)| {
        let alike = || looks.iter().filter_map(|it| found.get(it));
        let mut rows = alike().flat_map(|it| &it.rows);
        if rows.any(|row| {
            nearest.is_not_meant(by, &row.key, (row.xml.as_deref(), row.sender.as_deref()))
        }) {
            Shown::Ambiguous
        } else if alike().any(|it| it.is_cut) {
            Shown::TooFar
        } else {
            Shown::Meant
        }
    };
    Ok(named.iter().zip(&all).map(shown).collect())
}

/// Those among these rows that were just recorded get the times of what they follow, and go with it from now on. What has
/// gone meanwhile, or stays, they do not follow: they are forgotten again. Returns whether there are such rows.
pub(super) async fn keep_up(
    connection: &mut PgConnection,
    reads: &mut [Read<'_>],
    recorded: &HashSet<usize>,
) -> Result<bool> {
    let follows = |at: &usize| reads.get(*at)?.target.map(|it| it.follows.entry);
    let followers: Vec<(usize, i64)> = (recorded.iter())
        .filter_map(|at| Some((*at, follows(at)?)))
        .filter(|(_, entry)| *entry > 0)
        .collect();
    let followed: BTreeSet<i64> = followers.iter().map(|it| it.1).collect();
    let followed: Vec<i64> = followed.into_iter().collect();
    let lost = ledger::keep_up(connection, &followed).await?;
    let left: Vec<usize> =
        followers.iter().filter(|it| lost.contains(&it.1)).map(|it| it.0).collect();
    if left.is_empty() {
        return Ok(false);
    }
    let rows: Vec<RowId<'_>> =
        left.iter().filter_map(|at| Some(reads.get(*at)?.row.key.id())).collect();
    let entries = ledger::entries_of(connection, &rows).await?;
    let entries: Vec<i64> = entries.into_iter().map(|it| it.1.id).collect();
    ledger::leave(connection, &entries).await?;
    for at in left {
        if let Some(read) = reads.get_mut(at) {
            read.target = None;
        }
    }
    Ok(true)
}
