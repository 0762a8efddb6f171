//! Replies: which message they quote, and when the quote is cut out of them.
//!
//! The message is found as that of a reaction is. What is recorded is apart from the row's own entry, if it has one.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::PgConnection;

use super::{Context, Read, Reconciled, belonging, expiry::peers};
use crate::{
    archive::Row,
    database::Result,
    ledger::{self, Belonging, Nearest, Quote, RecordedQuote, Target},
    model::{BelongsTo, QuoteRule, RowId},
    policy,
    stanza::{self, Signature},
};

/// How often a message may go while we record what quotes it.
const ATTEMPTS: usize = 3;

/// A row whose message quotes another one.
pub(super) struct Reply<'a> {
    row: &'a Row,
    to: BelongsTo,
}

/// The replies among these rows. If replies go whole, they belong to what they quote like reactions.
pub(super) fn replies<'a>(reads: &mut [Read<'a>], rule: QuoteRule) -> Vec<Reply<'a>> {
    let quoting = reads.iter_mut().filter_map(|read| {
        let (row, facts) = (read.row, read.facts.as_mut()?);
        facts.belongs_to = facts.belonging(rule);
        Some(Reply { row, to: facts.quotes.clone()? })
    });
    quoting.collect()
}

/// Brings what is recorded of these replies in line with what they quote.
pub(super) async fn note_quotes(
    connection: &mut PgConnection,
    mut replies: Vec<Reply<'_>>,
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<()> {
    // Without the tables nobody can tell which message is meant, and the module cannot cut.
    if context.archive.is_none() {
        return Ok(());
    }
    for _ in 0..ATTEMPTS {
        if replies.is_empty() {
            break;
        }
        let lost = note_once(connection, &replies, context, reconciled).await?;
        let mut at = 0..;
        replies.retain(|_| at.next().is_some_and(|at| lost.contains(&at)));
    }
    Ok(())
}

/// Returns the positions of those whose message went, or is to stay, since it was looked up: nothing is recorded of them.
async fn note_once(
    connection: &mut PgConnection,
    replies: &[Reply<'_>],
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<HashSet<usize>> {
    let ids: Vec<RowId<'_>> = replies.iter().map(|it| it.row.key.id()).collect();
    let mut known: HashMap<usize, RecordedQuote> =
        ledger::quotes_of(connection, &ids).await?.into_iter().collect();
    let mut quoted = quoted(connection, replies, context, reconciled).await?;
    // What was found to quote a message does so when nobody remembers that one any more.
    quoted.retain(|at, it| it.is_some() || known.contains_key(at));
    let is_cut = |at: &usize| {
        let xml = replies.get(*at).and_then(|it| it.row.xml.as_deref());
        xml.is_some_and(|xml| stanza::cut_quote(xml).is_some())
    };
    for at in quoted.extract_if(|at, _| !is_cut(at)) {
        reconciled.uncut.extend(replies.get(at.0).map(|it| it.row.key.row_number));
    }
    let rows = quoted.keys().filter_map(|at| Some((*at, replies.get(*at)?.row)));
    let peers: HashMap<usize, Vec<u8>> =
        peers(connection, &rows.collect::<Vec<_>>()).await?.into_iter().collect();
    let mut changed: Vec<(usize, Quote)> = Vec::new();
    for (at, target) in quoted {
        let Some(Reply { row, .. }) = replies.get(at) else { continue };
        let known = known.remove(&at);
        let peer = peers.get(&at).cloned();
        let Some(quote) = quote(row, target, peer, known.as_ref(), context) else { continue };
        if known.as_ref().map(|it| &it.quote) == Some(&quote) {
            reconciled.quotes.extend(known.map(|it| it.id));
        } else {
            reconciled.recorded_quotes += usize::from(known.is_none());
            changed.push((at, quote));
        }
    }
    let unasked: Vec<i64> = known.into_values().map(|it| it.id).collect();
    ledger::forget_quotes(connection, &unasked).await?;
    record(connection, changed, &ids, reconciled).await
}

/// Records, and from then on what is followed is not changed by anybody else.
async fn record(
    connection: &mut PgConnection,
    mut quotes: Vec<(usize, Quote)>,
    ids: &[RowId<'_>],
    reconciled: &mut Reconciled,
) -> Result<HashSet<usize>> {
    if quotes.is_empty() {
        return Ok(HashSet::new());
    }
    quotes.sort_by_key(|it| it.0);
    let (positions, quotes): (Vec<usize>, Vec<Quote>) = quotes.into_iter().unzip();
    ledger::record_quotes(connection, &quotes).await?;
    let recorded: Vec<RowId<'_>> =
        positions.iter().filter_map(|at| ids.get(*at).copied()).collect();
    let recorded = ledger::quotes_of(connection, &recorded).await?;
    reconciled.quotes.extend(recorded.iter().map(|it| it.1.id));
    let followed: BTreeSet<i64> = quotes.iter().map(|it| it.follows).filter(|it| *it > 0).collect();
    let followed: Vec<i64> = followed.into_iter().collect();
    let lost = ledger::keep_up(connection, &followed).await?;
    let lost = recorded.iter().filter(|it| lost.contains(&it.1.quote.follows));
    let (at, left): (HashSet<usize>, Vec<i64>) =
        lost.filter_map(|it| Some((*positions.get(it.0)?, it.1.id))).unzip();
    ledger::forget_quotes(connection, &left).await?;
    reconciled.recorded_quotes = reconciled.recorded_quotes.saturating_sub(left.len());
    Ok(at)
}

/// The messages that go or went and that these quote, by position; `None` where no such message is known. Those that may mean a
/// message that stays are left out.
async fn quoted(
    connection: &mut PgConnection,
    replies: &[Reply<'_>],
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<HashMap<usize, Option<Target>>> {
    if context.rules.inherit.quotes != QuoteRule::Cut {
        return Ok(HashMap::new());
    }
    let signed = replies.iter().enumerate().filter_map(|(at, Reply { row, to })| {
        let signature = row.signature()?;
        signature.may_belong(to).then_some((at, signature))
    });
    let signed: Vec<(usize, Signature)> = signed.collect();
    let asked: Vec<(usize, Belonging<'_>)> = signed
        .iter()
        .filter_map(|(at, signature)| {
            let Reply { row, to } = replies.get(*at)?;
            Some((*at, Belonging { signature, row: &row.key, to }))
        })
        .collect();
    let (positions, asked): (Vec<usize>, Vec<Belonging<'_>>) = asked.into_iter().unzip();
    let nearest = ledger::targets(connection, &asked).await?;
    let named: Vec<(&Belonging<'_>, &Nearest)> =
        nearest.iter().filter_map(|(at, nearest)| Some((asked.get(*at)?, nearest))).collect();
    let shown = belonging::shown(connection, &named, context.archive).await?;
    let mut quoted: HashMap<usize, Option<Target>> =
        positions.iter().map(|at| (*at, None)).collect();
    for ((at, nearest), shown) in nearest.iter().zip(shown) {
        let Some(at) = positions.get(*at) else { continue };
        match shown {
            belonging::Shown::Meant => {
                quoted.insert(*at, Some(nearest.target));
            }
            belonging::Shown::TooFar => {
                quoted.remove(at);
                reconciled.too_far.extend(replies.get(*at).map(|it| it.row.key.row_number));
            }
            belonging::Shown::Ambiguous | belonging::Shown::Nothing => {
                quoted.remove(at);
            }
        }
    }
    Ok(quoted)
}

fn quote(
    row: &Row,
    target: Option<Target>,
    peer: Option<Vec<u8>>,
    known: Option<&RecordedQuote>,
    context: Context<'_>,
) -> Option<Quote> {
    let known = known.map(|it| &it.quote);
    let is_held = |target: Target| context.holds(&row.key) || target.backlog;
    let since = policy::archived(row.stamp, context.now).at;
    Some(Quote {
        row: row.key.clone(),
        text_hash: Quote::hash_of(row.xml.as_deref().unwrap_or_default()),
        peer,
        follows: target.map(|it| it.via).or(known.map(|it| it.follows))?,
        due_at: target.map(|it| it.via_due_at.max(since)).or(known.map(|it| it.due_at))?,
        backlog: known.map(|it| it.backlog).or(target.map(is_held))?,
    })
}
