//! Which uploaded files a page's rows name: those that the sender of a message shares go with it, and whatever else names
//! them holds them.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{Context, Read};
use crate::{
    archive::Archive,
    database::Result,
    ledger::{self, Entry, NewFile, Phase},
    model::{RowId, Store, Timestamp},
    stanza,
};

/// A row that goes and names more files than this holds them as one that stays.
const MOST_PLACES: usize = 64;

/// What the rows of a page say of files.
#[derive(Default)]
struct Found {
    /// Files, and the positions of the rows that share them and are to go.
    shared: Vec<(NewFile, usize)>,
    /// Places, and the positions of the rows that name them and are to go.
    named: Vec<(String, usize)>,
    /// Places that rows name which stay.
    kept: Vec<String>,
}

/// Notes what the rows name; `due` says when each of them goes, if it does.
pub(super) async fn note(
    connection: &mut PgConnection,
    reads: &[Read<'_>],
    due: &[Option<Timestamp>],
    context: Context<'_>,
) -> Result<()> {
    let (uploads, Some(archive)) = (&context.rules.uploads, context.archive) else { return Ok(()) };
    if !uploads.is_on() {
        return Ok(());
    }
    let mut found = Found::default();
    for (at, (read, due_at)) in reads.iter().zip(due).enumerate() {
        let xml = read.row.xml.as_deref().unwrap_or_default();
        let places = uploads.places_in(xml);
        match due_at {
            Some(due_at) if places.len() <= MOST_PLACES => {
                found.named.extend(places.into_iter().map(|place| (place, at)));
                let Some(uploader) = sender(read) else { continue };
                let (uploader, due_at) = (uploader.as_str(), *due_at);
                let links = stanza::links(xml);
                let shared = links.iter().filter_map(|url| uploads.place(url));
                found.shared.extend(shared.map(|place| {
                    let (place, uploader) = (place.to_owned(), uploader.to_owned());
                    (NewFile { place, uploader, due_at }, at)
                }));
            }
            _ => found.kept.extend(places),
        }
    }
    record(connection, archive, reads, found).await
}

async fn record(
    connection: &mut PgConnection,
    archive: &Archive,
    reads: &[Read<'_>],
    Found { shared, named, kept }: Found,
) -> Result<()> {
    if !named.is_empty() {
        let rows: Vec<RowId<'_>> = reads.iter().map(|it| it.row.key.id()).collect();
        let entries = ledger::entries_of(connection, &rows).await?;
        // What was erased since it was read names nothing any more.
        let is_pending = |it: &&(usize, Entry)| it.1.expiry.phase == Phase::Pending;
        let pending: HashMap<usize, i64> =
            entries.iter().filter(is_pending).map(|it| (it.0, it.1.id)).collect();
        let shared: Vec<NewFile> =
            shared.into_iter().filter(|it| pending.contains_key(&it.1)).map(|it| it.0).collect();
        if !shared.is_empty() {
            let unseen = unseen_upto(connection, archive, reads).await?;
            ledger::note_files(connection, &shared, unseen).await?;
        }
        let named: Vec<(&str, i64)> = named
            .iter()
            .filter_map(|(place, at)| Some((place.as_str(), *pending.get(at)?)))
            .collect();
        ledger::name_files(connection, &named).await?;
    }
    ledger::keep_files(connection, &kept).await
}

/// Up to which number rows may name the files that this page shares and were not looked at with them in mind: the tail has
/// gone past them, or they are of this page. What comes later is looked at with all known files in mind.
async fn unseen_upto(
    connection: &mut PgConnection,
    archive: &Archive,
    reads: &[Read<'_>],
) -> Result<Option<i64>> {
    let table = archive.archive_table().name();
    let Some(cursor) = ledger::cursor(connection, table).await? else { return Ok(None) };
    let keys = reads.iter().map(|it| &it.row.key);
    let of_table = keys.filter(|it| archive.table_of(it.store) == Some(table));
    Ok(of_table.map(|it| it.row_number).chain([cursor.frontier]).max())
}

/// The bare address of whoever sent the message, as far as the server vouches for it. Where a room hides addresses, it
/// does not.
fn sender(read: &Read<'_>) -> Option<String> {
    let facts = read.facts.as_ref().filter(|it| !it.is_error && !it.not_a_message);
    let row = facts.map(|_| read.row)?;
    if row.key.store == Store::Room {
        return row.sender.clone();
    }
    let envelope = stanza::envelope(row.xml.as_deref()?).filter(|it| !it.is_wrapper)?;
    let from = envelope.from?;
    let bare = from.split('/').next().unwrap_or_default().to_lowercase();
    bare.contains('@').then_some(bare)
}
