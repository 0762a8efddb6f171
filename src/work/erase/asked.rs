//! What modules were asked to erase, noted in the ledger: whoever places a hold waits for it.

use std::{collections::BTreeSet, time::Duration};

use sqlx::PgConnection;

use crate::{database::Result, ledger};

/// How long a request may still be carried out that was not answered: longer than a lease, because it may be sent at the
/// end of a batch.
const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(180);

/// Owners (host, local part) whose modules are about to be asked, with the number that the ledger gave each.
#[derive(Debug, Default)]
pub(super) struct Asked(Vec<(i64, String, String)>);

impl Asked {
    /// Notes that the modules of these owners are about to be asked.
    pub(super) async fn note(
        connection: &mut PgConnection,
        owners: BTreeSet<(&str, &str)>,
    ) -> Result<Self> {
        let owners: Vec<(&str, &str)> = owners.into_iter().collect();
        let ids = ledger::note_asked(connection, &owners, CARRIED_OUT_WITHIN.as_secs_f64()).await?;
        let named =
            |(id, (host, owner)): (i64, (&str, &str))| (id, host.to_owned(), owner.to_owned());
        Ok(Self(ids.into_iter().zip(owners).map(named).collect()))
    }

    /// What is over: everything but the requests for these owners, which may still be carried out.
    pub(super) fn over(&self, unanswered: &BTreeSet<(&str, &str)>) -> Vec<i64> {
        let over = self.0.iter().filter(|(_, host, owner)| !unanswered.contains(&(host, owner)));
        over.map(|it| it.0).collect()
    }
}
