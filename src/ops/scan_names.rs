//! What belongs to what, as far as a scan has come: it knows no ledger.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::{
    archive::Row,
    model::{BelongsTo, Inheritance, Store, Timestamp},
    stanza::may_name_senders_id,
};

/// Names that are kept in memory, of some 40 bytes each. What belongs to messages beyond these is not counted.
const MOST: usize = 1_000_000;

/// When a message goes that others may name.
#[derive(Debug, Clone, Copy)]
struct Goes {
    /// A hash of its sender.
    sender: u64,
    runs_from: Timestamp,
    due_at: Timestamp,
}

/// Messages that go, by hashes of what others may name them by.
#[derive(Debug, Default)]
pub(super) struct Names {
    hashes: RandomState,
    goes: HashMap<u64, Goes>,
}

impl Names {
    /// What this row inherits from one that was noted before.
    pub(super) fn inherited(&self, row: &Row, to: &BelongsTo) -> Option<Inheritance> {
        let signature = row.signature().filter(|it| it.may_belong(to))?;
        let by_senders = self.by_senders_id(row, &signature.chat, &to.id);
        let by_senders = may_name_senders_id(row.key.store, to.bond).then_some(by_senders);
        let hashes = by_senders.into_iter().chain(self.by_archives_id(row, &to.id));
        let sender = self.hashes.hash_one(&signature.sender);
        let counts = |it: &&Goes| it.sender == sender || !to.bond.needs_same_sender();
        let found = hashes.filter_map(|hash| self.goes.get(&hash)).find(counts)?;
        let Goes { runs_from, due_at, .. } = *found;
        Some(Inheritance { bond: to.bond, runs_from, due_at })
    }

    /// This row goes then, or with the message that it belongs to.
    pub(super) fn note(&mut self, row: &Row, runs_from: Timestamp, due_at: Timestamp) {
        let Some(signature) = row.signature().filter(|_| self.goes.len() < MOST) else { return };
        let goes = Goes { sender: self.hashes.hash_one(&signature.sender), runs_from, due_at };
        let by_senders =
            signature.id.as_ref().map(|id| self.by_senders_id(row, &signature.chat, id));
        let by_archives = self.by_archives_id(row, &row.key.archive_id);
        for hash in by_senders.into_iter().chain(by_archives) {
            self.goes.insert(hash, goes);
        }
    }

    fn by_senders_id(&self, row: &Row, chat: &str, id: &str) -> u64 {
        let in_room = row.key.store == Store::Room;
        self.hashes.hash_one((&row.key.host, &row.key.owner, in_room, chat, id))
    }

    fn by_archives_id(&self, row: &Row, id: &str) -> Option<u64> {
        let key = &row.key;
        (key.store == Store::Room).then(|| self.hashes.hash_one((&key.host, &key.owner, id)))
    }
}
