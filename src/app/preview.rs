//! What goes when: from the ledger, or from the archive itself.

use sqlx::Connection as _;

use super::{Error, archive_kind, connect, open_archive, session};
use crate::{
    config::Config,
    ledger::{self, Outlooks},
    ops::{self, Scan, ScanProgress},
};

/// What goes when, as the ledger has it.
pub async fn preview(config: &Config) -> Result<Outlooks, Error> {
    let mut connection = connect(config).await?;
    let outlook = ledger::outlook(&mut connection, &config.archive.hosts).await;
    let _ = connection.close().await;
    Ok(outlook?)
}

/// What would go when, read from the archive without our schema.
pub async fn scan(config: &Config, told: impl FnMut(ScanProgress)) -> Result<Scan, Error> {
    if archive_kind(config).is_none() {
        return Err(Error::OutOfReach(
            "let a daemon run, sweep with `ephemerd sweep`, and ask for `ephemerd preview` without --scan",
        ));
    }
    let mut connection = session(config).await?;
    let scan = async {
        let (archive, _) = open_archive(&mut connection, config).await?;
        let rules = config.rules();
        Ok(ops::scan(&mut connection, &archive, &config.archive.hosts, &rules, told).await?)
    };
    let scan = scan.await;
    let _ = connection.close().await;
    scan
}
