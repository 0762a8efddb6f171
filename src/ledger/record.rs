use sqlx::PgConnection;

use super::{CHANNEL, Phase};
use crate::{
    database::{Named, Result},
    model::{Reason, Store, Timestamp},
};

/// What is recorded of one archived row: its identity and its verdict, none of its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Where the row lies.
    pub store: Store,
    /// The virtual host, or the rooms' domain.
    pub host: String,
    /// The user's or the room's local part.
    pub owner: String,
    /// The archive's id of the row.
    pub archive_id: String,
    /// The table's own number of the row.
    pub row_number: i64,
    /// The server's own stamp.
    pub stamped_at: Timestamp,
    /// A digest of the row's words where the server's ids are not unique, else empty.
    pub digest: Vec<u8>,
    /// A queue row: the archive id that it is a copy of.
    pub copy_of: Option<String>,
    /// The timer's start.
    pub runs_from: Timestamp,
    /// When it goes.
    pub due_at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// How far it has come.
    pub phase: Phase,
    /// From before the first start: held until the operator accepts it.
    pub backlog: bool,
}

/// An entry as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The entry.
    pub id: i64,
    /// What it says.
    pub expiry: Expiry,
}

/// Records new expiries and tells all daemons. Returns the ids in the order given; `None` where an
/// entry is there already, which is left as it is.
pub async fn record(
    connection: &mut PgConnection,
    expiries: &[Expiry],
) -> Result<Vec<(usize, i64)>> {
    if expiries.is_empty() {
        return Ok(Vec::new());
    }
    let columns = Columns::of(expiries);
    let recorded = sqlx::query!(
        r#"-- record
        WITH recorded AS (
            INSERT INTO ephemerd.expiries (store, host, owner, archive_id, row_number, stamped_at,
                                           copy_of, runs_from, due_at, reason, phase, backlog,
                                           digest)
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                                 $6::timestamptz[], $7::text[], $8::timestamptz[],
                                 $9::timestamptz[], $10::text[], $11::text[], $12::bool[],
                                 $13::bytea[])
            ON CONFLICT DO NOTHING
            RETURNING id, store, host, owner, archive_id, digest)
        SELECT k.position AS "position!", recorded.id
          FROM recorded
          JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[], $13::bytea[])
               WITH ORDINALITY AS k(store, host, owner, archive_id, digest, position)
         USING (store, host, owner, archive_id, digest)
         ORDER BY k.position"#,
        &columns.stores,
        &columns.hosts,
        &columns.owners,
        &columns.archive_ids,
        &columns.row_numbers,
        &columns.stamps,
        &columns.copies as &[Option<String>],
        &columns.starts,
        &columns.dues,
        &columns.reasons,
        &columns.phases,
        &columns.backlogs,
        &columns.digests,
    )
    .fetch_all(&mut *connection)
    .await
    .named("record")?;
    if !recorded.is_empty() {
        notify(connection, expiries.iter().map(|expiry| expiry.due_at).min()).await?;
    }
    Ok(recorded.iter().filter_map(|row| Some((position(row.position)?, row.id))).collect())
}

/// Changes what entries say: verdict, start and identity numbers. A placeholder is never changed, and
/// whether an entry is held stays as it is: the operator may have accepted it since it was read.
pub async fn change(connection: &mut PgConnection, entries: &[Entry]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let expiries: Vec<Expiry> = entries.iter().map(|entry| entry.expiry.clone()).collect();
    let columns = Columns::of(&expiries);
    sqlx::query!(
        "-- change
         UPDATE ephemerd.expiries AS e
            SET row_number = k.row_number, stamped_at = k.stamped_at, copy_of = k.copy_of,
                runs_from = k.runs_from, due_at = k.due_at, reason = k.reason,
                retry_at = NULL, attempts = 0
           FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[],
                       $5::timestamptz[], $6::timestamptz[], $7::text[])
                AS k(id, row_number, stamped_at, copy_of, runs_from, due_at, reason)
          WHERE e.id = k.id AND e.phase = 'pending'",
        &entries.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        &columns.row_numbers,
        &columns.stamps,
        &columns.copies as &[Option<String>],
        &columns.starts,
        &columns.dues,
        &columns.reasons,
    )
    .execute(&mut *connection)
    .await
    .named("change")?;
    notify(connection, expiries.iter().map(|expiry| expiry.due_at).min()).await
}

