//! What goes when, read from the archive itself: for an operator who has no ledger yet.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::{
    archive::{Row, prosody},
    database::{Named, Result},
    ledger::{Outlook, Outlooks},
    model::{Facts, Placement, Reason, Rules, Store, Timestamp, Verdict},
    policy, stanza,
};

/// Archive rows that one statement searches.
const SPAN_ROWS: i64 = 5_000;
/// Candidates, and bytes of stanzas, that one statement returns.
const LIMITS: (i64, i64) = (500, 8 * 1024 * 1024);

const HOUR: Duration = Duration::from_secs(3_600);

/// How far a scan has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScanProgress {
    /// From 0 to 1.
    pub share: f64,
    /// Rows gone through.
    pub rows: i64,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// Rows gone through.
    pub rows: i64,
    /// What goes when, by store and reason.
    pub outlooks: Outlooks,
    /// Rows that may be marked and could not be read.
    pub unreadable: i64,
}

/// What the scan judges by.
struct Scanner<'a> {
    hosts: &'a [String],
    rules: &'a Rules,
    now: Timestamp,
    found: BTreeMap<(Store, Reason), Outlook>,
    unreadable: i64,
    /// Archive rows that were counted again, as undelivered.
    undelivered: HashSet<i64>,
}

/// Reads the whole archive and judges by these rules, without our schema. `told` hears how far it has
/// come.
pub async fn scan(
    pool: &PgPool,
    hosts: &[String],
    rules: &Rules,
    mut told: impl FnMut(ScanProgress),
) -> Result<Scan> {
    let mut connection = pool.acquire().await.named("scan_connect")?;
    let horizon = prosody::horizon(&mut connection).await?;
    let (now, upto) = (horizon.now, horizon.newest);
    let (found, undelivered) = (BTreeMap::new(), HashSet::new());
    let mut scanner = Scanner { hosts, rules, now, found, unreadable: 0, undelivered };
    let (mut at, mut rows) = (0, 0);
    while let Some((end, count)) = prosody::span_end(&mut connection, at, upto, SPAN_ROWS).await? {
        scanner.span(&mut connection, (at, end)).await?;
        (at, rows) = (end, rows + count);
        told(ScanProgress { share: at as f64 / upto.max(1) as f64, rows });
    }
    let outlooks = scanner.found.into_iter().filter(|(_, it)| *it != Outlook::default()).collect();
    Ok(Scan { rows, outlooks, unreadable: scanner.unreadable })
}

impl Scanner<'_> {
    async fn span(&mut self, connection: &mut PgConnection, span: (i64, i64)) -> Result<()> {
        let (mut after, end) = span;
        loop {
            let page = prosody::candidates(connection, self.hosts, (after, end), LIMITS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.key.row_number;
            for row in &page {
                self.row(connection, row).await?;
            }
        }
    }

    async fn row(&mut self, connection: &mut PgConnection, row: &Row) -> Result<()> {
        let Some(facts) = read(row) else {
            self.unreadable += 1;
            return Ok(());
        };
        if facts.expired_until.is_some() {
            self.outlook((row.key.store, Reason::Timer)).placeholders += 1;
            return Ok(());
        }
        if row.key.store == Store::Queue {
            self.hold_back(connection, row, &facts).await?;
        }
        let verdict = self.judge(row, &facts, false);
        self.count(row.key.store, verdict, 1);
        Ok(())
    }

    /// Nobody has had what the queue holds: its archive row goes with it, not when its own timer says.
    async fn hold_back(
        &mut self,
        connection: &mut PgConnection,
        copy: &Row,
        facts: &Facts,
    ) -> Result<()> {
        let Some(id) = &facts.last_stanza_id else { return Ok(()) };
        let (host, owner) = (copy.key.host.as_str(), copy.key.owner.as_str());
        for row in prosody::archive_rows(connection, &[(host, owner, &id.id)]).await? {
            let Some(facts) = read(&row) else { continue };
            let is_new =
                facts.expired_until.is_none() && self.undelivered.insert(row.key.row_number);
            if is_new {
                let (alone, held) =
                    (self.judge(&row, &facts, false), self.judge(&row, &facts, true));
                self.count(row.key.store, alone, -1);
                self.count(row.key.store, held, 1);
            }
        }
        Ok(())
    }

    fn judge(&self, row: &Row, facts: &Facts, undelivered: bool) -> Option<Verdict> {
        let runs_from = policy::runs_from(row.stamp, self.now);
        let placement = Placement { store: row.key.store, runs_from, undelivered };
        policy::decide(facts, &placement, self.rules)
    }

    fn count(&mut self, store: Store, verdict: Option<Verdict>, by: i64) {
        let Some(Verdict { due_at, reason, .. }) = verdict else { return };
        let now = self.now;
        let outlook = self.outlook((store, reason));
        outlook.total += by;
        if due_at <= now {
            outlook.overdue += by;
            return;
        }
        let spans = [
            (HOUR, &mut outlook.within_1h),
            (HOUR * 24, &mut outlook.within_24h),
            (HOUR * 24 * 7, &mut outlook.within_7d),
            (HOUR * 24 * 30, &mut outlook.within_30d),
        ];
        for (span, counter) in spans {
            if due_at <= policy::later(now, span) {
                *counter += by;
            }
        }
    }

    fn outlook(&mut self, of: (Store, Reason)) -> &mut Outlook {
        self.found.entry(of).or_default()
    }
}

fn read(row: &Row) -> Option<Facts> {
    row.xml.as_deref().and_then(|xml| stanza::read(xml).ok())
}
