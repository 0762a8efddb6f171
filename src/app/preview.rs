//! What goes when: from the ledger, or from the archive itself.

use sqlx::Connection as _;

use super::{Error, connect, probe_archive};
use crate::{
    config::Config,
    database,
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
    let settings = database::Settings::new(config.database.options()).patient();
    let mut connection = settings.connect().await?;
    let usable = probe_archive(&mut connection).await;
    let _ = connection.close().await;
    usable?;
    let pool = settings.pool();
    let scan = ops::scan(&pool, &config.archive.hosts, &config.rules(), told).await;
    pool.close().await;
    Ok(scan?)
}
