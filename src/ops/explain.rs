//! What happens to one message, and why: read and judged as the daemon does it.

use std::time::Duration;

use sqlx::PgConnection;

use super::wished::Wishes;
use crate::{
    archive::{Archive, Row, Within},
    database::{self, Result},
    ledger::{self, Belonging, Entry, Expiry, FileCounts, Heir, Pause, RecordedQuote},
    model::{
        Facts, Judgement, Limit, Placement, QuoteRule, Reason, RoomStart, RowId, Rules, Stamp,
        Start, StartRule, StartedBy, Store, Timestamp,
    },
    policy::{self, Applied, Retention, TimersWished},
    stanza::{self, Unreadable},
};

/// What was found in a stanza, and what follows from it.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The store that it is in, or is assumed to be in.
    pub store: Store,
    /// When it was archived, or is assumed to have been.
    pub archived_at: Timestamp,
    /// When its timer starts, and why: at the end of a stamp's whole second, when somebody had received the message,
    /// when its owner had read it, or when it starts without that.
    pub start: Start,
    /// What the stanza says; `None` if it is larger than ephemerd reads.
    pub facts: Option<std::result::Result<Facts, Unreadable>>,
    /// Policy's judgement.
    pub judgement: Option<Judgement>,
    /// What remains once its text is gone.
    pub afterwards: Afterwards,
    /// Its host is listed, or unknown; rows of other hosts are never touched.
    pub listed: bool,
    /// In a room, its timer started when every member had read it, or is to start then.
    pub by_everyone: bool,
    /// It is to go once it was read because its owner wishes that, and not its sender.
    pub once_by_wish: bool,
    /// It is encrypted, and its timer is what its owner wishes.
    pub timer_by_wish: bool,
}

/// What remains of a message once its text is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Nothing: the row is deleted.
    Nothing,
    /// A placeholder, until this time.
    Until(Timestamp),
    /// A placeholder in the offline queue, which the server removes at login.
    UntilTaken,
}

/// The settings that an explanation depends on.
#[derive(Debug, Clone)]
pub struct Explainer {
    /// The operator's rules.
    pub rules: Rules,
    /// How long messages are kept.
    pub retention: Retention,
    /// The hosts whose rows may be erased.
    pub hosts: Vec<String>,
    /// Whether archived rows become placeholders. Rows of the queue always do.
    pub keeps_placeholders: bool,
    /// Whether we delete placeholders in the queue; otherwise the server does, at login.
    pub deletes_from_queue: bool,
    /// How long a placeholder is kept.
    pub placeholder_for: Duration,
}

/// A stanza that is given, not looked up.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The stanza.
    pub xml: &'a str,
    /// The store that it is assumed to be in.
    pub store: Store,
    /// The host it is assumed to be on.
    pub host: Option<&'a str>,
    /// When it is assumed to have been archived.
    pub stamp: Stamp,
}

/// A row in the archive, with its ledger entry.
#[derive(Debug, Clone)]
pub struct Live {
    /// The row's own number.
    pub row_number: i64,
    /// What the row says.
    pub explanation: Explanation,
    /// The ledger's entry.
    pub entry: Option<Recorded>,
    /// By which rule the row goes by its age; `None` if its age does not matter.
    pub age: Option<Aging>,
    /// What it quotes is to be cut out of it.
    pub quote: Option<RecordedQuote>,
}

/// When a row is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aging {
    /// The limit that applies, and where it comes from.
    pub applied: Applied,
    /// It is not the policy's, but what its owner wishes.
    pub by_wish: bool,
    /// From when on the row is too old.
    pub from: Timestamp,
    /// Something of its owner's is on hold, and it may be this row.
    pub may_be_on_hold: bool,
}

/// A ledger entry, and whether a hold keeps its row.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What the ledger says.
    pub expiry: Expiry,
    /// Its row is on hold.
    pub on_hold: bool,
    /// In a room: its timer started when every member had read it.
    pub by_everyone: bool,
    /// Uploaded files that it names.
    pub files: FileCounts,
}

