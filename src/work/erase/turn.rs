//! How both erasers claim: only while nobody places a hold, and never what is on hold.

use sqlx::PgConnection;

use crate::{
    database::Result,
    ledger::{self, Claim, Claims},
};

/// What a claim gave.
pub(super) enum Turn {
    /// These are ours, until the transaction ends.
    Claims(Claims),
    /// Nothing is due.
    Nothing,
    /// Somebody places or ends a hold, and nothing may be claimed.
    HoldUnderWay,
}

/// Claims what is due, at the beginning of a transaction. What is on hold is put aside.
pub(super) async fn claim(connection: &mut PgConnection, what: Claim<'_>) -> Result<Turn> {
    if !ledger::share_claims(connection).await? {
        return Ok(Turn::HoldUnderWay);
    }
    let Some(claims) = ledger::claim(connection, what).await? else { return Ok(Turn::Nothing) };
    ledger::put_aside(connection, &claims.on_hold).await?;
    Ok(Turn::Claims(claims))
}
