//! What happens to one message, and why: read and judged as the daemon does it.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    archive::{Archive, Row},
    database::{self, Result},
    ledger::{self, Entry, Expiry, Pause},
    model::{
        Facts, Judgement, Limit, Placement, Reason, RoomStart, RowId, Rules, Stamp, Start,
        StartRule, Store, Timestamp, bare_jid,
    },
    policy::{self, Applied, Retention},
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
}

/// When a row is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aging {
    /// The limit that applies, and where it comes from.
    pub applied: Applied,
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
    let recorded = |Entry { id, expiry }| {
        let (on_hold, by_everyone) = (on_hold.contains(&id), by_everyone.contains(&id));
        Recorded { expiry, on_hold, by_everyone }
    };
    Ok(entries.into_iter().map(recorded).collect())
}

impl Explainer {
    /// Explains a stanza as if it were in this store with this stamp.
    pub fn explain(&self, given: Given<'_>, now: Timestamp) -> Explanation {
        let Given { xml, store, host, stamp } = given;
        let start = policy::archived(stamp, now);
        let placed = (store, start, false);
        self.judge(Some(stanza::read(xml)), placed, host, stamp.at)
    }

    fn judge(
        &self,
        facts: Option<std::result::Result<Facts, Unreadable>>,
        (store, start, undelivered): (Store, Start, bool),
        host: Option<&str>,
        archived_at: Timestamp,
    ) -> Explanation {
        let readable = facts.as_ref().and_then(|facts| facts.as_ref().ok());
        let placement = Placement::of(store, start, undelivered);
        let judgement = readable.map(|facts| policy::judge(facts, &placement, &self.rules));
        let afterwards = match &judgement {
            Some(Judgement::Goes(verdict)) => self.afterwards(store, verdict.due_at),
            _ => Afterwards::Nothing,
        };
        let listed = host.is_none_or(|host| self.hosts.iter().any(|listed| listed == host));
        let by_everyone = self.rules.rooms.start == RoomStart::Everyone;
        Explanation { store, archived_at, start, facts, judgement, afterwards, listed, by_everyone }
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
        let mut live = Vec::new();
        let may_be_on_hold = !ledger::owners_on_hold(connection, &[owner]).await?.is_empty();
        for (position, row) in rows.iter().enumerate() {
            let at = known.iter().position(|it| it.0 == position);
            let entry = at.map(|at| known.swap_remove(at).1).into_iter().collect();
            let entry = recorded(connection, entry).await?.pop();
            let reads = match row.key.store {
                Store::Room => self.rules.looks_for_readers_in(Store::Room),
                Store::Archive | Store::Queue => user_reads,
            };
            let age = self.aging(row, may_be_on_hold);
            live.push(Live { age, ..self.live(row, entry, undelivered, reads, now) });
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
        let explanation = self.live(copy, None, false, false, now).explanation;
        let judgement = explanation.judgement.as_ref();
        explanation.listed && judgement.is_some_and(|it| it.entry().is_some())
    }

    fn live(
        &self,
        row: &Row,
        entry: Option<Recorded>,
        undelivered: bool,
        reads: bool,
        now: Timestamp,
    ) -> Live {
        let key = &row.key;
        let expiry = entry.as_ref().map(|it| &it.expiry);
        let known = expiry.and_then(|it| it.start_of(key.row_number, key.stamped_at));
        let held = expiry.is_some_and(|it| it.reason == Reason::Undelivered);
        let unread_for = self.rules.timers.unread_for;
        let facts = row.xml.as_deref().map(stanza::read);
        let readable = facts.as_ref().and_then(|facts| facts.as_ref().ok());
        let unread = (reads && readable.is_some_and(|it| waits_for_reader(row, it, &self.rules)))
            .then(|| policy::unread(row.stamp, now, unread_for));
        let start = policy::start(known, held, (row.stamp, now), unread);
        let undelivered = undelivered && key.store == Store::Archive;
        let placed = (key.store, start, undelivered);
        let mut explanation = self.judge(facts, placed, Some(&key.host), key.stamped_at);
        // What started it does not change with the rule.
        if let Some(entry) = entry.as_ref().filter(|_| start.by.is_read()) {
            explanation.by_everyone = entry.by_everyone;
        }
        Live { row_number: key.row_number, explanation, entry, age: None }
    }

    fn aging(&self, row: &Row, may_be_on_hold: bool) -> Option<Aging> {
        let key = &row.key;
        let applied = self.retention.applied(key.store, &key.host, &key.owner);
        let Limit::After(age) = applied.limit else { return None };
        // A stamp in whole seconds means the end of that second.
        let stamp = policy::archived(row.stamp, Timestamp::MAX_UTC).at;
        let is_listed = self.hosts.contains(&key.host);
        is_listed.then(|| Aging { applied, from: policy::later(stamp, age), may_be_on_hold })
    }
}

/// Its owner or its room received it, and its timer may start at reading.
pub(super) fn waits_for_reader(row: &Row, facts: &Facts, rules: &Rules) -> bool {
    let (key, xml) = (&row.key, row.xml.as_deref().unwrap_or_default());
    let owner = bare_jid(&key.owner, &key.host);
    let received = || match key.store {
        Store::Archive => stanza::envelope(xml).is_some_and(|it| it.received_by(&owner).is_some()),
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
