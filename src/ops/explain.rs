//! What becomes of one message, and why: by the same reading and judging as the daemon's.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    archive::{Archive, Row},
    database::{Named, Result},
    ledger::{self, Expiry, Pause},
    model::{Facts, Judgement, Placement, Rules, Stamp, Store, Timestamp},
    policy,
    stanza::{self, Unreadable},
};

/// What was found in a stanza, and what follows from it.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The store that it lies in, or is taken to lie in.
    pub store: Store,
    /// When it was archived, or is taken to have been.
    pub archived_at: Timestamp,
    /// From when its time counts: the end of a stamp's whole second, or when somebody had received it.
    pub runs_from: Timestamp,
    /// What the stanza says; `None` where it is larger than ephemerd reads.
    pub facts: Option<std::result::Result<Facts, Unreadable>>,
    /// What policy makes of it.
    pub judgement: Option<Judgement>,
    /// What stands once its words are gone.
    pub afterwards: Afterwards,
    /// Its host is listed, or not known; what is of another is never touched.
    pub listed: bool,
}

/// What stands of a message once its words are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Nothing: its row goes with them.
    Nothing,
    /// A placeholder, up to this time.
    Until(Timestamp),
    /// A placeholder in the offline queue, which the server itself takes away at login.
    UntilTaken,
}

/// What explaining needs to know.
#[derive(Debug, Clone)]
pub struct Explainer {
    /// What the operator decided.
    pub rules: Rules,
    /// The hosts whose rows may be touched.
    pub hosts: Vec<String>,
    /// Archived rows stay as placeholders for a while. Rows of the queue always do.
    pub keeps_placeholders: bool,
    /// Placeholders in the queue are deleted by us; else by the server, at login.
    pub deletes_from_queue: bool,
    /// How long a placeholder stands.
    pub placeholder_for: Duration,
}

/// A stanza that is looked up nowhere.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The stanza.
    pub xml: &'a str,
    /// Where it is taken to lie.
    pub store: Store,
    /// Whose it is taken to be.
    pub host: Option<&'a str>,
    /// When it is taken to have been archived.
    pub stamp: Stamp,
}

/// A message in the archive, live.
#[derive(Debug, Clone)]
pub struct Live {
    /// The row's own number.
    pub row_number: i64,
    /// What the row says.
    pub explanation: Explanation,
    /// What the ledger says of it.
    pub entry: Option<Expiry>,
}

/// What the database knows of a message: its rows, and whether anything is erased at all.
#[derive(Debug, Clone)]
pub struct Found {
    /// One for each store that holds it.
    pub live: Vec<Live>,
    /// Entries of the ledger without a row: gone, or out of reach.
    pub orphans: Vec<Expiry>,
    /// The archive was looked at; behind a companion module it cannot be.
    pub archive_was_read: bool,
    /// Whether erasing is paused.
    pub pause: Pause,
}

/// What the ledger alone says of what this owner (host and local part) has under this id: where the archive
/// itself is out of reach.
pub async fn find_entries(
    connection: &mut PgConnection,
    owner: (&str, &str),
    archive_id: &str,
) -> Result<Found> {
    let entries = ledger::entries_under(connection, owner, archive_id).await?;
    let orphans = entries.into_iter().map(|entry| entry.expiry).collect();
    let pause = ledger::paused(connection).await?;
    Ok(Found { live: Vec::new(), orphans, archive_was_read: false, pause })
}

impl Explainer {
    /// Explains a stanza as if it lay in this store since then.
    pub fn explain(&self, given: Given<'_>, now: Timestamp) -> Explanation {
        let Given { xml, store, host, stamp } = given;
        let runs_from = policy::runs_from(stamp, now);
        let placement = Placement { store, runs_from, undelivered: false };
        self.judge(Some(stanza::read(xml)), &placement, host, stamp.at)
    }

    fn judge(
        &self,
        facts: Option<std::result::Result<Facts, Unreadable>>,
        placement: &Placement,
        host: Option<&str>,
        archived_at: Timestamp,
    ) -> Explanation {
        let readable = facts.as_ref().and_then(|facts| facts.as_ref().ok());
        let judgement = readable.map(|facts| policy::judge(facts, placement, &self.rules));
        let afterwards = match &judgement {
            Some(Judgement::Goes(verdict)) => self.afterwards(placement.store, verdict.due_at),
            _ => Afterwards::Nothing,
        };
        let listed = host.is_none_or(|host| self.hosts.iter().any(|listed| listed == host));
        let Placement { store, runs_from, .. } = *placement;
        Explanation { store, archived_at, runs_from, facts, judgement, afterwards, listed }
    }

