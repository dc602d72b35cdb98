//! The address at which the local server listens.

pub(super) mod connections;

use std::net::{IpAddr, ToSocketAddrs as _};

use super::variables::{ConfigError, Variables, wrong};

/// The address at which the local server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// The address.
    pub bind: IpAddr,
    /// The port, or 0 for any free one.
    pub port: u16,
}

impl Listen {
    pub(super) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            bind: bind(variables)?,
            port: variables.parse("PORT", "3000", "must be an integer from 0 to 65535")?,
        })
    }
}

/// The address to listen on. If a name has several addresses, the first IPv4 address is used.
fn bind(variables: &Variables<'_>) -> Result<IpAddr, ConfigError> {
    const VARIABLE: &str = "BIND";
    let name = variables.get_or(VARIABLE, "127.0.0.1");
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let addresses: Vec<IpAddr> =
        (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|found| found.ip()).collect()).unwrap_or_default();
    let first = addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first());
    let rule = "must be an IP address, or a name such as localhost that has one";
    first.copied().ok_or_else(|| wrong(VARIABLE, rule, &name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    #[test]
    fn a_name_to_listen_on_stands_for_its_address() {
        let bind = |name: &str| read_from(&[("BIND", name)], Listen::read).unwrap().bind;
        assert!(bind("localhost").is_loopback());
        assert_eq!(bind("::1"), "::1".parse::<IpAddr>().unwrap());
    }
}