/// What the database knows about a message: its rows, and whether erasing is paused.
#[derive(Debug, Clone)]
pub struct FoundMessage {
    /// One for each store that holds it.
    pub live: Vec<Live>,
    /// Ledger entries without a row: erased, or not visible from here.
    pub orphans: Vec<Recorded>,
    /// The archive was read; behind a companion module it cannot be.
    pub archive_was_read: bool,
    /// Whether erasing is paused.
    pub pause: Pause,
}

/// The ledger's entries for this owner (host and local part) and id, for when the archive itself is out of
/// reach.
pub async fn find_entries(
    connection: &mut PgConnection,
    owner: (&str, &str),
    archive_id: &str,
) -> Result<FoundMessage> {
    let entries = ledger::entries_under(connection, owner, archive_id).await?;
    let orphans = recorded(connection, entries).await?;
    let pause = ledger::paused(connection).await?;
    Ok(FoundMessage { live: Vec::new(), orphans, archive_was_read: false, pause })
}

async fn recorded(connection: &mut PgConnection, entries: Vec<Entry>) -> Result<Vec<Recorded>> {
    let ids: Vec<i64> = entries.iter().map(|it| it.id).collect();
    let on_hold = ledger::entries_on_hold(connection, &ids).await?;
    let by_everyone = ledger::started_by_everyone(connection, &ids).await?;
    let files = ledger::files_of_entries(connection, &ids).await?;
    let recorded = |Entry { id, expiry }| {
        let (on_hold, by_everyone) = (on_hold.contains(&id), by_everyone.contains(&id));
        let files = files.iter().find(|it| it.0 == id).map(|it| it.1).unwrap_or_default();
        Recorded { expiry, on_hold, by_everyone, files }
    };
    Ok(entries.into_iter().map(recorded).collect())
}

impl Explainer {
    /// Explains a stanza as if it were in this store with this stamp.
    pub fn explain(&self, given: Given<'_>, now: Timestamp) -> Explanation {
        let Given { xml, store, host, stamp } = given;
        let start = policy::archived(stamp, now);
        let placement = Placement::of(store, start.at, start, false);
        self.judge(Some(stanza::read(xml)), (placement, start), host, stamp.at, None)
    }

    fn judge(
        &self,
        facts: Option<std::result::Result<Facts, Unreadable>>,
        (placement, mut start): (Placement, Start),
        host: Option<&str>,
        archived_at: Timestamp,
        heir: Option<Heir>,
    ) -> Explanation {
        let readable = facts.as_ref().and_then(|facts| facts.as_ref().ok());
        let store = placement.store;
        let judgement = readable.map(|facts| {
            let own = policy::judge(facts, &placement, &self.rules);
            let Some(Heir { inherits, .. }) = heir else { return own };
            if own.entry().is_none() {
                start = Start { at: inherits.runs_from, by: StartedBy::Inherited };
            }
            policy::inherit(own, facts, inherits, placement.archived_at)
        });
        let afterwards = match &judgement {
            Some(Judgement::Goes(verdict)) => self.afterwards(store, verdict.due_at),
            _ => Afterwards::Nothing,
        };
        let listed = host.is_none_or(|host| self.hosts.iter().any(|listed| listed == host));
        let by_everyone = self.rules.rooms.start == RoomStart::Everyone;
        Explanation {
            store,
            archived_at,
            start,
            facts,
            judgement,
            afterwards,
            listed,
            by_everyone,
            once_by_wish: false,
            timer_by_wish: false,
        }
    }

    fn afterwards(&self, store: Store, due_at: Timestamp) -> Afterwards {
        match store {
            Store::Queue if !self.deletes_from_queue => Afterwards::UntilTaken,
            Store::Archive | Store::Room if !self.keeps_placeholders => Afterwards::Nothing,
            _ => Afterwards::Until(policy::later(due_at, self.placeholder_for)),
        }
    }

