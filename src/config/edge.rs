//! The limits that the server sets itself: memory, connections, and rates of requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ConfigError, Variables, wrong};
use crate::limits::runtime::{
    ADDRESS_DEFAULT_CONNECTIONS, ADDRESS_DEFAULT_RATE_REQUESTS, MEMORY_DEFAULT_BYTES, MEMORY_MAX_BYTES,
    MEMORY_MIN_BYTES, PRINCIPAL_DEFAULT_RATE_REQUESTS, RATE_MAX_REQUESTS, SERVER_MAX_CONNECTIONS,
};

/// The accepted connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// Whether HTTP/2 is supported.
    pub http2: bool,
    /// The most connections from one address.
    pub per_address: usize,
    /// The addresses of proxies. Their connections are not limited by address, and they name their clients.
    pub trusted_proxies: TrustedProxies,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            http2: false,
            per_address: usize::try_from(ADDRESS_DEFAULT_CONNECTIONS).unwrap_or(usize::MAX),
            trusted_proxies: TrustedProxies::loopback(),
        }
    }
}

/// The limits for rates, in requests a second. `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateConfig {
    /// Requests of one subject of a tenant.
    pub per_principal: Option<u32>,
    /// Requests from one address.
    pub per_address: Option<u32>,
}

/// Addresses and networks of proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// The addresses of this machine.
    fn loopback() -> Self {
        let network = |address: IpAddr, bits| Network { address, bits };
        Self(vec![network(Ipv4Addr::new(127, 0, 0, 0).into(), 8), network(Ipv6Addr::LOCALHOST.into(), 128)])
    }

    /// Reads addresses and networks with commas between them.
    ///
    /// # Errors
    /// The first text that is not one.
    pub fn parse(list: &str) -> Result<Self, &str> {
        let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| Network::parse(part).ok_or(part)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a proxy connects from this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address.to_canonical()))
    }
}

/// All addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && first_bits(self.address, self.bits) == first_bits(address, self.bits)
    }
}

/// The first bits of an address, followed by zeros.
fn first_bits(address: IpAddr, bits: u8) -> u128 {
    let all = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    all & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default()
}

pub(super) fn connections(variables: &Variables<'_>) -> Result<ConnectionConfig, ConfigError> {
    let max = u32::try_from(SERVER_MAX_CONNECTIONS).unwrap_or(u32::MAX);
    let per_address = variables.integer("CONNECTIONS_PER_ADDRESS", ADDRESS_DEFAULT_CONNECTIONS, max)?;
    Ok(ConnectionConfig {
        http2: is_on(variables, "HTTP2")?,
        per_address: usize::try_from(per_address).unwrap_or(usize::MAX),
        trusted_proxies: trusted_proxies(variables)?,
    })
}

fn is_on(variables: &Variables<'_>, variable: &'static str) -> Result<bool, ConfigError> {
    match variables.get_or(variable, "off").as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(wrong(variable, "must be on or off", other)),
    }
}

fn trusted_proxies(variables: &Variables<'_>) -> Result<TrustedProxies, ConfigError> {
    const VARIABLE: &str = "TRUSTED_PROXIES";
    let list = variables.get_or(VARIABLE, "127.0.0.0/8,::1");
    if list == "none" {
        return Ok(TrustedProxies::default());
    }
    let rule = "must be none, or addresses and networks such as 10.0.0.5 or 10.0.0.0/8";
    TrustedProxies::parse(&list).map_err(|text| wrong(VARIABLE, rule, text))
}

pub(super) fn memory_max_bytes(variables: &Variables<'_>) -> Result<usize, ConfigError> {
    const VARIABLE: &str = "MEMORY_MAX_BYTES";
    let rule = format!("must be an integer from {MEMORY_MIN_BYTES} to {MEMORY_MAX_BYTES}");
    let bytes: usize = variables.parse(VARIABLE, &MEMORY_DEFAULT_BYTES.to_string(), &rule)?;
    let is_right = (MEMORY_MIN_BYTES..=MEMORY_MAX_BYTES).contains(&bytes);
    if is_right { Ok(bytes) } else { Err(wrong(VARIABLE, &rule, &bytes.to_string())) }
}

/// The limits for rates. By default there is none, unless strangers can reach the server.
pub(super) fn rates(variables: &Variables<'_>, strangers_reach_it: bool) -> Result<RateConfig, ConfigError> {
    let default = |requests| if strangers_reach_it { Some(requests) } else { None };
    Ok(RateConfig {
        per_principal: rate(variables, "RATE_PER_PRINCIPAL", default(PRINCIPAL_DEFAULT_RATE_REQUESTS))?,
        per_address: rate(variables, "RATE_PER_ADDRESS", default(ADDRESS_DEFAULT_RATE_REQUESTS))?,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_addresses_and_networks() {
        let proxies = TrustedProxies::parse("127.0.0.0/8, ::1,2001:db8::/32,10.0.0.5").unwrap();
        for inside in ["127.0.0.1", "127.255.0.9", "::1", "2001:db8:1::2", "10.0.0.5", "::ffff:10.0.0.5"] {
            assert!(proxies.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["128.0.0.1", "::2", "2001:db9::1", "10.0.0.6", "::7f00:1"] {
            assert!(!proxies.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(TrustedProxies::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert_eq!(TrustedProxies::parse("127.0.0.0/8,::1"), Ok(TrustedProxies::loopback()));
        for wrong in ["localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "/8"] {
            assert_eq!(TrustedProxies::parse(wrong), Err(wrong), "{wrong}");
        }
    }
}
