//! What the archive has of one owner, for somebody to take away.

use sqlx::Connection as _;

use super::{Error, archive_kind, connect, count_in_peace, open_archive};
use crate::{
    config::Config,
    model::Address,
    ops::{Export, ExportCounts, ExportPlace},
};

/// Reads what is kept of this user or room from the archive, from `place` on, and has `take` write each part of the document;
/// with it, it gets the place at which the next part begins. Returns what was written, and what was left out.
pub async fn export<E: From<Error>>(
    config: &Config,
    owner: &Address,
    place: ExportPlace,
    mut take: impl FnMut(&str, ExportPlace) -> Result<(), E>,
) -> Result<ExportCounts, E> {
    if !config.archive.hosts.contains(&owner.host) {
        return Err(Error::Unlisted(owner.host.clone()).into());
    }
    if archive_kind(config).is_none() {
        return Err(Error::OutOfReach(
            "exports are for archives in PostgreSQL; the server's own tools know its storage",
        )
        .into());
    }
    let mut connection = connect(config).await?;
    let exported = async {
        let (archive, _) = open_archive(&mut connection, config).await?;
        count_in_peace(&mut connection).await.map_err(Error::from)?;
        let begun = Export::begin(&mut connection, &archive, owner, place).await;
        let mut export = begun.map_err(Error::from)?;
        while let Some(part) = export.part(&mut connection).await.map_err(Error::from)? {
            take(&part, export.place())?;
        }
        Ok(export.place().counts)
    };
    let exported = exported.await;
    let _ = connection.close().await;
    exported
}
