//! Where the tail begins: at its first start, and at each pass through a table.

use sqlx::PgConnection;
use tracing::{info, warn};

use super::pass::{Pass, Tail};
use crate::{
    archive::{Order, Table},
    database::Result,
    ledger::{self, Cursor},
};

/// Begins a pass, and requests a sweep if the table is not what it was. `None` if the archive was restored from a backup:
/// the cursor went back, and a pass begins there.
pub(super) async fn begin_pass(
    connection: &mut PgConnection,
    tail: &mut Tail,
    cursor: Cursor,
) -> Result<Option<Pass>> {
    let table = tail.table.clone();
    let (name, horizon) = (table.name(), table.horizon(connection).await?);
    let restored = tail.is_restored(horizon, cursor);
    let remade = tail.is_remade(horizon, cursor);
    if restored {
        let newest = horizon.newest;
        warn!(newest, "the archive was restored from a backup: inspecting it again");
        let back = tail.restart(horizon, cursor);
        ledger::move_cursor(connection, name, back).await?;
    } else if remade {
        info!(
            table = name,
            "the table was restored or rewritten, or its partitions changed: a sweep is due"
        );
    }
    if restored || remade || tail.wants_sweep(horizon) {
        ledger::request_sweep(connection, name).await?;
    }
    Ok((!restored).then(|| tail.start_pass(horizon, cursor)))
}

/// Sets the cursor to the newest row, so that live messages never wait for history.
pub(super) async fn first_start(connection: &mut PgConnection, table: &Table) -> Result<bool> {
    let horizon = table.horizon(connection).await?;
    let newest = match table.order() {
        // The cursor never goes beyond the database's clock, whatever the server's clock says.
        Order::Stamps => horizon.newest.min(horizon.now.timestamp_micros()),
        Order::Sequence | Order::Unordered => horizon.newest,
    };
    let first = ledger::start_cursor(connection, table.name(), newest).await?;
    if first {
        let table = table.name();
        // Even if there was one before: rows may have been archived since, and are behind the cursor.
        ledger::request_sweep(connection, table).await?;
        info!(table, row_number = newest, "first start: inspection begins after this row");
    }
    Ok(first)
}
