//! Opens the database of an Express server that the settings name.

use crate::config::{ConfigError, ExpressConfig, Secret};
use crate::store::express::ExpressSource;
#[cfg(feature = "mongodb")]
use crate::store::mongodb::MongoExpress;
#[cfg(feature = "postgres")]
use crate::store::postgres::{PostgresExpress, PostgresOptions, PostgresOptionsError};

const VARIABLE: &str = "EXPRESS_URL";

/// Opens the database of an Express server. It is reached with the first request. PostgreSQL may have the tables in
/// another schema than `public`.
///
/// # Errors
/// If no database is set, if it cannot be used, or if this build has no such store. The error names the variable.
pub fn open_express(config: &ExpressConfig, schema: Option<&str>) -> Result<Box<dyn ExpressSource>, ConfigError> {
    let Some(url) = &config.url else {
        let problem = "must be set, postgresql://user:password@host/database or mongodb://user:password@host/database";
        return Err(ConfigError::new(VARIABLE, problem));
    };
    let is_mongodb = url.reveal().starts_with("mongodb");
    if is_mongodb && schema.is_some() {
        return Err(ConfigError::new(variable_of(url), "names a MongoDB database, which has no schema"));
    }
    if is_mongodb { open_mongodb(url) } else { open_postgres(url, config, schema) }
}

/// The variable to check if the URL is wrong.
fn variable_of(url: &Secret) -> &'static str {
    url.variable().unwrap_or(VARIABLE)
}

#[cfg(feature = "postgres")]
fn open_postgres(
    url: &Secret,
    config: &ExpressConfig,
    schema: Option<&str>,
) -> Result<Box<dyn ExpressSource>, ConfigError> {
    let options = PostgresOptions {
        schema: schema.map(str::to_owned),
        ca_file: config.ca_file.clone(),
        ..PostgresOptions::new(url.reveal())
    };
    match PostgresExpress::new(&options) {
        Ok(source) => Ok(Box::new(source)),
        Err(problem @ PostgresOptionsError::CaFile(_)) => Err(ConfigError::new("EXPRESS_CA_FILE", problem)),
        Err(problem @ PostgresOptionsError::Schema) => Err(ConfigError::new("--schema", problem)),
        Err(problem) => Err(ConfigError::new(variable_of(url), problem)),
    }
}

#[cfg(not(feature = "postgres"))]
fn open_postgres(url: &Secret, _: &ExpressConfig, _: Option<&str>) -> Result<Box<dyn ExpressSource>, ConfigError> {
    Err(ConfigError::new(variable_of(url), "this build has no postgres store"))
}

#[cfg(feature = "mongodb")]
fn open_mongodb(url: &Secret) -> Result<Box<dyn ExpressSource>, ConfigError> {
    match MongoExpress::new(url.reveal()) {
        Ok(source) => Ok(Box::new(source)),
        Err(problem) => Err(ConfigError::new(variable_of(url), problem)),
    }
}

#[cfg(not(feature = "mongodb"))]
fn open_mongodb(url: &Secret) -> Result<Box<dyn ExpressSource>, ConfigError> {
    Err(ConfigError::new(variable_of(url), "this build has no mongodb store"))
}
