use std::str::FromStr;

use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;

use super::AppError;
use crate::{config::Config, database::Settings};

/// How to reach the database, from the configuration.
pub(super) fn settings(config: &Config) -> Result<Settings, AppError> {
    let options = PgConnectOptions::from_str(config.database.url.expose())
        .map_err(|_| AppError::DatabaseUrl)?;
    Ok(Settings::new(match &config.database.password {
        Some(password) => options.password(password.expose_secret()),
        None => options,
    }))
}
