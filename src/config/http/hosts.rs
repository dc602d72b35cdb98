//! The names by which the server may be called.
//!
//! A browser sends the name by which it calls the server in `Host`, which a page cannot forge.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The names by which the server may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedHosts {
    /// All names, because a proxy before the server checks them.
    Any,
    /// `localhost`, all IP addresses, and these names.
    Listed(Vec<Authority>),
}

impl AllowedHosts {
    /// Reads a comma-separated list, which may be empty. The error is the part that is not a name.
    pub(super) fn parse(list: &str) -> Result<Self, &str> {
        let texts = list.split(',').map(str::trim).filter(|_| !list.is_empty());
        texts.map(|text| Authority::parse(text).ok_or(text)).collect::<Result<_, _>>().map(Self::Listed)
    }

    /// Whether the server may be called by this name.
    #[must_use]
    pub(crate) fn contains(&self, called: &Authority) -> bool {
        match (self, &called.host) {
            (Self::Any, _) | (Self::Listed(_), HostName::V4(_) | HostName::V6(_)) => true,
            (Self::Listed(listed), HostName::Name(name)) => {
                name == LOCALHOST || listed.iter().any(|listed| listed.stands_for(called))
            }
        }
    }
}

pub(super) const LOCALHOST: &str = "localhost";
pub(super) const HTTP_PORT: u16 = 80;
pub(super) const HTTPS_PORT: u16 = 443;

/// A host and perhaps a port, as in `Host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub(super) host: HostName,
    pub(super) port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostName {
    /// A name, in lower case.
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Authority {
    /// Reads a host and port. Returns `None` if the text contains anything else.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
                (HostName::V6(address.parse().ok()?), port)
            }
            None => {
                let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
                (host.parse().map(HostName::V4).ok().or_else(|| name(host))?, port)
            }
        };
        let is_number = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            Some(port) => Some(Some(port).filter(is_number)?.parse().ok()?),
            None => None,
        };
        Some(Self { host, port })
    }

    /// Whether this setting includes the name by which the server was called: the same name, and the same port if the
    /// setting has one.
    ///
    /// A browser leaves out the default port of its scheme.
    fn stands_for(&self, called: &Self) -> bool {
        let is_port = match (self.port, called.port) {
            (None, _) => true,
            (Some(listed), None) => [HTTP_PORT, HTTPS_PORT].contains(&listed),
            (Some(listed), Some(called)) => listed == called,
        };
        self.host == called.host && is_port
    }
}

fn name(text: &str) -> Option<HostName> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = !text.is_empty() && text.bytes().all(is_part);
    is_name.then(|| HostName::Name(text.to_ascii_lowercase()))
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostName::Name(name) => formatter.write_str(name)?,
            HostName::V4(address) => write!(formatter, "{address}")?,
            HostName::V6(address) => write!(formatter, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_an_address_by_localhost_or_by_a_listed_name() {
        let allowed = AllowedHosts::parse("sync.example.com, Other.example:8443,plain.example:443").unwrap();
        let contains = |text: &str| allowed.contains(&Authority::parse(text).unwrap());
        for called in [
            "localhost",
            "LocalHost:3000",
            "127.0.0.1",
            "192.0.2.7:8080",
            "[::1]:3000",
            "[2001:db8::7]",
            "sync.example.com",
            "SYNC.example.com:8443",
            "other.example:8443",
            "plain.example",
            "plain.example:443",
        ] {
            assert!(contains(called), "{called}");
        }
        for called in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "x.sync.example.com",
            "sync.example.com.evil.example",
            "other.example",
            "other.example:443",
            "plain.example:8443",
        ] {
            assert!(!contains(called), "{called}");
        }
        assert!(AllowedHosts::Any.contains(&Authority::parse("evil.example").unwrap()));
        assert_eq!(AllowedHosts::parse(""), Ok(AllowedHosts::Listed(Vec::new())));
        for wrong in ["https://a.example", "a.example/", "*", "a b", "u@a", "a:b", "a:+1", "a:", "[::1", "é"] {
            assert_eq!(AllowedHosts::parse(wrong), Err(wrong));
        }
        assert_eq!(AllowedHosts::parse("a,,b"), Err(""));
    }
}
