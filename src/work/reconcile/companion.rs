//! Rows as the companion module shows them, and copies in offline queues: they hold their archive rows back until
//! someone has received the message.

use sqlx::PgConnection;

use super::{Backlog, Context, Read, Reconciled, deliveries::originals, ids};
use crate::{
    archive::companion::Shown,
    database::{self, Error, Result},
    ledger::{self, Entry, Phase},
    model::{Facts, LATEST, Placement, Reason, Stamp, StanzaId, Store, bare_jid},
    policy,
    work::base::presence::{CompanionSettings, SWEEP},
};

/// The context of rows that a module announces.
pub(in crate::work) async fn announced<'a>(
    connection: &mut PgConnection,
    settings: &'a CompanionSettings,
) -> Result<Context<'a>> {
    let now = database::now(connection).await?;
    Ok(Context { archive: None, rules: &settings.rules, now, listed: None })
}

/// The context of a host's rows in a list, which may be from before the first start, or from a backup. Locks the
/// sweep: an operator who accepts the backlog meanwhile waits for us.
pub(in crate::work) async fn listed<'a>(
    connection: &mut PgConnection,
    settings: &'a CompanionSettings,
    host: &str,
) -> Result<Context<'a>> {
    let busy = || Error::unexpected("lock_sweep", "another session holds the sweep");
    ledger::lock_sweep(connection, SWEEP).await?.ok_or_else(busy)?;
    let mut backlog = Backlog::NONE;
    if settings.hold_backlog && !ledger::control(connection).await?.backlog_accepted {
        let feed = ledger::feed(connection, host).await?;
        let upto = feed.map_or(i64::MAX, |feed| feed.started_at.timestamp_micros());
        backlog = Backlog { archived: upto, queued: upto };
    }
    Ok(Context { listed: Some(backlog), ..announced(connection, settings).await? })
}

/// Brings the entries of these rows in line with what they say.
pub(in crate::work) async fn reconcile(
    connection: &mut PgConnection,
    shown: &[Shown],
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<()> {
    let reads: Vec<Read<'_>> = shown.iter().map(read).collect();
    let copies: Vec<(&Shown, Facts)> = shown
        .iter()
        .zip(&reads)
        .filter(|(shown, _)| shown.copy_of.is_some())
        .filter_map(|(shown, read)| Some((shown, read.facts.clone()?)))
        .collect();
    super::reconcile(connection, reads, context, reconciled).await?;
    for (copy, facts) in &copies {
        hold_back(connection, copy, facts, context).await?;
    }
    if !copies.is_empty() && context.rules.looks_for_readers_in(Store::Archive) {
        let ids: Vec<(&str, &str, &str)> = copies.iter().filter_map(|it| original(it.0)).collect();
        ledger::align_copies(connection, &ids).await?;
    }
    Ok(())
}

/// The row that this is a copy of: host, owner, archive id.
fn original(copy: &Shown) -> Option<(&str, &str, &str)> {
    let key = &copy.row.key;
    Some((&key.host, &key.owner, copy.copy_of.as_deref()?))
}

/// What the row says. Which row a copy in a queue belongs to, the module knows best.
fn read(shown: &Shown) -> Read<'_> {
    let mut read = Read::of(&shown.row);
    if let Some(facts) = read.facts.as_mut().filter(|_| shown.row.key.store == Store::Queue) {
        let key = &shown.row.key;
        let by = bare_jid(&key.owner, &key.host);
        facts.last_stanza_id = shown.copy_of.clone().map(|id| StanzaId { by, id });
    }
    read
}

/// A copy in an offline queue holds its archive row back, because nobody has received the message. The row was
/// announced before its copy, or will be judged beside it; both are the same stanza.
async fn hold_back(
    connection: &mut PgConnection,
    copy: &Shown,
    facts: &Facts,
    context: Context<'_>,
) -> Result<()> {
    let (key, Some(id)) = (&copy.row.key, &copy.copy_of) else { return Ok(()) };
    let owner = (key.host.as_str(), key.owner.as_str());
    let mut changes = Vec::new();
    for entry in ledger::entries_under(connection, owner, id).await? {
        let Entry { id, mut expiry } = entry;
        let runs = expiry.row.store == Store::Archive && expiry.phase == Phase::Pending;
        let by = expiry.start.by;
        let is_past = by.is_by_reading() || by.is_received();
        if !runs || expiry.reason == Reason::Undelivered || is_past {
            continue;
        }
        let stamp = Stamp { at: expiry.row.stamped_at, ..copy.row.stamp };
        let archived_at = policy::archived(stamp, context.now).at;
        let placement = Placement::of(Store::Archive, archived_at, expiry.start, true);
        let judgement = policy::judge(facts, &placement, context.rules);
        (expiry.due_at, expiry.reason) = judgement.entry().unwrap_or((LATEST, Reason::Undelivered));
        changes.push(Entry { id, expiry });
    }
    ledger::change(connection, &changes).await
}

/// Copies have left an offline queue, so someone has received the messages, and their timers start.
pub(in crate::work) async fn deliver(
    connection: &mut PgConnection,
    copies: &[Entry],
) -> Result<()> {
    ledger::forget(connection, &ids(copies)).await?;
    let originals = originals(copies);
    ledger::start_timers(connection, &originals).await?;
    // Whoever took the queue also received what was waiting in a session.
    ledger::end_undelivered(connection, &originals).await
}
