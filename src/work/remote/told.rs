//! Rows as the module shows them, brought into the ledger; and copies in offline queues, which hold the rows
//! of the archive back for as long as nobody has received the message.

use sqlx::PgConnection;

use super::{SWEEP, Settings};
use crate::{
    archive::remote::Shown,
    database::{Error, Named, Result},
    ledger::{self, Entry, Phase},
    metrics::Metrics,
    model::{Facts, Judgement, LATEST, Outcome, Placement, Reason, StanzaId, Store, Timestamp},
    policy,
    work::reconcile::{Backlog, Context, Read, Reconciled, Source, reconcile_reads},
};

/// The context of one host's rows. `listed` rows may be from before the first start, and from a backup.
/// Holds the sweep's lock then: an operator who accepts the backlog meanwhile waits for us.
pub(super) async fn context<'a>(
    connection: &mut PgConnection,
    settings: &'a Settings,
    host: &str,
    listed: bool,
) -> Result<Context<'a>> {
    let mut backlog = Backlog { archived: i64::MIN, queued: i64::MIN };
    if listed {
        let busy = || Error::unexpected("lock_sweep", "another session holds the sweep");
        ledger::lock_sweep(connection, SWEEP).await?.ok_or_else(busy)?;
        let accepted = ledger::control(connection).await?.backlog_accepted;
        if settings.hold_backlog && !accepted {
            let feed = ledger::feed(connection, host).await?;
            let upto = feed.map_or(i64::MAX, |feed| feed.started_at.timestamp_micros());
            backlog = Backlog { archived: upto, queued: upto };
        }
    }
    let now: Timestamp = sqlx::query_scalar("-- told_now\nSELECT clock_timestamp()")
        .fetch_one(connection)
        .await
        .named("told_now")?;
    Ok(Context { rules: &settings.rules, now, backlog, restores: listed })
}

/// Brings the entries of these rows in line with what they say.
pub(super) async fn reconcile(
    connection: &mut PgConnection,
    shown: &[Shown],
    context: Context<'_>,
) -> Result<Reconciled> {
    let reads: Vec<Read<'_>> = shown.iter().map(read).collect();
    let copies: Vec<(&Shown, Facts)> = shown
        .iter()
        .zip(&reads)
        .filter(|(shown, _)| shown.copy_of.is_some())
        .filter_map(|(shown, read)| Some((shown, read.facts.clone()?)))
        .collect();
    let reconciled = reconcile_reads(connection, Source::Module, reads, context).await?;
    for (copy, facts) in copies {
        hold_back(connection, copy, &facts, context).await?;
    }
    Ok(reconciled)
}

/// What the row says. Of a copy in a queue the module knows best what it is a copy of.
fn read(shown: &Shown) -> Read<'_> {
    let mut read = Read::of(&shown.row);
    if let Some(facts) = read.facts.as_mut().filter(|_| shown.row.key.store == Store::Queue) {
        let key = &shown.row.key;
        let by = format!("{}@{}", key.owner, key.host);
        facts.last_stanza_id = shown.copy_of.clone().map(|id| StanzaId { by, id });
    }
    read
}

/// A copy in an offline queue holds its archive row back: nobody has had the message. The row was told
/// before its copy, or will be judged beside it; both are the same stanza.
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
        let runs = expiry.store == Store::Archive && expiry.phase == Phase::Pending;
        if !runs || expiry.reason == Reason::Undelivered {
            continue;
        }
        let runs_from = expiry.runs_from;
        let placement = Placement { store: Store::Archive, runs_from, undelivered: true };
        (expiry.due_at, expiry.reason) = match policy::judge(facts, &placement, context.rules) {
            Judgement::Goes(verdict) => (verdict.due_at, verdict.reason),
            Judgement::Stays(_) => (LATEST, Reason::Undelivered),
        };
        changes.push(Entry { id, expiry });
    }
    ledger::change(connection, &changes).await
}

/// Copies have left an offline queue: somebody has the messages now. Their timers start.
pub(super) async fn deliver(connection: &mut PgConnection, copies: &[Entry]) -> Result<()> {
    if copies.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = copies.iter().map(|entry| entry.id).collect();
    ledger::forget(connection, &ids).await?;
    let originals: Vec<(&str, &str, &str)> = copies
        .iter()
        .map(|entry| &entry.expiry)
        .filter_map(|it| Some((&*it.host, &*it.owner, it.copy_of.as_deref()?)))
        .collect();
    ledger::start_timers(connection, &originals).await?;
    Ok(())
}

/// Counts what was committed.
pub(super) fn count(reconciled: &Reconciled, metrics: &Metrics) {
    for (_, store, outcome) in &reconciled.outcomes {
        metrics.stanzas_inspected.of(*store, *outcome).inc();
        if *outcome == Outcome::Unreadable {
            metrics.unreadable_stanzas.inc();
        }
    }
    for (store, reason) in &reconciled.recorded {
        metrics.stanzas_inspected.of(*store, Outcome::Marked).inc();
        metrics.expiries_recorded.of(*reason).inc();
    }
    let invalid: u32 = reconciled.invalid_timers.iter().map(|it| it.1).sum();
    metrics.invalid_timers.inc_by(u64::from(invalid));
}