/// The name of an archived row: store, host, owner, archive id, digest.
pub type Name<'a> = (Store, &'a str, &'a str, &'a str, &'a [u8]);

/// Which of these archive rows the offline queue still holds a copy of, by position.
pub async fn undelivered(connection: &mut PgConnection, names: &[Name<'_>]) -> Result<Vec<usize>> {
    let column = |of: fn(&Name<'_>) -> String| names.iter().map(of).collect::<Vec<String>>();
    let found = sqlx::query_scalar!(
        r#"-- undelivered
        SELECT DISTINCT k.position AS "position!"
          FROM unnest($1::text[], $2::text[], $3::text[])
               WITH ORDINALITY AS k(host, owner, archive_id, position)
          JOIN ephemerd.expiries AS q
            ON q.owner = k.owner AND q.copy_of = k.archive_id AND q.host = k.host
         WHERE q.store = 'queue' AND q.phase = 'pending'"#,
        &column(|it| it.1.to_owned()),
        &column(|it| it.2.to_owned()),
        &column(|it| it.3.to_owned()),
    )
    .fetch_all(connection)
    .await
    .named("undelivered")?;
    Ok(found.into_iter().filter_map(position).collect())
}

/// Wakes all daemons once this transaction is committed: something is due at `earliest`.
pub(super) async fn notify(
    connection: &mut PgConnection,
    earliest: Option<Timestamp>,
) -> Result<()> {
    let micros = earliest.map_or(0, |earliest| earliest.timestamp_micros());
    sqlx::query!("-- notify\nSELECT pg_notify($1, $2)", CHANNEL, micros.to_string())
        .execute(connection)
        .await
        .named("notify")?;
    Ok(())
}

/// From SQL's ordinality, which counts from 1, to a position.
pub(super) fn position(ordinality: i64) -> Option<usize> {
    usize::try_from(ordinality).ok()?.checked_sub(1)
}

/// Expiries as the arrays that `unnest` takes.
struct Columns {
    stores: Vec<String>,
    hosts: Vec<String>,
    owners: Vec<String>,
    archive_ids: Vec<String>,
    row_numbers: Vec<i64>,
    stamps: Vec<Timestamp>,
    copies: Vec<Option<String>>,
    starts: Vec<Timestamp>,
    dues: Vec<Timestamp>,
    reasons: Vec<String>,
    phases: Vec<String>,
    backlogs: Vec<bool>,
    digests: Vec<Vec<u8>>,
}

impl Columns {
    fn of(expiries: &[Expiry]) -> Self {
        fn column<T>(expiries: &[Expiry], of: impl Fn(&Expiry) -> T) -> Vec<T> {
            expiries.iter().map(of).collect()
        }
        Self {
            stores: column(expiries, |it| it.store.to_string()),
            hosts: column(expiries, |it| it.host.clone()),
            owners: column(expiries, |it| it.owner.clone()),
            archive_ids: column(expiries, |it| it.archive_id.clone()),
            row_numbers: column(expiries, |it| it.row_number),
            stamps: column(expiries, |it| it.stamped_at),
            copies: column(expiries, |it| it.copy_of.clone()),
            starts: column(expiries, |it| it.runs_from),
            dues: column(expiries, |it| it.due_at),
            reasons: column(expiries, |it| it.reason.to_string()),
            phases: column(expiries, |it| it.phase.to_string()),
            backlogs: column(expiries, |it| it.backlog),
            digests: column(expiries, |it| it.digest.clone()),
        }
    }
}
