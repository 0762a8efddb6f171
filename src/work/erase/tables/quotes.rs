//! Quotes of messages that went: cut out of the replies that have them, and forgotten, in one transaction.

use sqlx::PgPool;
use tokio::time::Instant;

use crate::{
    archive::{Archive, Erasure},
    database::{Error, Named, Result, in_time},
    ledger::{self, ClaimedQuotes, Quote, RecordedQuote},
    metrics::{FailureCause, Metrics},
    model::{RowId, RowKey, Store},
    stanza,
    work::{TRANSACTION_LIMIT, base::crash::crash_point, erase::EraseSettings},
};

/// What became of a transaction.
pub(super) enum Cut {
    /// So many were claimed, and are settled.
    Quotes(usize),
    /// Nothing is due.
    Nothing,
    /// Somebody places or ends a hold: nothing was claimed.
    HoldUnderWay,
}

/// A transaction that failed, and the quotes that it had claimed.
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) claimed: Vec<(i64, Store)>,
}

/// What is to be done with the claimed quotes, by id.
#[derive(Default)]
struct Settled {
    forget: Vec<i64>,
    put_off: Vec<i64>,
    /// Entries of rows whose digests are others now.
    renamed: Vec<(i64, Vec<u8>)>,
    /// The positions of those that were cut.
    cut: Vec<usize>,
    taken_over: u64,
    failures: Vec<FailureCause>,
}

/// Claims up to `rows` quotes and cuts them.
pub(super) async fn cut(
    pool: &PgPool,
    archive: &Archive,
    settings: &EraseSettings,
    rows: u32,
    metrics: &Metrics,
) -> std::result::Result<Cut, Failure> {
    let mut claimed = Vec::new();
    let cutting = cut_in_one(pool, archive, (settings, rows), metrics, &mut claimed);
    let outcome = in_time("cut", TRANSACTION_LIMIT, cutting).await;
    outcome.map_err(|error| Failure { error, claimed })
}

async fn cut_in_one(
    pool: &PgPool,
    archive: &Archive,
    (settings, rows): (&EraseSettings, u32),
    metrics: &Metrics,
    claimed: &mut Vec<(i64, Store)>,
) -> Result<Cut> {
    let mut transaction = pool.begin().await.named("cut_begin")?;
    if !ledger::share_claims(&mut transaction).await? {
        return Ok(Cut::HoldUnderWay);
    }
    let claims = ledger::claim_quotes(&mut transaction, &settings.hosts, rows.into()).await?;
    let Some(ClaimedQuotes { now, quotes, on_hold }) = claims else { return Ok(Cut::Nothing) };
    let claimed_at = Instant::now();
    claimed.extend(quotes.iter().map(|it| (it.id, it.quote.row.store)));
    ledger::put_quotes_aside(&mut transaction, &on_hold).await?;
    let settled = settle(&mut transaction, archive, &quotes).await?;
    ledger::forget_quotes(&mut transaction, &settled.forget).await?;
    ledger::put_off_quotes(&mut transaction, &settled.put_off).await?;
    ledger::rename_rows(&mut transaction, &settled.renamed).await?;
    crash_point!("cut");
    transaction.commit().await.named("cut_commit")?;
    let took = claimed_at.elapsed().as_secs_f64();
    for quote in settled.cut.iter().filter_map(|at| quotes.get(*at)) {
        metrics.quotes_cut.inc();
        let late = (now - quote.quote.due_at).as_seconds_f64();
        metrics.erase_delay_seconds.observe(late + took);
    }
    metrics.taken_over.inc_by(settled.taken_over);
    for cause in settled.failures {
        metrics.erase_failures.of(cause).inc();
    }
    Ok(Cut::Quotes(quotes.len() + on_hold.len()))
}

/// Cuts what is left of these quotes in their rows.
async fn settle(
    connection: &mut sqlx::PgConnection,
    archive: &Archive,
    quotes: &[RecordedQuote],
) -> Result<Settled> {
    let mut settled = Settled::default();
    let ids: Vec<RowId<'_>> = quotes.iter().map(|it| it.quote.row.id()).collect();
    // A row's digest may change: nobody else may have its own entry meanwhile.
    let entries = ledger::lock_entries(connection, &ids).await?;
    let is_free = |at: usize| entries.iter().all(|it| it.position != at || it.id.is_some());
    let (free, locked): (Vec<_>, Vec<_>) = quotes.iter().enumerate().partition(|it| is_free(it.0));
    settled.put_off.extend(locked.iter().map(|it| it.1.id));
    settled.failures.extend(locked.iter().map(|_| FailureCause::Locked));

    let keys: Vec<&RowKey> = free.iter().map(|it| &it.1.quote.row).collect();
    let cut = |at: usize, xml: &str| {
        let quote = &free.get(at)?.1.quote;
        let is_same = quote.text_hash == Quote::hash_of(xml);
        is_same.then(|| stanza::cut_quote(xml)).flatten()
    };
    let erasures = archive.cut(connection, &keys, cut).await?;
    for ((at, RecordedQuote { id, quote, .. }), erasure) in free.iter().zip(erasures) {
        match erasure {
            Erasure::Placeholder(digest) => {
                settled.forget.push(*id);
                settled.cut.push(*at);
                let own = entries.iter().find(|it| it.position == *at).and_then(|it| it.id);
                let own = own.filter(|_| digest != quote.row.digest);
                settled.renamed.extend(own.map(|entry| (entry, digest)));
            }
            Erasure::Done | Erasure::AlreadyGone => settled.forget.push(*id),
            // Whoever rewrote it may have left a quote there: a sweep judges that anew.
            Erasure::TakenOver => {
                settled.forget.push(*id);
                // One with a timer of its own may be our placeholder by now.
                let has_entry = entries.iter().any(|it| it.position == *at);
                settled.taken_over += u64::from(!has_entry);
            }
            Erasure::Locked | Erasure::Unchanged => {
                settled.put_off.push(*id);
                settled.failures.push(match erasure {
                    Erasure::Locked => FailureCause::Locked,
                    _ => FailureCause::Unchanged,
                });
            }
        }
    }
    Ok(settled)
}

/// Schedules a retry of the only quote of a transaction that failed.
pub(super) async fn put_off(pool: &PgPool, ids: &[i64]) -> Result<()> {
    in_time("put_off", TRANSACTION_LIMIT, async {
        let mut connection = pool.acquire().await.named("put_off_connect")?;
        ledger::put_off_quotes(&mut connection, ids).await
    })
    .await
}
