//! Brings the ledger in line with what became of the claimed rows.

use sqlx::PgConnection;

use super::fate::Fate;
use crate::{
    database::Result,
    ledger::{self, Claims, Expiry, Phase},
    model::{Reason, RowKey, Store, Timestamp},
};

/// Settles each entry by its fate. Placeholders are kept until `until`.
pub(super) async fn settle(
    connection: &mut PgConnection,
    claims: &Claims,
    fates: &[Fate],
    until: Timestamp,
) -> Result<()> {
    let (mut forget, mut keep, mut renamed) = (Vec::new(), Vec::new(), Vec::new());
    let mut erased = Vec::new();
    let (mut put_off, mut give_back, mut waited) = (Vec::new(), Vec::new(), Vec::new());
    for (claimed, fate) in claims.entries.iter().zip(fates) {
        let (id, expiry) = (claimed.entry.id, &claimed.entry.expiry);
        match fate {
            Fate::Kept(digest) if *digest == expiry.row.digest => keep.push(id),
            Fate::Kept(digest) => {
                forget.push(id);
                renamed.push(placeholder(expiry, digest, until));
            }
            Fate::Erased(_) | Fate::AlreadyGone | Fate::TakenOver => forget.push(id),
            Fate::PutOff(_) => put_off.push(id),
            Fate::Untried => give_back.push(id),
        }
        if fate.is_settled() {
            erased.push(&claimed.entry);
        }
        // Nobody had received it, and nothing waits for that any more.
        let RowKey { host, owner, archive_id, store, .. } = &expiry.row;
        let is_held = expiry.reason == Reason::Undelivered && *store == Store::Archive;
        if is_held && fate.is_settled() {
            waited.push((host.as_str(), owner.as_str(), archive_id.as_str()));
        }
    }
    ledger::remember(connection, &erased).await?;
    ledger::forget(connection, &forget).await?;
    // Two rows may have become identical: then one entry is enough for both.
    ledger::record(connection, &renamed).await?;
    ledger::keep_placeholders(connection, &keep, until).await?;
    ledger::put_off(connection, &put_off).await?;
    ledger::give_back(connection, &give_back).await?;
    ledger::end_undelivered(connection, &waited).await
}

/// The entry of a row whose digest changed when its text went.
fn placeholder(expiry: &Expiry, digest: &[u8], until: Timestamp) -> Expiry {
    Expiry {
        row: RowKey { digest: digest.to_vec(), ..expiry.row.clone() },
        start: expiry.start_but_for_reading(),
        phase: Phase::Placeholder,
        due_at: until,
        copy_of: None,
        backlog: false,
        name: None,
        follows: None,
        ..expiry.clone()
    }
}
