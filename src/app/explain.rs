//! What happens to one message, and why.

use chrono::SubsecRound as _;
use sqlx::Connection as _;

use super::{Error, archive_kind, connect, erase_mode, open_archive};
use crate::{
    config::{ArchiveKind, Config},
    model::{Clock as _, Mode, Stamp, Store, SystemClock, Timestamp},
    ops::{self, Explainer, Explanation, FoundMessage, Given},
};

/// Explains a given stanza without a database, archived now unless a time is given.
pub fn explain_given(
    config: &Config,
    xml: &str,
    store: Store,
    host: Option<&str>,
    archived_at: Option<Timestamp>,
) -> Explanation {
    let now = SystemClock.now();
    let at = archived_at.unwrap_or(now);
    let stamp = match config.archive.kind {
        // Prosody stamps whole seconds.
        ArchiveKind::Prosody => Stamp { at: at.trunc_subsecs(0), whole_seconds: true },
        ArchiveKind::Ejabberd | ArchiveKind::Component => Stamp { at, whole_seconds: false },
    };
    explainer(config).explain(Given { xml, store, host, stamp }, now)
}

/// Explains what the archive and the ledger have under an id.
pub async fn explain_live(
    config: &Config,
    owner: (&str, &str),
    archive_id: &str,
) -> Result<FoundMessage, Error> {
    let mut connection = connect(config).await?;
    let found = async {
        if archive_kind(config).is_none() {
            // Only the ledger is visible from here.
            return Ok(ops::find_entries(&mut connection, owner, archive_id).await?);
        }
        let (archive, _) = open_archive(&mut connection, config).await?;
        Ok(explainer(config).find(&mut connection, &archive, owner, archive_id).await?)
    };
    let found = found.await;
    let _ = connection.close().await;
    found
}

fn explainer(config: &Config) -> Explainer {
    Explainer {
        rules: config.rules(),
        retention: config.retention(),
        hosts: config.archive.hosts.clone(),
        keeps_placeholders: erase_mode(config) == Mode::Placeholder,
        // ejabberd empties its queue itself, at login.
        deletes_from_queue: config.archive.kind == ArchiveKind::Prosody,
        placeholder_for: config.erase.placeholder_for,
    }
}
