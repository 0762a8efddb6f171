//! What is kept of one owner.

use sqlx::Connection as _;

use super::{Error, archive_kind, connect, count_in_peace, open_archive, settings::age_settings};
use crate::{
    config::Config,
    model::Address,
    ops::{self, About, AboutWhom},
};

/// What is kept of this user or room: from archive and ledger, or from the ledger alone where only a companion module
/// reaches the archive.
pub async fn about(config: &Config, owner: &Address) -> Result<About, Error> {
    if !config.archive.hosts.contains(&owner.host) {
        return Err(Error::Unlisted(owner.host.clone()));
    }
    let settings = age_settings(config);
    let policy = settings.policy();
    let mut connection = connect(config).await?;
    let about = async {
        let archive = match archive_kind(config) {
            Some(_) => Some(open_archive(&mut connection, config).await?.0),
            None => None,
        };
        count_in_peace(&mut connection).await?;
        let whom = AboutWhom {
            host: &owner.host,
            owner: &owner.local,
            retention: &settings.retention,
            policy: &policy,
            most: i64::MAX,
        };
        Ok(ops::about(&mut connection, archive.as_ref(), whom).await?)
    };
    let about: Result<About, Error> = about.await;
    let _ = connection.close().await;
    about
}
