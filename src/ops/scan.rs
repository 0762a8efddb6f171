//! What goes when, read from the archive itself: for an operator who has no ledger yet.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sqlx::PgConnection;

use super::{explain::waits_for_reader, scan_names::Names};
use crate::{
    archive::{Archive, Row, Search, Table},
    database::Result,
    ledger::{Outlook, Outlooks},
    model::{
        Facts, Judgement, OwnerGroups, Placement, QuoteRule, Reason, Rules, Start, StartRule,
        Store, Timestamp,
    },
    policy, stanza,
};

/// Archive rows searched by one statement.
const SPAN_ROWS: i64 = 5_000;
/// Maximum candidates, and bytes of stanzas, returned by one statement.
const LIMITS: (i64, i64) = (500, 8 * 1024 * 1024);

const HOUR: Duration = Duration::from_secs(3_600);

/// How far a scan has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScanProgress {
    /// From 0 to 1.
    pub share: f64,
    /// Rows examined.
    pub rows: i64,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// Rows examined.
    pub rows: i64,
    /// What goes when, by store and reason.
    pub outlooks: Outlooks,
    /// Rows that may be marked and could not be read.
    pub unreadable: i64,
}

/// What the scan judges by.
struct Scanner<'a> {
    archive: &'a Archive,
    hosts: &'a [String],
    rules: &'a Rules,
    now: Timestamp,
    found: BTreeMap<(Store, Reason), Outlook>,
    unreadable: i64,
    /// What may be named by what comes later.
    names: Names,
    /// Archive rows already counted again as undelivered.
    undelivered: HashSet<((String, String, String), Vec<u8>)>,
}

/// Reads the whole archive and judges by these rules, without our schema. `report` is called with its
/// progress.
pub async fn scan(
    connection: &mut PgConnection,
    archive: &Archive,
    hosts: &[String],
    rules: &Rules,
    mut report: impl FnMut(ScanProgress),
) -> Result<Scan> {
    let tables = archive.tables();
    let mut scanner = Scanner::new(archive, hosts, rules);
    let mut rows = 0;
    for (done, table) in tables.iter().enumerate() {
        let horizon = table.horizon(connection).await?;
        scanner.now = horizon.now;
        let upto = horizon.newest;
        let first = table.span_end(connection, (0, upto), 1).await?.map_or(0, |(first, _)| first);
        let mut at = 0;
        while let Some((end, count)) = table.span_end(connection, (at, upto), SPAN_ROWS).await? {
            scanner.span(connection, table, (at, end)).await?;
            (at, rows) = (end, rows + count);
            let share = (at - first) as f64 / (upto - first).max(1) as f64;
            report(ScanProgress { share: (done as f64 + share) / tables.len() as f64, rows });
        }
    }
    let outlooks = scanner.found.into_iter().filter(|(_, it)| *it != Outlook::default()).collect();
    Ok(Scan { rows, outlooks, unreadable: scanner.unreadable })
}

impl<'a> Scanner<'a> {
    fn new(archive: &'a Archive, hosts: &'a [String], rules: &'a Rules) -> Self {
        let (found, now) = (BTreeMap::new(), Timestamp::UNIX_EPOCH);
        let (names, undelivered) = (Names::default(), HashSet::new());
        Self { archive, hosts, rules, now, found, unreadable: 0, names, undelivered }
    }

