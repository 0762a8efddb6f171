//! What becomes of one message, and why.

use sqlx::Connection as _;

use super::{Error, connect, probe_archive};
use crate::{
    config::{Config, EraseMode},
    model::{Clock as _, Stamp, Store, SystemClock, Timestamp},
    ops::{Explainer, Explanation, Found, Given},
};

/// Explains a stanza that is given, without any database; archived now, unless a time is given.
pub fn explain_given(
    config: &Config,
    (xml, store, host): (&str, Store, Option<&str>),
    archived_at: Option<Timestamp>,
) -> Explanation {
    let now = SystemClock.now();
    let seconds = archived_at.unwrap_or(now).timestamp();
    let at = Timestamp::from_timestamp(seconds, 0).unwrap_or(now);
    // Prosody stamps whole seconds.
    let stamp = Stamp { at, whole_seconds: true };
    explainer(config).explain(Given { xml, store, host, stamp }, now)
}

/// Explains what the archive and the ledger hold under an id.
pub async fn explain_live(
    config: &Config,
    owner: (&str, &str),
    archive_id: &str,
) -> Result<Found, Error> {
    let mut connection = connect(config).await?;
    let found = async {
        probe_archive(&mut connection).await?;
        Ok(explainer(config).find(&mut connection, owner, archive_id).await?)
    };
    let found = found.await;
    let _ = connection.close().await;
    found
}

fn explainer(config: &Config) -> Explainer {
    Explainer {
        rules: config.rules(),
        hosts: config.archive.hosts.clone(),
        keeps_placeholders: config.erase.mode != EraseMode::Delete,
        placeholder_for: config.erase.placeholder_for,
    }
}
