//! What goes when: from the ledger, or from the archive itself.

use sqlx::Connection as _;

use super::{Error, archive_kind, connect, open_archive, session};
use crate::{
    config::Config,
    ledger::{self, FileCounts, Outlooks, Readings},
    ops::{self, Scan, ScanProgress},
};

/// What goes when, according to the ledger; how many timers wait for a reader, and how many files go with messages.
pub async fn preview(config: &Config) -> Result<(Outlooks, Readings, FileCounts), Error> {
    let mut connection = connect(config).await?;
    let hosts = &config.archive.hosts;
    let counted = async {
        let outlook = ledger::outlook(&mut connection, hosts).await?;
        let readings = ledger::readings(&mut connection, hosts).await?;
        Ok((outlook, readings, ledger::count_files(&mut connection).await?))
    };
    let counted = counted.await;
    let _ = connection.close().await;
    counted
}

/// What would go when, read from the archive without our schema.
pub async fn scan(config: &Config, report: impl FnMut(ScanProgress)) -> Result<Scan, Error> {
    if archive_kind(config).is_none() {
        return Err(Error::OutOfReach(
            "start a daemon, run `ephemerd sweep`, then `ephemerd preview` without --scan",
        ));
    }
    let mut connection = session(config).await?;
    let scan = async {
        let (archive, _) = open_archive(&mut connection, config).await?;
        let rules = config.rules();
        Ok(ops::scan(&mut connection, &archive, &config.archive.hosts, &rules, report).await?)
    };
    let scan = scan.await;
    let _ = connection.close().await;
    scan
}