    async fn span(
        &mut self,
        connection: &mut PgConnection,
        table: &Table,
        (mut after, end): (i64, i64),
    ) -> Result<()> {
        let everybody = OwnerGroups::all();
        let searched = (self.hosts, Search::marked_and(&everybody, self.rules));
        loop {
            let page = table.candidates(connection, searched, (after, end), LIMITS).await?;
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
        let store = row.key.store;
        if facts.expired_until.is_some() {
            let is_ours = self.archive.deletes_from(store);
            self.outlook((store, Reason::Timer)).placeholders += i64::from(is_ours);
            return Ok(());
        }
        if store == Store::Queue {
            self.hold_back(connection, row, &facts).await?;
        }
        let quote = self.quote(row, &facts);
        self.count(store, quote, 1);
        let expiry = self.judge_and_note(row, &facts);
        self.count(store, expiry, 1);
        Ok(())
    }

    /// When and why it goes by itself, or with the message that it belongs to. That comes before it, as a rule.
    fn judge_and_note(&mut self, row: &Row, facts: &Facts) -> Option<(Timestamp, Reason)> {
        let (start, own) = self.judged(row, facts, false);
        let belongs_to = facts.belonging(self.rules.inherit.quotes);
        let inherited = belongs_to.and_then(|to| self.names.inherited(row, &to));
        let Some(inherited) = inherited else {
            let expiry = own.entry()?;
            self.names.note(row, start.at, expiry.0);
            return Some(expiry);
        };
        self.names.note(row, inherited.runs_from, inherited.due_at);
        let archived_at = policy::archived(row.stamp, self.now).at;
        policy::inherit(own, facts, inherited, archived_at).entry()
    }

    /// When what it quotes is cut out of it.
    fn quote(&self, row: &Row, facts: &Facts) -> Option<(Timestamp, Reason)> {
        let to = facts.quotes.as_ref().filter(|_| self.rules.inherit.quotes == QuoteRule::Cut)?;
        let inherited = self.names.inherited(row, to)?;
        stanza::cut_quote(row.xml.as_deref()?)?;
        Some((inherited.due_at.max(policy::archived(row.stamp, self.now).at), Reason::Quote))
    }

    /// A queued message has not been received: its archive row goes together with it, not by its own timer.
    /// It makes no difference whether that row has been counted already.
    async fn hold_back(
        &mut self,
        connection: &mut PgConnection,
        copy: &Row,
        facts: &Facts,
    ) -> Result<()> {
        let Some(id) = &facts.last_stanza_id else { return Ok(()) };
        if self.judge(copy, facts, false).is_none() {
            return Ok(());
        }
        let (host, owner) = (copy.key.host.as_str(), copy.key.owner.as_str());
        let rows = self.archive.archive_rows(connection, &[(host, owner, &id.id)]).await?;
        for row in rows {
            let Some(facts) = read(&row) else { continue };
            let key = &row.key;
            let name = (key.owner.clone(), key.archive_id.clone(), key.host.clone());
            let is_new = self.undelivered.insert((name, key.digest.clone()));
            if is_new && facts.expired_until.is_none() {
                let (alone, held) =
                    (self.judge(&row, &facts, false), self.judge(&row, &facts, true));
                self.count(key.store, alone, -1);
                self.count(key.store, held, 1);
            }
        }
        Ok(())
    }

    /// When and why it would go if nobody is known to have read anything. With `auto` every timer counts from archiving:
    /// whether an account shows what it reads is looked up when a row is recorded.
    fn judge(&self, row: &Row, facts: &Facts, undelivered: bool) -> Option<(Timestamp, Reason)> {
        self.judged(row, facts, undelivered).1.entry()
    }

    fn judged(&self, row: &Row, facts: &Facts, undelivered: bool) -> (Start, Judgement) {
        let (rules, times) = (&self.rules.timers, (row.stamp, self.now));
        let starts_at_reading = match row.key.store {
            Store::Room => self.rules.looks_for_readers_in(Store::Room),
            Store::Archive | Store::Queue => rules.start == StartRule::Read,
        };
        let is_unread = starts_at_reading && waits_for_reader(row, facts, self.rules);
        let unread = is_unread.then(|| policy::unread(times.0, times.1, rules.unread_for));
        let start = policy::start(None, false, times, unread);
        let archived_at = policy::archived(times.0, times.1).at;
        let placement = Placement::of(row.key.store, archived_at, start, undelivered)
            .not_received(facts.once && row.is_not_received());
        (start, policy::judge(facts, &placement, self.rules))
    }

    fn count(&mut self, store: Store, expiry: Option<(Timestamp, Reason)>, by: i64) {
        let Some((due_at, reason)) = expiry else { return };
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
