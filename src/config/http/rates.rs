//! The limits for the rates of requests.

use crate::config::variables::{ConfigError, Variables, wrong};
use crate::limits::runtime::{ADDRESS_DEFAULT_RATE_REQUESTS, PRINCIPAL_DEFAULT_RATE_REQUESTS, RATE_MAX_REQUESTS};

/// The limits for rates, in requests a second. `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateConfig {
    /// Requests of one subject of a tenant.
    pub per_principal: Option<u32>,
    /// Requests from one address.
    pub per_address: Option<u32>,
}

impl RateConfig {
    /// By default there are no limits, unless strangers can reach the server.
    pub(in crate::config) fn read(variables: &Variables<'_>, strangers_reach_it: bool) -> Result<Self, ConfigError> {
        let default = |requests| if strangers_reach_it { Some(requests) } else { None };
        Ok(Self {
            per_principal: rate(variables, "RATE_PER_PRINCIPAL", default(PRINCIPAL_DEFAULT_RATE_REQUESTS))?,
            per_address: rate(variables, "RATE_PER_ADDRESS", default(ADDRESS_DEFAULT_RATE_REQUESTS))?,
        })
    }
}

fn rate(variables: &Variables<'_>, variable: &'static str, default: Option<u32>) -> Result<Option<u32>, ConfigError> {
    match variables.get(variable).as_deref() {
        None => Ok(default),
        Some("off") => Ok(None),
        Some(text) => {
            let rule = format!("must be off or an integer from 1 to {RATE_MAX_REQUESTS}");
            let requests = text.parse().ok().filter(|requests| (1..=RATE_MAX_REQUESTS).contains(requests));
            requests.map(Some).ok_or_else(|| wrong(variable, &rule, text))
        }
    }
}
