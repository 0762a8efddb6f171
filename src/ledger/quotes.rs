//! Quotes that are to be cut out of replies when the messages that they quote go. A row may have a quote and an expiry.

use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use super::record::{notify, position};
use crate::{
    database::{Error, Named, Result},
    model::{RowId, RowKey, Store, Timestamp},
};

/// Bytes of a text's hash.
const HASH: usize = 16;

/// A row whose message quotes one that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The row.
    pub row: RowKey,
    /// A hash of its text as it was read.
    pub text_hash: Vec<u8>,
    /// By which holds know the other side of the chat ([`peers`](super::peers)).
    pub peer: Option<Vec<u8>>,
    /// The entry of the message that it quotes; 0 if that one is gone.
    pub follows: i64,
    /// When that one goes, or went, but not before this one was archived.
    pub due_at: Timestamp,
    /// Held until the operator accepts it.
    pub backlog: bool,
}

impl Quote {
    /// Tells a row's text from any other that it may have.
    pub fn hash_of(xml: &str) -> Vec<u8> {
        Sha256::digest(xml).iter().copied().take(HASH).collect()
    }
}

/// A quote in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedQuote {
    /// Its id.
    pub id: i64,
    /// What is recorded.
    pub quote: Quote,
    /// A hold keeps its row. Only known of those that are claimed or asked for by an archive id.
    pub on_hold: bool,
}

/// Quotes that are due, locked by our transaction.
#[derive(Debug, Clone)]
pub struct ClaimedQuotes {
    /// The database's clock at the claim.
    pub now: Timestamp,
    /// Earliest first.
    pub quotes: Vec<RecordedQuote>,
    /// Due as well, but on hold: nothing may be cut of these.
    pub on_hold: Vec<i64>,
}

/// A quote as stored.
struct StoredQuote {
    position: i64,
    id: i64,
    store: String,
    host: String,
    owner: String,
    archive_id: String,
    row_number: i64,
    stamped_at: Timestamp,
    digest: Vec<u8>,
    text_hash: Vec<u8>,
    peer: Option<Vec<u8>>,
    follows: i64,
    due_at: Timestamp,
    backlog: bool,
    on_hold: bool,
}

impl StoredQuote {
    fn read(self, statement: &'static str) -> Result<RecordedQuote> {
        let unknown = |_| Error::unexpected(statement, "the ledger contains an unknown name");
        let row = RowKey {
            store: self.store.parse().map_err(unknown)?,
            host: self.host,
            owner: self.owner,
            archive_id: self.archive_id,
            row_number: self.row_number,
            stamped_at: self.stamped_at,
            digest: self.digest,
        };
        let Self { text_hash, peer, follows, due_at, backlog, .. } = self;
        let quote = Quote { row, text_hash, peer, follows, due_at, backlog };
        Ok(RecordedQuote { id: self.id, quote, on_hold: self.on_hold })
    }
}

