//! The database of an Express server, from which an operator imports.

use std::path::PathBuf;

use super::given;
use crate::config::secret::Secret;
use crate::config::variables::{ConfigError, Variables};

/// The database of an Express server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExpressConfig {
    /// Its URL, if one is set: that of a PostgreSQL or of a MongoDB database.
    pub url: Option<Secret>,
    /// The certificates to trust in place of those of the system, for PostgreSQL.
    pub ca_file: Option<PathBuf>,
}

impl ExpressConfig {
    pub(in crate::config) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            url: given(variables, "EXPRESS_URL", "EXPRESS_URL_FILE")?,
            ca_file: variables.get("EXPRESS_CA_FILE").map(PathBuf::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    fn read(set: &[(&str, &str)]) -> Result<ExpressConfig, String> {
        read_from(set, ExpressConfig::read)
    }

    #[test]
    fn the_url_is_a_secret_that_may_stand_in_a_file() {
        let url = ("EXPRESS_URL", "postgresql://u:hunter2@h/d");
        let config = read(&[url, ("EXPRESS_CA_FILE", "ca.pem")]).unwrap();
        assert_eq!(config.url.as_ref().map(Secret::reveal), Some(url.1));
        assert_eq!(config.ca_file, Some("ca.pem".into()));
        assert!(!format!("{config:?}").contains("hunter2"));
        let line = read(&[url, ("EXPRESS_URL_FILE", "/no/such/file")]).unwrap_err();
        assert_eq!(line, "EXPRESS_URL_FILE: cannot be set beside EXPRESS_URL");
        assert!(read(&[("EXPRESS_URL_FILE", "/no/such/file")]).unwrap_err().starts_with("EXPRESS_URL_FILE: the file "));
        assert_eq!(read(&[]), Ok(ExpressConfig::default()));
    }
}