    fn afterwards(&self, store: Store, due_at: Timestamp) -> Afterwards {
        match store {
            Store::Queue if !self.deletes_from_queue => Afterwards::UntilTaken,
            Store::Archive | Store::Room if !self.keeps_placeholders => Afterwards::Nothing,
            _ => Afterwards::Until(policy::later(due_at, self.placeholder_for)),
        }
    }

    /// Explains the live rows that this owner (host and local part) has under this id, and what the ledger says of them.
    pub async fn find(
        &self,
        connection: &mut PgConnection,
        archive: &Archive,
        owner: (&str, &str),
        archive_id: &str,
    ) -> Result<Found> {
        let now: Timestamp = sqlx::query_scalar("-- explain_now\nSELECT clock_timestamp()")
            .fetch_one(&mut *connection)
            .await
            .named("explain_now")?;
        let rows = archive.find(connection, owner, archive_id).await?;
        let copies = archive.queued_under(connection, owner, archive_id).await?;
        let copies: Vec<Row> = copies.into_iter().filter(|it| is_copy(it, archive_id)).collect();
        let name = (Store::Archive, owner.0, owner.1, archive_id, &[][..]);
        let undelivered = copies.iter().any(|copy| self.holds_back(copy, now))
            || !ledger::undelivered(connection, &[name]).await?.is_empty();
        let rows: Vec<Row> = rows.into_iter().chain(copies).collect();
        let names: Vec<ledger::Name<'_>> = rows.iter().map(|row| row.key.name()).collect();
        let mut known = ledger::entries_of(connection, &names).await?;
        let mut orphans = ledger::entries_under(connection, owner, archive_id).await?;
        orphans.retain(|it| known.iter().all(|(_, entry)| entry.id != it.id));
        let mut live = Vec::new();
        for (position, row) in rows.iter().enumerate() {
            let at = known.iter().position(|it| it.0 == position);
            let entry = at.map(|at| known.swap_remove(at).1.expiry);
            live.push(self.live(row, entry, undelivered, now));
        }
        let orphans = orphans.into_iter().map(|entry| entry.expiry).collect();
        let pause = ledger::paused(connection).await?;
        Ok(Found { live, orphans, archive_was_read: true, pause })
    }

    /// The ledger has this copy, or will have: what it is a copy of waits with it.
    fn holds_back(&self, copy: &Row, now: Timestamp) -> bool {
        let explanation = self.live(copy, None, false, now).explanation;
        match (&explanation.judgement, &explanation.facts) {
            (Some(Judgement::Goes(_)), _) => explanation.listed,
            (Some(Judgement::Stays(because)), Some(Ok(facts))) => {
                explanation.listed && policy::waits(Store::Queue, because, facts)
            }
            _ => false,
        }
    }

    fn live(&self, row: &Row, entry: Option<Expiry>, undelivered: bool, now: Timestamp) -> Live {
        let key = &row.key;
        // A timer that runs keeps its start.
        let same_row = entry
            .as_ref()
            .filter(|it| it.row_number == key.row_number && it.stamped_at == key.stamped_at);
        let runs_from =
            same_row.map_or_else(|| policy::runs_from(row.stamp, now), |it| it.runs_from);
        let undelivered = undelivered && key.store == Store::Archive;
        let placement = Placement { store: key.store, runs_from, undelivered };
        let facts = row.xml.as_deref().map(stanza::read);
        let explanation = self.judge(facts, &placement, Some(&key.host), key.stamped_at);
        Live { row_number: key.row_number, explanation, entry }
    }
}

/// The queue's row is a copy of what is archived under this id: its last stanza-id is the server's own.
fn is_copy(row: &Row, archive_id: &str) -> bool {
    let facts = row.xml.as_deref().and_then(|xml| stanza::read(xml).ok());
    facts.and_then(|facts| facts.last_stanza_id).is_some_and(|id| id.id == archive_id)
}