    /// Explains this owner's rows (host and local part) with this id, with their ledger entries.
    pub async fn find(
        &self,
        connection: &mut PgConnection,
        archive: &Archive,
        owner: (&str, &str),
        archive_id: &str,
    ) -> Result<FoundMessage> {
        let now = database::now(connection).await?;
        let rows = archive.find(connection, owner, archive_id).await?;
        let copies = archive.queued_under(connection, owner, archive_id).await?;
        let copies: Vec<Row> = copies.into_iter().filter(|it| is_copy(it, archive_id)).collect();
        let (store, (host, owner_name)) = (Store::Archive, owner);
        let id = RowId { store, host, owner: owner_name, archive_id, digest: &[] };
        let undelivered = copies.iter().any(|copy| self.holds_back(copy, now))
            || !ledger::undelivered(connection, &[id]).await?.is_empty();
        let user_reads = match self.rules.timers.start {
            StartRule::Archived | StartRule::Delivered => false,
            StartRule::Read => true,
            StartRule::Auto => self.shows_reading(connection, archive, owner, now).await?,
        };
        let rows: Vec<Row> = rows.into_iter().chain(copies).collect();
        let names: Vec<RowId<'_>> = rows.iter().map(|row| row.key.id()).collect();
        let mut known = ledger::entries_of(connection, &names).await?;
        let mut orphans = ledger::entries_under(connection, owner, archive_id).await?;
        orphans.retain(|it| known.iter().all(|(_, entry)| entry.id != it.id));
        let mut quotes = ledger::quotes_under(connection, owner, archive_id).await?;
        let mut live = Vec::new();
        let may_be_on_hold = !ledger::owners_on_hold(connection, &[owner]).await?.is_empty();
        let wishes = Wishes::of(connection, owner, &self.rules).await?;
        for (position, row) in rows.iter().enumerate() {
            let at = known.iter().position(|it| it.0 == position);
            let entry: Vec<Entry> = at.map(|at| known.swap_remove(at).1).into_iter().collect();
            let by = (row, self.rules.inherit.quotes);
            let heir = heir(connection, archive, by, entry.first()).await?;
            let entry = recorded(connection, entry).await?.pop();
            let reads = match row.key.store {
                Store::Room => self.rules.looks_for_readers_in(Store::Room),
                Store::Archive | Store::Queue => user_reads,
            };
            let age = self.aging(row, &wishes, may_be_on_hold);
            let (waits, wished) = ((undelivered, reads), wishes.timers(row));
            let live_row = self.live(row, entry, (waits, wished), heir, now);
            let is_here = |it: &RecordedQuote| it.quote.row == row.key;
            let quote = quotes.iter().position(is_here).map(|at| quotes.swap_remove(at));
            live.push(Live { age, quote, ..live_row });
        }
        let orphans = recorded(connection, orphans).await?;
        let pause = ledger::paused(connection).await?;
        Ok(FoundMessage { live, orphans, archive_was_read: true, pause })
    }

    /// The ledger knows that this owner's clients show what they read, or the archive tells.
    async fn shows_reading(
        &self,
        connection: &mut PgConnection,
        archive: &Archive,
        owner: (&str, &str),
        now: Timestamp,
    ) -> Result<bool> {
        if !ledger::readers(connection, &[owner]).await?.is_empty() {
            return Ok(true);
        }
        let (since, evidence) = (now - policy::READER_FOR, self.rules.timers.read_evidence);
        Ok(!archive.readers(connection, &[owner], since, evidence).await?.is_empty())
    }

    /// The ledger has an entry for this copy, or will have one: the original waits with it.
    fn holds_back(&self, copy: &Row, now: Timestamp) -> bool {
        let explanation =
            self.live(copy, None, ((false, false), TimersWished::default()), None, now).explanation;
        let judgement = explanation.judgement.as_ref();
        explanation.listed && judgement.is_some_and(|it| it.entry().is_some())
    }

