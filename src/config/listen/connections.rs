//! Which connections the local server takes, and which proxies it trusts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::variables::{ConfigError, Variables, wrong};
use crate::limits::api::{STREAMS_DEFAULT_REQUESTS, STREAMS_MAX_REQUESTS};
use crate::limits::runtime::{ADDRESS_DEFAULT_CONNECTIONS, SERVER_DEFAULT_CONNECTIONS, SERVER_MAX_CONNECTIONS};

/// The accepted connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// Whether HTTP/2 is supported.
    pub http2: bool,
    /// The most open connections, if the process may open so many files.
    pub max: usize,
    /// The most connections from one address.
    pub per_address: usize,
    /// The most streams of events that are open at the same time.
    pub max_streams: u32,
    /// The addresses of proxies. Their connections are not limited by address, and they name their clients.
    pub trusted_proxies: TrustedProxies,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            http2: false,
            max: as_count(SERVER_DEFAULT_CONNECTIONS),
            per_address: as_count(ADDRESS_DEFAULT_CONNECTIONS),
            max_streams: STREAMS_DEFAULT_REQUESTS,
            trusted_proxies: TrustedProxies::loopback(),
        }
    }
}

impl ConnectionConfig {
    pub(in crate::config) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let connections =
            |variable, default| variables.integer(variable, default, SERVER_MAX_CONNECTIONS).map(as_count);
        Ok(Self {
            http2: is_on(variables, "HTTP2")?,
            max: connections("CONNECTIONS_MAX", SERVER_DEFAULT_CONNECTIONS)?,
            per_address: connections("CONNECTIONS_PER_ADDRESS", ADDRESS_DEFAULT_CONNECTIONS)?,
            max_streams: variables.integer("STREAMS_MAX", STREAMS_DEFAULT_REQUESTS, STREAMS_MAX_REQUESTS)?,
            trusted_proxies: trusted_proxies(variables)?,
        })
    }
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
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
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

fn as_count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    #[test]
    fn connections_and_proxies_have_their_rules() {
        let read = |set: &[(&str, &str)]| read_from(set, ConnectionConfig::read);
        for (variable, wrong) in [
            ("HTTP2", "yes"),
            ("CONNECTIONS_MAX", "0"),
            ("CONNECTIONS_MAX", "16385"),
            ("CONNECTIONS_PER_ADDRESS", "0"),
            ("TRUSTED_PROXIES", "localhost"),
            ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ] {
            let problem = read(&[(variable, wrong)]).unwrap_err();
            assert!(problem.starts_with(&format!("{variable}: must be")), "{problem}");
        }
        let config = read(&[("TRUSTED_PROXIES", "none")]).unwrap();
        assert!(!config.trusted_proxies.contains("127.0.0.1".parse().unwrap()));
        assert_eq!(read(&[]), Ok(ConnectionConfig::default()));
        let config = read(&[("CONNECTIONS_MAX", "16384"), ("CONNECTIONS_PER_ADDRESS", "5")]).unwrap();
        assert_eq!((config.max, config.per_address), (16_384, 5));
    }

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