/// The quotes of these rows, by the rows' position.
pub async fn quotes_of(
    connection: &mut PgConnection,
    keys: &[RowId<'_>],
) -> Result<Vec<(usize, RecordedQuote)>> {
    let column = |of: fn(&RowId<'_>) -> String| keys.iter().map(of).collect::<Vec<String>>();
    let found = sqlx::query_as!(
        StoredQuote,
        r#"-- quotes_of
        SELECT k.position AS "position!", q.id, q.store, q.host, q.owner, q.archive_id, q.row_number, q.stamped_at,
               q.digest, q.text_hash, q.peer, q.follows, q.due_at, q.backlog, false AS "on_hold!"
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[])
               WITH ORDINALITY AS k(store, host, owner, archive_id, digest, position)
          JOIN ephemerd.quotes AS q USING (store, host, owner, archive_id, digest)"#,
        &column(|it| it.store.to_string()),
        &column(|it| it.host.to_owned()),
        &column(|it| it.owner.to_owned()),
        &column(|it| it.archive_id.to_owned()),
        &keys.iter().map(|it| it.digest.to_vec()).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
    .named("quotes_of")?;
    let by_position = |it: StoredQuote| {
        let at = position(it.position).unwrap_or(usize::MAX);
        Ok((at, it.read("quotes_of")?))
    };
    found.into_iter().map(by_position).collect()
}

/// The quotes of rows with this archive id of this owner, in any store.
pub async fn quotes_under(
    connection: &mut PgConnection,
    (host, owner): (&str, &str),
    archive_id: &str,
) -> Result<Vec<RecordedQuote>> {
    let found = sqlx::query_as!(
        StoredQuote,
        r#"-- quotes_under
        SELECT 0::bigint AS "position!", id AS "id!", store AS "store!", host AS "host!", owner AS "owner!",
               archive_id AS "archive_id!", row_number AS "row_number!", stamped_at AS "stamped_at!",
               digest AS "digest!", text_hash AS "text_hash!", peer, follows AS "follows!", due_at AS "due_at!",
               backlog AS "backlog!", on_hold AS "on_hold!"
          FROM ephemerd.quote_entries
         WHERE owner = $1 AND archive_id = $2 AND host = $3
         ORDER BY id"#,
        owner,
        archive_id,
        host,
    )
    .fetch_all(connection)
    .await
    .named("quotes_under")?;
    found.into_iter().map(|it| it.read("quotes_under")).collect()
}

/// Records quotes, or what else became of recorded ones, and notifies all daemons. Whether one is held does not change: the
/// operator may have accepted it.
pub async fn record_quotes(connection: &mut PgConnection, quotes: &[Quote]) -> Result<()> {
    if quotes.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Quote) -> String| quotes.iter().map(of).collect::<Vec<String>>();
    sqlx::query!(
        "-- record_quotes
         INSERT INTO ephemerd.quotes AS q (store, host, owner, archive_id, row_number, stamped_at, digest, text_hash, peer,
                                           follows, due_at, backlog)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[],
                              $7::bytea[], $8::bytea[], $9::bytea[], $10::bigint[], $11::timestamptz[], $12::bool[])
         ON CONFLICT (owner, archive_id, store, host, digest) DO UPDATE
            SET row_number = excluded.row_number, stamped_at = excluded.stamped_at, text_hash = excluded.text_hash,
                peer = excluded.peer, follows = excluded.follows, due_at = excluded.due_at,
                retry_at = NULL, attempts = 0",
        &column(|it| it.row.store.to_string()),
        &column(|it| it.row.host.clone()),
        &column(|it| it.row.owner.clone()),
        &column(|it| it.row.archive_id.clone()),
        &quotes.iter().map(|it| it.row.row_number).collect::<Vec<_>>(),
        &quotes.iter().map(|it| it.row.stamped_at).collect::<Vec<_>>(),
        &quotes.iter().map(|it| it.row.digest.clone()).collect::<Vec<_>>(),
        &quotes.iter().map(|it| it.text_hash.clone()).collect::<Vec<_>>(),
        &quotes.iter().map(|it| it.peer.clone()).collect::<Vec<_>>() as &[Option<Vec<u8>>],
        &quotes.iter().map(|it| it.follows).collect::<Vec<_>>(),
        &quotes.iter().map(|it| it.due_at).collect::<Vec<_>>(),
        &quotes.iter().map(|it| it.backlog).collect::<Vec<_>>(),
    )
    .execute(&mut *connection)
    .await
    .named("record_quotes")?;
    notify(connection, quotes.iter().map(|it| it.due_at).min()).await
}

/// Claims quotes that are due, as [`claim`](super::claim()) does with entries. `None` if none is.
pub async fn claim_quotes(
    connection: &mut PgConnection,
    hosts: &[String],
    rows: i64,
) -> Result<Option<ClaimedQuotes>> {
    let found = sqlx::query_as!(
        StoredQuote,
        r#"-- claim_quotes
        SELECT 0::bigint AS "position!", id AS "id!", store AS "store!", host AS "host!", owner AS "owner!",
               archive_id AS "archive_id!", row_number AS "row_number!", stamped_at AS "stamped_at!",
               digest AS "digest!", text_hash AS "text_hash!", peer, follows AS "follows!", due_at AS "due_at!",
               backlog AS "backlog!", on_hold AS "on_hold!"
          FROM ephemerd.quote_entries
         WHERE NOT backlog AND next_at <= now() AND host = ANY ($1)
           AND NOT EXISTS (SELECT FROM ephemerd.control WHERE paused_until > now())
         ORDER BY next_at, id
         LIMIT $2
           FOR UPDATE SKIP LOCKED"#,
        hosts,
        rows,
    )
    .fetch_all(&mut *connection)
    .await
    .named("claim_quotes")?;
    if found.is_empty() {
        return Ok(None);
    }
    let claimed: Result<Vec<RecordedQuote>> =
        found.into_iter().map(|it| it.read("claim_quotes")).collect();
    let (held, quotes): (Vec<_>, Vec<_>) = claimed?.into_iter().partition(|it| it.on_hold);
    let on_hold = held.iter().map(|it| it.id).collect();
    let now = crate::database::now(connection).await?;
    Ok(Some(ClaimedQuotes { now, quotes, on_hold }))
}