    fn live(
        &self,
        row: &Row,
        entry: Option<Recorded>,
        ((undelivered, reads), wished): ((bool, bool), TimersWished),
        heir: Option<Heir>,
        now: Timestamp,
    ) -> Live {
        let key = &row.key;
        let expiry = entry.as_ref().map(|it| &it.expiry);
        let known = expiry.and_then(|it| it.start_of(key.row_number, key.stamped_at));
        let held = expiry.is_some_and(|it| it.reason == Reason::Undelivered);
        let unread_for = self.rules.timers.unread_for;
        let facts = row.xml.as_deref().map(stanza::read);
        let said = facts.clone();
        let is = |may_be: fn(&Facts) -> bool| matches!(&said, Some(Ok(facts)) if may_be(facts));
        let once_by_wish = wished.once && is(TimersWished::may_be_once);
        let timer_by_wish = wished.encrypted_for.is_some() && is(TimersWished::may_be_timed);
        let facts = facts.map(|it| it.map(|facts| wished.applied(facts)));
        let readable = facts.as_ref().and_then(|facts| facts.as_ref().ok());
        let unread = (reads && readable.is_some_and(|it| waits_for_reader(row, it, &self.rules)))
            .then(|| policy::unread(row.stamp, now, unread_for));
        let start = policy::start(known, held, (row.stamp, now), unread);
        let undelivered = undelivered && key.store == Store::Archive;
        let archived_at = policy::archived(row.stamp, now).at;
        let placement = Placement::of(key.store, archived_at, start, undelivered)
            .not_received(row.is_not_received());
        let placed = (placement, start);
        let judged = self.judge(facts, placed, Some(&key.host), key.stamped_at, heir);
        let mut explanation = Explanation { facts: said, once_by_wish, timer_by_wish, ..judged };
        // What started it does not change with the rule.
        if let Some(entry) = entry.as_ref().filter(|_| start.by.is_read()) {
            explanation.by_everyone = entry.by_everyone;
        }
        Live { row_number: key.row_number, explanation, entry, age: None, quote: None }
    }

    fn aging(&self, row: &Row, wishes: &Wishes<'_>, may_be_on_hold: bool) -> Option<Aging> {
        let key = &row.key;
        let policy = self.retention.applied(key.store, &key.host, &key.owner);
        let limit = policy::shorter(policy.limit, wishes.archive_for(row));
        let (by_wish, applied) = (limit != policy.limit, Applied { limit, ..policy });
        let Limit::After(age) = applied.limit else { return None };
        // A stamp in whole seconds means the end of that second.
        let stamp = policy::archived(row.stamp, Timestamp::MAX_UTC).at;
        let is_listed = self.hosts.contains(&key.host);
        let from = policy::later(stamp, age);
        is_listed.then_some(Aging { applied, by_wish, from, may_be_on_hold })
    }
}

/// What this row inherits from the message that it belongs to, as the ledger and the archive know that.
async fn heir(
    connection: &mut PgConnection,
    archive: &Archive,
    (row, quotes): (&Row, QuoteRule),
    entry: Option<&Entry>,
) -> Result<Option<Heir>> {
    let xml = row.xml.as_deref().unwrap_or_default();
    let to = stanza::read(xml).ok().and_then(|facts| facts.belonging(quotes));
    let Some((to, signature)) = to.zip(row.signature()) else { return Ok(None) };
    let by = Belonging { signature: &signature, row: &row.key, to: &to };
    let asked = signature.may_belong(&to).then_some(by);
    let found = ledger::targets(connection, asked.as_slice()).await?;
    let Some((_, nearest)) = found.first() else { return Ok(Heir::of(&to, entry, None)) };
    let mut is_meant = true;
    if by.names_senders_id() {
        let looks = Within::before(&row.key, &to.id, nearest.stamped_at, nearest.store);
        let alike = archive.namesakes(connection, &looks).await?;
        let may_be = |it: &Row| {
            nearest.is_not_meant(&by, &it.key, (it.xml.as_deref(), it.sender.as_deref()))
        };
        is_meant = !alike.iter().any(|it| it.is_cut || it.rows.iter().any(may_be));
    }
    Ok(is_meant.then(|| Heir::of(&to, entry, Some(&nearest.target))).flatten())
}

/// Its owner or its room received it, and its timer may start at reading.
pub(super) fn waits_for_reader(row: &Row, facts: &Facts, rules: &Rules) -> bool {
    let received = || match row.key.store {
        Store::Archive => !row.is_not_received(),
        Store::Room => true,
        Store::Queue => false,
    };
    policy::timer_from_reading(facts, rules).is_some() && received()
}

/// Whether this queue row is a copy of the archive row with this id: its last stanza-id is the server's own.
fn is_copy(row: &Row, archive_id: &str) -> bool {
    let facts = row.xml.as_deref().and_then(|xml| stanza::read(xml).ok());
    facts.and_then(|facts| facts.last_stanza_id).is_some_and(|id| id.id == archive_id)
}
