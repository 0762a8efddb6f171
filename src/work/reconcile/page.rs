//! One page of candidates: what one statement returns, and where it may end.

use sqlx::PgConnection;

use super::{Context, Read, Reconciled, reconcile};
use crate::{
    archive::{MAX_STANZA_BYTES, Row, Search, Table},
    database::Result,
    ledger,
    model::{OwnerGroups, Store},
    work::base::count,
};

/// Maximum number of candidates that one statement returns.
const CANDIDATES: i64 = 500;
/// Maximum bytes of stanzas that one statement returns, not counting the last one.
const CANDIDATE_BYTES: i64 = 8 * 1024 * 1024;

/// The candidates of a span, and where they end: at the span's end, or earlier if a limit cut them off.
pub(in crate::work) async fn candidates(
    connection: &mut PgConnection,
    table: &Table,
    searched: (&[String], Search<'_>),
    span: (i64, i64),
) -> Result<(Vec<Row>, i64)> {
    let limits = (CANDIDATES, CANDIDATE_BYTES);
    let rows = table.candidates(connection, searched, span, limits).await?;
    let end = rows.last().filter(|_| is_cut(&rows)).map_or(span.1, |last| last.key.row_number);
    Ok((rows, end))
}

/// Searches a span again for what belongs to messages that were just recorded, if nothing did before for their owners.
/// Returns whether there were any such owners, who are `known` from now on.
pub(in crate::work) async fn find_belonging(
    connection: &mut PgConnection,
    table: &Table,
    hosts: &[String],
    (mut after, upto): (i64, i64),
    known: &mut OwnerGroups,
    context: Context<'_>,
    reconciled: &mut Reconciled,
) -> Result<bool> {
    let named = ledger::named_owners(connection).await?;
    let new = named.without(known);
    if new.is_empty() {
        return Ok(false);
    }
    let search = Search::belonging(&new);
    while after < upto {
        let (rows, end) = candidates(connection, table, (hosts, search), (after, upto)).await?;
        reconcile(connection, Read::all(&rows), context, reconciled).await?;
        after = end;
    }
    *known = named;
    Ok(true)
}

fn is_cut(rows: &[Row]) -> bool {
    let size =
        |row: &Row| row.xml.as_ref().map_or(i64::from(MAX_STANZA_BYTES), |xml| count(xml.len()));
    count(rows.len()) >= CANDIDATES || rows.iter().map(size).sum::<i64>() >= CANDIDATE_BYTES
}

/// Ends a page at `end`. An archive row at the very end is left to the next page, which may begin with its copy in the
/// offline queue: the row must not be erased before that copy is known.
pub(in crate::work) fn end_page(rows: &mut Vec<Row>, from: i64, end: i64) -> i64 {
    let at_the_end = |row: &mut Row| {
        row.key.store == Store::Archive && row.key.row_number == end && end - 1 > from
    };
    if rows.pop_if(at_the_end).is_some() { end - 1 } else { end }
}
