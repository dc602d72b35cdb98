//! The treatment of requests before they reach the routes: foreign pages, time, size, memory and rates.

pub(super) mod hosts;
pub(super) mod origins;
pub(super) mod rates;
pub(super) mod wake;

use std::time::Duration;

use self::hosts::AllowedHosts;
use self::origins::AllowedOrigins;
use self::rates::RateConfig;
use super::defaults::Defaults;
use super::variables::{ConfigError, Variables, wrong};
use crate::limits::runtime::{MEMORY_DEFAULT_BYTES, MEMORY_MAX_BYTES, MEMORY_MIN_BYTES, REQUEST_TIME_MAX_SECONDS};

/// The treatment of requests before they reach the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpConfig {
    /// The origins whose pages may call the server.
    pub allowed_origins: AllowedOrigins,
    /// The names by which the server may be called.
    pub allowed_hosts: AllowedHosts,
    /// The time limit of a request.
    pub request_timeout: Duration,
    /// The largest body of a request, both as sent and after decompression, in bytes. It is not a setting, but depends
    /// on the kind of process.
    pub body_max_bytes: usize,
    /// Memory that all requests and answers may take together, in bytes.
    pub memory_max_bytes: usize,
    /// The limits for the rates of requests.
    pub rates: RateConfig,
}

impl HttpConfig {
    pub(super) fn read(
        variables: &Variables<'_>,
        defaults: &Defaults,
        strangers_reach_it: bool,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            allowed_origins: allowed_origins(variables)?,
            allowed_hosts: allowed_hosts(variables, defaults.is_called_directly)?,
            request_timeout: request_timeout(variables)?,
            body_max_bytes: defaults.body_max_bytes,
            memory_max_bytes: memory_max_bytes(variables)?,
            rates: RateConfig::read(variables, strangers_reach_it)?,
        })
    }
}

fn allowed_origins(variables: &Variables<'_>) -> Result<AllowedOrigins, ConfigError> {
    const VARIABLE: &str = "ALLOWED_ORIGINS";
    let Some(list) = variables.get(VARIABLE) else { return Ok(AllowedOrigins::Loopback) };
    let rule = "must be * or origins such as https://app.example.com";
    AllowedOrigins::parse(&list).map_err(|text| wrong(VARIABLE, rule, text))
}

fn allowed_hosts(variables: &Variables<'_>, is_called_directly: bool) -> Result<AllowedHosts, ConfigError> {
    const VARIABLE: &str = "ALLOWED_HOSTS";
    if !is_called_directly {
        return Ok(AllowedHosts::Any);
    }
    let rule = "must be names such as sync.example.com or sync.example.com:8443";
    AllowedHosts::parse(&variables.get_or(VARIABLE, "")).map_err(|text| wrong(VARIABLE, rule, text))
}

fn request_timeout(variables: &Variables<'_>) -> Result<Duration, ConfigError> {
    let seconds = variables.integer("REQUEST_TIMEOUT_SECONDS", REQUEST_TIME_MAX_SECONDS, REQUEST_TIME_MAX_SECONDS)?;
    Ok(Duration::from_secs(seconds.into()))
}

fn memory_max_bytes(variables: &Variables<'_>) -> Result<usize, ConfigError> {
    const VARIABLE: &str = "MEMORY_MAX_BYTES";
    let rule = format!("must be an integer from {MEMORY_MIN_BYTES} to {MEMORY_MAX_BYTES}");
    let bytes: usize = variables.parse(VARIABLE, &MEMORY_DEFAULT_BYTES.to_string(), &rule)?;
    let is_right = (MEMORY_MIN_BYTES..=MEMORY_MAX_BYTES).contains(&bytes);
    if is_right { Ok(bytes) } else { Err(wrong(VARIABLE, &rule, &bytes.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    fn read(set: &[(&str, &str)]) -> Result<HttpConfig, String> {
        read_from(set, |variables| HttpConfig::read(variables, &Defaults::OF_A_SERVER, false))
    }

    #[test]
    fn origins_are_taken_as_browsers_send_them() {
        let config = read(&[("ALLOWED_ORIGINS", "https://a.example, http://localhost:5173")]).unwrap();
        let expected = ["https://a.example", "http://localhost:5173"].map(http::HeaderValue::from_static);
        assert_eq!(config.allowed_origins, AllowedOrigins::List(expected.to_vec()));
        let config = read(&[("ALLOWED_ORIGINS", "*")]).unwrap();
        assert_eq!(config.allowed_origins, AllowedOrigins::Any);
    }

    #[test]
    fn memory_has_its_rule() {
        let problem = read(&[("MEMORY_MAX_BYTES", "1000")]).unwrap_err();
        assert!(problem.starts_with("MEMORY_MAX_BYTES: must be"), "{problem}");
    }
}