/// Deletes quotes: they are cut, or nothing can or shall be cut any more.
pub async fn forget_quotes(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("-- forget_quotes\nDELETE FROM ephemerd.quotes WHERE id = ANY ($1)", ids)
        .execute(connection)
        .await
        .named("forget_quotes")?;
    Ok(())
}

/// Deletes the quotes of rows in these stores and of these hosts, numbered after `after` and up to `upto`, but these.
/// Returns how many there were.
pub async fn forget_stale_quotes(
    connection: &mut PgConnection,
    (stores, hosts): (&[Store], &[String]),
    (after, upto): (i64, i64),
    but: &[i64],
) -> Result<u64> {
    let forgotten = sqlx::query!(
        "-- forget_stale_quotes
         DELETE FROM ephemerd.quotes
          WHERE row_number > $1 AND row_number <= $2 AND store = ANY ($3) AND host = ANY ($4) AND id <> ALL ($5)",
        after,
        upto,
        &stores.iter().map(Store::to_string).collect::<Vec<_>>(),
        hosts,
        but,
    )
    .execute(connection)
    .await
    .named("forget_stale_quotes")?;
    Ok(forgotten.rows_affected())
}

/// Schedules a retry of each quote on its own, as [`put_off`](super::put_off) does.
pub async fn put_off_quotes(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- put_off_quotes
         UPDATE ephemerd.quotes
            SET retry_at = clock_timestamp() + least(interval '5 min', interval '1 s' * 2 ^ attempts),
                attempts = least(attempts + 1, 30)
          WHERE id = ANY ($1)",
        ids,
    )
    .execute(connection)
    .await
    .named("put_off_quotes")?;
    Ok(())
}

/// Puts claimed quotes that are on hold out of the claims' sight, until the hold has ended.
pub async fn put_quotes_aside(connection: &mut PgConnection, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- put_quotes_aside
         UPDATE ephemerd.quotes SET retry_at = 'infinity' WHERE id = ANY ($1)",
        ids,
    )
    .execute(connection)
    .await
    .named("put_quotes_aside")?;
    Ok(())
}

/// The same as [`take_back`](super::take_back), with quotes.
pub async fn take_quotes_back(
    connection: &mut PgConnection,
    after: i64,
    rows: i64,
) -> Result<Option<i64>> {
    let last = sqlx::query_scalar!(
        r#"-- take_quotes_back
        WITH page AS MATERIALIZED (
            SELECT id, on_hold FROM ephemerd.quote_entries
             WHERE NOT backlog AND next_at = 'infinity' AND id > $1
             ORDER BY id LIMIT $2),
        free AS MATERIALIZED (
            SELECT q.id FROM page JOIN ephemerd.quotes AS q USING (id)
             WHERE NOT page.on_hold AND q.retry_at = 'infinity' ORDER BY q.id FOR UPDATE OF q),
        taken AS (
            UPDATE ephemerd.quotes AS q SET retry_at = NULL FROM free WHERE q.id = free.id)
        SELECT max(id) AS last FROM page"#,
        after,
        rows,
    )
    .fetch_one(&mut *connection)
    .await
    .named("take_quotes_back")?;
    if last.is_some() {
        notify(connection, None).await?;
    }
    Ok(last)
}

/// The same as [`release_held`](super::release_held), with quotes.
pub async fn release_held_quotes(
    connection: &mut PgConnection,
    after: i64,
    rows: i64,
) -> Result<Option<(i64, i64)>> {
    let released = sqlx::query!(
        r#"-- release_held_quotes
        WITH page AS MATERIALIZED (
            SELECT id FROM ephemerd.quotes WHERE backlog AND id > $1
             ORDER BY id LIMIT $2 FOR UPDATE),
        released AS (
            UPDATE ephemerd.quotes AS q SET backlog = false FROM page WHERE q.id = page.id
            RETURNING q.id)
        SELECT count(*) AS "count!", max(id) AS last FROM released"#,
        after,
        rows,
    )
    .fetch_one(&mut *connection)
    .await
    .named("release_held_quotes")?;
    let Some(last) = released.last else { return Ok(None) };
    notify(connection, None).await?;
    Ok(Some((released.count, last)))
}

/// The rows of these entries, which our transaction has locked, have these digests from now on.
pub async fn rename_rows(connection: &mut PgConnection, renamed: &[(i64, Vec<u8>)]) -> Result<()> {
    if renamed.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- rename_rows
         UPDATE ephemerd.expiries AS e SET digest = k.digest
           FROM unnest($1::bigint[], $2::bytea[]) AS k(id, digest) WHERE e.id = k.id",
        &renamed.iter().map(|it| it.0).collect::<Vec<_>>(),
        &renamed.iter().map(|it| it.1.clone()).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await
    .named("rename_rows")?;
    Ok(())
}
