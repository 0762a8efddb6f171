//! The verdict on a run: what had to go is gone, everything else is unchanged.
//!
//! It is based on a fresh client's view of the archives (MAM) and on `SELECT`s on the server's tables, never
//! on what the daemon reports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tokio::time::Instant;

use crate::Result;
use crate::database::Database;
use crate::lab::Lab;
use crate::server::Server;
use crate::snapshot::{Snapshot, Table, find_words};
use crate::xmpp::MamQuery;

/// An archive as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Archive {
    /// A user's own.
    User(String),
    /// A room's, by its name, read by this user.
    Room(String, String),
}

impl Archive {
    /// A user's own archive.
    pub fn user(name: &str) -> Self {
        Self::User(name.to_owned())
    }

    /// The archive of a room, read by this user.
    pub fn room(name: &str, reader: &str) -> Self {
        Self::Room(name.to_owned(), reader.to_owned())
    }
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Stays,
    Goes { not_before: Instant, by: Instant },
}

struct Expectation {
    archives: Vec<Archive>,
    fate: Fate,
}

/// What must hold: each word identifies one message, and is its whole body.
#[derive(Default)]
pub struct Checker {
    words: BTreeMap<String, Expectation>,
}

/// The faults, one line each; empty if all was right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The faults.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.faults.iter().try_for_each(|fault| writeln!(f, "- {fault}"))
    }
}

impl Checker {
    /// Nothing is expected yet, so archives must be empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// This word stays in these archives.
    pub fn stays(&mut self, word: &str, archives: &[Archive]) {
        self.expect(word, archives, Fate::Stays);
    }

    /// This word is in these archives until `not_before` and gone everywhere after `by`; in between both are
    /// right.
    pub fn goes(&mut self, word: &str, archives: &[Archive], not_before: Instant, by: Instant) {
        self.expect(word, archives, Fate::Goes { not_before, by });
    }

    fn expect(&mut self, word: &str, archives: &[Archive], fate: Fate) {
        let expectation = Expectation { archives: archives.to_vec(), fate };
        self.words.insert(word.to_owned(), expectation);
    }

    /// From now on all words that go must be gone.
    pub fn all_due(&mut self) {
        let now = Instant::now();
        for expectation in self.words.values_mut() {
            if let Fate::Goes { not_before, by } = &mut expectation.fate {
                (*not_before, *by) = (now, now);
            }
        }
    }

    /// When the last word must be gone; `None` if all stay.
    pub fn last_by(&self) -> Option<Instant> {
        let by = |it: &Expectation| match it.fate {
            Fate::Goes { by, .. } => Some(by),
            Fate::Stays => None,
        };
        self.words.values().filter_map(by).max()
    }

    /// Judges all archives named so far and the server's tables. `before` was taken when everything had been
    /// sent and nothing erased yet.
    pub async fn judge<S: Server>(&self, lab: &Lab<S>, before: &[Snapshot]) -> Result<Verdict> {
        let started = Instant::now();
        let mut seen = BTreeMap::new();
        for archive in self.archives() {
            seen.insert(archive, read(lab, archive).await?);
        }
        let present = find_words(&lab.database, &self.all_words()).await?;
        let mut faults = self.faults_of_tables(&lab.database, before).await?;
        let ended = Instant::now();
        faults.extend(self.faults_of_archives(&seen, started, ended));
        faults.extend(self.faults_of_words(&present, S::TABLES, started));
        Ok(Verdict { faults })
    }

    /// The same without an XMPP server, by the tables alone.
    pub async fn judge_tables(
        &self,
        database: &Database,
        tables: &[Table],
        before: &[Snapshot],
    ) -> Result<Verdict> {
        let started = Instant::now();
        let present = find_words(database, &self.all_words()).await?;
        let mut faults = self.faults_of_tables(database, before).await?;
        faults.extend(self.faults_of_words(&present, tables, started));
        Ok(Verdict { faults })
    }

    fn archives(&self) -> BTreeSet<&Archive> {
        self.words.values().flat_map(|it| &it.archives).collect()
    }

    fn all_words(&self) -> Vec<String> {
        self.words.keys().cloned().collect()
    }

    fn faults_of_archives(
        &self,
        seen: &BTreeMap<&Archive, Vec<String>>,
        started: Instant,
        ended: Instant,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for (archive, bodies) in seen {
            for (word, expectation) in &self.words {
                let expected = expectation.archives.contains(archive);
                let (least, most) = match expectation.fate {
                    _ if !expected => (0, 0),
                    Fate::Stays => (1, 1),
                    Fate::Goes { not_before, .. } if ended < not_before => (1, 1),
                    Fate::Goes { by, .. } if by < started => (0, 0),
                    Fate::Goes { .. } => (0, 1),
                };
                let count = bodies.iter().filter(|body| *body == word).count();
                if count < least {
                    faults.push(format!("MAM: {archive:?} lacks {word}"));
                } else if count > most {
                    faults.push(format!("MAM: {archive:?} shows {word} {count} times"));
                }
            }
            let unknown = bodies.iter().filter(|body| !self.words.contains_key(*body));
            faults.extend(unknown.map(|body| format!("MAM: {archive:?} shows {body}")));
        }
        faults
    }

    /// What goes is nowhere in the database, what stays is in the server's tables, and nothing is in any
    /// other table.
    fn faults_of_words(
        &self,
        present: &[(String, String)],
        tables: &[Table],
        started: Instant,
    ) -> Vec<String> {
        let is_servers =
            |table: &str| tables.iter().any(|it| table == format!("public.{}", it.name));
        let mut faults = Vec::new();
        for (table, word) in present {
            let gone = |it: &Expectation| matches!(it.fate, Fate::Goes { by, .. } if by < started);
            if !is_servers(table) || self.words.get(word).is_some_and(gone) {
                faults.push(format!("SQL: {table} holds {word}"));
            }
        }
        for (word, _) in self.words.iter().filter(|(_, it)| matches!(it.fate, Fate::Stays)) {
            if !present.iter().any(|(table, found)| found == word && is_servers(table)) {
                faults.push(format!("SQL: no table of the server holds {word}"));
            }
        }
        faults
    }

    async fn faults_of_tables(
        &self,
        database: &Database,
        before: &[Snapshot],
    ) -> Result<Vec<String>> {
        let goes = |it: &Expectation| matches!(it.fate, Fate::Goes { .. });
        let going =
            self.words.iter().filter(|(_, it)| goes(it)).map(|(word, _)| word.clone()).collect();
        let mut faults = Vec::new();
        for before in before {
            let now = Snapshot::take(database, before.table()).await?;
            faults.extend(before.faults(&now, &going).into_iter().map(|it| format!("SQL: {it}")));
        }
        Ok(faults)
    }
}

/// The bodies that a fresh client finds.
async fn read<S: Server>(lab: &Lab<S>, archive: &Archive) -> Result<Vec<String>> {
    let items = match archive {
        Archive::User(user) => lab.archive(user, &MamQuery::default()).await?,
        Archive::Room(room, reader) => {
            lab.archive(reader, &MamQuery::room(&lab.endpoints().room(room))).await?
        }
    };
    Ok(items.iter().filter_map(|item| item.body().map(str::to_owned)).collect())
}
